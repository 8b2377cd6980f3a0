"""Lines of CSV: quoting, and prevention of spreadsheet formulas.

A spreadsheet of another country splits at another delimiter, and there these quotes protect nothing.
So an apostrophe precedes the sign of a formula at the start of a cell, after each delimiter, and on each new
line. Blanks, quotes and invisible characters before the sign do not count, as programs remove them. The
apostrophes are removed when a cell is read: ``as_read(as_text(text)) == text``.
"""

import re
from collections.abc import Iterable
from typing import Final

_ENDS: Final = r"\r\n\v\f\x1c-\x1e\x85\u2028\u2029"
_BORDER: Final = rf"(?:\A|(?<=[,;\t{_ENDS}]))"
# All characters that a program may replace by a sign of a formula: of full width, small, raised or lowered.
_SIGNS: Final = (
    r"=+\-@\u2212\uff1d\uff0b\uff0d\uff20\ufe66\ufe62\ufe63\ufe6b\u207c\u207a\u207b\u208c\u208a\u208b"
    r"\u2a75\u2a76\ufb29"
)
# A program may remove all but letters, digits and marks of ASCII; four letters are blank.
_REMOVED: Final = rf"(?:[^\w!#-~\t{_ENDS}{_SIGNS}]|[\u115f\u1160\u3164\uffa0])"
_FORMULA: Final = rf"(?='*+{_REMOVED}*+[{_SIGNS}])"
_UNMARKED: Final = re.compile(_BORDER + _FORMULA)
_MARKED: Final = re.compile(f"{_BORDER}'{_FORMULA}")
_QUOTED: Final = re.compile(rf'[",;\t{_ENDS}]')


def as_text(text: str) -> str:
    """Return a cell that no spreadsheet takes for a formula."""
    return _UNMARKED.sub("'", text)


def as_read(cell: str) -> str:
    """Return the text of a cell without the apostrophes of ``as_text``."""
    return _MARKED.sub("", cell)


def csv_line(cells: Iterable[str], delimiter: str = ",") -> str:
    """Return a record as one line; no reader splits a cell that has an end of a line of any kind."""
    doubled = ((cell, cell.replace('"', '""')) for cell in cells)
    quoted = (f'"{inner}"' if _QUOTED.search(cell) else cell for cell, inner in doubled)
    return f"{delimiter.join(quoted)}\n"

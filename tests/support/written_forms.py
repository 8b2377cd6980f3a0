"""Readers of the formats in which items are written, and words that act in each of them.

A reader follows the rules of programs that people use, and is stricter where these differ.
"""

import re
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Final

from tests.support.active_texts import ActiveText, texts

SHEET: Final[Mapping[str, str]] = {
    "formula": "=1+2",
    "formula of a command": "=cmd|' /C calc'!A1",
    "link of a formula": '=HYPERLINK("ADDRESS","x")',
    "formula by plus": "+1+cmd|' /C calc'!A1",
    "formula by minus": "-2+3+cmd|' /C calc'!A1",
    "function": "@SUM(1+1)*cmd|' /C calc'!A1",
    "formula of full width": "\uff1d1\uff0b2",
    "small formula": "\ufe661",
    "formula in quotes": '"=1+2"',
    "formula after a quote": '"=1+2',
    "formula after an apostrophe": "'=1+2",
    "formula after apostrophes": "''=1+2",
    "formula behind blanks": " \t\xa0 =1+2",
    "formula behind what is not seen": "\u200b\u00ad\u2060=1+2",
    "formula behind controls": "\x01\x1f\x7f=1+2",
    "cell of another delimiter": "x;=1+2;y",
    "cell after a tab": "x\t=1+2\ty",
    "cell after a comma": "x,=1+2,y",
    "closed quotes": '",=1+2,"',
    "closed quotes before another delimiter": '";=1+2;"',
    "record": "xEOL=1+2EOLy",
    "record after closed quotes": '"EOL=1+2',
}
LIST: Final[Mapping[str, str]] = {
    "completion": "x 2026-01-01 paid",
    "completion alone": "x",
    "priority": "(A) now",
    "dates": "2026-01-02 2026-01-01 x",
    "project": "+project",
    "context": "@context",
    "due day": "due:2020-01-01",
    "due day after a mark": "(due:2020-01-01)",
    "recurrence": "rec:+1d",
    "threshold": "t:2099-01-01",
    "hidden": "h:1",
    "key of a row": "id:hub-aaaaaaaaaaaaaaaa",
    "key of another row": "hub-bbbbbbbbbbbbbbbb",
    "escaped project": "\\+project",
    "escaped due day": "due\\:2020-01-01",
    "other line": "EOLx 2026-01-01 paid +project id:hub-aaaaaaaaaaaaaaaaEOL",
}
CALENDAR: Final[Mapping[str, str]] = {
    "end of the component": "xEOLEND:VTODOEOLEND:VCALENDAREOL",
    "alarm": "xEOLBEGIN:VALARMEOLACTION:EMAILEOLATTENDEE:mailto:a@b.orgEOLEND:VALARM",
    "attachment": "xEOLATTACH:ADDRESSEOLURL:ADDRESS",
    "folded line": "xEOL ATTACH:ADDRESS",
    "escaped line end": "x\\nATTACH:ADDRESS",
    "parameters": 'x";ALTREP="ADDRESS":^n^\'y',
    "marks": "a;b,c\\,d\\;e\\\\n",
    "other row": "xEOLUID:hub-aaaaaaaaaaaaaaaa",
}
TERMINAL: Final[Mapping[str, str]] = {
    "title of the window": "\x1b]0;evil\x07",
    "clipboard": "\x1b]52;c;ZXZpbA==\x1b\\",
    "link": "\x1b]8;;ADDRESS\x1b\\x\x1b]8;;\x1b\\",
    "clear": "\x1b[2J\x1b[H",
    "answer": '\x1b[6n\x1bP$q"p\x1b\\',
    "controls of eight bits": "\x9b2J\x9d0;evil\x9c\x90q\x9c",
    "overwritten": "evil\rgood",
    "erased": "evil\b\b\b\bgood",
    "reversed": "\u202egpj.exe\u202c",
    "isolated": "\u2067gpj.exe\u2069",
    "zero": "a\0b",
}
PAGE: Final[Mapping[str, str]] = {
    "script": "<script>SCRIPT</script>",
    "picture": "<img src=ADDRESS onerror=SCRIPT>",
    "end of the quotation": "</blockquote></td></table><img src=ADDRESS>",
    "attribute": "\" onmouseover='SCRIPT' x=\"",
    "comment": "<!-- EOL",
    "entity": "&lt;img src=ADDRESS&gt; &#60;script>",
    "style": "</style><style>@import 'ADDRESS'</style>",
    "title": "</title><script>SCRIPT</script>",
}
FORMS: Final[Mapping[str, str]] = {
    f"{name} ({kind})": form
    for kind, forms in (
        ("sheet", SHEET),
        ("list", LIST),
        ("calendar", CALENDAR),
        ("terminal", TERMINAL),
        ("page", PAGE),
    )
    for name, form in forms.items()
}
POSITIONS: Final[Mapping[str, str]] = {
    "alone": "FORM",
    "in the middle": "Pay FORM today",
    "at a word": "PayFORMtoday",
    "after a backslash": "\\FORM",
    "after blanks": "  FORM  ",
    "on a line of its own": "PayEOLFORMEOLtoday",
    "after empty lines": "PayEOLEOLEOLFORM",
    "twice": "FORM FORM",
    "in quotes": '"FORM"',
    "in parentheses": "(FORM)",
    "after a comma": "Pay, FORM; FORM",
}
_UNSEEN: Final = ("Cc", "Cf", "Zs", "Zl", "Zp", "Mn", "Cn", "Lo")
_BLANK_LETTERS: Final = "\u115f\u1160\u3164\uffa0"
_OBEYED: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff]"
)
_TODO: Final = re.compile(r"(x )?(?:\(([A-Z])\) )?((?:\d{4}-\d\d-\d\d ){0,2})(.*)")


def active_texts() -> Iterator[ActiveText]:
    """Yield the generated set: each form at each position, in each encoding, with each line end."""
    yield from texts(FORMS, POSITIONS)


def cells_of(sheet: str, delimiter: str) -> Iterator[list[str]]:
    """Yield the records of a sheet as a spreadsheet that splits at *delimiter* reads them.

    A quote opens at the start of a cell only; what follows the closing one is appended. Outside of quotes
    each kind of line end ends a record.
    """
    record, cell, is_quoted, at = [""], "", False, 0
    ends = "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"
    is_start = True
    while at < len(sheet):
        char = sheet[at]
        if is_quoted and char == '"' and sheet[at + 1 : at + 2] == '"':
            cell, at = cell + '"', at + 1
        elif is_quoted and char == '"':
            is_quoted = False
        elif is_quoted:
            cell += char
        elif is_start and char == '"':
            is_quoted, is_start = True, False
        elif char == delimiter:
            record[-1], cell, is_start = cell, "", True
            record.append("")
        elif char in ends:
            record[-1], cell, is_start = cell, "", True
            yield record
            record = [""]
            at += sheet[at : at + 2] == "\r\n"
        else:
            cell, is_start = cell + char, False
        at += 1
    record[-1] = cell
    if record != [""]:
        yield record


def is_formula(cell: str) -> bool:
    """Return True if a spreadsheet may run a cell, after it has taken away what is not seen."""
    for char in cell:
        if unicodedata.category(char) in _UNSEEN and (char in _BLANK_LETTERS or not char.isalnum()):
            continue
        plain = unicodedata.normalize("NFKC", char)
        return plain[:1] in "=+-@\u2212"
    return False


def acts_in_a_list(line: str) -> list[str]:
    """Return what a program for todo.txt obeys in a line besides its key and due day."""
    found = [f"line {extra!r}" for extra in line.splitlines()[1:]]
    read = _TODO.match(line)
    assert read is not None
    found += [mark for mark in read.groups()[:3] if mark]
    words = [word for word in re.split(r"\s", read[4]) if word]
    found += [word for word in words if word[0] in "+@" and len(word) > 1]
    return found + re.findall(r"[^\W\d_]+:(?!//)\S+", line)


def obeyed_by_a_terminal(text: str) -> list[str]:
    """Return the characters of a text that a terminal obeys, or by which it shows another order."""
    return _OBEYED.findall(text)

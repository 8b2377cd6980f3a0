"""Parser of iCalendar (RFC 5545): errors of invalid input, names of time zones, folded lines."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from icalendar.cal import Component

# Exceptions of the parser for invalid input, raised at once or on access to an invalid property.
# OverflowError: a time outside of the range of UTC. OSError: a zone name that is a folder of zones.
BROKEN: Final = (
    *(ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, OSError),
    RecursionError,  # a time zone with many dots in its name is looked for in as many packages
)

# Names of Windows since 2026, which the library's table lacks.
_ZONE_NAMES: Final = {
    "Alberta Standard Time": "America/Edmonton",
    "British Columbia Standard Time": "America/Vancouver",
    "Manitoba Standard Time": "America/Winnipeg",
}

_FOLDED: Final = re.compile(r"^[^\s:;][^\r\n]*+(?>(?:[\r\n]++[ \t][^\r\n]*+)+)", re.MULTILINE)
_FOLD: Final = re.compile(r"(?<![\r\n])[\r\n]++[ \t]")
_NAME: Final = re.compile(
    r"(?:BEGIN|END|METHOD):.*|[A-Z0-9-]++(?:;(?:[^:\"]|\"[^\"]*\")*)?:", re.IGNORECASE | re.DOTALL
)

BORDER: Final = re.compile(  # of a calendar and its entries
    r"^(BEGIN|END):(VCALENDAR|VTODO|VEVENT|VJOURNAL)[ \t]*+(?=\r?$)", re.MULTILINE | re.IGNORECASE
)
_HEAD_CHARS: Final = 1_000  # of which one is in a calendar

# The library keeps each time zone that a calendar defines, for all calendars of the process.
_ZONES = Lock()


@contextmanager
def reading_calendar() -> Iterator[Callable[[str], "Component"]]:
    """Give the parser for one calendar, whose time zones count for it alone."""
    import icalendar  # imported here: takes 100 ms, and only calendars need it
    from icalendar.timezone.windows_to_olson import WINDOWS_TO_OLSON

    with _ZONES:
        WINDOWS_TO_OLSON.update(_ZONE_NAMES)
        icalendar.use_zoneinfo()  # type: ignore[no-untyped-call]
        # A broken property is kept as text, as it is in an event, and does not break its component.
        icalendar.Todo.ignore_exceptions = icalendar.Journal.ignore_exceptions = True
        # A text without a line end that names a file would be read from that file.
        yield lambda text: icalendar.Calendar.from_ical(f"{text}\r\n")


def is_calendar(text: str) -> bool:
    """Return True for a calendar, or entries of one alone."""
    return BORDER.search(unfold_names(text[:_HEAD_CHARS])) is not None


def unfold_names(text: str) -> str:
    """Return a calendar of the same length, with the folds of a line behind its name and parameters.

    A line may be folded anywhere (RFC 5545, 3.1). The values stay at their places; a single CR ends a line.
    """
    return _FOLDED.sub(_unfolded_name, re.sub(r"\A\ufeff|\r(?!\n)", "\n", text))


def _unfolded_name(line: re.Match[str]) -> str:
    head = _NAME.match(_FOLD.sub("", line[0]))
    end = head.end() if head else 0
    folds = ""
    for fold in _FOLD.finditer(line[0]):
        if fold.start() - len(folds) < end:
            folds += fold[0]
    return f"{head[0]}{folds}{line[0][end + len(folds) :]}" if head else line[0]

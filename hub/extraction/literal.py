"""Validation of records from a model that can only copy. Pure functions.

The model is asked about one sentence, so its words must occur in that sentence; all others are invented.
"""

from collections.abc import Mapping
from typing import Final
from zoneinfo import ZoneInfo

from hub.clock import from_epoch_ms
from hub.extraction.folding import fold, stands_in, words_of
from protocol.frame import Record
from protocol.tables import DeviceTable, Kind

_MOST_WORDS_OF_A_NAME: Final = 4
_POINTING: Final = frozenset(
    ("i", "we", "you", "he", "she", "it", "they", "this", "that", "there", "the", "a", "an", "nobody")
)


def copied(
    table: DeviceTable, data: Record, quote: str, *, said: Mapping[str, object], timezone: str
) -> Record:
    """Return the fields of *data* that occur in *quote*; empty if the title does not.

    A date must have been copied from the quote (*said*), or its day of the month must occur there.
    """
    words = set(words_of(quote))
    title = words_of(str(data[table.title]))
    if not title or not words.issuperset(title) or len(title) == len(words_of(quote)):
        return {}
    kept = dict(data)
    for column in table.columns:
        value = data.get(column.name)
        if column.kind is Kind.NAMES and isinstance(value, list):
            kept[column.name] = [name for name in value if _is_name(str(name), words)]
        elif column.kind is Kind.EPOCH_MS and isinstance(value, int):
            is_copied = stands_in(str(said.get(column.name)), fold(quote))
            if not is_copied and not words & _days(value, timezone):
                del kept[column.name]
    return {name: value for name, value in kept.items() if value != []}


def _days(at_ms: int, timezone: str) -> set[str]:
    """Return the spellings of a date's local day of the month; empty for an invalid date."""
    try:
        day = from_epoch_ms(at_ms).astimezone(ZoneInfo(timezone)).day
    except OverflowError:  # the last hours of the year 9999
        return set()
    return {str(day), f"{day:02}"}


def _is_name(said: str, words: set[str]) -> bool:
    """Return True if these *words* contain the name, and it is not a pronoun."""
    name = words_of(said)
    return 0 < len(name) <= _MOST_WORDS_OF_A_NAME and words.issuperset(name) and name[0] not in _POINTING

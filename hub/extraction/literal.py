"""Pure: the records of a model that can only be trusted to copy.

It was asked about one sentence, so its words must be words of that sentence; what is
not, it made up.
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
    """*data* as far as *quote* says it in the same words; empty when it does not say what names it.

    A date is one that was *said* in words of the quote, or whose day of the month stands there.
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
    """How the day of the month is spelled where the owner is; nothing when there is no such day there."""
    try:
        day = from_epoch_ms(at_ms).astimezone(ZoneInfo(timezone)).day
    except OverflowError:  # the last hours of the year 9999
        return set()
    return {str(day), f"{day:02}"}


def _is_name(said: str, words: set[str]) -> bool:
    """Whether somebody is named in these *words*, and not only pointed at."""
    name = words_of(said)
    return 0 < len(name) <= _MOST_WORDS_OF_A_NAME and words.issuperset(name) and name[0] not in _POINTING

"""Days that the entries of a list tell in words, such as "until Friday" and ``due:tomorrow``. Pure functions.

Readers of formats take the days that they know in the form of the format. Words are counted from the day of
the document or of its passage, as those of sentences are.
"""

import re
from collections.abc import Iterator, Sequence
from datetime import date, datetime
from itertools import islice
from typing import Final
from zoneinfo import ZoneInfo

import msgspec

from hub.clock import epoch_ms
from hub.extraction.chunk import Passage
from hub.extraction.dating import PassageDates
from hub.extraction.items import Item
from hub.extraction.prose import days_in
from hub.extraction.prose_layout import About, lines_in
from hub.extraction.when.resolve import Anchor, local_day, resolve
from protocol.tables import TableName

_ADDRESS: Final = re.compile(r"\w{2,10}://\S+")
_DUE: Final = "dueDate"


def with_due_days(items: Sequence[Item], dates: PassageDates, timezone: str) -> Iterator[Item]:
    """Yield items of lists; a task without a day gets the first one that its words denote.

    Words for a day that is unknown stay for a person.
    """
    for item in items:
        is_open = item.table == TableName.TASKS and item.data.get("status") != "done"
        if is_open and not item.is_exact and _DUE not in item.data:
            for at, has_time, words in islice(_days_of(item, dates.at(item.start), timezone), 1):
                data = item.data | ({} if at is None else {_DUE: epoch_ms(at)})
                unresolved = {_DUE: words} if at is None else {}
                item = msgspec.structs.replace(item, data=data, unresolved=unresolved, has_time=has_time)
        yield item


def _days_of(item: Item, anchor: Anchor | None, timezone: str) -> Iterator[tuple[datetime | None, bool, str]]:
    """Yield the days of a field or a title that are not past, and words for days that are unknown."""
    if (words := item.unresolved.get(_DUE)) is not None:
        moment = resolve(words, anchor=anchor, timezone=timezone, is_due=True)
        yield (moment.at, moment.has_time, words) if moment else (None, False, words)
        return
    title = _ADDRESS.sub(lambda address: " " * len(address[0]), str(item.data["title"]))
    lines = list(lines_in(title, Passage(0, len(title))))
    lexicon = About(lines).lexicon if lines else None
    zone = ZoneInfo(timezone)
    today = local_day(anchor, zone) if isinstance(anchor, datetime) else anchor or date.min
    for day in days_in(title, lexicon, anchor, timezone) if lexicon else ():
        if day.at is None or local_day(day.at, zone) >= today:
            yield day.at, day.has_time, day.words

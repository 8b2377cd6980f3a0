"""Lines of known items that call them off or name another day; rules read no item from these. Pure functions.

A line is that of a row if it has the row's quote, or if no other one has all words of its title.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import cache
from itertools import islice
from typing import Final

import msgspec

from hub.base.clock import from_epoch_ms
from hub.document import Document
from hub.extraction.authorship import ranks_in
from hub.extraction.blocks import STRUCK_WORDS
from hub.extraction.calendars import CANCELLED
from hub.extraction.when.resolve import DateContext, dates_in, local_day, resolve
from hub.extraction.wording.languages import languages_in, script_of
from hub.extraction.wording.recognition import TextLanguages
from hub.runs.found_items import likeness_of, main_of
from hub.runs.item_ranks import rank_of
from hub.text.folding import words_of
from hub.text.rows.ticks import Line, lines_of
from protocol.frame import Record
from protocol.ids import content_of
from protocol.items import Rank, with_missing
from protocol.tables import TABLES, DeviceTable, TableName
from storage.runs.items import FoundItem, ItemRow, KnownItem

MAX_ROWS: Final = 40  # of a unit that are compared with its lines
_EVENTS: Final = TABLES[TableName.TIMELINES]


def changed_events(
    document: Document, rows: Iterable[KnownItem], timezone: str, first: int, *, at_ms: int
) -> Iterator[tuple[FoundItem, KnownItem]]:
    """Yield the events whose line calls them off or names another day, as it has them.

    Args:
        rows: known items of the document that were not found in it.
        first: ordinal of the first item.
        at_ms: now.
    """
    events = [
        known for known in rows if known.row.target_table == _EVENTS.name and known.row.source is not None
    ]
    if not events:  # the usual case
        return
    events.sort(key=lambda known: -rank_of(known.row))
    rank_at, now = ranks_in(document), from_epoch_ms(at_ms)
    languages = cache(lambda: TextLanguages.of(document.text, now.date()))
    for ordinal, known in enumerate(islice(events, MAX_ROWS), first):
        titles, data = titles_of(known.row, _EVENTS), known.row.before or known.row.data
        line = (
            None if titles[0].startswith(CANCELLED) else _line_of(known.row, document.text, titles, rank_at)
        )
        if line is not None and _is_called_off(line.text):
            off = {_EVENTS.title: f"{CANCELLED}{data.get(_EVENTS.title)}"}
            context = DateContext(now, timezone, language=languages().at(line.start))
            data = data | (_moved(known.row, line.text, context) or off)
            place = {"quote": line.text, "start": line.start, "end": line.start + len(line.text)}
            source = (known.row.source or {}) | place | {"sha256": document.content_hash}
            item = with_other_data(known.row, _EVENTS, data, source, ordinal)
            yield msgspec.structs.replace(item, place_hash=item.quote_hash), known


def titles_of(row: ItemRow, table: DeviceTable) -> list[str]:
    """Return the title of a row, with and without a remark behind it, and the one that the device has."""
    titles = [str(data.get(table.title) or "") for data in (row.data, row.before or row.data)]
    return list(dict.fromkeys([*titles, titles[0].partition(" (")[0]]))


def with_other_data(
    row: ItemRow, table: DeviceTable, data: Record, source: dict[str, object], ordinal: int
) -> FoundItem:
    """Return the item of a row with other values, as a line or a mail about it has them."""
    main, content = main_of(table, data), content_of(data)
    return FoundItem(
        ordinal=ordinal,
        declaration=table,
        data=data,
        main=main,
        likeness=likeness_of(table.name, main),
        quote_hash=content,
        words_hash=row.quote_hash,
        place_hash=row.place_hash,
        date_ms=table.day_in(data),
        warnings=with_missing(row.warnings, is_missing=False),
        source=source,
        is_by_rule=True,
        is_of_event=True,
        rank=Rank(rank_of(row)),
    )


def is_restored(item: FoundItem, row: ItemRow) -> float:
    """Return 1.0 if a row was called off, and the item is the same event again."""
    words = words_of(main_of(item.declaration, row.data))
    return float(words[:1] == words_of(CANCELLED) and words[1:] == words_of(item.main))


def _line_of(row: ItemRow, text: str, titles: Iterable[str], rank_at: Callable[[int], int]) -> Line | None:
    """Return the only line of a row, among those in words of its rank or a higher one."""
    quote = str((row.source or {}).get("quote") or "")
    found = (
        [line for line in lines_of(text, title) if rank_at(line.start) >= rank_of(row)] for title in titles
    )
    lines = next(filter(None, found), [])
    quoted = [line for line in lines if quote and quote in line.text]
    chosen = quoted if len(quoted) == 1 else lines
    return chosen[0] if len(chosen) == 1 else None


def _is_called_off(line: str) -> bool:
    lexicons = languages_in(script_of(line))  # the words of a list often tell no language
    return STRUCK_WORDS.search(line) is not None or any(
        lexicon.has("called_off", line) for lexicon in lexicons
    )


def _moved(row: ItemRow, line: str, context: DateContext) -> Record | None:
    """Return the only day of a line, if a row has another one; else None."""
    days = dates_in(line, language=context.language)
    moment = resolve(days[0].words, *context) if len(days) == 1 else None
    if moment is None or row.date_ms is None:
        return None
    is_same = local_day(moment.at, context.zone) == local_day(from_epoch_ms(row.date_ms), context.zone)
    return None if is_same else {"date": moment.at_ms}

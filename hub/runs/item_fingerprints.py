"""Keys of extracted items for comparison with the ledger: name, day and place. Pure functions."""

import hashlib
from collections.abc import Iterable
from typing import Final

import msgspec

from hub.document import Document
from hub.extraction.chunk import sentences
from hub.extraction.folding import fold
from hub.extraction.items import Item
from hub.runs.payload import source_of
from protocol.frame import Record
from protocol.tables import TABLES, Filler, Kind, TableName
from storage.runs.items import FoundItem, ItemRow

_AROUND_CHARS: Final = 400  # before and after a quote, to find its sentence
# for other tables, the title names the item
_AUTHORED: Final = {TableName.TASK_COMMENTS: ("author", "content")}


def found_items(document: Document, items: Iterable[Item], timezone: str | None = None) -> list[FoundItem]:
    """Return the items of a document with their comparison keys; their days begin in *timezone*."""
    return [_found(document, ordinal, item, timezone) for ordinal, item in enumerate(items)]


def _found(document: Document, ordinal: int, item: Item, timezone: str | None) -> FoundItem:
    data: Record = {name: value for name, value in item.data.items() if value is not None}
    main = main_of(item.table, data)
    return FoundItem(
        ordinal=ordinal,
        table=item.table,
        data=data,
        main=main,
        likeness=likeness_of(item.table, main),
        quote_hash=_digest(fold(item.quote), *_exactly(item, data)),
        words_hash=quote_hash_of(item.quote),
        place_hash=_digest(fold(_place(document.text, item)), *_exactly(item, data)),
        date_ms=date_ms_of(item.table, data),
        warnings=item.warnings,
        source=source_of(document, item, None if item.has_time else timezone),
        is_by_rule=item.origin == "rule",
    )


def _place(text: str, item: Item) -> str:
    """Return the sentences around the quote; for an item found by a rule, the quote's whole line."""
    if item.origin != "model":
        return item.quote
    around = sentences_around(text, item.start, item.end)
    return item.quote if around is None else text[around[0] : around[1]]


def sentences_around(text: str, start: int, end: int) -> tuple[int, int] | None:
    """Return the start and end of the sentences that a range touches, or None if it touches none."""
    since, until = max(start - _AROUND_CHARS, 0), end + _AROUND_CHARS
    around = sentences(text, since, min(until, len(text)))
    touched = [place for place in around if place[0] < end and start < place[1]]
    return (touched[0][0], touched[-1][1]) if touched else None


def quote_hash_of(quote: str) -> str:
    """Return the ``quote_hash`` of an item that is not exact: a hash of the quote's words."""
    return _digest(fold(quote))


def likeness_of(table: TableName, main: str) -> str:
    """Return a key that is equal for items of the same name in one table."""
    return _digest(table, main)


def _exactly(item: Item, data: Record) -> tuple[str, ...]:
    """Return the content digest of an exact item, which distinguishes it in addition to its quote."""
    return (content_of(data),) if item.is_exact else ()


def main_of(table: TableName, data: Record) -> str:
    """Return the folded text that names an item of this table."""
    names = _AUTHORED.get(table, (TABLES[table].title,))
    return "\n".join(fold(str(data.get(name) or "")) for name in names)


def date_ms_of(table: TableName, data: Record) -> int | None:
    """Return the day that an item is about in UTC epoch milliseconds, or None if it has no day."""
    for column in TABLES[table].columns:
        value = data.get(column.name)
        if column.kind is Kind.EPOCH_MS and column.filler is Filler.MODEL and isinstance(value, int):
            return value
    return None


def content_of(data: Record) -> str:
    """Return a digest of all columns of an item."""
    return _digest(msgspec.json.encode(dict(sorted(data.items()))).decode())


def _digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode("utf-8", "surrogatepass")).hexdigest()


def is_same_place(item: FoundItem, row: ItemRow) -> bool:
    """Return True if both are from the same quote or sentence."""
    return item.quote_hash == row.quote_hash or item.place_hash == row.place_hash

"""Pure: what was found in a document, as the ledger of items compares it: its name, its day, its place."""

import hashlib
from collections.abc import Iterable
from typing import Final

import msgspec

from hub.document import Document
from hub.extraction.folding import fold
from hub.extraction.items import Item
from hub.extraction.structure import sentences
from hub.runs.payload import source_of
from protocol.frame import Record
from protocol.tables import TABLES, Filler, Kind, TableName
from storage.runs.items import FoundItem, ItemRow

_AROUND_CHARS: Final = 400  # of a quote: its sentence is looked for there
_AUTHORED: Final = {TableName.TASK_COMMENTS: ("author", "content")}  # elsewhere the title names it


def found_items(document: Document, items: Iterable[Item], timezone: str | None = None) -> list[FoundItem]:
    """Return the items of a document as the ledger compares them; their days begin in *timezone*."""
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
    """The sentences that the item's quote touches; of a rule's item its own place, for that is a line."""
    if item.origin != "model":
        return item.quote
    around = sentences_around(text, item.start, item.end)
    return item.quote if around is None else text[around[0] : around[1]]


def sentences_around(text: str, start: int, end: int) -> tuple[int, int] | None:
    """The whole sentences that a place touches; ``None`` where there are none."""
    since, until = max(start - _AROUND_CHARS, 0), end + _AROUND_CHARS
    around = sentences(text, since, min(until, len(text)))
    touched = [place for place in around if place[0] < end and start < place[1]]
    return (touched[0][0], touched[-1][1]) if touched else None


def quote_hash_of(quote: str) -> str:
    """The ``quote_hash`` of an item that is not exact: its words alone tell its source from another."""
    return _digest(fold(quote))


def likeness_of(table: TableName, main: str) -> str:
    """What two items have in common that bear the same name in one table."""
    return _digest(table, main)


def _exactly(item: Item, data: Record) -> tuple[str, ...]:
    """What beside its words tells an item's source from another one."""
    return (content_of(data),) if item.is_exact else ()


def main_of(table: TableName, data: Record) -> str:
    """What names an item of this table, folded."""
    names = _AUTHORED.get(table, (TABLES[table].title,))
    return "\n".join(fold(str(data.get(name) or "")) for name in names)


def date_ms_of(table: TableName, data: Record) -> int | None:
    """The day that an item is about, where it has one; UTC epoch milliseconds."""
    for column in TABLES[table].columns:
        value = data.get(column.name)
        if column.kind is Kind.EPOCH_MS and column.filler is Filler.MODEL and isinstance(value, int):
            return value
    return None


def content_of(data: Record) -> str:
    """A digest of all that an item says."""
    return _digest(msgspec.json.encode(dict(sorted(data.items()))).decode())


def _digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode("utf-8", "surrogatepass")).hexdigest()


def is_same_place(item: FoundItem, row: ItemRow) -> bool:
    """Whether both are from the same quote or sentence."""
    return item.quote_hash == row.quote_hash or item.place_hash == row.place_hash

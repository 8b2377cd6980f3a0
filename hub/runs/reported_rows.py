"""Matching of rows that a device reported with documents, by quote and position. Pure functions.

The hub that wrote such a row is unknown, and so are the words of the model. Only the place remains: the
quote, or the sentences around it. Pure functions.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Final

import msgspec

from hub.document import Document
from hub.runs.found_items import likeness_of, main_of, quote_hash_of, sentences_around
from hub.runs.item_ranks import rank_of
from protocol.calls import ListedRow
from protocol.frame import Record
from protocol.ids import CallId, DeviceId, RunId, UserId, content_of, derive_taken_item_id
from protocol.items import ItemSource
from protocol.tables import DeviceTable
from storage.runs.items import TAKEN, FoundItem, ItemRow, KnownItem, unknown_likeness

MAX_COMPARED: Final = 200_000  # pairs of places per unit; above this, only quotes are compared
_Span = tuple[int, int]
_Alike = Callable[[FoundItem, ItemRow], bool]


def taken_item(
    listed: ListedRow, table: DeviceTable, *, user_id: UserId, device_id: DeviceId, at: int
) -> ItemRow:
    """Return a row of a device as an item of the ledger; *at* in epoch milliseconds.

    Its ``version`` is the device's counter of the row. Its agent is None until an agent extracts the item.
    """
    defaults = {column.name: column.default for column in table.columns}
    data: Record = {name: value for name, value in listed.data.items() if value != defaults.get(name)}
    quote_hash = quote_hash_of(listed.quote)
    # Without a title, nothing but the quote says whether two rows are alike.
    has_title = bool(data.get(table.title))
    likeness = likeness_of(table.name, main_of(table, data)) if has_title else unknown_likeness(quote_hash)
    source = ItemSource(
        path=listed.path or "?",
        quote=listed.quote,
        start=listed.start,
        end=listed.end,
        sha256=listed.sha256,
        timezone=listed.timezone,
    )
    return ItemRow(
        id=derive_taken_item_id(device_id=device_id, call_id=listed.call_id),
        user_id=user_id,
        agent_id=None,
        device_id=device_id,
        unit_key=listed.path or "",
        target_table=table.name,
        likeness=likeness,
        quote_hash=quote_hash,
        place_hash=quote_hash,
        config_fingerprint=TAKEN,
        data=data,
        date_ms=table.day_in(data),
        source=msgspec.to_builtins(source),
        call_id=CallId(listed.call_id),
        run_id=RunId(listed.run_id or ""),
        row_id=listed.row_id,
        answered_at=at,
        verdict=listed.state,
        verdict_at=None if listed.state == "open" else at,
        version=max(listed.counter, 1),
        created_at=at,
        updated_at=at,
    )


def is_taken(row: ItemRow) -> bool:
    """Return True if the item is known only from its device so far."""
    return row.config_fingerprint == TAKEN


def pair_by_place(
    found: Iterable[FoundItem], known: Sequence[KnownItem], document: Document
) -> list[tuple[FoundItem, KnownItem]]:
    """Return pairs of extracted items and rows reported from the same place.

    Items with equal content are paired first, then items with equal quotes, then items whose sentences
    overlap. Each item is in at most one pair.
    """
    pairs: list[tuple[FoundItem, KnownItem]] = []
    items = {item.ordinal: item for item in found}
    rows = {known_item.row.id: known_item for known_item in known if is_taken(known_item.row)}
    for alike in (_has_the_same_content, _has_the_same_words) if rows else ():
        _pair(items, rows, alike, pairs)
    if rows and len(items) * len(rows) <= MAX_COMPARED:
        _pair(items, rows, _touching(document), pairs)
    return pairs


def _pair(
    items: dict[int, FoundItem],
    rows: dict[str, KnownItem],
    alike: _Alike,
    pairs: list[tuple[FoundItem, KnownItem]],
) -> None:
    by_table: dict[str, list[KnownItem]] = {}
    for known_item in rows.values():
        by_table.setdefault(known_item.row.target_table, []).append(known_item)
    for item in list(items.values()):
        candidates = by_table.get(item.table, [])
        high = (known_item for known_item in candidates if item.rank >= rank_of(known_item.row))
        known = next((known_item for known_item in high if alike(item, known_item.row)), None)
        if known is not None:
            candidates.remove(known)
            pairs.append((item, known))
            del items[item.ordinal], rows[known.row.id]


def _has_the_same_words(item: FoundItem, row: ItemRow) -> bool:
    return item.words_hash == row.quote_hash  # a rejected row keeps nothing else of its source


def _has_the_same_content(item: FoundItem, row: ItemRow) -> bool:
    is_same = item.likeness == row.likeness or content_of(item.data) == content_of(row.data)
    return is_same and _has_the_same_words(item, row)


def _touching(document: Document) -> _Alike:
    spans: dict[int | str, _Span | None] = {}

    def place(key: int | str, source: Record) -> _Span | None:
        if key not in spans:
            spans[key] = _span(document, source)
        return spans[key]

    def touches(item: FoundItem, row: ItemRow) -> bool:
        mine, other = place(item.ordinal, item.source), place(row.id, row.source or {})
        return mine is not None and other is not None and mine[0] < other[1] and other[0] < mine[1]

    return touches


def _span(document: Document, source: Record) -> _Span | None:
    """Return the sentences around a quote, or None if the document no longer has the quote."""
    quote, start = str(source.get("quote") or ""), source.get("start")
    if not quote or not isinstance(start, int):
        return None
    if not document.text.startswith(quote, start):
        start = document.text.find(quote)
    return None if start < 0 else sentences_around(document.text, start, start + len(quote))

"""Extracted items: their keys for comparison with the ledger, their calls, and the sources of reported rows.

The keys are name, day and place. The stored content of a planned call is enough to send its frame again after
a restart. Pure functions.

Matching of rows that a device reported with the documents they came from.

The hub that wrote such a row is unknown, and so are the words of the model. Only the place remains: the
quote, or the sentences around it.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC
from typing import Any, Final
from zoneinfo import ZoneInfo

import msgspec

from hub.base.clock import epoch_ms, from_epoch_ms
from hub.base.dates import day_at
from hub.document import Document
from hub.extraction.chunk import sentences
from hub.extraction.items import Item
from hub.text.folding import fold
from hub.text.item_text import with_clean_title
from protocol.calls import ListedRow
from protocol.frame import Field, Record
from protocol.ids import CallId, DeviceId, RunId, UserId, content_of, derive_taken_item_id, traceparent
from protocol.items import Changed, FoundBy, ItemSource, Unresolved
from protocol.tables import SUGGESTED, DeviceTable, Filler, Kind, Tables
from protocol.work import Action, ToolCall
from storage.runs.items import TAKEN, FoundItem, ItemRow, KnownItem, unknown_likeness

MAX_QUOTE_CHARS: Final = 2_000  # limit of ItemSource
MAX_WARNINGS = MAX_UNRESOLVED = 16  # limits of ItemSource
MAX_VALUE_CHARACTERS: Final = 2_000  # of a changed value, before and after: a note's text may be long
_AROUND_CHARS: Final = 400  # before and after a quote, to find its sentence


def found_items(
    document: Document, items: Iterable[Item], timezone: str | None, tables: Tables
) -> list[FoundItem]:
    """Return the items of a document with their comparison keys; their days begin in *timezone*."""
    return [
        _found(document, ordinal, item, timezone, tables[item.table]) for ordinal, item in enumerate(items)
    ]


def _found(
    document: Document, ordinal: int, item: Item, timezone: str | None, table: DeviceTable
) -> FoundItem:
    data = with_clean_title(table, {name: value for name, value in item.data.items() if value is not None})
    main = main_of(table, data)
    is_local = not item.has_time or item.is_floating
    # An exact item is distinguished by its content, in addition to its quote.
    exactly = [content_of(_local_data(table, data, timezone if is_local else None))] if item.is_exact else []
    at_ms = date_ms_of(table, data)
    # Without it, a time of day that is midnight would be read as the day.
    is_midnight = item.has_time and at_ms is not None and day_at(at_ms, timezone) is not None
    zone = timezone if _day_columns(table) and not is_midnight else None
    return FoundItem(
        ordinal=ordinal,
        declaration=table,
        data=data,
        main=main,
        likeness=likeness_of(item.table, main),
        quote_hash=_digest(fold(item.quote), *exactly),
        words_hash=quote_hash_of(item.quote),
        place_hash=_digest(fold(_place(document.text, item)), *exactly)
        if item.date_of_series is None
        else place_of_date(item.date_of_series),
        date_ms=at_ms,
        warnings=item.warnings,
        source=source_of(document, item, zone),
        is_by_rule=item.origin == "rule",
        is_of_event=item.date_of_series is not None,
    )


def place_of_date(date_of_series: str) -> str:
    """Return the ``place_hash`` of a date of the event that a unit is about, whatever its mails say of it."""
    return _digest("event", date_of_series)


def _place(text: str, item: Item) -> str:
    """Return the sentences around the quote; for an item of a structured form, the quote itself."""
    if item.origin != "model" and not item.is_of_prose:
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


def likeness_of(table: str, main: str) -> str:
    """Return a key that is equal for items of the same name in one table."""
    return _digest(table, main)


def _local_data(table: DeviceTable, data: Record, timezone: str | None) -> Record:
    """Return the data with its days as if *timezone* were UTC, to compare them with days of other zones."""
    zone = ZoneInfo(timezone or "UTC")
    days = {name: day for name in _day_columns(table) if isinstance(day := data.get(name), int)}
    return data | {name: _local_ms(day, zone) for name, day in days.items()}


def _local_ms(at_ms: int, zone: ZoneInfo) -> int:
    try:
        return epoch_ms(from_epoch_ms(at_ms).astimezone(zone).replace(tzinfo=UTC))
    except OverflowError:  # the first or last day of the calendar
        return at_ms


def main_of(table: DeviceTable, data: Record) -> str:
    """Return the folded text that names an item of this table: the values of its key."""
    return "\n".join(fold(str(data.get(name) or "")) for name in table.key)


def date_ms_of(table: DeviceTable, data: Record) -> int | None:
    """Return the day that an item is about in UTC epoch milliseconds, or None if it has no day."""
    days = (data.get(name) for name in _day_columns(table))
    return next((day for day in days if isinstance(day, int)), None)


def _day_columns(table: DeviceTable) -> list[str]:
    """Return the names of the columns with a day or time that a model extracts."""
    return [
        column.name
        for column in table.columns
        if column.kind is Kind.EPOCH_MS and column.filler is Filler.MODEL
    ]


def _digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode("utf-8", "surrogatepass")).hexdigest()


def is_same_place(item: FoundItem, row: ItemRow) -> bool:
    """Return True if both are from the same quote or sentence."""
    return item.quote_hash == row.quote_hash or (item.place_hash == row.place_hash and not item.is_of_event)


class CallPayload(msgspec.Struct, frozen=True, kw_only=True):
    """Content of a call, without its sender."""

    data: Record
    source: ItemSource
    action: Action = Action.INSERT
    where: Record = {}


def frame_of(
    call_id: str, table: str, payload: CallPayload, *, run_id: RunId, agent_id: str | None, deadline_ms: int
) -> ToolCall:
    """Return the frame of a call, identical with the same id each time it is sent."""
    return ToolCall(
        id=call_id,
        action=payload.action,
        table=table,
        # Set last, so that no output of a model can override it.
        data=payload.data | SUGGESTED,
        where=payload.where,
        run_id=run_id or None,
        agent_id=agent_id,
        source=payload.source,
        deadline_ms=deadline_ms,
        trace=traceparent(run_id, "tool_call", call_id),
    )


def source_of(document: Document, item: Item, timezone: str | None = None) -> dict[str, Any]:
    """Return an item's source in wire format; *timezone* is the zone in which its days begin."""
    source = ItemSource(
        path=document.unit_key,
        quote=item.quote[:MAX_QUOTE_CHARS],
        start=item.start,
        end=min(item.end, item.start + MAX_QUOTE_CHARS),
        sha256=document.content_hash,
        warnings=[str(warning) for warning in item.warnings[:MAX_WARNINGS]],
        unresolved=[
            Unresolved(field=field, words=words[:MAX_VALUE_CHARACTERS])
            for field, words in list(item.unresolved.items())[:MAX_UNRESOLVED]
        ],
        counted=list(item.counted[:MAX_UNRESOLVED]),
        unsure=item.unsure,
        link=document.link,
        timezone=timezone,
        provenance=document.provenance_at(item.start),
        found_by=FoundBy(item.origin),
    )
    record: dict[str, Any] = msgspec.to_builtins(source)
    return record


def payload_of(
    table: DeviceTable,
    data: Record,
    source: dict[str, Any],
    *,
    before: Record | None,
    row_id: str | None,
    can_update: bool,
) -> CallPayload:
    """Return the payload of the call that writes *data* to a device.

    Args:
        before: content of the device's row *row_id*; None if it has no row for the item.
        can_update: True if the device can update rows. Other devices get a new row that names the row it
            replaces.
    """
    item_source = msgspec.convert(source, ItemSource)
    if before is None:
        return CallPayload(data=data, source=item_source)
    differing = _changes(table, before, data)
    item_source = msgspec.structs.replace(
        item_source,
        changed=[
            Changed(field=name, before=_shortened(before.get(name)), after=_shortened(value))
            for name, value in differing.items()
        ],
    )
    if row_id is not None and can_update:
        where: Record = {"id": row_id}
        return CallPayload(data=differing or data, source=item_source, action=Action.UPDATE, where=where)
    return CallPayload(data=data, source=msgspec.structs.replace(item_source, replaces=row_id))


def _changes(table: DeviceTable, before: Record, after: Record) -> Record:
    """Return the new values of columns that differ; a column without a value gets its default."""
    return {
        column.name: after.get(column.name, column.default)
        for column in table.columns
        if before.get(column.name) != after.get(column.name)
    }


def _shortened(value: Field) -> Field:
    return value[:MAX_VALUE_CHARACTERS] if isinstance(value, str) else value


MAX_COMPARED: Final = 200_000  # pairs of places per unit; above this, only quotes are compared

_Span = tuple[int, int]


def taken_item(
    listed: ListedRow, table: DeviceTable, *, user_id: UserId, device_id: DeviceId, at: int
) -> ItemRow:
    """Return a row of a device as an item of the ledger; *at* in epoch milliseconds.

    Its ``version`` is the device's counter of the row. Its agent is None until an agent extracts the item.
    """
    defaults = {column.name: column.default for column in table.columns}
    data: Record = {name: value for name, value in listed.data.items() if value != defaults.get(name)}
    quote_hash = quote_hash_of(listed.quote)
    main = main_of(table, data)
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
        likeness=likeness_of(table.name, main) if data.get(table.title) else unknown_likeness(quote_hash),
        quote_hash=quote_hash,
        place_hash=quote_hash,
        config_fingerprint=TAKEN,
        data=data,
        date_ms=date_ms_of(table, data),
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


_Alike = Callable[[FoundItem, ItemRow], bool]


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
        known = next((known_item for known_item in candidates if alike(item, known_item.row)), None)
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

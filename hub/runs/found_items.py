"""Conversion of extracted items to calls of the device, and their keys for the ledger. Pure functions.

The keys are name, day and place. The stored content of a planned call is enough to send its frame again after
a restart. Pure functions.
"""

import hashlib
from collections.abc import Iterable
from datetime import UTC
from operator import attrgetter
from typing import Any, Final
from zoneinfo import ZoneInfo

import msgspec

from hub.base.clock import epoch_ms, from_epoch_ms
from hub.base.dates import day_at
from hub.document import Document
from hub.extraction.authorship import authors_in
from hub.extraction.chunk import sentences
from hub.extraction.items import Item
from hub.text.files import OFFICE
from hub.text.folding import fold
from hub.text.item_text import with_clean_title
from protocol.frame import Field, Record
from protocol.ids import RunId, content_of, traceparent
from protocol.items import Changed, FoundBy, ItemSource, Provenance, Rank, Unresolved
from protocol.tables import SUGGESTED, DeviceTable, Tables
from protocol.tool_calls import Action, ToolCall
from storage.runs.items import FoundItem, ItemRow

MAX_QUOTE_CHARS: Final = 2_000  # limit of ItemSource
MAX_WARNINGS = MAX_UNRESOLVED = 16  # limits of ItemSource
MAX_VALUE_CHARACTERS: Final = 2_000  # of a changed value, before and after: a note's text may be long
_AROUND_CHARS: Final = 400  # before and after a quote, to find its sentence


def found_items(
    document: Document,
    items: Iterable[Item],
    timezone: str | None,
    tables: Tables,
    unsure: Iterable[Item] = (),
) -> list[FoundItem]:
    """Return the items of a document with their comparison keys; their days begin in *timezone*.

    Those in words of the highest rank come first, so that words of others exhaust no limit before them.

    Args:
        unsure: those of *items* that are held until their owner approves them.
    """
    held = {id(item) for item in unsure}
    author_at = authors_in(document)
    found = [
        _found(
            document,
            ordinal,
            item,
            timezone,
            tables[item.table],
            is_unsure=id(item) in held,
            author=author_at(item.start),
        )
        for ordinal, item in enumerate(items)
    ]
    return sorted(found, key=attrgetter("rank"), reverse=True)


def _found(
    document: Document,
    ordinal: int,
    item: Item,
    timezone: str | None,
    table: DeviceTable,
    *,
    is_unsure: bool,
    author: tuple[Rank, Provenance | None],
) -> FoundItem:
    rank, provenance = author
    given: Record = {name: value for name, value in item.data.items() if value is not None}
    data = with_clean_title(table, given)
    main = main_of(table, data)
    exactly: list[str] = []
    if item.is_exact:  # distinguished by its content, in addition to its quote
        is_local = not item.has_time or item.is_floating
        exactly.append(content_of(local_data(table, data, timezone if is_local else None)))
    at_ms = table.day_in(data)
    # Without it, a time of day that is midnight would be read as the day.
    is_midnight = item.has_time and at_ms is not None and day_at(at_ms, timezone) is not None
    zone = timezone if table.days and not is_midnight else None
    words = fold(item.quote)
    words_hash = _digest(words)
    quote_hash = _digest(words, *exactly) if exactly else words_hash
    if item.date_of_series is not None:
        place_hash = place_of_date(item.date_of_series)
    elif (place := _place(document.text, item)) == item.quote:
        place_hash = quote_hash
    else:
        place_hash = _digest(fold(place), *exactly)
    return FoundItem(
        ordinal=ordinal,
        declaration=table,
        data=data,
        main=main,
        likeness=likeness_of(item.table, main),
        quote_hash=quote_hash,
        words_hash=words_hash,
        place_hash=place_hash,
        date_ms=at_ms,
        warnings=item.warnings,
        source=source_of(document, item, zone, provenance),
        is_by_rule=item.origin == "rule",
        is_of_event=item.date_of_series is not None,
        is_unsure=is_unsure,
        evidence=None if item.evidence is None else item.evidence.mark,
        rank=rank,
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


def local_data(table: DeviceTable, data: Record, timezone: str | None) -> Record:
    """Return the data with its days as if *timezone* were UTC, to compare them with days of other zones."""
    zone = ZoneInfo(timezone or "UTC")
    days = {name: day for name in table.days if isinstance(day := data.get(name), int)}
    return data | {name: _local_ms(day, zone) for name, day in days.items()}


def _local_ms(at_ms: int, zone: ZoneInfo) -> int:
    try:
        return epoch_ms(from_epoch_ms(at_ms).astimezone(zone).replace(tzinfo=UTC))
    except OverflowError:  # the first or last day of the calendar
        return at_ms


def main_of(table: DeviceTable, data: Record) -> str:
    """Return the folded text that names an item of this table: the values of its key."""
    return "\n".join(fold(str(data.get(name) or "")) for name in table.key)


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


def source_of(
    document: Document, item: Item, timezone: str | None = None, provenance: Provenance | None = None
) -> dict[str, Any]:
    """Return an item's source in wire format; *timezone* is the zone in which its days begin."""
    unresolved = [
        Unresolved(field=field, words=words[:MAX_VALUE_CHARACTERS])
        for field, words in list(item.unresolved.items())[:MAX_UNRESOLVED]
    ]
    source = ItemSource(
        path=document.unit_key,
        quote=item.quote[:MAX_QUOTE_CHARS],
        start=item.start,
        end=min(item.end, item.start + MAX_QUOTE_CHARS),
        sha256=document.content_hash,
        warnings=[str(warning) for warning in item.warnings[:MAX_WARNINGS]],
        unresolved=unresolved,
        counted=list(item.counted[:MAX_UNRESOLVED]),
        link=document.link,
        timezone=timezone,
        provenance=provenance,
        found_by=FoundBy(item.origin),
        line=document.line_at(item.start),
        marks=[] if document.media_type in OFFICE else list(item.marks[:MAX_UNRESOLVED]),
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

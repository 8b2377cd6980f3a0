"""Stored content of a planned call, from which its frame can be sent again after a restart."""

from typing import Any, Final

import msgspec

from hub.document import Document
from hub.extraction.items import Item
from protocol.frame import Field, Record
from protocol.ids import RunId, traceparent
from protocol.tables import SUGGESTED, TABLES, DeviceTable, Filler, Kind, TableName
from protocol.work import Action, Changed, ItemSource, ToolCall, Unresolved

MAX_QUOTE_CHARS: Final = 2_000  # limit of ItemSource
MOST_WARNINGS = MOST_UNRESOLVED = 16  # limits of ItemSource
MAX_VALUE_CHARACTERS: Final = 2_000  # of a changed value, before and after: a note's text may be long


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
        warnings=[str(warning) for warning in item.warnings[:MOST_WARNINGS]],
        unresolved=[
            Unresolved(field=field, words=words[:MAX_VALUE_CHARACTERS])
            for field, words in list(item.unresolved.items())[:MOST_UNRESOLVED]
        ],
        link=document.link,
        timezone=timezone if _has_days(TABLES[item.table]) else None,
    )
    record: dict[str, Any] = msgspec.to_builtins(source)
    return record


def _has_days(table: DeviceTable) -> bool:
    return any(column.kind is Kind.EPOCH_MS and column.filler is Filler.MODEL for column in table.columns)


def payload_of(
    table: TableName,
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
    differing = _changes(TABLES[table], before, data)
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

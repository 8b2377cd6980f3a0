"""Projects and tasks of a device that a person may choose for an item's reference."""

from typing import Final

import msgspec

from hub.links.device_link import DeviceLink
from protocol.errors import (
    DeliveryError,
)
from protocol.frame import Record
from protocol.tables import DeviceTable
from protocol.tool_calls import Action, ToolCall

MAX_CHOICES: Final = 200  # rows that an item may be put under
CHOICE_MS: Final = 10_000


class RowTitle(msgspec.Struct, frozen=True):
    """Row of the item's device."""

    id: str
    title: str


class _ChoiceRows(msgspec.Struct):
    rows: list[Record]


async def choices_of(link: DeviceLink, table: DeviceTable, *, call_id: str) -> list[RowTitle] | None:
    """Return the newest approved rows of a device's table by their titles; None: the device does not say."""
    frame = ToolCall(
        id=call_id,
        action=Action.QUERY,
        table=table.name,
        where={"isApproved": 1},
        data={"newest_first": True, "fields": ["id", table.title]},
        limit=MAX_CHOICES,
        deadline_ms=CHOICE_MS,
    )
    try:
        answer = await link.call(frame)
        rows = [] if answer.error is not None else msgspec.convert(answer.result, _ChoiceRows).rows
    except (DeliveryError, msgspec.ValidationError):
        return None
    found = [(row.get("id"), row.get(table.title)) for row in rows]
    return [RowTitle(id, title) for id, title in found if isinstance(id, str) and isinstance(title, str)]

"""Declaration of an operator's tables at a device, before it gets items of them."""

from collections.abc import Iterable

from hub.links.roster import DeviceLink
from protocol.errors import ErrorCode, HubError
from protocol.handshake import CAPABILITY_OF
from protocol.tables import DeviceTable
from protocol.work import Action, ToolCall

_DEADLINE_MS = 30_000


class TableRefused(HubError):
    """A device does not take a table of the settings, so it gets no items of it."""

    code = ErrorCode.UNKNOWN_TABLE


async def declare(link: DeviceLink, tables: Iterable[DeviceTable], *, call_id: str) -> None:
    """Declare tables at a device; those that it has as they are stay unchanged.

    Args:
        call_id: beginning of the ids of the calls.

    Raises:
        TableRefused: the device knows built-in tables only, or refuses a declaration.
        DeliveryError: the device did not answer.
    """
    for table in tables:
        if not link.can(CAPABILITY_OF[Action.TABLE_DECLARE]):
            raise TableRefused(
                f"{table.name}: the program of the device knows only the built-in tables; update it, "
                "or take the table out of data_types"
            )
        answer = await link.call(
            ToolCall(
                id=f"{call_id}:{table.name}",
                action=Action.TABLE_DECLARE,
                table=table.name,
                declares=table,
                deadline_ms=_DEADLINE_MS,
            )
        )
        if answer.error is not None:
            raise TableRefused(f"the device refuses the table: {answer.error.message or answer.error.code}")

"""Messages whose time is over: what may have left is looked for before that is written down."""

from collections.abc import Callable, Mapping
from typing import Final

from hub.coordination.moving import Moving
from hub.coordination.to_device import ToDevice
from hub.coordination.to_gateway import ToGateway
from hub.links.link import DeviceLink
from hub.openclaw import Gateway, GatewayError
from protocol.errors import ErrorCode
from protocol.ids import DeviceId
from protocol.messages import MessageEvent, MessageState
from storage.coordination import messages
from storage.coordination.message_rows import MessageRow, MessageSight
from storage.store import Store

UNKNOWN_MS: Final = 24 * 3_600_000  # so long it is tried to find out what became of one that left
AGAIN_MS: Final = 60_000  # between two looks whether it can be found out
_REASON: Final = "its time was over before its agent had it"
_MAY_BE_THERE: Final = (MessageState.SENT, MessageState.ACCEPTED, MessageState.QUEUED)


class Overdue:
    """Ends messages whose time is over. *find_link*: a device, if it is connected to this hub."""

    def __init__(
        self,
        store: Store,
        moving: Moving,
        *,
        to_gateway: ToGateway,
        to_device: ToDevice,
        find_link: Callable[[DeviceId], DeviceLink | None],
    ) -> None:
        self._store = store
        self._moving = moving
        self._to_gateway = to_gateway
        self._to_device = to_device
        self._find_link = find_link

    async def end(self, seen: MessageSight, ready: Mapping[str, Gateway]) -> None:
        """End it, or find out later whether its agent has it.

        Args:
            ready: the gateways that can be asked, by name.

        Raises:
            GatewayError: its gateway could not be asked; to be tried again.
        """
        if seen.state is MessageState.CONSUMED:
            await self._moving.settle(seen, {"turn": "not over when the time of the message was"})
        elif seen.state not in _MAY_BE_THERE:
            await self._moving.move(seen, MessageEvent.EXPIRED, reason=_REASON)
        elif (row := await self._looked_for(seen, ready)) is not None:
            if row.state in _MAY_BE_THERE:
                await self._moving.move(row, MessageEvent.EXPIRED, reason=_REASON)
        elif self._moving.now() < seen.expires_at + UNKNOWN_MS:
            await self._moving.put_off(seen, AGAIN_MS)
        else:
            reason = "its time is over, and what became of it could not be found out"
            await self._moving.fail(seen, ErrorCode.UNKNOWN_EFFECT, reason)

    async def _looked_for(self, seen: MessageSight, ready: Mapping[str, Gateway]) -> MessageRow | None:
        """It as it is after one more look; ``None``: nobody is there to look, or has been for a day."""
        gateway = ready.get(seen.gateway or "")
        link = None if seen.home_device_id is None else self._find_link(seen.home_device_id)
        if gateway is not None and seen.session_key is not None:
            try:
                return await self._to_gateway.last_look(gateway, seen)
            except GatewayError:
                if self._moving.now() < seen.expires_at + UNKNOWN_MS:
                    raise
                return None  # nor will it: a session that is refused for ever holds up nobody for ever
        if link is not None:
            await self._to_device.bring(link, seen)
            return await self._store.read(messages.get_message, seen.id)
        return None

"""Expiry of messages; a message that may have been sent is looked up before it is ended."""

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

UNKNOWN_MS: Final = 24 * 3_600_000  # time during which the fate of a sent message is investigated
AGAIN_MS: Final = 60_000  # between two lookups
_REASON: Final = "its time was over before its agent had it"
_MAY_BE_THERE: Final = (MessageState.SENT, MessageState.ACCEPTED, MessageState.QUEUED)


class Overdue:
    """Ends messages past their time.

    Args:
        find_link: returns a device's link if it is connected to this hub.
    """

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
        """End a message, or postpone the decision while its delivery is unknown.

        Args:
            ready: the connected gateways by name.

        Raises:
            GatewayError: the message's gateway is unreachable; the caller retries later.
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
        """Return the message's row after a last lookup, or None if the lookup is not possible."""
        gateway = ready.get(seen.gateway or "")
        link = None if seen.home_device_id is None else self._find_link(seen.home_device_id)
        if gateway is not None and seen.session_key is not None:
            try:
                return await self._to_gateway.last_look(gateway, seen)
            except GatewayError:
                if self._moving.now() < seen.expires_at + UNKNOWN_MS:
                    raise
                return None  # a session that is refused permanently must not block for ever
        if link is not None:
            await self._to_device.bring(link, seen)
            return await self._store.read(messages.get_message, seen.id)
        return None

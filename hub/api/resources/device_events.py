"""Requests of devices to subscribe to events, and to replace their key."""

from typing import Annotated, Any, Final

from msgspec import Meta

from hub.api.device import Link
from hub.api.resource import (
    Resource,
    audited,
    device,
)
from hub.links.device_events import DeviceEvents
from hub.links.key_rotation import KeyRotation
from protocol.coordination import EventName, Method

MAX_NAMES: Final = 2 * len(EventName)


Names = Annotated[list[str], Meta(max_length=MAX_NAMES)]  # as in ["agent.moved", "run.*"]


KeyText = Annotated[str, Meta(min_length=1)]


class ConnectionsResource(Resource):
    """Connections of devices. A new connection has no subscription."""

    name = "connections"

    def __init__(self, events: DeviceEvents, rotation: KeyRotation) -> None:
        self._events = events
        self._rotation = rotation

    @device(Method.SUBSCRIBE, "its own agents and runs")
    async def subscribe(self, link: Link, events: Names) -> dict[str, Any]:
        """Send events to a device until its connection ends; return the names of all that it receives."""
        return {"events": list(self._events.subscribe(link, events))}

    @device(Method.UNSUBSCRIBE, "its own agents and runs")
    async def unsubscribe(self, link: Link, events: Names) -> dict[str, Any]:
        """Send these events no longer; return the names of all that the device receives."""
        return {"events": list(self._events.unsubscribe(link, events))}

    @device(Method.KEYS_ROTATE, "its own key")
    @audited("key.rotated")
    async def rotate_key(
        self, link: Link, public_key: KeyText, signature: KeyText, proof: KeyText
    ) -> dict[str, Any]:
        """Replace the key of a device."""
        key_id = await self._rotation.rotate(link, public_key=public_key, signature=signature, proof=proof)
        return {"key_id": key_id}

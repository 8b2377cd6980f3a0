"""A stretch of wire between a hub and a gateway that breaks where it is told to.

It passes whole frames on. One that must not arrive ends the connection: a wire loses its tail, never
its middle. What had arrived before has arrived.
"""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Literal

import anyio
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed, WebSocketException

Direction = Literal["to_gateway", "to_hub"]
MAX_FRAME = 64 * 1024 * 1024


class GatewayWire:
    """Listens for the hub; connects to the gateway for each of its connections.

    Attributes:
        method: the next request of this method loses its answer: the gateway does it, then the wire breaks.
        cuts: how often it broke.
    """

    def __init__(self, gateway_url: str) -> None:
        self.url = ""
        self.method: str | None = None
        self.cuts = 0
        self._gateway_url = gateway_url
        self._left: dict[Direction, int] = {}
        self._doomed: set[str] = set()  # requests whose answer does not arrive

    def cut_before(self, direction: Direction, frames: int) -> None:
        """Pass *frames* more on in this direction; the next one does not arrive, and the wire breaks."""
        self._left[direction] = frames

    def heal(self) -> None:
        """Nothing breaks any more."""
        self._left.clear()

    async def carry(self, hub: ServerConnection) -> None:
        """Pass on between one connection of the hub and the gateway, until either ends."""
        try:
            async with connect(
                self._gateway_url, compression=None, max_size=MAX_FRAME, ping_interval=None
            ) as gateway:
                async with anyio.create_task_group() as both:
                    both.start_soon(self._pump, hub, gateway, "to_gateway", both.cancel_scope)
                    both.start_soon(self._pump, gateway, hub, "to_hub", both.cancel_scope)
                gateway.transport.abort()
        except (OSError, WebSocketException):
            pass  # nobody is there
        hub.transport.abort()

    async def _pump(self, source: Any, target: Any, direction: Direction, ends: anyio.CancelScope) -> None:
        try:
            async for frame in source:
                if not self._passes(direction, frame):
                    self.cuts += 1
                    break
                await target.send(frame)
        except ConnectionClosed:
            pass
        ends.cancel()

    def _passes(self, direction: Direction, frame: str | bytes) -> bool:
        left = self._left.get(direction)
        if left is not None:
            self._left[direction] = left - 1
        if left == 0:
            del self._left[direction]
            return False
        if self.method is not None or self._doomed:
            asked = json.loads(frame)
            if direction == "to_hub":
                is_doomed = asked.get("id") in self._doomed
                self._doomed.discard(asked.get("id"))
                return not is_doomed
            if asked.get("method") == self.method:
                self.method = None
                self._doomed.add(asked["id"])
        return True


@asynccontextmanager
async def gateway_wire(gateway_url: str, *, port: int = 0) -> AsyncIterator[GatewayWire]:
    """Open a wire to the gateway at *gateway_url*; its own ``url`` is where the hub connects."""
    wire = GatewayWire(gateway_url)
    async with serve(
        wire.carry,
        "127.0.0.1",
        port,
        compression=None,
        max_size=MAX_FRAME,
        ping_interval=None,
        close_timeout=0.2,
    ) as server:
        (bound, *_) = server.sockets
        wire.url = f"ws://127.0.0.1:{bound.getsockname()[1]}"
        yield wire

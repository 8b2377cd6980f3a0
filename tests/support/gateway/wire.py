"""A stretch of wire between a hub and a gateway that breaks where it is told to.

It passes whole frames on. One that must not arrive ends the connection: a wire loses its tail, never
its middle. What had arrived before has arrived.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Literal

import anyio
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed, WebSocketException

Direction = Literal["to_gateway", "to_hub"]
MAX_FRAME = 26_214_400


class GatewayWire:
    """Listens for the hub; connects to the gateway for each of its connections.

    Attributes:
        cuts: how often it broke.
    """

    def __init__(self, gateway_url: str) -> None:
        self.url = ""
        self.cuts = 0
        self._gateway_url = gateway_url
        self._left: dict[Direction, int] = {}

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
                left = self._left.get(direction)
                if left == 0:
                    del self._left[direction]
                    self.cuts += 1
                    break
                if left is not None:
                    self._left[direction] = left - 1
                await target.send(frame)
        except ConnectionClosed:
            pass
        ends.cancel()


@asynccontextmanager
async def gateway_wire(gateway_url: str) -> AsyncIterator[GatewayWire]:
    """A wire to the gateway at *gateway_url*; its own ``url`` is where the hub connects."""
    wire = GatewayWire(gateway_url)
    async with serve(
        wire.carry,
        "127.0.0.1",
        0,
        compression=None,
        max_size=MAX_FRAME,
        ping_interval=None,
        close_timeout=0.2,
    ) as server:
        (bound, *_) = server.sockets
        wire.url = f"ws://127.0.0.1:{bound.getsockname()[1]}"
        yield wire

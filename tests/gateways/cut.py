"""A stretch of wire between the hub and the real gateway, which is cut between a request and its answer."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed, WebSocketException

_MAX_FRAME_BYTES = 64 * 1024 * 1024


class CutWire:
    """Listens for the hub and speaks to the gateway.

    Attributes:
        url: where the hub finds it.
        method: the next request of this method loses its answer: the gateway does it, and then the
            connection breaks before the hub is told.
        cuts: how often that was.
    """

    def __init__(self, gateway_url: str) -> None:
        self.url = ""
        self.method: str | None = None
        self.cuts = 0
        self._gateway_url = gateway_url

    async def carry(self, hub: ServerConnection) -> None:
        """One connection, from the hub's upgrade to the end of either side."""
        doomed: set[str] = set()
        try:
            async with (
                connect(self._gateway_url, compression=None, max_size=_MAX_FRAME_BYTES) as gateway,
                anyio.create_task_group() as both,
            ):
                both.start_soon(self._to_gateway, hub, gateway, doomed, both.cancel_scope)
                both.start_soon(self._to_hub, gateway, hub, doomed, both.cancel_scope)
        except (OSError, WebSocketException):
            pass
        with suppress(OSError):
            hub.transport.abort()

    async def _to_gateway(self, hub: Any, gateway: Any, doomed: set[str], over: anyio.CancelScope) -> None:
        with suppress(ConnectionClosed):
            async for message in hub:
                frame = json.loads(message)
                if frame.get("method") == self.method and self.method is not None:
                    self.method = None
                    doomed.add(frame["id"])
                await gateway.send(message)
        over.cancel()

    async def _to_hub(self, gateway: Any, hub: Any, doomed: set[str], over: anyio.CancelScope) -> None:
        with suppress(ConnectionClosed):
            async for message in gateway:
                if json.loads(message).get("id") in doomed:
                    self.cuts += 1
                    break
                await hub.send(message)
        over.cancel()


@asynccontextmanager
async def cut_wire(gateway_url: str, *, port: int = 0) -> AsyncIterator[CutWire]:
    """One on a port; by default on a free one."""
    wire = CutWire(gateway_url)
    async with serve(wire.carry, "127.0.0.1", port, compression=None, max_size=_MAX_FRAME_BYTES) as server:
        wire.url = f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"
        yield wire

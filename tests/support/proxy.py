"""A stretch of wire between a real device and a real hub that the test can see and act on.

It passes whole messages on and calls ``on_frame`` before each: what a test does
there happens *before* the other side has the frame, so "the hub dies after it
sent its third call" and "before the device's answer arrives" are exact points.
"""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Literal
from urllib.parse import urlsplit

import anyio
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed, WebSocketException
from websockets.protocol import State
from websockets.typing import Subprotocol

from hub.links.transport import nonces_offered
from protocol.codec import JSON
from protocol.errors import CloseCode
from protocol.frame import PATH
from protocol.handshake import NONCE_HEADER, NONCE_SUBPROTOCOL

_NO_CODE = (1005, 1006)
_POLL_S = 0.02

Direction = Literal["to_device", "to_hub"]
OnFrame = Callable[[Direction, dict[str, Any]], Awaitable[bool]]


class Wire:
    """Listens for the device; connects to the hub wherever it is just now.

    Attributes:
        hub_url: ``None`` while there is no hub: the device is kept waiting.
        on_frame: called before a frame arrives; false cuts the wire there.
        tells_restart: a hub that vanished is told as a restart (1012), as a proxy in front of
            it does; otherwise the connection just breaks.
    """

    def __init__(self) -> None:
        self.hub_url: str | None = None
        self.on_frame: OnFrame | None = None
        self.tells_restart = False
        self.url = ""
        self._devices: set[ServerConnection] = set()

    def cut(self) -> None:
        """Break the connections of all devices, without a close frame."""
        for device in self._devices:
            device.transport.abort()

    async def _serve(self, device: ServerConnection) -> None:
        self._devices.add(device)
        try:
            await self._carry(device)
        finally:
            self._devices.discard(device)

    async def _carry(self, device: ServerConnection) -> None:
        while self.hub_url is None:
            if device.state is not State.OPEN:
                return
            await anyio.sleep(_POLL_S)
        try:
            assert device.request is not None
            asked, at = device.request.headers, urlsplit(self.hub_url)
            nonce = {name: asked[name] for name in (NONCE_HEADER,) if name in asked}
            async with connect(
                f"ws://{asked['Host']}{PATH}",  # a name of the hub's: its settings list this address
                host=at.hostname,
                port=at.port,
                additional_headers=nonce,
                subprotocols=[Subprotocol(f"{NONCE_SUBPROTOCOL}{one}") for one in nonces_offered(asked)]
                or None,
                compression=None,
            ) as hub:
                async with anyio.create_task_group() as both:
                    both.start_soon(self._pump, device, hub, "to_hub", both.cancel_scope)
                    both.start_soon(self._pump, hub, device, "to_device", both.cancel_scope)
                # Not ``close_code``, which is known only once both sides have closed.
                said = hub.protocol.close_rcvd
                hub.transport.abort()  # what was under way is lost, as on a wire that is cut
                if said is not None and said.code not in _NO_CODE:
                    await device.close(said.code, said.reason)
                elif self.tells_restart:
                    await device.close(CloseCode.RESTARTING)
                else:
                    device.transport.abort()
        except (OSError, WebSocketException):  # the hub is away: the device hears a close and comes back
            if self.tells_restart:
                await device.close(CloseCode.RESTARTING)

    async def _pump(self, source: Any, target: Any, direction: Direction, ends: anyio.CancelScope) -> None:
        try:
            async for message in source:
                # A frame that must not arrive ends the connection: a wire loses its tail, not its middle.
                if self.on_frame and not await self.on_frame(direction, json.loads(message)):
                    break
                await target.send(message)
        except ConnectionClosed:
            pass
        ends.cancel()


@asynccontextmanager
async def wire() -> AsyncIterator[Wire]:
    """A wire on a free port."""
    made = Wire()
    async with serve(
        made._serve,
        "127.0.0.1",
        0,
        select_subprotocol=lambda _, offered: next((one for one in offered if one == JSON.name), None),
        compression=None,
        max_size=None,
    ) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        made.url = f"ws://127.0.0.1:{port}"
        yield made

"""The baselines "websockets" and "aiohttp": the library alone, the hub's codec, a dictionary of futures.

No deadlines, no bounds, no metrics, no compression. Every token is good. Run as ``python -m
tests.bench.library_server CONFIG``.
"""

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from protocol.codec import JSON
from protocol.frame import PATH
from protocol.work import Action, ToolCall, ToolResult
from tests.bench.driver import Arrivals, obey, run_server
from tests.bench.payloads import CALL_DATA, RUN_ID, SMALL, call_ids

_WELCOME = '{"type":"welcome"}'
_ids = call_ids()
_pending: dict[str, asyncio.Future[object]] = {}


class LibraryConfig(msgspec.Struct, kw_only=True):
    """Which library, and how many devices will come."""

    devices: int
    library: str


class LibraryPeer:
    """A device by its library's way to send a text."""

    def __init__(self, send: Callable[[bytes], Awaitable[object]]) -> None:
        self._send = send

    async def call(self, agent_id: str = SMALL) -> object:
        call_id = next(_ids)
        answered = _pending[call_id] = asyncio.get_running_loop().create_future()
        frame = ToolCall(
            id=call_id, action=Action.INSERT, table="tasks", data=CALL_DATA, run_id=RUN_ID, agent_id=agent_id
        )
        await self._send(JSON.encode(frame))
        return await answered

    async def take_files(self, file_set: str, taken: Callable[[], None]) -> None:
        raise NotImplementedError


def _receive(data: Any) -> None:
    frame = JSON.decode_from_device(data)
    if isinstance(frame, ToolResult):
        assert frame.id is not None
        _pending.pop(frame.id).set_result(frame.result)


async def _serve_websockets(arrivals: Arrivals) -> None:
    from websockets.asyncio.server import ServerConnection, serve

    async def handle(socket: ServerConnection) -> None:
        await socket.recv()
        await socket.send(_WELCOME)
        arrivals.add(LibraryPeer(lambda data: socket.send(data, text=True)))
        while True:
            _receive(await socket.recv(decode=False))

    subprotocols: Any = [JSON.name]
    server = await serve(handle, "127.0.0.1", 0, compression=None, subprotocols=subprotocols)
    await obey(next(iter(server.sockets)).getsockname()[1], arrivals)


async def _serve_aiohttp(arrivals: Arrivals) -> None:
    from aiohttp import web  # type: ignore[import-not-found]

    async def handle(request: Any) -> Any:
        socket = web.WebSocketResponse(compress=False, protocols=(JSON.name,))
        await socket.prepare(request)
        await socket.receive()
        await socket.send_str(_WELCOME)
        arrivals.add(LibraryPeer(lambda data: socket.send_str(data.decode())))
        async for message in socket:
            _receive(message.data.encode())
        return socket

    app = web.Application()
    app.router.add_get(PATH, handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    await obey(runner.addresses[0][1], arrivals)


def main() -> None:
    """Serve until the input ends."""
    logging.disable()  # of devices that leave at the end
    config = msgspec.json.decode(sys.argv[1], type=LibraryConfig)
    serve = _serve_aiohttp if config.library == "aiohttp" else _serve_websockets

    async def serving() -> None:
        await serve(Arrivals(config.devices))

    run_server(serving, config.devices)


if __name__ == "__main__":
    main()

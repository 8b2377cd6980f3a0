"""An HTTP server on loopback for a test: an ASGI application, in this process, gone with the block."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import anyio
import uvicorn
from starlette.types import ASGIApp

_GRACE_S: Final = 1.0  # of answers in progress
_LOOK_S: Final = 0.002


class _Server(uvicorn.Server):
    """Server that ends once its answers have; the library looks for that every tenth of a second."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.leaving = anyio.Event()

    async def main_loop(self) -> None:
        await self.on_tick(0)
        await self.leaving.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for listener in (*self.servers, *(sockets or ())):
            listener.close()
        state = self.server_state
        for connection in list(state.connections):
            connection.shutdown()
        with anyio.move_on_after(_GRACE_S):
            while state.connections or state.tasks:
                await anyio.sleep(_LOOK_S)
        for task in state.tasks:
            task.cancel()


@asynccontextmanager
async def serving(app: ASGIApp) -> AsyncIterator[str]:
    """Serve *app* on a port of the kernel's choice; gives its address, as in ``http://127.0.0.1:40001``."""
    # Of a socket without its protocol, asyncio leaves Nagle's algorithm on: 40 ms for an answer in two parts.
    with socket.socket(proto=socket.IPPROTO_TCP) as door:
        door.bind(("127.0.0.1", 0))
        door.listen()
        config = uvicorn.Config(app, log_level="critical", access_log=False, lifespan="off")
        server = _Server(config)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(server._serve, [door])
            try:
                yield f"http://127.0.0.1:{door.getsockname()[1]}"  # the socket listens already
            finally:
                server.leaving.set()

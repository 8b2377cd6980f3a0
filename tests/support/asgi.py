"""An HTTP server on loopback for a test: an ASGI application, in this process, gone with the block."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import uvicorn
from starlette.types import ASGIApp


class _Quiet(uvicorn.Server):
    def install_signal_handlers(self) -> None:
        """The test's signals are the test's."""


@asynccontextmanager
async def serving(app: ASGIApp) -> AsyncIterator[str]:
    """Serve *app* on a port of the kernel's choice; gives its address, as in ``http://127.0.0.1:40001``."""
    with socket.create_server(("127.0.0.1", 0)) as door:
        config = uvicorn.Config(
            app, log_level="critical", access_log=False, lifespan="off", timeout_graceful_shutdown=1
        )
        server = _Quiet(config)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(server._serve, [door])
            try:
                yield f"http://127.0.0.1:{door.getsockname()[1]}"  # the socket listens already
            finally:
                server.should_exit = True

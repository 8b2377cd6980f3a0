"""uvicorn inside the hub: started and stopped by the hub, which accepts the TCP connections itself.

uvicorn starts tasks of its own and would install signal handlers. Here it installs none, and is
stopped by the hub, in bounded time.
"""

import asyncio
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import anyio
import uvicorn

from hub.links.acceptor import Acceptor, Make
from hub.links.gate import Place
from hub.turns import Turns

FINISH_S: Final = 5  # for responses in progress when the server stops
GRACE_S: Final = FINISH_S + 2.0  # uvicorn polls every 0.1 s; it is cancelled after this time


class BoundedServer(uvicorn.Server):
    """uvicorn server with events for its start and its end.

    Args:
        accept_on_tcp: creates the acceptor of TCP connections. The library's own would accept every
            connection, and count connections only after the TLS handshake.
    """

    def __init__(
        self, config: uvicorn.Config, turns: Turns, accept_on_tcp: Callable[[Make], Acceptor]
    ) -> None:
        super().__init__(config)
        self._turns = turns
        self._accept_on_tcp = accept_on_tcp
        self.accepting = anyio.Event()
        self.ended = anyio.Event()

    async def run_in(self, scope: anyio.CancelScope, sockets: list[socket.socket]) -> None:
        """Serve inside *scope*, which is shielded: uvicorn abandons its connections when cancelled."""
        try:
            with scope:
                await self.serve(sockets)
        finally:
            self.ended.set()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        assert sockets is not None
        await super().startup([sock for sock in sockets if sock.family == socket.AF_UNIX])
        acceptor = self._accept_on_tcp(self._connection)
        await acceptor.start_serving()
        self.servers.append(acceptor)  # type: ignore[arg-type]  # has all methods of a Server that are used
        self.accepting.set()

    def _connection(self, place: Place, _: str) -> asyncio.BaseProtocol:
        """Create the protocol of a connection, as the library does for its own listeners."""
        made: asyncio.BaseProtocol = self.config.http_protocol_class(  # type: ignore[call-arg]
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state, place=place
        )
        return made

    async def on_tick(self, counter: int) -> bool:
        self._turns.wait(0.1)  # as long as the library's own loop sleeps
        return await super().on_tick(counter)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Install no signal handlers; the daemon handles signals."""
        yield

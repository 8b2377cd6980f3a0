"""uvicorn inside the hub: started and ended by asking, and no connection over TCP let in by it itself.

uvicorn starts tasks of its own and would take the process's signals; both are held
in here: signals are left alone, and it is ended by asking, in a bounded time.
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

FINISH_S: Final = 5  # for answers that are on their way when the server ends
GRACE_S: Final = FINISH_S + 2.0  # uvicorn looks around every 0.1 s; past this it is cut off


class BoundedServer(uvicorn.Server):
    """uvicorn, telling when it accepts and when it has ended.

    Args:
        accept_on_tcp: makes what accepts there, which is not left to the library: it would let in
            whoever knocks, and count them once TLS has greeted them.
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
        self.servers.append(acceptor)  # type: ignore[arg-type]  # all of a Server that is asked for
        self.accepting.set()

    def _connection(self, place: Place, _: str) -> asyncio.BaseProtocol:
        """What the library makes of a connection by itself."""
        made: asyncio.BaseProtocol = self.config.http_protocol_class(  # type: ignore[call-arg]
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state, place=place
        )
        return made

    async def on_tick(self, counter: int) -> bool:
        self._turns.wait(0.1)  # as long as the library's own loop sleeps
        return await super().on_tick(counter)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to the daemon."""
        yield

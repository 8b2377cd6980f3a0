"""Lines between a program and a server on this machine, which an outage cuts, holds or slows."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final, Literal

import anyio
import anyio.lowlevel
from anyio.abc import ByteStream, SocketAttribute, SocketStream

SLOW_S: Final = 5.0  # for each packet
CHUNK: Final = 65_536
Mode = Literal["open", "held", "refused", "slow", "half open"]


class Line:
    """Listener on loopback before a server, whose connections an outage cuts, holds or slows.

    Held: no byte passes either way, and none is lost. Half open: connections are accepted, what the client
    sends arrives, and no answer comes back. Refused: connections are reset, and nothing listens.

    Attributes:
        port: of the listener.
    """

    def __init__(self, target: int) -> None:
        self.port = 0
        self._target = target
        self._mode: Mode = "open"
        self._changed = anyio.Event()
        self._listens = anyio.Event()
        self._carried: set[anyio.CancelScope] = set()

    async def change(self, mode: Mode) -> None:
        """Let connections be as *mode* says from now on."""
        self._mode = mode
        self._changed.set()
        self._changed = anyio.Event()
        if mode == "refused":
            for scope in list(self._carried):
                scope.cancel()
        await anyio.lowlevel.checkpoint()

    async def listens(self) -> None:
        """Wait until the line has its port."""
        await self._listens.wait()

    async def serve(self) -> None:
        """Listen, but not while connections are refused."""
        while True:
            with anyio.CancelScope() as listening:
                async with (
                    await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=self.port) as listener,
                    anyio.create_task_group() as tasks,
                ):
                    self.port = listener.extra(SocketAttribute.local_port)
                    self._listens.set()
                    tasks.start_soon(self._until_refused, listening)
                    await listener.serve(self._carry)
            while self._mode == "refused":
                await self._changed.wait()

    async def _until_refused(self, listening: anyio.CancelScope) -> None:
        while self._mode != "refused":
            await self._changed.wait()
        listening.cancel()

    async def _carry(self, client: SocketStream) -> None:
        with anyio.CancelScope() as scope, suppress(OSError):
            self._carried.add(scope)
            try:
                async with client:
                    await self._passes()
                    server = await anyio.connect_tcp("127.0.0.1", self._target)
                    async with server, anyio.create_task_group() as both:
                        both.start_soon(self._pump, client, server, both.cancel_scope, False)
                        both.start_soon(self._pump, server, client, both.cancel_scope, True)
            finally:
                self._carried.discard(scope)

    async def _passes(self) -> None:
        while self._mode == "held":
            await self._changed.wait()

    async def _pump(
        self, source: ByteStream, target: ByteStream, ends: anyio.CancelScope, is_answer: bool
    ) -> None:
        with suppress(anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
            while True:
                data = await source.receive(CHUNK)
                await self._passes()
                if self._mode == "slow":
                    await anyio.sleep(SLOW_S)
                if self._mode != "half open" or not is_answer:
                    await target.send(data)
        ends.cancel()


@asynccontextmanager
async def open_line(target: int) -> AsyncIterator[Line]:
    """Open a line before the server at the port *target* of this machine."""
    line = Line(target)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(line.serve)
        await line.listens()
        yield line
        tasks.cancel_scope.cancel()

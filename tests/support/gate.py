"""A gate between a hub and a server that it needs, which can be shut: a partition of the network."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import anyio
from anyio.abc import ByteStream, SocketAttribute, SocketStream

CHUNK = 65_536


class Gate:
    """Listener on loopback that forwards each connection to a server, while it is open.

    Shut, it accepts connections and keeps those there are, and no byte passes: as when a cable is pulled.

    Attributes:
        port: of the listener.
    """

    def __init__(self, target: int) -> None:
        self.port = 0
        self._target = target
        self._opened = anyio.Event()
        self._opened.set()

    def shut(self) -> None:
        """Let nothing pass from now on."""
        self._opened = anyio.Event()

    def open(self) -> None:
        """Let everything pass again, what was held too."""
        self._opened.set()

    async def _carry(self, client: SocketStream) -> None:
        await self._opened.wait()
        server = await anyio.connect_tcp("127.0.0.1", self._target)
        async with server, anyio.create_task_group() as both:
            both.start_soon(self._pump, client, server, both.cancel_scope)
            both.start_soon(self._pump, server, client, both.cancel_scope)

    async def _pump(self, source: ByteStream, target: ByteStream, ends: anyio.CancelScope) -> None:
        try:
            while True:
                data = await source.receive(CHUNK)
                await self._opened.wait()
                await target.send(data)
        except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
            ends.cancel()


@asynccontextmanager
async def open_gate(target: int) -> AsyncIterator[Gate]:
    """Open a gate before the server at the port *target* of this machine."""
    gate = Gate(target)

    async def carried(client: SocketStream) -> None:
        async with client:
            with suppress(OSError):  # nobody listens there: the client sees its connection end
                await gate._carry(client)

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        gate.port = listener.extra(SocketAttribute.local_port)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(listener.serve, carried)
            yield gate
            tasks.cancel_scope.cancel()

"""The operator's listener: uvicorn on a Unix socket and on loopback TCP, and nothing of the devices'.

uvicorn starts tasks of its own and would take the process's signals; both are held
in here: signals are left alone, and it is ended by asking, in a bounded time.
"""

import asyncio
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import anyio
import uvicorn
from anyio.abc import TaskStatus
from uvicorn.protocols.http.h11_impl import H11Protocol

from hub.ops.access import PEER_UID, Access
from hub.ops.address import Address
from hub.ops.api.application import make_application
from hub.ops.events import Streams
from hub.ops.facade import HubFacade
from hub.ops.peer import peer_uid
from hub.ops.sockets import listen_on_tcp, listen_on_unix

_HEADER_BYTES = 16 * 1024
_FINISH_S = 5  # for answers that are on their way when the server ends
_GRACE_S = _FINISH_S + 2.0  # uvicorn looks around every 0.1 s; past this it is cut off


class Listening(NamedTuple):
    """Where the server listens: *tcp* with the port that was really taken."""

    tcp: Address
    unix: Path


class OperatorServer:
    """Serves a hub's REST interface.

    Args:
        address: the TCP listener; over it the interface is read-only.
        unix_path: the Unix socket, for the hub's own user.
        body_bytes: the longest request body.
        requests: connections at once; further ones get 503.
        event_streams: followers at once.
        metrics: what ``/metrics`` answers; without it there is no such route.
    """

    def __init__(
        self,
        hub: HubFacade,
        *,
        address: Address,
        unix_path: Path,
        version: str,
        body_bytes: int = 1024 * 1024,
        requests: int = 64,
        event_streams: int = 16,
        metrics: Callable[[], bytes] | None = None,
    ) -> None:
        self._address = address
        self._unix_path = unix_path
        self._body_bytes = body_bytes
        self._requests = requests
        self._streams = Streams(event_streams)
        self._app = make_application(hub, streams=self._streams, version=version, metrics=metrics)

    async def serve(self, *, task_status: TaskStatus[Listening] = anyio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled; then every stream ends, answers under way finish, in bounded time.

        Raises:
            CannotListen: one of the two sockets could not be opened; neither is open.
        """
        with ExitStack() as sockets:
            unix = sockets.enter_context(listen_on_unix(self._unix_path))
            tcp = sockets.enter_context(listen_on_tcp(self._address))
            where = Address(self._address.host, tcp.getsockname()[1])
            server = _Server(self._config(where))
            running = anyio.CancelScope(shield=True)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(server.run_in, running, [unix, tcp])
                try:
                    await server.accepting.wait()
                    task_status.started(Listening(where, self._unix_path))
                    await anyio.sleep_forever()
                finally:
                    self._streams.end()
                    server.should_exit = True
                    with anyio.move_on_after(_GRACE_S, shield=True):
                        await server.ended.wait()
                    running.cancel()

    def _config(self, where: Address) -> uvicorn.Config:
        hosts = {str(where), f"localhost:{where.port}"}
        return uvicorn.Config(
            Access(self._app, hosts=hosts, body_bytes=self._body_bytes),
            http=_PeerAware,
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="warning",
            access_log=False,
            proxy_headers=False,  # no header is believed about who asks
            server_header=False,
            limit_concurrency=self._requests,
            timeout_graceful_shutdown=_FINISH_S,
            h11_max_incomplete_event_size=_HEADER_BYTES,
        )


class _Server(uvicorn.Server):
    """uvicorn, telling when it accepts and when it has ended."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
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
        await super().startup(sockets)
        self.accepting.set()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to the daemon."""
        yield


class _PeerAware(H11Protocol):
    """Tells each request who is at the other end of a Unix socket."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.app_state = self.app_state | {PEER_UID: peer_uid(transport.get_extra_info("socket"))}

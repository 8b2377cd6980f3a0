"""The listener of webhooks: uvicorn on one TCP socket, and nothing on it but ``hub.api.door.hooks``."""

import socket
import ssl
from collections.abc import Callable
from functools import partial

import anyio
import uvicorn
from anyio.abc import TaskGroup, TaskStatus

from hub.api.door.connection import HEAD_S, connection_factory, operator_refusal
from hub.api.door.hooks import Hooks, NewsDesk
from hub.api.door.sockets import listen_on_tcp
from hub.api.door.uvicorn_server import FINISH_S, GRACE_S, BoundedServer
from hub.clock import Clock
from hub.links.acceptor import Acceptor, Make
from hub.links.deadlines import DeadlineWheel
from hub.links.gate import Gate
from hub.links.hosts import Hosts, TrustedProxies
from hub.loop_meter import LoopMeter
from hub.settings.values import Address
from hub.turns import Turns


class HookServer:
    """Service that listens for webhook posts.

    Args:
        gate: limit on connections; a refused connection gets a response and is closed.
        head_s: time limit for receiving a request's head, in seconds.
        on_refusal: called with the error code of every refused connection.
        loop: meter that is charged with the loop time of posts.
    """

    def __init__(
        self,
        hooks: Hooks,
        news: NewsDesk,
        *,
        address: Address,
        gate: Gate,
        head_s: float = HEAD_S,
        tls: ssl.SSLContext | None = None,
        on_refusal: Callable[[str], None] = lambda _: None,
        loop: LoopMeter | None = None,
        clock: Clock,
    ) -> None:
        self.turns = Turns(clock)
        self.hooks = hooks
        self._news = news
        self._address = address
        self._gate = gate
        self._head_s = head_s
        self._tls = tls
        self._on_refusal = on_refusal
        self._loop = loop or LoopMeter()
        self._clock = clock
        self._acceptor: Acceptor | None = None

    def apply(self, *, hosts: Hosts, proxies: TrustedProxies) -> None:
        """Replace the allowed hosts and proxies from the next request on."""
        self.hooks.hosts, self.hooks.proxies = hosts, proxies
        if self._acceptor is not None:
            self._acceptor.proxies = proxies

    async def serve(self, *, task_status: TaskStatus[Address] = anyio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled, then finish requests in progress, in bounded time.

        Reports the bound address to *task_status*.

        Raises:
            CannotListen: the address is taken, or is not this machine's.
        """
        with listen_on_tcp(self._address) as sock:
            running = anyio.CancelScope(shield=True)
            async with anyio.create_task_group() as tasks:
                wheel = DeadlineWheel(self._clock)
                await tasks.start(wheel.serve)
                tasks.start_soon(self._news.serve)
                server = BoundedServer(
                    self._config(), self.turns, partial(self._accept_on, sock, tasks, wheel)
                )
                tasks.start_soon(server.run_in, running, [sock])
                try:
                    await server.accepting.wait()
                    task_status.started(Address(self._address.host, sock.getsockname()[1]))
                    await anyio.sleep_forever()
                finally:
                    server.should_exit = True
                    with anyio.move_on_after(GRACE_S, shield=True):
                        await server.ended.wait()
                    running.cancel()

    def _accept_on(self, sock: socket.socket, tasks: TaskGroup, wheel: DeadlineWheel, make: Make) -> Acceptor:
        self._acceptor = Acceptor(
            sock,
            make,
            gate=self._gate,
            proxies=self.hooks.proxies,
            tls=self._tls,
            tasks=tasks,
            wheel=wheel,
            clock=self._clock,
            open_s=self._head_s,
            close_s=FINISH_S,
            on_refusal=self._on_refusal,
            refusal_message=operator_refusal,
        )
        return self._acceptor

    def _config(self) -> uvicorn.Config:
        return uvicorn.Config(
            self.hooks,
            http=connection_factory(
                most_local=0, head_s=self._head_s, on_refusal=self._on_refusal, loop=self._loop
            ),
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="warning",
            access_log=False,
            proxy_headers=False,  # forwarding headers are checked by ``Hooks``
            server_header=False,
            timeout_graceful_shutdown=FINISH_S,
        )

"""All gateways of hub.toml by name. A reload restarts only the connections that changed."""

import ssl
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

import anyio
from anyio.abc import TaskGroup, TaskStatus

from hub.clock import Chance, Clock
from hub.log import Channel
from hub.metrics import Metrics
from hub.openclaw.address import Resolve, resolve_here
from hub.openclaw.client import Gateway, GatewayConfig
from hub.openclaw.gateway import GatewayHealth, GatewayNews, Listener
from hub.openclaw.line import BACKOFF, STEADY_S
from hub.outbound.rules import OutboundRules
from hub.rounds import Turns
from protocol.errors import ErrorCode, HubError

log = Channel(__name__)


class UnknownGateway(HubError):
    """hub.toml has no gateway of this name."""

    code = ErrorCode.UNKNOWN_GATEWAY


class Fleet:
    """Service with a client for every gateway.

    Args:
        folder: the state folder.
        rules: returns the rules for outbound connections; called for each connection.
        tls: TLS configuration; None for this machine's trusted certificates.
    """

    def __init__(
        self,
        *,
        folder: Path,
        rules: Callable[[], OutboundRules],
        clock: Clock,
        chance: Chance,
        metrics: Metrics,
        version: str,
        resolve: Resolve = resolve_here,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.turns = Turns(clock)
        self._clock = clock
        self._chance = chance
        self._make = partial(
            Gateway,
            folder=folder,
            rules=rules,
            clock=clock,
            chance=chance,
            metrics=metrics,
            version=version,
            resolve=resolve,
            tls=tls,
        )
        self._clients: dict[str, Gateway] = {}
        self._scopes: dict[str, anyio.CancelScope] = {}  # of running clients
        self._listeners: list[Listener] = []
        self._changed = anyio.Event()

    def apply(self, configs: Iterable[GatewayConfig]) -> None:
        """Replace the list of gateways. Unchanged gateways keep their connection.

        If the URL, token or device of a gateway changed, its connection is replaced: requests in flight end,
        and the new one is tried at once.

        Raises:
            BadAddress: a URL is invalid; nothing was changed.
        """
        declared = {config.name: config for config in configs}
        changed = {
            name: self._make(config)
            for name, config in declared.items()
            if name not in self._clients or self._clients[name].config != config
        }
        for name in [name for name in self._clients if name not in declared or name in changed]:
            del self._clients[name]
            if scope := self._scopes.pop(name, None):
                scope.cancel()
        for client in changed.values():
            client.listen(self._on_news)
        self._clients.update(changed)
        self._changed.set()

    def get(self, name: str) -> Gateway:
        """Return the gateway of this name.

        Raises:
            UnknownGateway: hub.toml has no such gateway.
        """
        try:
            return self._clients[name]
        except KeyError:
            raise UnknownGateway(f"there is no gateway {name} in hub.toml") from None

    def find(self, name: str) -> Gateway | None:
        """Return the gateway of this name, or None."""
        return self._clients.get(name)

    def list(self) -> Sequence[Gateway]:
        """Return all gateways by name."""
        return [self._clients[name] for name in sorted(self._clients)]

    def health(self) -> Sequence[GatewayHealth]:
        """Return the state of each gateway, by name."""
        return [gateway.health() for gateway in self.list()]

    def wake(self, name: str | None = None) -> None:
        """Retry one or all connections now."""
        for client in self._clients.values():
            if name in (None, client.name):
                client.wake()

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Register a listener for news of all current and future gateways. Return a callable to end it."""
        self._listeners.append(listener)

        def end() -> None:
            if listener in self._listeners:
                self._listeners.remove(listener)

        return end

    async def serve(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Keep all gateways connected until cancelled, without waiting for any at the start."""
        async with anyio.create_task_group() as tasks:
            try:
                task_status.started()
                while True:
                    self.turns.work()
                    self._changed = anyio.Event()
                    for name, client in self._clients.items():
                        if name not in self._scopes:
                            self._start(tasks, name, client)
                    self.turns.wait()
                    await self._changed.wait()
            finally:
                self._scopes.clear()
                tasks.cancel_scope.cancel()

    def _start(self, tasks: TaskGroup, name: str, client: Gateway) -> None:
        self._scopes[name] = scope = anyio.CancelScope()
        tasks.start_soon(self._keep, client, scope)

    async def _keep(self, client: Gateway, scope: anyio.CancelScope) -> None:
        """Run one client. After an error it is restarted, without effect on other clients."""
        attempt = 0
        with scope:
            while True:
                began = self._clock.monotonic()
                try:
                    await client.serve()
                except Exception as exc:
                    attempt = 0 if self._clock.monotonic() - began >= STEADY_S else attempt + 1
                    wait_s = BACKOFF.delay(attempt, self._chance.uniform(0.5, 1.0))
                    log.error("gateway.failed", exc=exc, gateway=client.name, wait_s=round(wait_s, 1))
                    await self._clock.sleep(wait_s)

    def _on_news(self, news: GatewayNews) -> None:
        for listener in tuple(self._listeners):
            try:
                listener(news)
            except Exception as exc:
                log.error("gateway.listener_failed", exc=exc, gateway=news.gateway)

"""Client of a gateway: requests, the error of one that is not connected, waiting limits; all gateways.

The permanent connection has read and write scopes, and is the only source of events. A method that needs
admin rights opens the second connection, which is closed after a minute without use. A request beyond
``MAX_WAITING`` is refused.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final

import anyio
import msgspec
from anyio.abc import TaskGroup, TaskStatus

from hub.base.clock import Chance, Clock
from hub.base.log import Channel
from hub.base.metrics import Metrics
from hub.base.outbound.addresses import Resolve, resolve
from hub.base.outbound.rules import OutboundRules
from hub.base.periodic_loop import LoopReports
from hub.openclaw.frames import MAX_TRACEPARENT, EventFrame
from hub.openclaw.gateway_connection import (
    BACKOFF,
    STEADY_S,
    Alarms,
    ConnectionParameters,
    ConnectionSupervisor,
    NoConnection,
    NotSent,
    Sending,
)
from hub.openclaw.gateway_errors import GatewayError, GatewayForbidden, GatewayTimedOut, GatewayUnreachable
from hub.openclaw.gateway_interface import (
    GatewayEvent,
    GatewayHealth,
    GatewayNews,
    GatewayProblem,
    GatewayState,
    Listener,
    Need,
    Reconnected,
    StateChanged,
)
from hub.openclaw.identity import GatewayAddress, GatewayCredentials, identity_file
from storage.coordination.gateways import UnknownGateway

MAX_WAITING: Final = 1_000  # concurrent requests per gateway, including those that wait for their turn
_BEGIN_S: Final = 1.0  # the fleet starts a new client in one of the next turns of the event loop
_STEADY: Final = ("operator.read", "operator.write")
_ADMIN: Final = ("operator.read", "operator.write", "operator.admin")

log = Channel(__name__)


class GatewayConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Configuration of a gateway in hub.toml, with its secret resolved.

    Attributes:
        url: ``wss://``, or ``ws://`` on this machine.
        token: the gateway's token; None if the hub's key is approved there by a person.
        has_device: True if the hub presents its own key; None for True except on this machine.
        ca_file: certificates that are trusted instead of this machine's.
    """

    name: str
    url: str
    token: str | None = None
    has_device: bool | None = None
    ca_file: Path | None = None

    def __repr__(self) -> str:
        return f"GatewayConfig(name={self.name!r}, url={self.url!r}, token={'...' if self.token else None})"


class Gateway:
    """An OpenClaw gateway of hub.toml, connected while ``serve`` runs.

    Guarantees: a request is sent at most once per ``call``, and never repeated automatically. Requests end at
    once when the connection ends. News arrive in the order of the events.

    Args:
        folder: the state folder.
        rules: returns the rules for outbound connections; called for each connection.
        version: the hub's version.

    Raises:
        BadAddress: the URL of *config* is invalid.
    """

    def __init__(
        self,
        config: GatewayConfig,
        *,
        folder: Path,
        rules: Callable[[], OutboundRules],
        clock: Clock,
        chance: Chance,
        metrics: Metrics,
        version: str,
        resolve: Resolve = resolve,
    ) -> None:
        address = GatewayAddress.parse(config.url)
        self.config = config
        self._clock = clock
        self._chance = chance
        self._metrics = metrics
        self._identity = GatewayCredentials(
            identity_file(folder, config.name),
            url=config.url,
            token=config.token,
            has_device=config.has_device if config.has_device is not None else not address.is_here,
            chance=chance,
        )
        around = ConnectionParameters(
            gateway=config.name,
            address=address,
            identity=self._identity,
            rules=rules,
            resolve=resolve,
            ca_file=config.ca_file,
            clock=clock,
            chance=chance,
            metrics=metrics,
            version=version,
        )
        self._steady = ConnectionSupervisor(
            around, _STEADY, on_demand=False, on_event=self._on_event, on_change=self._steady_changed
        )
        self._admin = ConnectionSupervisor(
            around, _ADMIN, on_demand=True, on_event=lambda _: None, on_change=self._admin_changed
        )
        self._listeners: list[Listener] = []
        self._alarms: Alarms | None = None  # None unless served
        self._begun = anyio.Event()
        self._waiting = 0
        self._boot_id: str | None = None
        self._restarts = 0
        self._state: GatewayState = "stopped"
        self._since = clock.now()
        self._admin_problem: GatewayProblem | None = None

    @property
    def name(self) -> str:
        """Name in hub.toml."""
        return self.config.name

    async def serve(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Keep the gateway connected until cancelled. Requests in flight end then."""
        try:
            async with anyio.create_task_group() as tasks:
                self._alarms = Alarms(self._clock, tasks)
                self._begun.set()
                tasks.start_soon(self._steady.keep)
                tasks.start_soon(self._admin.keep)
                task_status.started()
        finally:
            self._alarms = None

    # --- requests ---

    async def call(
        self,
        method: str,
        params: Mapping[str, Any] | None = None,
        *,
        trace: str | None = None,
        timeout_s: float = 30.0,  # default of the reference client
        needs: Need = "operator.read",
    ) -> Any:
        """Send a request and return the payload of its answer, which may be None.

        Waits for the connection if it may be ready within *timeout_s*.

        Args:
            trace: a W3C traceparent; by default a new one.
            timeout_s: total time limit, including the wait for a connection.

        Raises:
            GatewayRefused: the gateway refused the request.
            GatewayForbidden: the hub lacks the scope.
            GatewayUnreachable: no connection, a lost connection, or a gateway that asks to retry later.
            GatewayTimedOut: no answer in time.
            GatewayInvalid: the answer is malformed.

        The errors' ``dispatched`` is True if the gateway may have carried out the request.
        """
        try:
            payload = await self._call(method, params or {}, self._traceparent(trace), timeout_s, needs)
        except GatewayError as error:
            error.args = (self._identity.scrubbed(str(error)),)
            self._metrics.gateway_requests.labels(error.code.removeprefix("gateway_")).inc()
            raise
        self._metrics.gateway_requests.labels("answered").inc()
        return payload

    async def _call(
        self, method: str, params: Mapping[str, Any], trace: str, timeout_s: float, needs: Need
    ) -> Any:
        alarms = await self._served()
        if self._waiting >= MAX_WAITING:
            self._metrics.limits_reached.labels("gateway_requests").inc()
            raise self._unreachable(
                GatewayProblem("too_many_requests", f"{self._waiting} requests of it wait")
            )
        line = self._admin if needs == "operator.admin" else self._steady
        deadline = self._clock.monotonic() + timeout_s
        sending = Sending()
        self._waiting += 1
        payload, is_answered = None, False
        try:
            with alarms.move_on_after(timeout_s):
                payload = await self._ask(line, deadline, method, params, trace, sending)
                is_answered = True
        except NoConnection as none:
            raise self._no_connection(none, needs) from None
        finally:
            self._waiting -= 1
        if is_answered:
            return payload
        if not sending.has_left:
            raise self._unreachable(self._problem_of(line))
        message = f"gateway {self.name}: no answer to {method} within {timeout_s:g} s"
        raise GatewayTimedOut(message, gateway=self.name, dispatched=True)

    async def _ask(
        self,
        line: ConnectionSupervisor,
        deadline: float,
        method: str,
        params: Mapping[str, Any],
        trace: str,
        sending: Sending,
    ) -> Any:
        while True:
            connection = await line.connection(deadline)
            try:
                return await connection.request(method, params, trace, sending)
            except NotSent:  # the connection ended before the request was sent: use the next one
                continue

    async def ready(self, timeout_s: float) -> None:
        """Wait until the gateway is connected.

        Raises:
            GatewayUnreachable: it is not connected within *timeout_s*; no data was sent.
        """
        alarms = await self._served()
        is_ready = False
        try:
            with alarms.move_on_after(timeout_s):
                await self._steady.connection(self._clock.monotonic() + timeout_s)
                is_ready = True
        except NoConnection as none:
            raise self._no_connection(none, "operator.read") from None
        if not is_ready:
            raise self._unreachable(self._problem_of(self._steady))

    async def _served(self) -> Alarms:
        if self._alarms is None:
            with anyio.move_on_after(_BEGIN_S):
                await self._begun.wait()
        if self._alarms is None:
            raise self._unreachable(GatewayProblem("stopped", "the hub is not connected to it"))
        return self._alarms

    def _no_connection(self, none: NoConnection, needs: Need) -> GatewayError:
        if needs == "operator.admin" and none.state != "waiting" and self._steady.ending is None:
            message = f"gateway {self.name} does not give this hub admin rights: {none.problem}"
            return GatewayForbidden(message, gateway=self.name, dispatched=False, reason=none.problem.code)
        return self._unreachable(none.problem, none.wait_s)

    def _unreachable(self, problem: GatewayProblem, wait_s: float | None = None) -> GatewayUnreachable:
        return GatewayUnreachable(
            f"gateway {self.name} is not connected: {problem}",
            gateway=self.name,
            dispatched=False,
            reason=problem.code,
            retry_after_ms=None if wait_s is None else int(wait_s * 1000),
        )

    def _problem_of(self, line: ConnectionSupervisor) -> GatewayProblem:
        if line.ending is not None:
            return line.ending.problem
        return GatewayProblem("connecting", "the connection was not established in time")

    def _traceparent(self, trace: str | None) -> str:
        if trace is not None and len(trace) <= MAX_TRACEPARENT:
            return trace
        return f"00-{self._chance.token_bytes(16).hex()}-{self._chance.token_bytes(8).hex()}-01"

    # --- state ---

    def health(self) -> GatewayHealth:
        """Return the current state."""
        hello, ending = self._steady.hello, self._steady.ending
        next_try = self._steady.next_try
        is_up = self._state != "stopped"
        return GatewayHealth(
            name=self.name,
            state=self._state,
            since=self._since,
            next_try_at=None if next_try is None or not is_up else self._clock_at(next_try),
            problem=ending.problem if ending is not None and is_up else None,
            admin_problem=self._admin_problem,
            boot_id=self._boot_id,
            version=None if hello is None else hello.server.version,
            scopes=() if hello is None else tuple(hello.auth.scopes),
            restarts=self._restarts,
        )

    def wake(self) -> None:
        """Retry now, whatever the connections wait for."""
        self._steady.wake()
        self._admin.wake()

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Register a listener for news. Return a callable that ends the registration.

        The listener is called by the socket's reader, so it must not wait; it may queue the news
        (``hub.openclaw.gateway_interface``). Its errors are logged and have no other effect.
        """
        self._listeners.append(listener)

        def end() -> None:
            if listener in self._listeners:
                self._listeners.remove(listener)

        return end

    def _steady_changed(self) -> None:
        state, hello = self._steady.state or "stopped", self._steady.hello
        if state != "ready" or hello is None:
            self._stand(state)
            return
        boot_id = hello.server.boot_id
        is_restart = self._boot_id is not None and self._boot_id != boot_id
        self._boot_id = boot_id
        self._restarts += is_restart
        self._stand(state)
        self._notify(Reconnected(self.name, boot_id, is_restart))

    def _admin_changed(self) -> None:
        ending = self._admin.ending
        is_ours = ending is None or ending.state == "stopped"
        self._admin_problem = None if ending is None or is_ours else ending.problem

    def _stand(self, state: GatewayState) -> None:
        if state != self._state:
            for one, step in ((self._state, -1), (state, 1)):
                if one != "stopped":
                    self._metrics.gateways.labels(self.name, one).inc(step)
            self._state, self._since = state, self._clock.now()
            self._notify(StateChanged(self.name, self.health()))

    def _on_event(self, event: EventFrame) -> None:
        if event.event == "device.pair.resolved":
            self._admin.wake()
        self._notify(GatewayEvent(self.name, event.event, event.payload))

    def _notify(self, news: GatewayNews) -> None:
        for listener in tuple(self._listeners):
            try:
                listener(news)
            except Exception as exc:  # an error of a listener must not end the connection
                log.error("gateway.listener_failed", exc=exc, gateway=self.name)

    def _clock_at(self, monotonic: float) -> datetime:
        return self._clock.now() + timedelta(seconds=monotonic - self._clock.monotonic())


class Fleet:
    """Service with a client for every gateway.

    Args:
        folder: the state folder.
        rules: returns the rules for outbound connections; called for each connection.
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
        resolve: Resolve = resolve,
    ) -> None:
        self.loop = LoopReports(clock)
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
                    self.loop.work()
                    self._changed = anyio.Event()
                    for name, client in self._clients.items():
                        if name not in self._scopes:
                            self._start(tasks, name, client)
                    self.loop.wait()
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

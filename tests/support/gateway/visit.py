"""A client of the hub at a fake gateway, and time that goes by for both."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import anyio

from hub.base.metrics import Metrics
from hub.base.outbound.addresses import Resolve
from hub.base.outbound.rules import OutboundRules
from hub.openclaw import (
    Gateway,
    GatewayConfig,
    GatewayError,
    GatewayEvent,
    GatewayNews,
    GatewayState,
    Reconnected,
    StateChanged,
)
from tests.support.clock import FakeClock, SeededChance
from tests.support.gateway.server import FakeGateway
from tests.support.wire import PATIENCE_S, until

SETTLE_S = 0.002  # for what has been sent over loopback to arrive, and to be answered
T = TypeVar("T")

_A_TRY_S = 0.2  # for a connection to come about, or to be refused


@dataclass
class Visit:
    """The client, and what it was told."""

    client: Gateway
    clock: FakeClock
    metrics: Metrics
    news: list[GatewayNews] = field(default_factory=list)

    @property
    def state(self) -> GatewayState:
        return self.client.health().state

    @property
    def events(self) -> list[str]:
        """The names of the events that were heard."""
        return [news.name for news in self.news if isinstance(news, GatewayEvent)]

    @property
    def states(self) -> list[str]:
        """Every state that was told, in order."""
        return [news.health.state for news in self.news if isinstance(news, StateChanged)]

    @property
    def reconnected(self) -> list[bool]:
        """Of each time that it was ready: whether the gateway had been started anew."""
        return [news.is_restart for news in self.news if isinstance(news, Reconnected)]

    @property
    def problem(self) -> str | None:
        problem = self.client.health().problem
        return None if problem is None else problem.code

    async def is_in(self, state: str) -> None:
        """Wait until it is in that state, however much real time that takes, and no virtual."""
        await until(lambda: self.state == state)

    async def time_goes_by(self, seconds: float, *, step_s: float = 1.0) -> None:
        """Let virtual time pass; in between, what is on the wire arrives."""
        left = seconds
        while left > 0:
            await self._settled(_A_TRY_S)
            self.clock.advance(min(step_s, left))
            left -= step_s
        await self._settled(_A_TRY_S)

    async def back_within(self, seconds: float) -> None:
        """Let virtual time pass until it is ready again; it is within so many seconds."""
        deadline = self.clock.monotonic() + seconds
        while self.state != "ready":
            assert self.clock.monotonic() < deadline, self.client.health()
            self.clock.advance(0.5)
            await self._settled(PATIENCE_S)

    async def _settled(self, patience_s: float) -> None:
        """Let what is on the wire arrive, and a try that is under way end; no virtual time passes."""
        await anyio.sleep(SETTLE_S)
        with anyio.move_on_after(patience_s):
            while self.state == "connecting":
                await anyio.sleep(SETTLE_S)

    async def in_time(self, call: Awaitable[T]) -> T:
        """What awaiting *call* gives, while virtual time passes."""
        got: list[T] = []
        async with anyio.create_task_group() as tasks:

            async def wait() -> None:
                got.append(await call)
                tasks.cancel_scope.cancel()

            tasks.start_soon(wait)
            while True:
                await self._settled(_A_TRY_S)
                self.clock.advance(0.25)
        return got[0]

    async def failed(self, call: Awaitable[Any]) -> GatewayError:
        """The error that awaiting *call* ends with, while virtual time passes."""
        return await self.in_time(failed(call))

    def counted(self, metric: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(metric, labels) or 0.0


async def on_loopback(host: str, port: int) -> Sequence[str]:
    """A resolver that asks nobody."""
    return ["127.0.0.1"]


@asynccontextmanager
async def visiting(
    gateway: FakeGateway,
    folder: Path,
    *,
    clock: FakeClock | None = None,
    is_ready: bool = True,
    url: str | None = None,
    resolve: Resolve | None = None,
    **config: Any,
) -> AsyncIterator[Visit]:
    """A client that is served, and ready unless told otherwise.

    Args:
        folder: the state folder.
        config: of the ``GatewayConfig``; the fake's own token by default.
    """
    clock = clock or FakeClock()
    metrics = Metrics()
    client = Gateway(
        GatewayConfig(name=gateway.name, url=url or gateway.url, **({"token": gateway.token} | config)),
        folder=folder,
        rules=OutboundRules,
        clock=clock,
        chance=SeededChance(),
        metrics=metrics,
        version="0.1.0",
        resolve=resolve or on_loopback,
    )
    visit = Visit(client, clock, metrics)
    client.listen(visit.news.append)
    async with anyio.create_task_group() as tasks:
        await tasks.start(client.serve)
        if is_ready:
            await visit.is_in("ready")
        yield visit
        tasks.cancel_scope.cancel()


class Calls:
    """Requests that a test has under way, and how each of them ended."""

    def __init__(self) -> None:
        self.ended: list[Any] = []

    async def make(self, call: Callable[[], Any]) -> None:
        try:
            self.ended.append(await call())
        except GatewayError as error:
            self.ended.append(error.with_traceback(None))  # it would keep alive all that was there

    @property
    def errors(self) -> list[GatewayError]:
        return [end for end in self.ended if isinstance(end, GatewayError)]


async def failed(call: Awaitable[Any]) -> GatewayError:
    """The error that awaiting *call* ends with."""
    try:
        got = await call
    except GatewayError as error:
        return error
    raise AssertionError(f"it was answered: {got!r}")

"""The root task group: services started in order, stopped in reverse order.

A service is an object with ``serve(*, task_status)`` that returns only when it is
cancelled or broken. A vital service that breaks stops all the others, in order; any
other one is started again after a growing wait, and the others do not notice.
"""

from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Protocol

import anyio
from anyio.abc import TaskGroup, TaskStatus

from hub.clock import Chance, Clock
from hub.log import Channel
from hub.metrics import Metrics
from hub.turns import Turns
from protocol.backoff import Backoff
from protocol.errors import HubError

log = Channel(__name__)

STOP_S: Final = 60.0  # what one service may take to stop: a drain is 45 s
STEADY_S: Final = 60.0  # who ran so long starts again from the shortest wait


class Service(Protocol):
    """Something with a life."""

    async def serve(self, *, task_status: TaskStatus[Any] = anyio.TASK_STATUS_IGNORED) -> None:
        """Run until cancelled; ``task_status.started()`` once others may rely on it."""
        ...


class ServiceEnded(HubError):
    """A service returned though nobody had cancelled it."""


@dataclass(slots=True)
class Failures:
    """The failures of one service since the process began.

    Attributes:
        at: wall time of the last one, aware.
        error: its class; the message too where the error is one of ours, which quotes no document.
        is_down: the service has not started again since.
    """

    count: int
    at: datetime
    error: str
    is_down: bool = True


@dataclass(slots=True, eq=False)
class _Place:
    """A service and where its life stands."""

    name: str
    service: Service
    is_vital: bool
    turns: Turns | None = None
    scope: anyio.CancelScope = field(default_factory=lambda: anyio.CancelScope(shield=True))
    ready: anyio.Event = field(default_factory=anyio.Event)  # it has started, or it never will
    stopped: anyio.Event = field(default_factory=anyio.Event)


class Supervisor:
    """Runs services that stand on each other: the first added is the last to stop.

    Args:
        vital: names of services whose failure stops all of them; ``None``: each one's does.
        metrics: counts how often the others are started again.

    Attributes:
        failures: of services that were started again, or will be; by their names.
        started: what each service reported when it had started.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        chance: Chance,
        vital: Container[str] | None = None,
        metrics: Metrics | None = None,
        backoff: Backoff | None = None,
        stop_s: float = STOP_S,
    ) -> None:
        self._clock = clock
        self._chance = chance
        self._vital = vital
        self._metrics = metrics
        self._backoff = backoff or Backoff()
        self._stop_s = stop_s
        self._places: list[_Place] = []
        self._broken: list[Exception] = []
        self._alarm = anyio.Event()  # something vital broke
        self._failures: dict[str, Failures] = {}
        self.started: dict[str, Any] = {}

    @property
    def failures(self) -> Mapping[str, Failures]:
        return self._failures

    def add(self, name: str, service: Service, *, turns: Turns | None = None) -> None:
        """Put *service* on top of those added before.

        Args:
            turns: of its loop, for the watchdog.
        """
        is_vital = self._vital is None or name in self._vital
        self._places.append(_Place(name, service, is_vital, turns))
        if self._metrics is not None and not is_vital:
            self._metrics.service_restarts.labels(name)  # shown from the start, as 0

    def late(self) -> list[str]:
        """Which services should go round and do not. Those that stop are not expected to."""
        return [
            place.name
            for place in self._places
            if place.turns is not None and place.turns.is_late and not place.scope.cancel_called
        ]

    async def serve(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Start all, run until cancelled or a vital one breaks, stop all.

        Raises:
            Exception: what a vital service broke with; all are stopped by then.
        """
        running: list[_Place] = []
        async with anyio.create_task_group() as tasks:
            try:
                await self._start(tasks, running)
                if not self._broken:
                    task_status.started()
                    await self._alarm.wait()
            finally:
                for place in reversed(running):
                    await self._stop(place)
        if self._broken:
            raise self._broken[0]

    async def _start(self, tasks: TaskGroup, running: list[_Place]) -> None:
        # Not ``tasks.start``: when that is cancelled it waits for its task, which is shielded.
        for place in self._places:
            running.append(place)
            tasks.start_soon(self._keep, place)
            await place.ready.wait()
            if self._broken:
                return

    async def _keep(self, place: _Place) -> None:
        """Keep one service alive. Shielded: only ``_stop`` ends it, when its turn has come."""
        try:
            with place.scope:
                await self._serve(place)
        except Exception as exc:
            # A refusal in words is told by whoever started us; only a fault needs its traceback here.
            log.error("service.failed", exc=None if isinstance(exc, HubError) else exc, service=place.name)
            self._broken.append(exc)
            self._alarm.set()
        finally:
            place.ready.set()
            place.stopped.set()

    async def _serve(self, place: _Place) -> None:
        attempt = 0
        task_status = _Started(place, self)
        while True:
            began = self._clock.monotonic()
            try:
                await place.service.serve(task_status=task_status)
                raise ServiceEnded(f"service {place.name} ended by itself")
            except Exception as exc:
                if place.is_vital:
                    raise
                if self._clock.monotonic() - began >= STEADY_S:
                    attempt = 0
                wait_s = self._backoff.delay(attempt, self._chance.uniform(0.0, 1.0))
                log.error("service.restarted", exc=exc, service=place.name, wait_s=round(wait_s, 3))
                self._count(place.name, exc)
            place.ready.set()  # those above it need not wait for it
            attempt += 1
            if place.turns is not None:
                place.turns.wait(wait_s)
            await self._clock.sleep(wait_s)

    def _count(self, name: str, exc: Exception) -> None:
        while isinstance(exc, ExceptionGroup):
            exc = exc.exceptions[0]
        before = self._failures.get(name)
        error = f"{type(exc).__name__}: {exc}" if isinstance(exc, HubError) else type(exc).__name__
        self._failures[name] = Failures(1 if before is None else before.count + 1, self._clock.now(), error)
        if self._metrics is not None:
            self._metrics.service_restarts.labels(name).inc()

    async def _stop(self, place: _Place) -> None:
        place.scope.cancel()
        with anyio.move_on_after(self._stop_s, shield=True) as waiting:
            await place.stopped.wait()
        if waiting.cancelled_caught:
            log.error("service.stuck", service=place.name, waited_s=self._stop_s)


class _Started(TaskStatus[Any]):
    """Notes that a service has started, and what it reported the first time."""

    def __init__(self, place: _Place, supervisor: Supervisor) -> None:
        self._place = place
        self._supervisor = supervisor

    def started(self, value: Any = None) -> None:
        name = self._place.name
        self._supervisor.started.setdefault(name, value)
        self._place.ready.set()
        if (failures := self._supervisor.failures.get(name)) is not None:
            failures.is_down = False

"""Start and stop of services in order, restart of failed services, and the request to stop the hub.

A service has a method ``serve(*, task_status)`` that returns only by cancellation or failure. The failure of
a vital service stops all others in order; any other service is restarted after a growing delay, without
affecting the others."""

from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any, Final, Protocol

import anyio
from anyio.abc import TaskGroup, TaskStatus

from hub.base.clock import Chance, Clock
from hub.base.log import Channel
from hub.base.metrics import Metrics
from hub.base.periodic_loop import LoopReports, PeriodicLoop
from protocol.backoff import Backoff
from protocol.errors import CodedError, ErrorCode, HubError, first_error

log = Channel(__name__)

STOP_S: Final = 60.0  # limit of one service's shutdown; a drain takes 45 s
STEADY_S: Final = 60.0  # after this uptime, the delay starts from the minimum


class Service(Protocol):
    """Long-running service."""

    async def serve(self, *, task_status: TaskStatus[Any] = anyio.TASK_STATUS_IGNORED) -> None:
        """Run until cancelled; call ``task_status.started()`` once others may rely on it."""
        ...


@dataclass(slots=True)
class ServiceFailures:
    """Failures of one service since the process started.

    Attributes:
        at: wall time of the last failure, aware.
        error: class of the error; with its message for a ``HubError``, which quotes no document.
        is_down: True until the service has started again.
    """

    count: int
    at: datetime
    error: str
    is_down: bool = True


@dataclass(slots=True, eq=False)
class _SupervisedService:
    """State of a service."""

    name: str
    service: Service
    is_vital: bool
    loop: LoopReports | None = None
    scope: anyio.CancelScope = field(default_factory=lambda: anyio.CancelScope(shield=True))
    ready: anyio.Event = field(default_factory=anyio.Event)  # set once it has started, or failed to start
    stopped: anyio.Event = field(default_factory=anyio.Event)


class Supervisor:
    """Supervisor of services with dependencies: the first one added stops last.

    Args:
        vital: names of services whose failure stops all; ``None``: all services.
        metrics: counts the restarts of the other services.

    Attributes:
        failures: failures of services that were restarted or went on with their next round, by name.
        started: values that services reported when they had started.
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
        self._places: list[_SupervisedService] = []
        self._broken: list[Exception] = []
        self._alarm = anyio.Event()  # a vital service failed
        self._failures: dict[str, ServiceFailures] = {}
        self.started: dict[str, Any] = {}

    @property
    def failures(self) -> Mapping[str, ServiceFailures]:
        return self._failures

    def add(self, name: str, service: Service, *, loop: LoopReports | None = None) -> None:
        """Add *service* after those that it depends on.

        Args:
            loop: monitor of its loop, for the watchdog.
        """
        is_vital = self._vital is None or name in self._vital
        self._places.append(_SupervisedService(name, service, is_vital, loop))
        if isinstance(loop, PeriodicLoop):
            loop.on_fault = partial(self._count, name, is_down=False)
        if self._metrics is not None and not is_vital:
            self._metrics.service_restarts.labels(name)  # initialized to 0

    def late(self) -> list[str]:
        """Return the services whose loop is late, except those that are stopping."""
        return [
            place.name
            for place in self._places
            if place.loop is not None and place.loop.is_late and not place.scope.cancel_called
        ]

    async def serve(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Start all services, run until cancelled or a vital one fails, then stop all.

        Raises:
            Exception: the error of a vital service; all services have stopped.
        """
        running: list[_SupervisedService] = []
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

    async def _start(self, tasks: TaskGroup, running: list[_SupervisedService]) -> None:
        # Not ``tasks.start``: its cancellation waits for the task, which is shielded.
        for place in self._places:
            running.append(place)
            tasks.start_soon(self._keep, place)
            await place.ready.wait()
            if self._broken:
                return

    async def _keep(self, place: _SupervisedService) -> None:
        """Run one service until ``_stop`` cancels it; shielded from other cancellations."""
        try:
            with place.scope:
                await self._serve(place)
        except Exception as exc:
            # The caller reports the message of a HubError; only other errors need a traceback here.
            log.error("service.failed", exc=None if isinstance(exc, HubError) else exc, service=place.name)
            self._broken.append(exc)
            self._alarm.set()
        finally:
            place.ready.set()
            place.stopped.set()

    async def _serve(self, place: _SupervisedService) -> None:
        attempt = 0
        task_status = _Started(place, self)
        while True:
            began = self._clock.monotonic()
            try:
                await place.service.serve(task_status=task_status)
                raise CodedError(ErrorCode.INTERNAL, f"service {place.name} ended unexpectedly")
            except Exception as exc:
                if place.is_vital:
                    raise
                if self._clock.monotonic() - began >= STEADY_S:
                    attempt = 0
                wait_s = self._backoff.delay(attempt, self._chance.uniform(0.0, 1.0))
                log.error("service.restarted", exc=exc, service=place.name, wait_s=round(wait_s, 3))
                self._count(place.name, exc)
            place.ready.set()  # later services need not wait for its restart
            attempt += 1
            if place.loop is not None:
                place.loop.wait(wait_s)
            await self._clock.sleep(wait_s)

    def _count(self, name: str, exc: Exception, *, is_down: bool = True) -> None:
        exc = first_error(exc)
        before = self._failures.get(name)
        error = f"{type(exc).__name__}: {exc}" if isinstance(exc, HubError) else type(exc).__name__
        count = 1 if before is None else before.count + 1
        self._failures[name] = ServiceFailures(count, self._clock.now(), error, is_down)
        if is_down and self._metrics is not None:
            self._metrics.service_restarts.labels(name).inc()

    async def _stop(self, place: _SupervisedService) -> None:
        place.scope.cancel()
        with anyio.move_on_after(self._stop_s, shield=True) as waiting:
            await place.stopped.wait()
        if waiting.cancelled_caught:
            log.error("service.stuck", service=place.name, waited_s=self._stop_s)


class _Started(TaskStatus[Any]):
    """Receiver of a service's start signal, and of the value reported the first time."""

    def __init__(self, place: _SupervisedService, supervisor: Supervisor) -> None:
        self._place = place
        self._supervisor = supervisor

    def started(self, value: Any = None) -> None:
        name = self._place.name
        self._supervisor.started.setdefault(name, value)
        self._place.ready.set()
        if (failures := self._supervisor.failures.get(name)) is not None:
            failures.is_down = False


class Drain:
    """Stop request of a signal or an operator; it cannot be withdrawn.

    Attributes:
        restarts: True if another process takes over at once, so that devices should reconnect.
    """

    def __init__(self, *, restarts: bool = False) -> None:
        self.restarts = restarts
        self._begun = anyio.Event()
        self._is_hurried = False
        self._hurry: Callable[[], None] = lambda: None

    @property
    def is_begun(self) -> bool:
        """True if the hub is stopping."""
        return self._begun.is_set()

    def begin(self, *, restarts: bool | None = None) -> bool:
        """Stop the hub. Return False, without a change, if it is stopping already."""
        if self.is_begun:
            return False
        if restarts is not None:
            self.restarts = restarts
        self._begun.set()
        return True

    async def begun(self) -> None:
        """Wait until the hub is to stop."""
        await self._begun.wait()

    def hurry(self) -> None:
        """Stop waiting for executing runs."""
        self._is_hurried = True
        self._hurry()

    def on_hurry(self, do: Callable[[], None]) -> None:
        """Register a callback for ``hurry``; call it at once if that has happened already."""
        self._hurry = do
        if self._is_hurried:
            do()

"""A loop of a service works when it is woken, else after a rest, and survives every error."""

import logging
import math
from functools import partial

import anyio
import pytest

from hub.base.clock import Clock
from hub.base.periodic_loop import RETRY_S, PeriodicLoop
from storage.kernel.database import DatabaseUnavailable
from tests.support.clock import FakeClock


class Service:
    """A service that writes down when it works, and fails as it is told to."""

    def __init__(self, clock: Clock) -> None:
        self.rounds = PeriodicLoop(clock)
        self.began_at: list[float] = []
        self.rested: list[bool] = []
        self.errors: list[Exception] = []
        self.rest_s: float | None = 30.0
        self._clock = clock

    async def work(self) -> float | None:
        self.began_at.append(self._clock.monotonic())
        self.rested.append(self.rounds.is_rested)
        if self.errors:
            raise self.errors.pop()
        return self.rest_s


async def test_service_loop_works_when_woken_or_after_a_rest_and_survives_errors(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = FakeClock()
    service, began = Service(clock), clock.monotonic()
    async with anyio.create_task_group() as tasks:

        async def serve() -> None:
            await service.rounds.serve(service.work, of="things", every_s=2.0, least_s=0.5)

        tasks.start_soon(serve)
        await clock.pass_time(10.0)
        service.rounds.wake()
        service.errors = [ValueError("a fault"), DatabaseUnavailable("away")]
        with caplog.at_level(logging.ERROR):
            await clock.pass_time(40.0)
        assert not service.rounds.is_late
        tasks.cancel_scope.cancel()
    assert [at - began for at in service.began_at] == [0.0, 10.0, 12.5, 15.0, 45.5]
    assert service.rested == [True, False, True, True, True]
    assert [record.getMessage() for record in caplog.records] == ["round.database", "round.broke"]


async def test_service_loop_without_a_rest_time_retries_after_an_error() -> None:
    clock = FakeClock()
    service, began = Service(clock), clock.monotonic()
    service.rest_s = None
    service.errors = [DatabaseUnavailable("away"), ValueError("a fault")]
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(partial(service.rounds.serve, service.work, of="things", every_s=math.inf))
        await clock.pass_time(60.0)
        tasks.cancel_scope.cancel()
    assert [at - began for at in service.began_at] == [0.0, RETRY_S, 2 * RETRY_S]

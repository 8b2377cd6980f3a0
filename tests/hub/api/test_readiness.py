"""Readiness of a hub, answered within the timeout of a load balancer."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import anyio
import pytest

from hub.api.nouns import system
from hub.api.nouns.system import FRESH_S, VALID_S, Check, ReadinessChecks
from storage.kernel.database import Unavailable
from storage.store import Store, open_store
from tests.support.clock import FakeClock


class Database:
    """A store that can be made to hang or to fail; the rest of it is real."""

    is_shared = False

    def __init__(self, store: Store) -> None:
        self._store = store
        self.hangs = False
        self.error: Exception | None = None
        self.asked = 0

    async def read(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        return await self._store.read(fn, *args, **kwargs)

    async def write(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        self.asked += 1
        if self.error is not None:
            raise self.error
        if self.hangs:
            await anyio.sleep_forever()
        return await self._store.write(fn, *args, **kwargs)


@pytest.fixture
async def database() -> AsyncIterator[Database]:
    async with open_store("sqlite://") as store:
        yield Database(store)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a database that answers take its time, as on a busy machine."""
    monkeypatch.setattr(system, "ANSWER_S", 30.0)


def checks(database: Database, clock: FakeClock, *looks: Check) -> ReadinessChecks:
    return ReadinessChecks(store=database, clock=clock, conditions=lambda: looks)


@pytest.mark.usefixtures("patience")
async def test_a_hub_whose_checks_are_all_passed_is_ready(database: Database, clock: FakeClock) -> None:
    told = await checks(database, clock, Check(name="disk", ok=True)).readiness()
    assert told.ready
    assert not told.degraded
    assert [check.name for check in told.checks] == ["database", "disk"]


async def test_one_check_that_fails_is_enough(database: Database, clock: FakeClock) -> None:
    assert not (await checks(database, clock, Check(name="disk", ok=False)).readiness()).ready


@pytest.mark.usefixtures("patience")
async def test_what_works_only_just_is_ready_and_degraded(database: Database, clock: FakeClock) -> None:
    told = await checks(database, clock, Check(name="settings", ok=True, degraded=True)).readiness()
    assert told.ready
    assert told.degraded


@pytest.mark.usefixtures("patience")
async def test_a_database_that_refuses_is_reported_with_its_reason(
    database: Database, clock: FakeClock
) -> None:
    database.error = Unavailable("the disk is read-only")
    told = await checks(database, clock).readiness()
    assert not told.ready
    assert told.checks[0].detail == "the disk is read-only"


async def test_a_database_that_hangs_holds_nobody_up(database: Database, clock: FakeClock) -> None:
    database.hangs = True
    with anyio.fail_after(10):
        told = await checks(database, clock).readiness()
    assert told.checks[0].detail == "no answer within 30 ms"
    assert not told.ready


async def test_a_database_that_is_busy_just_now_and_was_well_is_well(
    database: Database, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = checks(database, clock)
    with monkeypatch.context() as patience:
        patience.setattr(system, "ANSWER_S", 30.0)
        assert (await asked.readiness()).ready
    database.hangs = True
    clock.advance(VALID_S / 2)
    assert (await asked.readiness()).ready
    clock.advance(VALID_S)
    assert not (await asked.readiness()).ready


@pytest.mark.usefixtures("patience")
async def test_whoever_asks_often_does_not_wear_the_disk_out(database: Database, clock: FakeClock) -> None:
    asked = checks(database, clock)
    for _ in range(100):
        await asked.readiness()
    assert database.asked == 1
    clock.advance(FRESH_S)
    await asked.readiness()
    assert database.asked == 2

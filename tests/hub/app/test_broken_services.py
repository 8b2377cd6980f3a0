"""A built hub outlives the failure of every service that is not vital."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import anyio
import pytest
from anyio.abc import TaskStatus

from hub.api.binding import Head
from hub.api.nouns.issues import Issues
from hub.api.nouns.system import System
from hub.app.hub import VITAL, Hub
from hub.backups import FOLDER
from hub.supervisor import Service, Supervisor
from protocol.ids import BootId
from storage.store import ObservedDatabase, Store, open_store
from tests.hub.app.test_reload import TEXT, grounded
from tests.support.clock import START, FakeClock
from tests.support.database import new_database
from tests.support.services import running
from tests.support.wire import until

STEP_S = 3_600.0
HOUSEKEEPING = {
    "backups", "disk", "gauges", "housekeeping", "issues", "measurements", "revocations",
    "scheduler", "settings", "watchdog", "watching",
}  # fmt: skip
BREAKS_AFTER = timedelta(hours=5)
LIVES_FOR = timedelta(days=2)
SETTINGS = TEXT + '[listen.webhooks]\naddress = "127.0.0.1:0"\n'


class BreaksOnce:
    """The real service, which breaks once at a time that a test chooses."""

    def __init__(self, service: Service, breaks: anyio.Event) -> None:
        self._service = service
        self._breaks = breaks
        self.starts = 0

    async def serve(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        self.starts += 1
        if self.starts > 1:
            await self._service.serve(task_status=task_status)
        async with anyio.create_task_group() as tasks:
            await tasks.start(self._serve, task_status)
            await self._breaks.wait()
            raise ValueError("a fault that nobody expected")

    async def _serve(
        self, outer: TaskStatus[None], *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED
    ) -> None:
        task_status.started()
        await self._service.serve(task_status=outer)


def all_others_wait() -> bool:
    """Return True if no task but this one can continue.

    ``anyio.wait_all_tasks_blocked`` asks every 0.1 s, just when uvicorn looks around: it may never end.
    """
    waited_for = [getattr(task, "_fut_waiter") for task in asyncio.all_tasks() - {asyncio.current_task()}]  # noqa: B009
    return all(future is not None and not future.done() for future in waited_for)


@asynccontextmanager
async def database(folder: Path, clock: FakeClock) -> AsyncIterator[Store]:
    new_database(folder / "hub.db")

    def now_ms() -> int:
        return int(clock.now().timestamp() * 1000)

    async with open_store("sqlite:///hub.db", base=folder, boot_id=BootId("boot"), now_ms=now_ms) as store:
        yield store


@pytest.mark.slow
async def test_a_hub_outlives_two_days_in_which_every_service_that_is_not_vital_breaks_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, breaks = FakeClock(), anyio.Event()
    fragile: dict[str, BreaksOnce] = {}
    add = Supervisor.add

    def fragile_add(self: Supervisor, name: str, service: Service, **about: object) -> None:
        if name not in VITAL:
            service = fragile[name] = BreaksOnce(service, breaks)
        add(self, name, service, **about)  # type: ignore[arg-type]

    monkeypatch.setattr(Supervisor, "add", fragile_add)
    monkeypatch.chdir(tmp_path)
    async with (
        grounded(Path(), SETTINGS) as base,
        database(base.state, clock) as store,
        AsyncExitStack() as resources,
    ):
        hub = Hub(replace(base, store=ObservedDatabase(store), clock=clock))
        await hub.open(resources)
        async with running(hub.supervisor):
            hub.where()
            while clock.now() < START + LIVES_FOR:
                clock.advance(STEP_S)
                await until(all_others_wait)
                if clock.now() == START + BREAKS_AFTER:
                    breaks.set()
                    await until(lambda: hub.supervisor.failures.keys() == fragile.keys())
                    issues = await hub.nouns.noun(Issues).all(anew=True)
                    told = {issue.subject for issue in issues if issue.id == "service.broken"}
                    assert told == fragile.keys() >= HOUSEKEEPING
            failures = hub.supervisor.failures
            assert {name: (of.count, of.error, of.is_down) for name, of in failures.items()} == dict.fromkeys(
                fragile, (1, "ValueError", False)
            )
            assert {name for name, service in fragile.items() if service.starts != 2} == set()
            system = hub.nouns.noun(System)
            while not (await system.readiness(Head())).ready:  # what takes long on a busy machine is "not"
                await until(all_others_wait)
            metric = base.metrics.registry.get_sample_value
            assert metric("hub_service_restarts_total", {"service": "backups"}) == 1
        made = sorted(file.name for file in (base.state / FOLDER).iterdir())
        assert [name[:8] for name in made] == ["20260105", "20260106"]

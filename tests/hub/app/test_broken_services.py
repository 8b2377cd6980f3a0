"""A built hub: broken services, issues that only the whole shows, and gauges."""

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import anyio
import pytest
import sqlalchemy as sa
from anyio.abc import TaskStatus

from hub.api.binding import ResponseHead
from hub.api.resources.issues import IssuesResource
from hub.api.resources.system import SystemResource
from hub.app.gauges import EVERY_S, Gauges
from hub.app.hub import VITAL, Hub
from hub.base.clock import epoch_ms
from hub.base.log import Channel
from hub.base.metrics import Metrics
from hub.base.supervisor import Service, Supervisor
from hub.health.backups import FOLDER
from hub.runs.disk import DiskGuard
from protocol.grants import Grant
from protocol.ids import BootId, ConnectionId, KeyId, PairingId
from protocol.lifecycles import RunEvent, RunState
from storage import audit
from storage.devices import devices, pairings
from storage.devices.pairings import PairingAsk
from storage.runs import run_moves
from storage.store import ObservedDatabase, Store, open_store
from tests.hub.app.test_settings_application import TEXT, grounded, opened_hub
from tests.storage.rows import AT, make_agent, make_run
from tests.support.clock import START, FakeClock
from tests.support.database import new_database
from tests.support.log import opened_log
from tests.support.presence import open_session
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


def _backups(folder: Path) -> list[str]:
    return [file.name for file in folder.iterdir() if not file.name.startswith(".")]


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
async def test_hub_survives_a_failure_of_every_non_vital_service(
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
                    issues = await hub.resources.resource(IssuesResource).all(anew=True)
                    told = {issue.subject for issue in issues if issue.id == "service.broken"}
                    assert told == fragile.keys() >= HOUSEKEEPING
            failures = hub.supervisor.failures
            assert {name: (of.count, of.error, of.is_down) for name, of in failures.items()} == dict.fromkeys(
                fragile, (1, "ValueError", False)
            )
            assert {name for name, service in fragile.items() if service.starts != 2} == set()
            system = hub.resources.resource(SystemResource)
            while not (
                await system.readiness(ResponseHead())
            ).ready:  # what takes long on a busy machine is "not"
                await until(all_others_wait)
            metric = base.metrics.registry.get_sample_value
            assert metric("hub_service_restarts_total", {"service": "backups"}) == 1
            # The clock goes on while a thread writes a backup, so the hour of each depends on the machine.
            while len({name[:8] for name in _backups(base.state / FOLDER)}) < 2:
                clock.advance(STEP_S)
                await until(all_others_wait)


async def test_issues_of_a_running_hub_include_reached_limits(tmp_path: Path) -> None:
    async with opened_hub(tmp_path) as (hub, context):
        context.metrics.limits_reached.labels("users").inc()
        found = await hub.resources.resource(IssuesResource).all()
        assert ("limit.reached", "users") in {(issue.id, issue.subject) for issue in found}


async def test_issues_of_a_running_hub_include_away_model_and_missing_grant(
    tmp_path: Path,
) -> None:
    def wait_and_take_back(c: sa.Connection) -> None:
        agent = make_agent(c)
        assert agent.device_id is not None
        open_session(c, agent.device_id, at=AT)
        run = make_run(c, agent=agent, state=RunState.RUNNING)
        run_moves.move(c, run.held, RunEvent.MODEL_AWAY, at=AT, actor="hub")
        assert run.device_id is not None
        devices.change_grants(c, run.device_id, add=(), remove=(Grant.FILES,), at=AT, actor="me")

    async with opened_hub(tmp_path) as (hub, context):
        await context.store.write(wait_and_take_back)
        found = await hub.resources.resource(IssuesResource).all()
        assert {"model.away", "device.no_files"} <= {issue.id for issue in found}


log = Channel("hub.somewhere")


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with open_store("sqlite:///hub.db", base=tmp_path) as opened:
        yield opened


async def ask_to_be_let_in(store: Store, clock: FakeClock) -> None:
    asking = PairingAsk(
        id=PairingId("p-1"),
        code_hash=b"code",
        known_code_hash=None,
        key_id=KeyId("k-1"),
        public_key=b"key",
        label="desk",
        platform="linux",
        network="192.0.2.7",
        connection_id=ConnectionId("c-1"),
    )
    at = epoch_ms(clock.now())
    await store.write(pairings.ask, asking, at=at, expires_at=at + 600_000, most=50, most_per_network=3)


async def test_gauges_of_database_disk_and_backup_are_updated_periodically(
    store: Store, tmp_path: Path
) -> None:
    clock, metrics = FakeClock(), Metrics()
    value = metrics.registry.get_sample_value
    disk = DiskGuard(tmp_path, clock=clock)
    with opened_log() as opened:
        gauges = Gauges(store=store, clock=clock, metrics=metrics, log=opened.log, disk=disk)
        assert math.isnan(value("hub_disk_free_bytes") or 0.0), "nobody has looked yet"
        async with running(gauges):
            disk.check()
            with anyio.fail_after(5):
                while not value("hub_db_size_bytes"):
                    await clock.pass_time(EVERY_S)
            assert value("hub_backup_last_success_timestamp_seconds") == 0
            assert value("hub_review_queue_items") == 0
            await store.write(audit.append, at=1_767_604_442_000, actor="hub", event="backup.made")
            with anyio.fail_after(5):
                while value("hub_backup_last_success_timestamp_seconds") != 1_767_604_442:
                    await clock.pass_time(EVERY_S)
            assert value("hub_pairing_pending") == 0
            await ask_to_be_let_in(store, clock)  # which of the hubs on a database took it is all the same
            with anyio.fail_after(5):
                while value("hub_pairing_pending") != 1:
                    await clock.pass_time(EVERY_S)
    assert (value("hub_db_size_bytes") or 0) > 100_000
    assert (value("hub_db_wal_bytes") or 0) > 0
    assert (value("hub_disk_free_bytes") or 0) > 0


async def test_suppressed_log_entries_are_counted_in_a_metric(store: Store, tmp_path: Path) -> None:
    clock, metrics = FakeClock(), Metrics()
    with opened_log() as opened:
        Gauges(
            store=store,
            clock=clock,
            metrics=metrics,
            log=opened.log,
            disk=DiskGuard(tmp_path, clock=clock),
        )
        for _ in range(25):
            log.info("a.b")
        assert metrics.registry.get_sample_value("hub_log_suppressed_total") == 15
        assert metrics.registry.get_sample_value("hub_log_dropped_total") == 0

"""A schedule fires at its time, once, whatever happened to clocks, devices and hubs meanwhile."""

from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar

import anyio
import anyio.lowlevel
import msgspec
import pytest
import sqlalchemy as sa

from hub.clock import IdFactory, epoch_ms
from protocol.lifecycles import RunState
from storage.agents.agents import AgentRow
from storage.devices import nodes
from storage.schedules.schedule_rows import DeclaredSchedule
from storage.schema import agent_configs as configs
from storage.schema import hub as hub_table
from storage.schema import runs as run_table
from storage.schema import schedules as schedule_table
from storage.store import open_store
from tests.support.clock import START, FakeClock
from tests.support.schedules import BOOT, DAILY, HOUR_S, HOURLY, OTHER_BOOT, Desk, Shared, hours

P = ParamSpec("P")
T = TypeVar("T")


async def test_a_schedule_fires_at_its_time(desk: Desk) -> None:
    await desk.declare(HOURLY)
    async with desk.serving():
        await desk.pass_time(HOUR_S - 1)
        assert await desk.runs() == []
        await desk.pass_time(1)
        (run,) = await desk.runs()
        assert (run.fire_at, run.trigger_kind, run.state) == (hours(1), "schedule", RunState.QUEUED)
        assert (run.created_at, desk.told_queued) == (hours(1), 1)


async def test_a_run_is_made_with_the_agents_settings_as_they_are_at_its_fire(desk: Desk) -> None:
    (agent,) = await desk.declare(HOURLY)
    async with desk.serving():
        await desk.pass_time(HOUR_S)
        (run,) = await desk.runs()
    assert (run.agent_id, run.device_id, run.config_rev) == (agent.id, agent.device_id, 1)
    assert run.settings["data_types"] == ["tasks"]
    assert run.settings["config_fingerprint"] == run.config_fingerprint


async def test_a_daily_agent_whose_device_is_away_over_three_fires_has_one_run_for_them(desk: Desk) -> None:
    await desk.declare(DAILY)
    async with desk.serving():
        for _ in range(3):
            await desk.pass_time(24 * HOUR_S)
    (run,) = await desk.runs()
    assert (run.state, run.fire_at, run.coalesced_count) == (RunState.QUEUED, hours(72), 2)
    assert [(row.decision, row.reason, row.fires, row.run_id) for row in await desk.fires()] == [
        ("run", None, 1, run.id),
        ("coalesced", "device_offline", 1, run.id),
        ("coalesced", "device_offline", 1, run.id),
    ]


async def test_a_hub_that_was_down_over_three_fires_makes_up_for_them_with_one_run(desk: Desk) -> None:
    await desk.declare(DAILY)
    async with desk.serving():
        pass
    desk.clock.advance(72.5 * HOUR_S)
    async with desk.serving():
        (run,) = await desk.runs()
        assert (run.trigger_kind, run.fire_at, run.coalesced_count) == ("catchup", hours(72), 2)
        assert [(row.decision, row.reason, row.fires) for row in await desk.fires()] == [
            ("coalesced", "hub_down", 2),
            ("run", None, 1),
        ]
        await desk.pass_time(23.5 * HOUR_S)
        assert (await desk.fires())[-1].fire_at == hours(96)


async def test_a_restart_between_two_fires_changes_nothing(desk: Desk) -> None:
    await desk.declare(HOURLY)
    async with desk.serving():
        await desk.pass_time(HOUR_S)
    async with desk.serving(desk.scheduler(OTHER_BOOT)):
        assert [run.fire_at for run in await desk.runs()] == [hours(1)]


async def test_a_new_schedule_is_planned_as_soon_as_the_scheduler_is_notified(desk: Desk) -> None:
    async with desk.serving():
        await desk.declare(HOURLY)
        await desk.looks_again()
        (schedule,) = await desk.schedules()
        assert (schedule.next_fire_at, schedule.due_at) == (hours(1), hours(1))


async def test_an_edit_fires_by_the_new_rule_and_catches_nothing_up(desk: Desk) -> None:
    await desk.declare(HOURLY)
    async with desk.serving():
        pass
    desk.clock.advance(3.5 * HOUR_S)
    await desk.declare(msgspec.structs.replace(HOURLY, every_ms=2 * HOUR_S * 1000))
    async with desk.serving():
        assert await desk.runs() == []
        assert [(row.decision, row.reason) for row in await desk.fires()] == [("skipped_window", "edited")]
        await desk.pass_time(0.5 * HOUR_S)
        assert [run.fire_at for run in await desk.runs()] == [hours(4)]


async def test_fires_are_decided_a_little_later_where_jitter_says_so(desk: Desk) -> None:
    await desk.declare(msgspec.structs.replace(HOURLY, jitter_ms=120_000))
    async with desk.serving():
        (schedule,) = await desk.schedules()
        assert schedule.due_at is not None
        assert hours(1) < schedule.due_at <= hours(1) + 120_000
        await desk.pass_time((schedule.due_at - desk.at) / 1000 - 0.002)
        assert await desk.runs() == []
        await desk.pass_time(0.002)
        assert [run.fire_at for run in await desk.runs()] == [hours(1)]


async def test_jitter_stays_below_half_the_time_between_two_fires(desk: Desk) -> None:
    await desk.declare(DeclaredSchedule(kind="every", every_ms=10_000, jitter_ms=3_600_000))
    async with desk.serving():
        (schedule,) = await desk.schedules()
        assert schedule.due_at is not None
        assert schedule.next_fire_at is not None
        assert schedule.due_at - schedule.next_fire_at < 5_000


async def test_a_fire_is_not_decided_before_its_time_because_the_one_before_it_was_late(desk: Desk) -> None:
    await desk.declare(DeclaredSchedule(kind="every", every_ms=10_000, jitter_ms=4_999))
    async with desk.serving():
        (schedule,) = await desk.schedules()
        assert schedule.due_at is not None
        await desk.pass_time((schedule.due_at - desk.at) / 1000 + 9.9)
        (schedule,) = await desk.schedules()
        assert schedule.cursor_at == epoch_ms(START) + 10_000


async def test_a_schedule_of_one_instant_fires_once_and_is_finished(desk: Desk) -> None:
    await desk.declare(DeclaredSchedule(kind="at", at_ms=hours(1)))
    async with desk.serving():
        await desk.pass_time(HOUR_S)
        (schedule,) = await desk.schedules()
    assert (schedule.enabled, schedule.paused_reason) == (False, "finished")
    assert [run.fire_at for run in await desk.runs()] == [hours(1)]


async def put_in_the_way(desk: Desk, agent: AgentRow, **given: Any) -> None:
    """A run of the agent that has what a fire's run is to have."""
    row = {"id": "x", "agent_id": agent.id, "fire_key": "k", "fire_at": 0, "trigger_kind": "manual"}
    row |= {"config_rev": 1, "config_fingerprint": "", "eligible_at": 0, "created_at": 0, "updated_at": 0}
    await desk.change(sa.insert(run_table).values(**(row | given)))


async def test_a_fire_that_has_its_run_already_keeps_that_one(desk: Desk) -> None:
    (first, _) = await desk.declare(HOURLY, HOURLY)
    async with desk.serving():
        schedule = (await desk.schedules())[0]
        await put_in_the_way(desk, first, fire_key=f"s:{schedule.id}:{hours(1)}")
        await desk.pass_time(HOUR_S)
        assert [run.agent_name for run in await desk.runs()] == ["agent-0", "agent-1"]
        assert [schedule.cursor_at for schedule in await desk.schedules()] == [hours(1)] * 2
        assert [(row.decision, row.run_id) for row in await desk.fires()] == [("run", "x")]


async def test_a_cursor_that_went_back_does_not_stop_the_schedule(desk: Desk) -> None:
    await desk.declare(HOURLY)
    async with desk.serving():
        await desk.pass_time(HOUR_S)
        await desk.pass_time(HOUR_S)
        behind = sa.update(schedule_table).values(cursor_at=hours(0), next_fire_at=hours(1), due_at=hours(1))
        await desk.change(behind)
        await desk.looks_again()
        await desk.pass_time(1)
        await desk.pass_time(HOUR_S)
        assert [row.fire_at for row in await desk.fires()] == [hours(1), hours(2), hours(3)]


async def test_a_schedule_whose_fires_the_database_refuses_is_given_up_and_the_others_fire(
    desk: Desk,
) -> None:
    (first, _) = await desk.declare(HOURLY, HOURLY)
    async with desk.serving():
        schedule = (await desk.schedules())[0]
        await put_in_the_way(desk, first, queue_slot=schedule.id)
        await desk.pass_time(HOUR_S)
        assert [found.paused_reason for found in await desk.schedules()] == ["broken", None]
        assert [run.agent_name for run in await desk.runs()] == ["agent-0", "agent-1"]
    (why,) = await desk.told("schedule.broken")
    assert "cannot be written" in why


class Surprising(Shared):
    """A store in which something happens once that nobody thought of."""

    is_shared = False
    is_over = False

    async def read(
        self, fn: Callable[Concatenate[sa.Connection, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        if not self.is_over:
            self.is_over = True
            raise RuntimeError("nobody thought of this")
        return await super().read(fn, *args, **kwargs)


async def test_a_surprise_ends_neither_the_scheduler_nor_its_schedules(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    await desk.declare(HOURLY)
    async with desk.serving(desk.scheduler(store=Surprising(desk.store))):
        assert "scheduler.broke" in [record.getMessage() for record in caplog.records]
        await desk.pass_time(1)
        await desk.pass_time(HOUR_S - 1)
        assert [run.fire_at for run in await desk.runs()] == [hours(1)]


class SlowMachine(FakeClock):
    """A clock that goes on by 5 ms with each look at it: computing takes time."""

    def monotonic(self) -> float:
        self._monotonic += 0.005
        return self._monotonic


class Turns(IdFactory):
    """Ids, and in which turn of the event loop each was drawn."""

    turn = 0
    drawn_in: set[int]

    def fresh(self) -> str:
        self.drawn_in.add(self.turn)
        return super().fresh()

    async def count(self) -> None:
        while True:
            self.turn += 1
            await anyio.lowlevel.checkpoint()


async def test_others_have_their_turn_while_many_schedules_are_decided() -> None:
    async with open_store("sqlite://") as store, anyio.create_task_group() as others:
        desk = Desk(store, clock=SlowMachine())
        await desk.declare(*[HOURLY] * 40)
        async with desk.serving():
            pass
        desk.clock.advance(HOUR_S)
        desk.ids = turns = Turns(desk.clock, desk.chance)
        turns.drawn_in = set()
        others.start_soon(turns.count)
        async with desk.serving():
            pass
        assert (len(await desk.runs()), len(turns.drawn_in)) == (40, 40 // 4)
        others.cancel_scope.cancel()


async def test_a_newer_run_asks_for_the_end_of_the_one_that_executes(desk: Desk) -> None:
    (agent,) = await desk.declare(msgspec.structs.replace(HOURLY, overlap="cancel_running"))
    async with desk.serving():
        await desk.pass_time(HOUR_S)
        (run,) = await desk.runs()
        assert agent.device_id is not None
        executing = sa.update(run_table).values(
            state=RunState.RUNNING, fence=1, lease_boot_id=BOOT, lease_expires_at=2**52
        )
        await desk.change(executing)
        await desk.pass_time(HOUR_S)
        assert desk.cancelled == [run.id]
        assert [found.state for found in await desk.runs()] == [RunState.RUNNING, RunState.QUEUED]


async def test_an_owner_reads_once_that_fires_are_dropped(desk: Desk) -> None:
    often = DeclaredSchedule(
        kind="every",
        every_ms=5_000,
        overlap="allow",
        coalesce="all",
        catchup_window_ms=HOUR_S * 1000,
        max_catchup=200,
    )
    await desk.declare(often)
    async with desk.serving():
        pass
    desk.clock.advance(5 * 102)
    async with desk.serving():
        await desk.pass_time(5)
    assert len(await desk.runs()) == 100
    assert [row.decision for row in await desk.fires()][-3:] == ["dropped_queue_full"] * 3
    assert len(await desk.told("schedule.queue_full")) == 1
    assert desk.metrics.reached()["waiting_runs"] >= 3


async def leader(desk: Desk) -> str | None:
    """The start of a hub that decides fires."""
    holder = sa.text("SELECT holder_boot_id FROM leases WHERE name = 'scheduler'")
    found: str | None = await desk.store.read(lambda c: c.execute(holder).scalar_one())
    return found


async def test_a_hub_that_lost_its_lease_decides_nothing_until_it_leads_again(desk: Desk) -> None:
    await desk.declare(HOURLY)
    shared = Shared(desk.store)
    async with desk.serving(desk.scheduler(store=shared)):
        await desk.store.write(nodes.end_others, OTHER_BOOT)
        term = await desk.store.write(nodes.acquire_lease, "scheduler", OTHER_BOOT, ttl_ms=3_600_000)
        assert term is not None
        await desk.pass_time(HOUR_S)
        assert await desk.runs() == []
        led = await leader(desk)
        await desk.store.write(nodes.resign_lease, term)
        await desk.pass_time(5)
        assert (led, await leader(desk)) == (OTHER_BOOT, BOOT)
        assert [run.fire_at for run in await desk.runs()] == [hours(1)]


async def test_of_two_hubs_one_decides_and_the_other_takes_over_when_it_stops(desk: Desk) -> None:
    await desk.declare(HOURLY)
    shared = Shared(desk.store)
    async with anyio.create_task_group() as second:
        async with desk.serving(desk.scheduler(BOOT, shared)):
            other = desk.scheduler(OTHER_BOOT, shared)
            second.start_soon(other.serve)
            await desk.comes_to(lambda: desk.clock.sleeping == 2)
            assert await leader(desk) == BOOT
            await desk.pass_time(HOUR_S, sleepers=2)
            assert [run.fire_at for run in await desk.runs()] == [hours(1)]
        await desk.pass_time(5)
        assert await leader(desk) == OTHER_BOOT
        await desk.pass_time(HOUR_S - 5)
        assert [row.fire_at for row in await desk.fires()] == [hours(1), hours(2)]
        second.cancel_scope.cancel()


async def test_a_hub_that_was_killed_does_not_keep_the_next_one_waiting_on_its_own_database(
    desk: Desk,
) -> None:
    await desk.declare(HOURLY)
    await desk.store.write(nodes.acquire_lease, "scheduler", OTHER_BOOT, ttl_ms=3_600_000)
    async with desk.serving():
        assert await leader(desk) == BOOT


async def test_new_time_zones_plan_every_cron_anew(desk: Desk) -> None:
    await desk.declare(DAILY)
    async with desk.serving():
        pass
    wrong = sa.update(schedule_table).values(next_fire_at=hours(500), due_at=hours(500))
    await desk.change(wrong)
    await desk.change(sa.update(hub_table).where(hub_table.c.key == "tzdata").values(value="2025z"))
    async with desk.serving():
        (schedule,) = await desk.schedules()
        assert schedule.next_fire_at == hours(24)


async def test_decided_fires_are_counted_with_how_late_they_were(desk: Desk) -> None:
    await desk.declare(HOURLY)
    async with desk.serving():
        await desk.pass_time(HOUR_S + 0.2)
        await desk.pass_time(HOUR_S)
    text = desk.metrics.render().decode()
    assert 'hub_fires_total{decision="run"} 1.0' in text
    assert 'hub_fires_total{decision="coalesced"} 1.0' in text
    assert 'hub_scheduler_missed_total{policy="latest"} 1.0' in text
    assert "hub_scheduler_lag_seconds_count 2.0" in text
    assert 'hub_scheduler_lag_seconds_bucket{le="0.1"} 0.0' in text


@pytest.mark.parametrize("table", [schedule_table, configs], ids=["schedule", "settings of the agent"])
async def test_a_schedule_or_agent_that_cannot_be_read_is_paused_and_the_others_fire(
    desk: Desk, table: sa.Table
) -> None:
    (first, _) = await desk.declare(DAILY if table is schedule_table else HOURLY, HOURLY)
    broken = sa.update(table).where(table.c.agent_id == first.id)
    if table is schedule_table:
        await desk.change(broken.values(expr="every other Tuesday"))
    async with desk.serving():
        if table is configs:
            paths = broken.where(table.c.config_key == "paths")
            await desk.change(paths.values(config_value='{"glob": ["a"]}'))
        await desk.pass_time(HOUR_S)
        assert [schedule.paused_reason for schedule in await desk.schedules()] == ["broken", None]
        assert [run.agent_name for run in await desk.runs()] == ["agent-1"]
    (why,) = await desk.told("schedule.broken")
    assert "cannot be read" in why


async def test_an_agent_whose_tables_are_of_a_newer_release_does_not_stop_the_others(desk: Desk) -> None:
    await desk.declare(HOURLY, HOURLY)
    unreadable: dict[str, Any] = {"data_types": ["holograms"]}
    table = sa.table("agents", sa.column("name"), sa.column("data_types"))
    spelled = msgspec.json.encode(unreadable["data_types"]).decode()
    await desk.change(sa.update(table).where(table.c.name == "agent-0").values(data_types=spelled))
    async with desk.serving():
        await desk.pass_time(HOUR_S)
    assert [run.agent_name for run in await desk.runs()] == ["agent-1"]

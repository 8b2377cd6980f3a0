"""A schedule fires at its time, once, whatever happened to clocks, devices and hubs meanwhile."""

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any, Concatenate, ParamSpec, TypeVar

import anyio
import anyio.lowlevel
import msgspec
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from hub.agents.prompts import BadPrompt
from hub.base.clock import IdFactory, epoch_ms
from hub.runs import scheduler
from hub.runs.run_order import RunSettings
from protocol.agent_status import Axis, Lifecycle
from protocol.errors import CodedError, ErrorCode
from protocol.ids import AgentId, DeviceId, RunId, TemplateId, UserId
from protocol.lifecycles import RunState
from storage import leases
from storage.agents import agents, config_changes, declared_agents, state_moves, template_changes
from storage.agents.agents import AgentRow
from storage.agents.config_changes import NewConfig
from storage.agents.declared_agents import DeclaredAgent
from storage.agents.due_schedules import DueSchedule
from storage.agents.templates import WrittenTemplate
from storage.devices import users
from storage.effects.fire_runs import BackfillPlan, BackfillSight
from storage.effects.first_runs import note_connects
from storage.runs import run_moves, runs, waiting_runs
from storage.schedules import schedules
from storage.schedules.fires import FireRow
from storage.schedules.schedule_rows import DeclaredSchedule, ScheduleRow
from storage.schema import agent_configs as configs
from storage.schema import hub as hub_table
from storage.schema import runs as run_table
from storage.schema import schedules as schedule_table
from storage.store import Store, open_store
from tests.support.clock import START, FakeClock, SeededChance
from tests.support.coded import coded
from tests.support.presence import have_connected, open_session
from tests.support.runs import Bench
from tests.support.schedules import BOOT, DAILY, HOUR_S, HOURLY, OTHER_BOOT, Desk, Shared, hours

P = ParamSpec("P")
T = TypeVar("T")


async def test_schedule_queues_a_run_at_the_fire_time(desk: Desk) -> None:
    await desk.declare(HOURLY)
    async with desk.serving():
        await desk.pass_time(HOUR_S - 1)
        assert await desk.runs() == []
        await desk.pass_time(1)
        (run,) = await desk.runs()
        assert (run.fire_at, run.trigger_kind, run.state) == (hours(1), "schedule", RunState.QUEUED)
        assert (run.created_at, desk.told_queued) == (hours(1), 1)


async def test_scheduled_run_has_the_agent_settings_of_the_fire_time(desk: Desk) -> None:
    (agent,) = await desk.declare(HOURLY)
    async with desk.serving():
        await desk.pass_time(HOUR_S)
        (run,) = await desk.runs()
    assert (run.agent_id, run.device_id, run.config_rev) == (agent.id, agent.device_id, 1)
    assert run.settings["data_types"] == ["tasks"]
    assert run.settings["config_fingerprint"] == run.config_fingerprint


async def test_three_fires_missed_during_a_hub_downtime_make_a_single_catchup_run(desk: Desk) -> None:
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


async def test_a_new_schedule_is_planned_as_soon_as_the_scheduler_is_notified(desk: Desk) -> None:
    async with desk.serving():
        await desk.declare(HOURLY)
        await desk.looks_again()
        (schedule,) = await desk.schedules()
        assert (schedule.next_fire_at, schedule.due_at) == (hours(1), hours(1))


async def test_fire_of_a_schedule_with_jitter_is_decided_at_the_due_time(desk: Desk) -> None:
    await desk.declare(msgspec.structs.replace(HOURLY, jitter_ms=120_000))
    async with desk.serving():
        (schedule,) = await desk.schedules()
        assert schedule.due_at is not None
        assert hours(1) < schedule.due_at <= hours(1) + 120_000
        await desk.pass_time((schedule.due_at - desk.at) / 1000 - 0.002)
        assert await desk.runs() == []
        await desk.pass_time(0.002)
        assert [run.fire_at for run in await desk.runs()] == [hours(1)]


async def test_jitter_is_below_half_the_interval_between_fires(desk: Desk) -> None:
    await desk.declare(DeclaredSchedule(kind="every", every_ms=10_000, jitter_ms=3_600_000))
    async with desk.serving():
        (schedule,) = await desk.schedules()
        assert schedule.due_at is not None
        assert schedule.next_fire_at is not None
        assert schedule.due_at - schedule.next_fire_at < 5_000


async def test_fire_after_a_jittered_late_fire_is_not_decided_early(desk: Desk) -> None:
    await desk.declare(DeclaredSchedule(kind="every", every_ms=10_000, jitter_ms=4_999))
    async with desk.serving():
        (schedule,) = await desk.schedules()
        assert schedule.due_at is not None
        await desk.pass_time((schedule.due_at - desk.at) / 1000 + 9.9)
        (schedule,) = await desk.schedules()
        assert schedule.cursor_at == epoch_ms(START) + 10_000


async def put_in_the_way(desk: Desk, agent: AgentRow, **given: Any) -> None:
    """A run of the agent that has what a fire's run is to have."""
    row = {"id": "x", "agent_id": agent.id, "fire_key": "k", "fire_at": 0, "trigger_kind": "manual"}
    row |= {"config_rev": 1, "config_fingerprint": "", "eligible_at": 0, "created_at": 0, "updated_at": 0}
    await desk.change(sa.insert(run_table).values(**(row | given)))


async def test_schedule_with_a_cursor_set_back_decides_each_fire_once(desk: Desk) -> None:
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


async def test_schedule_with_unwritable_fires_is_paused_as_broken_and_others_fire(
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


async def test_unexpected_store_error_does_not_end_the_scheduler(
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


async def test_deciding_many_schedules_yields_to_other_tasks() -> None:
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


async def test_newer_run_requests_cancellation_of_the_executing_run(desk: Desk) -> None:
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


async def test_dropped_fires_of_a_full_queue_are_reported_once_to_the_owner(desk: Desk) -> None:
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


async def test_hub_without_the_scheduler_lease_decides_no_fire_until_leader_again(desk: Desk) -> None:
    await desk.declare(HOURLY)
    shared = Shared(desk.store)
    async with desk.serving(desk.scheduler(store=shared)):
        await desk.store.write(leases.end_others, OTHER_BOOT)
        term = await desk.store.write(leases.acquire_lease, "scheduler", OTHER_BOOT, ttl_ms=3_600_000)
        assert term is not None
        await desk.pass_time(HOUR_S)
        assert await desk.runs() == []
        led = await leader(desk)
        await desk.store.write(leases.resign_lease, term)
        await desk.pass_time(5)
        assert (led, await leader(desk)) == (OTHER_BOOT, BOOT)
        assert [run.fire_at for run in await desk.runs()] == [hours(1)]


async def test_second_hub_takes_over_the_scheduler_after_the_first_stops(desk: Desk) -> None:
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


async def test_scheduler_lease_of_a_killed_hub_is_taken_without_waiting(
    desk: Desk,
) -> None:
    await desk.declare(HOURLY)
    await desk.store.write(leases.acquire_lease, "scheduler", OTHER_BOOT, ttl_ms=3_600_000)
    async with desk.serving():
        assert await leader(desk) == BOOT


async def test_changed_time_zone_data_replans_every_cron_schedule(desk: Desk) -> None:
    await desk.declare(DAILY)
    async with desk.serving():
        pass
    wrong = sa.update(schedule_table).values(next_fire_at=hours(500), due_at=hours(500))
    await desk.change(wrong)
    await desk.change(sa.update(hub_table).where(hub_table.c.key == "tzdata").values(value="2025z"))
    async with desk.serving():
        (schedule,) = await desk.schedules()
        assert schedule.next_fire_at == hours(24)


async def test_scheduler_metrics_count_decided_fires_and_the_lag(desk: Desk) -> None:
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
async def test_unreadable_schedule_or_agent_is_paused_and_the_others_fire(
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


# --- requests of people: to pause, to fire again, to catch up, to list the next fires ---


@pytest.mark.parametrize(
    ("catch_up", "made", "fires"),
    [
        (False, [], [("skipped_paused", "schedule_paused", 3)]),
        (True, [("catchup", hours(3), 2)], [("coalesced", "schedule_paused", 2), ("run", None, 1)]),
    ],
    ids=["skipped", "made up for"],
)
async def test_fires_of_a_pause_are_skipped_or_made_up_for_by_a_single_run(
    desk: Desk, catch_up: bool, made: list[tuple[str, int, int]], fires: list[tuple[str, str | None, int]]
) -> None:
    await desk.declare(HOURLY)
    async with desk.serving() as scheduler:
        (schedule,) = await desk.schedules()
        assert await scheduler.pause(schedule, actor="me")
        await desk.pass_time(3.5 * HOUR_S)
        assert await desk.runs() == []
        (paused,) = await desk.schedules()
        assert await scheduler.enable(paused, catch_up=catch_up, actor="me")
        await desk.looks_again()
        assert [(run.trigger_kind, run.fire_at, run.coalesced_count) for run in await desk.runs()] == made
        assert [(row.decision, row.reason, row.fires) for row in await desk.fires()] == fires
        await desk.pass_time(0.5 * HOUR_S)
        assert [run.fire_at for run in await desk.runs()] == [hours(4)]
    assert await desk.told("schedule.paused") == ["Schedule paused"]
    assert await desk.told("schedule.enabled") == ["Schedule fires again"]


async def test_backfill_makes_runs_for_old_fires_without_a_run(desk: Desk) -> None:
    (agent,) = await desk.declare(msgspec.structs.replace(HOURLY, catchup_window_ms=0))
    async with desk.serving():
        await desk.pass_time(HOUR_S)
    desk.clock.advance(5.5 * HOUR_S)
    async with desk.serving() as scheduler:
        (schedule,) = await desk.schedules()
        assert [(row.decision, row.fires) for row in await desk.fires()] == [
            ("run", 1),
            ("skipped_window", 5),
        ]
        asked = (schedule.id, hours(1), hours(4))
        tried = await scheduler.backfill(*asked, actor="me", dry_run=True)
        assert (len(tried.fires), tried.missing, tried.runs) == (4, (hours(2), hours(3), hours(4)), ())
        done = await scheduler.backfill(*asked, actor="me")
        assert done.missing == tried.missing
        assert [(row.fire_at, row.decision, row.fires) for row in await desk.fires()] == [
            (hours(1), "run", 1),
            (hours(2), "run", 1),
            (hours(3), "run", 1),
            (hours(4), "run", 1),
            (hours(6), "skipped_window", 2),
        ]
        again = await scheduler.backfill(*asked, actor="me")
        assert (len(again.fires), again.missing) == (4, ())
        made = [run for run in await desk.runs() if run.trigger_kind == "backfill"]
        assert ({run.id for run in made}, {run.agent_id for run in made}) == (set(done.runs), {agent.id})
        assert desk.told_queued == 2


async def test_backfill_of_more_than_a_thousand_runs_is_refused(desk: Desk) -> None:
    await desk.declare(DeclaredSchedule(kind="cron", expr="* * * * *"))
    async with desk.serving() as scheduler:
        (schedule,) = await desk.schedules()
        with pytest.raises(CodedError, check=coded(ErrorCode.BAD_PARAMS), match="1000"):
            await scheduler.backfill(schedule.id, hours(-24), hours(0), actor="me")


async def test_the_next_fires_are_listed(desk: Desk) -> None:
    await desk.declare(DeclaredSchedule(kind="cron", expr="30 2 * * *", tz="Europe/Berlin"))
    (schedule,) = await desk.schedules()
    (first, *rest) = desk.scheduler().forecast(schedule, count=3)
    assert (first.at, first.local.hour, len(rest)) == (datetime(2026, 1, 6, 1, 30, tzinfo=UTC), 2, 2)


# --- whatever range is backfilled: every fire is told of by one row, and has one run at most ---


EVERY = 10_000
FIRES = range(EVERY, 31 * EVERY, EVERY)  # thirty, all decided
PARAMETERS = RunSettings(
    paths=(), file_extensions=(), data_types=(), prompt="", timezone="UTC", config_fingerprint="f"
)
SCHEDULE = ScheduleRow(
    kind="every",
    every_ms=EVERY,
    id="s",
    agent_id=AgentId("a"),
    agent_name="notes",
    device_id=DeviceId("d"),
    lifecycle="active",
    is_archived=False,
    enabled=True,
    paused_reason=None,
    is_catching_up=False,
    consecutive_failures=0,
    cursor_at=FIRES[-1],
    next_fire_at=FIRES[-1] + EVERY,
    due_at=FIRES[-1] + EVERY,
    first_connect=None,
    rev=1,
    created_at=0,
    updated_at=0,
)
DUE = DueSchedule(
    schedule=SCHEDULE,
    paths=(),
    file_extensions=(),
    data_types=(),
    prompt="",
    timezone="UTC",
    priority=0,
    config_rev=1,
)


def row(first: int, last: int, decision: str) -> FireRow:
    """The *first* to the *last* fire, counted from 0, told of together."""
    run_id = RunId(f"old-{last}") if decision in ("run", "coalesced") else None
    made = FireRow("s", FIRES[last], FIRES[first], last - first, "run", None, run_id, 0)
    return msgspec.structs.replace(made, decision=decision)


@st.composite
def histories(draw: st.DrawFn) -> list[FireRow]:
    """Rows that tell of all thirty fires."""
    ends = [*sorted(draw(st.sets(st.integers(0, 28)))), 29]
    starts = [0, *(end + 1 for end in ends[:-1])]
    decisions = st.sampled_from(["run", "coalesced", "skipped_window", "skipped_overlap"])
    return [row(first, last, draw(decisions)) for first, last in zip(starts, ends, strict=True)]


def planned(rows: list[FireRow], first: int, last: int, had: dict[int, RunId]) -> BackfillPlan:
    fires = scheduler.fires_between(SCHEDULE, first, last)
    within = tuple(told for told in rows if told.fire_at >= fires[0] and told.first_at <= fires[-1])
    seen = BackfillSight(within, {at: run_id for at, run_id in had.items() if at in fires})
    return scheduler.plan_backfill(DUE, fires, seen, PARAMETERS, IdFactory(FakeClock(), SeededChance()))


@given(
    histories(),
    st.tuples(st.integers(0, 29), st.integers(0, 29)).map(sorted),
    st.dictionaries(st.sampled_from(FIRES), st.just(RunId("kept")), max_size=3),
)
def test_backfill_plan_covers_every_fire_exactly_once(
    rows: list[FireRow], bounds: list[int], had: dict[int, RunId]
) -> None:
    first, last = (FIRES[bound] for bound in bounds)
    plan = planned(rows, first, last, had)
    stay = [told for told in rows if told not in plan.dropped]
    spans = [(told.first_at, told.fire_at, told.fires) for told in (*stay, *plan.remaining)]
    spans += [(run.fire_at, run.fire_at, 1) for run in plan.runs]
    assert sorted([at for begin, end, _ in spans for at in FIRES if begin <= at <= end]) == list(FIRES)
    assert sum(count for _, _, count in spans) == len(FIRES)


@given(histories())
def test_backfill_plans_runs_only_for_skipped_fires(rows: list[FireRow]) -> None:
    plan = planned(rows, FIRES[0], FIRES[-1], {})
    skipped = [
        at
        for told in rows
        if told.decision.startswith("skipped")
        for at in FIRES
        if told.first_at <= at <= told.fire_at
    ]
    assert [run.fire_at for run in plan.runs] == skipped


def test_fires_between_two_instants_include_both_ends() -> None:
    assert scheduler.fires_between(SCHEDULE, FIRES[3], FIRES[5]) == tuple(FIRES[3:6])
    assert scheduler.fires_between(SCHEDULE, FIRES[3] + 1, FIRES[5] - 1) == (FIRES[4],)
    assert scheduler.fires_between(SCHEDULE, FIRES[-1] + 1, FIRES[-1] + EVERY) == ()


# --- an agent that has never run gets one run when its device first connects, if its schedule says so ---


CONNECTING = msgspec.structs.replace(DAILY, on_first_connect=True)


async def connect(desk: Desk, agent: AgentRow) -> None:
    """Connect the agent's device in place of an earlier connection."""
    assert agent.device_id is not None
    await desk.store.write(open_session, agent.device_id, boot_id=BOOT, platform=None, at=desk.at)


async def test_only_the_first_awaited_connection_makes_a_schedule_due(
    desk: Desk,
) -> None:
    (agent,) = await desk.declare(CONNECTING)
    assert agent.device_id is not None
    noted = [await desk.store.write(note_connects, [agent.device_id], desk.at) for _ in range(2)]
    assert noted == [True, False]


async def start_by_hand(desk: Desk, agent: AgentRow) -> None:
    """Queue a run of the agent."""
    id = RunId(desk.ids.fresh())
    await desk.store.write(
        run_moves.create_run, id=id, agent=agent, fire_key=id, at=desk.at, config_fingerprint=""
    )


async def state_of(desk: Desk) -> str | None:
    """Return how far the first run at a connection has come."""
    (schedule,) = await desk.schedules()
    return schedule.first_connect


async def test_schedule_on_first_connect_makes_a_single_run_at_the_first_connection(desk: Desk) -> None:
    (agent,) = await desk.declare(CONNECTING)
    async with desk.serving():
        await desk.looks_again()
        assert (await desk.runs(), await state_of(desk)) == ([], "awaited")
        for _ in range(3):
            await connect(desk, agent)
            await desk.looks_again()
        (run,) = await desk.runs()
        assert (run.state, run.trigger_kind, run.fire_at) == (RunState.QUEUED, "catchup", desk.at)
        (move,) = await desk.store.read(runs.run_history, run.id)
        assert (move.reason, move.actor) == ("first_connect", "scheduler")
        assert (await state_of(desk), await desk.fires()) == ("done", [])


@pytest.mark.parametrize(
    ("schedule", "kinds", "state"),
    [(DAILY, [], None), (CONNECTING, ["manual"], "done")],
    ids=["without the setting", "has a run of whatever kind"],
)
async def test_a_connection_starts_no_run_without_the_setting_or_after_another_run(
    desk: Desk, schedule: DeclaredSchedule, kinds: list[str], state: str | None
) -> None:
    (agent,) = await desk.declare(schedule)
    for _ in kinds:
        await start_by_hand(desk, agent)
    async with desk.serving():
        await connect(desk, agent)
        await desk.looks_again()
        assert ([run.trigger_kind for run in await desk.runs()], await state_of(desk)) == (kinds, state)


async def test_first_connection_makes_a_run_after_a_run_cancelled_by_start_deadline(desk: Desk) -> None:
    in_time = msgspec.structs.replace(HOURLY, on_first_connect=True, catchup_window_ms=0)
    (agent,) = await desk.declare(in_time)
    async with desk.serving():
        await desk.pass_time(HOUR_S)
        await desk.pass_time(120)
        await desk.store.write(waiting_runs.sweep, desk.at, paused_ms=1)
        (late,) = await desk.runs()
        assert (late.state, late.reason) == (RunState.CANCELLED, "start_deadline")
        await connect(desk, agent)
        await desk.looks_again()
        assert [run.state for run in await desk.runs()] == [RunState.CANCELLED, RunState.QUEUED]


async def test_connection_during_a_pause_of_agent_or_schedule_makes_no_run(desk: Desk) -> None:
    (agent,) = await desk.declare(CONNECTING)
    (schedule,) = await desk.schedules()
    async with desk.serving():
        await desk.store.write(schedules.set_enabled, schedule.id, False, at=desk.at)
        await connect(desk, agent)
        await desk.store.write(schedules.set_enabled, schedule.id, True, at=desk.at)
        await desk.looks_again()
        assert (await desk.runs(), await state_of(desk)) == ([], "awaited")
        lifecycle = partial(state_moves.move, agent_id=agent.id, axis=Axis.LIFECYCLE, actor="operator:0")
        await desk.store.write(lifecycle, to=Lifecycle.PAUSED, at=desk.at)
        await connect(desk, agent)
        await desk.looks_again()
        assert (await desk.runs(), await state_of(desk)) == ([], "awaited")
        await desk.store.write(lifecycle, to=Lifecycle.ACTIVE, at=desk.at)
        await connect(desk, agent)
        await desk.looks_again()
        assert len(await desk.runs()) == 1


async def test_schedule_edit_retains_the_first_connect_state_until_switched_off_and_on(
    desk: Desk,
) -> None:
    (agent,) = await desk.declare(CONNECTING)
    async with desk.serving():
        await connect(desk, agent)
        await desk.looks_again()
        await desk.declare(msgspec.structs.replace(CONNECTING, expr="0 10 * * *"))
        assert await state_of(desk) == "done"
        await desk.declare(DAILY)
        assert await state_of(desk) is None
        await desk.declare(CONNECTING)
        assert await state_of(desk) == "awaited"
        await connect(desk, agent)
        await desk.looks_again()
        assert (len(await desk.runs()), await state_of(desk)) == (1, "done")


# --- prompts with variables, as runs are made with them ---


TEMPLATE = WrittenTemplate(
    name="t", default_configuration={"depth": 2}, prompt_template="{{ agent }}: {{ project }}, {{ depth }}"
)
EVERY_HOUR = DeclaredSchedule(kind="every", every_ms=3_600_000)
NOTES = DeclaredAgent(
    name="notes",
    device_name="desk",
    paths=("notes",),
    data_types=("tasks",),
    template="t",
    schedule=EVERY_HOUR,
    config=(NewConfig(key="project", value="apollo"),),
)


async def declared(store: Store, agent: DeclaredAgent = NOTES) -> AgentRow:
    user_id = await store.write(users.ensure_user, UserId("u"), "owner", 1)
    await store.write(
        template_changes.put_template,
        TEMPLATE,
        fresh_id=TemplateId("t"),
        at=1,
        actor="anna",
        check=lambda _: (),
    )
    await store.write(
        declared_agents.reconcile_declared,
        user_id=user_id,
        declared=[agent],
        at=1,
        fresh_ids=["a", "b", "c", "d"],
    )
    await store.write(have_connected)
    (row,) = await store.read(agents.list_agents)
    return row


async def configure(store: Store, agent: AgentRow, **values: object) -> None:
    puts = [NewConfig(key=key, value=value) for key, value in values.items()]
    await store.write(config_changes.declare, agent.id, puts, at=2, actor="hub.toml")


async def test_variable_value_in_the_prompt_changes_the_config_fingerprint_of_a_run(
    store: Store,
) -> None:
    bench = Bench(store, await declared(store))
    made = []
    for more in ({}, {}, {"unused": 5}, {"project": "gemini"}):
        await configure(store, bench.agent, **({"project": "apollo"} | more))
        made.append((await bench.control.submit(bench.agent)).settings)
    assert [one["prompt"] for one in made] == ["notes: apollo, 2"] * 3 + ["notes: gemini, 2"]
    first, same, unused, other = (one["config_fingerprint"] for one in made)
    assert first == same == unused != other


async def test_a_run_whose_prompt_cannot_be_rendered_is_not_queued(store: Store) -> None:
    bench = Bench(store, await declared(store, msgspec.structs.replace(NOTES, config=())))
    with pytest.raises(BadPrompt, match="'project'"):
        await bench.control.submit(bench.agent)
    assert await store.read(runs.list_runs) == []


async def test_scheduled_run_has_the_prompt_rendered_with_variables(store: Store) -> None:
    await declared(store)
    desk = Desk(store)
    async with desk.serving():
        await desk.pass_time(HOUR_S)
    assert {run.settings["prompt"] for run in await desk.runs()} == {"notes: apollo, 2"}


async def test_a_schedule_whose_prompt_cannot_be_rendered_pauses_with_the_reason(store: Store) -> None:
    await declared(store, msgspec.structs.replace(NOTES, config=()))
    desk = Desk(store)
    async with desk.serving():
        await desk.pass_time(HOUR_S)
    (schedule,) = await desk.schedules()
    assert (schedule.enabled, schedule.paused_reason, await desk.runs()) == (False, "broken", [])

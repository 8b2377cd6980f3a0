"""An agent that has never run gets one run when its device first connects, if its schedule says so."""

from functools import partial

import anyio
import msgspec
import pytest

from protocol.agent_status import Axis, Lifecycle
from protocol.ids import RunId
from protocol.lifecycles import RunState
from storage.agents import agent_moves
from storage.agents.agents import AgentRow
from storage.devices import devices
from storage.runs import run_moves, run_pauses, runs
from storage.schedules import schedules
from storage.schedules.fires import note_connects
from storage.schedules.schedule_rows import DeclaredSchedule
from tests.support.presence import BOOT, open_session
from tests.support.schedules import DAILY, HOUR_S, HOURLY, OTHER_BOOT, Desk, Shared

CONNECTING = msgspec.structs.replace(DAILY, on_first_connect=True)


async def connect(desk: Desk, agent: AgentRow) -> None:
    """Connect the agent's device in place of an earlier connection."""
    assert agent.device_id is not None
    await desk.store.write(open_session, agent.device_id, boot_id=BOOT, platform=None, at=desk.at)


async def test_first_connection_that_a_schedule_waits_for_makes_it_due_and_the_next_does_not(
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


async def test_an_agent_that_never_ran_runs_once_when_its_device_first_connects(desk: Desk) -> None:
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


async def test_a_run_that_could_not_start_in_time_leaves_its_agent_one_that_never_ran(desk: Desk) -> None:
    in_time = msgspec.structs.replace(HOURLY, on_first_connect=True, catchup_window_ms=0)
    (agent,) = await desk.declare(in_time)
    async with desk.serving():
        await desk.pass_time(HOUR_S)
        await desk.pass_time(120)
        await desk.store.write(run_pauses.sweep, desk.at, paused_ms=1)
        (late,) = await desk.runs()
        assert (late.state, late.reason) == (RunState.CANCELLED, "start_deadline")
        await connect(desk, agent)
        await desk.looks_again()
        assert [run.state for run in await desk.runs()] == [RunState.CANCELLED, RunState.QUEUED]


async def test_a_hub_that_dies_between_the_connection_and_the_run_makes_it_once_after_its_start(
    desk: Desk,
) -> None:
    (agent,) = await desk.declare(CONNECTING)
    async with desk.serving():
        pass  # it dies here
    await connect(desk, agent)
    assert (await state_of(desk), await desk.runs()) == ("due", [])
    left = await desk.store.write(devices.close_left_sessions, desk.at, boot_id=OTHER_BOOT, is_alone=True)
    assert left == 1
    for _ in range(2):
        async with desk.serving():
            await connect(desk, agent)
            await desk.looks_again()
            assert len(await desk.runs()) == 1


async def test_of_two_hubs_on_one_database_one_makes_the_run(desk: Desk) -> None:
    (agent,) = await desk.declare(CONNECTING)
    shared = Shared(desk.store)
    async with anyio.create_task_group() as second:
        async with desk.serving(desk.scheduler(store=shared)):
            other = desk.scheduler(OTHER_BOOT, shared)
            second.start_soon(other.serve)
            await desk.comes_to(lambda: desk.clock.sleeping == 2)
            await connect(desk, agent)
            other.recheck()
            desk.current.recheck()
            await desk.pass_time(30, sleepers=2)
            assert len(await desk.runs()) == 1
        await desk.pass_time(60)  # the other hub takes over
        assert len(await desk.runs()) == 1
        second.cancel_scope.cancel()


async def test_missed_fires_and_a_first_connection_start_one_run_between_them(desk: Desk) -> None:
    (agent,) = await desk.declare(msgspec.structs.replace(CONNECTING, overlap="allow"))
    async with desk.serving():
        pass
    desk.clock.advance(50 * HOUR_S)
    await connect(desk, agent)
    async with desk.serving():
        (run,) = await desk.runs()
        assert (run.trigger_kind, run.coalesced_count) == ("catchup", 1)
        assert await state_of(desk) == "done"


async def test_a_paused_agent_or_schedule_waits_for_a_connection_after_its_pause(desk: Desk) -> None:
    (agent,) = await desk.declare(CONNECTING)
    (schedule,) = await desk.schedules()
    async with desk.serving():
        await desk.store.write(schedules.set_enabled, schedule.id, False, at=desk.at)
        await connect(desk, agent)
        await desk.store.write(schedules.set_enabled, schedule.id, True, at=desk.at)
        await desk.looks_again()
        assert (await desk.runs(), await state_of(desk)) == ([], "awaited")
        lifecycle = partial(agent_moves.move, agent_id=agent.id, axis=Axis.LIFECYCLE, actor="operator:0")
        await desk.store.write(lifecycle, to=Lifecycle.PAUSED, at=desk.at)
        await connect(desk, agent)
        await desk.looks_again()
        assert (await desk.runs(), await state_of(desk)) == ([], "awaited")
        await desk.store.write(lifecycle, to=Lifecycle.ACTIVE, at=desk.at)
        await connect(desk, agent)
        await desk.looks_again()
        assert len(await desk.runs()) == 1


async def test_an_edit_keeps_what_was_decided_and_switching_it_on_again_asks_whether_the_agent_ran(
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

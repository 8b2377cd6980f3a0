"""What people ask of schedules: to pause, to fire again, to make up for old fires, to say what is to come."""

from datetime import UTC, datetime

import msgspec
import pytest

from protocol.errors import CodedError, ErrorCode
from storage.schedules.schedule_rows import DeclaredSchedule
from tests.support.coded import coded
from tests.support.schedules import HOUR_S, HOURLY, Desk, hours


async def test_a_paused_schedule_does_not_fire_and_says_afterwards_what_it_passed_over(desk: Desk) -> None:
    await desk.declare(HOURLY)
    async with desk.serving() as scheduler:
        (schedule,) = await desk.schedules()
        assert await scheduler.pause(schedule, actor="me")
        await desk.pass_time(3.5 * HOUR_S)
        assert await desk.runs() == []
        (paused,) = await desk.schedules()
        assert await scheduler.enable(paused, catch_up=False, actor="me")
        await desk.looks_again()
        (row,) = await desk.fires()
        assert (row.decision, row.reason, row.fires) == ("skipped_paused", "schedule_paused", 3)
        await desk.pass_time(0.5 * HOUR_S)
        assert [run.fire_at for run in await desk.runs()] == [hours(4)]
    assert await desk.told("schedule.paused") == ["Schedule paused"]
    assert await desk.told("schedule.enabled") == ["Schedule fires again"]


async def test_a_schedule_that_catches_up_runs_once_for_its_pause(desk: Desk) -> None:
    await desk.declare(HOURLY)
    async with desk.serving() as scheduler:
        (schedule,) = await desk.schedules()
        await scheduler.pause(schedule, actor="me")
        await desk.pass_time(3.5 * HOUR_S)
        (paused,) = await desk.schedules()
        await scheduler.enable(paused, catch_up=True, actor="me")
        await desk.looks_again()
        (run,) = await desk.runs()
        assert (run.trigger_kind, run.fire_at, run.coalesced_count) == ("catchup", hours(3), 2)
        assert [row.reason for row in await desk.fires()] == ["schedule_paused", None]


async def test_old_fires_without_a_run_get_one_on_request(desk: Desk) -> None:
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


async def test_a_backfill_ends_where_fires_are_still_to_come(desk: Desk) -> None:
    await desk.declare(HOURLY)
    async with desk.serving() as scheduler:
        await desk.pass_time(HOUR_S)
        (schedule,) = await desk.schedules()
        done = await scheduler.backfill(schedule.id, hours(0.5), hours(9), actor="me")
        assert (done.fires, done.missing) == ((hours(1),), ())


async def test_no_backfill_makes_more_than_a_thousand_runs(desk: Desk) -> None:
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

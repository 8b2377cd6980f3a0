"""Checks of agents, schedules and questions, over a real store."""

from collections.abc import AsyncIterator
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from hub.base.clock import epoch_ms
from hub.health import access_checks, work
from hub.health.issues import Severity
from hub.health.work import check_questions
from hub.runs.budget import Reached
from protocol.causes import AWAY, left_by
from protocol.ids import AgentId, BootId
from protocol.lifecycles import RunOutcome, RunState
from protocol.skipped_files import SkippedFile
from protocol.work import AgentAck, AgentComplete
from storage.agents import exhaustion, state_moves
from storage.coordination import questions
from storage.devices.devices import revoke_device
from storage.effects.sessions import close_left_sessions, close_session
from storage.schedules import schedules
from storage.schedules.schedule_rows import DeclaredSchedule
from storage.store import open_store
from tests.storage.rows import ME
from tests.storage.test_questions import DAY, a_board, ask, said
from tests.support.clock import START
from tests.support.presence import live, never_connect, open_session
from tests.support.runs import Bench, agent, bench, folder, store
from tests.support.schedules import HOUR_S, HOURLY, Desk

__all__ = ["agent", "bench", "store"]


async def test_exhausted_agent_is_reported_with_the_recovery_time(bench: Bench) -> None:
    look = partial(work.check_agents, bench.store, tuple)
    assert list(await look(START)) == []
    await bench.store.write(
        exhaustion.exhaust,
        bench.agent.id,
        cause="rate_limit",
        retry_after_ms=1_800_000,
        at=epoch_ms(START),
        actor="hub",
    )
    (found,) = await look(START + timedelta(minutes=10))
    assert (found.id, found.severity, found.user_id) == ("agent.exhausted", Severity.WARNING, "u")
    assert found.since == START
    back = START + timedelta(minutes=30)
    assert "a rate limit is reached for agent notes, and its runs wait" in found.explanation
    assert f"it is asked again at {back:%Y-%m-%d %H:%M} UTC" in found.explanation


async def test_reached_day_budget_is_reported_with_owner_and_end_time(
    bench: Bench,
) -> None:
    until = START + timedelta(hours=15)
    reached = [
        Reached("budget.day_usd", "the budget budget.day_usd = 5 is reached", until),
        Reached("agents.budget_usd", "the budget agents.budget_usd = 1 is reached", until, bench.agent.id),
    ]
    hubs, agents_own = await work.check_budgets(bench.store, lambda: reached, START)
    assert (hubs.id, hubs.severity, hubs.user_id) == ("budget.reached", Severity.WARNING, None)
    assert (agents_own.subject, agents_own.user_id) == (bench.agent.id, "u")
    assert agents_own.explanation.startswith("agent notes: the budget agents.budget_usd = 1 is reached")
    assert "runs go on at 2026-01-06 00:00 UTC" in agents_own.explanation


async def test_agent_exhausted_by_a_budget_is_reported_with_the_budget_fix(bench: Bench) -> None:
    await bench.store.write(
        exhaustion.exhaust,
        bench.agent.id,
        cause="budget",
        retry_after_ms=60_000,
        at=epoch_ms(START),
        actor="hub",
    )
    own = Reached("agents.budget_usd", "it is reached", START, bench.agent.id)
    others = Reached("agents.budget_usd", "it is reached", START, AgentId("another"))
    everybodys = Reached("budget.day_usd", "it is reached", START)
    reached = [others]
    look = partial(work.check_agents, bench.store, lambda: reached)
    (found,) = await look(START)  # the start of the hub that reached it is over
    assert found.id == "agent.exhausted"
    assert "a budget of the day is reached for agent notes" in found.explanation
    assert found.fix == "see hub costs; raise it in hub.toml, then hub agents resume notes"
    for held in (own, everybodys):
        reached[:] = [held]
        assert list(await look(START)) == []


async def test_agent_reporting_a_fault_is_an_error(bench: Bench) -> None:
    await bench.store.write(state_moves.move, bench.agent.id, "health", "error", at=1, actor="device")
    (found,) = await work.check_agents(bench.store, tuple, START)
    assert (found.id, found.severity) == ("agent.failing", Severity.ERROR)


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    """A device whose agent has schedules."""
    async with open_store("sqlite://") as opened:
        yield Desk(opened)


async def test_self_paused_schedule_is_reported_and_a_schedule_paused_by_a_person_is_not(
    desk: Desk,
) -> None:
    await desk.declare(HOURLY)
    async with desk.serving() as scheduler:
        (schedule,) = await desk.schedules()
        look = partial(work.check_schedules, desk.store)
        await scheduler.pause(schedule, actor="me")
        assert list(await look(START)) == []
        await scheduler.enable((await desk.schedules())[0], catch_up=False, actor="me")
    for _ in range(5):
        await desk.store.write(schedules.count_outcome, schedule.id, RunOutcome.ERROR, epoch_ms(START))
    (found,) = await look(START)
    assert (found.id, found.subject) == ("schedule.paused", schedule.id)
    assert "its runs failed again and again" in found.explanation


async def test_schedule_without_a_decided_fire_is_reported_as_overdue_after_five_minutes(desk: Desk) -> None:
    await desk.declare(HOURLY)
    look = partial(work.check_overdue, desk.store)
    due = START + timedelta(hours=1)
    async with desk.serving():
        pass  # plans the fire
    for later, count in ((timedelta(minutes=4), 0), (timedelta(minutes=5), 1), (timedelta(days=9), 1)):
        found = list(await look(due + later))
        assert [one.since for one in found] == [due] * count, later
    (schedule,) = await desk.schedules()
    assert (found[0].id, found[0].severity, found[0].subject) == (
        *("schedule.overdue", Severity.ERROR),
        schedule.id,
    )
    assert "was due at 2026-01-05 10:00 UTC, and did not fire" in found[0].explanation
    desk.clock.advance(2 * HOUR_S)
    async with desk.serving() as scheduler:
        assert list(await look(desk.clock.now())) == []
        await scheduler.pause(schedule, actor="me")
    assert list(await look(due + timedelta(days=9))) == []


async def test_single_time_schedule_past_without_a_run_is_reported(desk: Desk) -> None:
    await desk.declare(DeclaredSchedule(kind="at", at_ms=epoch_ms(START) - 60_000))
    async with desk.serving():
        (found,) = await work.check_schedules(desk.store, START)
    assert (found.id, found.severity, found.subject) == (
        "schedule.over",
        Severity.NOTICE,
        (await desk.schedules())[0].id,
    )
    assert "2026-01-05 08:59 UTC, which is over" in found.explanation


async def test_single_time_schedule_with_a_started_run_is_not_reported(desk: Desk) -> None:
    await desk.declare(DeclaredSchedule(kind="at", at_ms=epoch_ms(START) + 3_600_000))
    async with desk.serving():
        await desk.pass_time(3_600)
    assert len(await desk.runs()) == 1
    assert list(await work.check_schedules(desk.store, START)) == []


async def test_silent_agent_on_an_open_connection_is_reported(bench: Bench) -> None:
    assert bench.agent.device_id is not None
    there = {bench.agent.device_id}
    look = partial(work.check_silence, bench.store, lambda: there)
    moved: dict[str, Any] = {"at": epoch_ms(START), "actor": "hub", "reason": "no heartbeat for 45 s"}
    await bench.store.write(state_moves.move, bench.agent.id, "connectivity", "online", **moved)
    assert list(await look(START)) == []
    await bench.store.write(state_moves.move, bench.agent.id, "connectivity", "offline", **moved)
    (found,) = await look(START)
    assert (found.id, found.subject, found.user_id) == ("agent.silent", bench.agent.id, "u")
    assert "hub agents history notes --axis connectivity" in found.fix
    there.clear()
    assert list(await look(START)) == []


async def test_questions_waiting_longer_than_a_day_are_reported_once_per_user() -> None:
    async with open_store("sqlite://") as store:
        asked_at = epoch_ms(START)
        await store.write(lambda c: a_board(c) and None)
        for id in ("q-0", "q-1"):
            await store.write(ask, id, at=asked_at, expires_at=asked_at + 9 * DAY)
        look = partial(check_questions, store)
        assert list(await look(START + timedelta(hours=23))) == []
        (found,) = await look(START + timedelta(hours=25))
        assert (found.id, found.severity, found.user_id, found.since) == (
            "question.waits",
            Severity.NOTICE,
            ME,
            START,
        )
        assert found.explanation == "2 questions wait for an answer of me since 2026-01-05"
        await store.write(questions.answer, "q-0", said())
        await store.write(questions.answer, "q-1", said(at=asked_at))
        assert list(await look(START + timedelta(hours=25))) == []


async def test_emptied_folder_is_reported_until_a_run_finds_a_file(
    bench: Bench,
) -> None:
    look = partial(work.check_emptied, bench.store)
    told: list[dict[str, str]] = [{}, {"a": "x", "b": "y"}, {}, {}, {"a": "x"}, {}]
    bench.connect(runs=[frames for files in told for frames in folder(**files)])
    seen = []
    for files in told[:-1]:
        bench.clock.advance(60)
        run = await bench.run()
        assert (run.state, run.units_total) == (RunState.COMPLETED, len(files))
        seen.append([(one.id, one.since) for one in await look(START)])
    issue = ("folder.empty", START + timedelta(minutes=2))
    assert seen == [[], [], [issue], [issue], []]
    await bench.run()
    (found,) = await look(START)
    assert "agent notes read files of" in found.explanation
    assert "on device desk until 2026-01-05 09:05 UTC, and finds none there" in found.explanation
    await bench.store.write(state_moves.move, bench.agent.id, "lifecycle", "paused", at=1, actor="user")
    assert list(await look(START)) == []


async def test_absent_device_is_reported_with_time_waiting_runs_and_commands(bench: Bench) -> None:
    assert bench.agent.device_id is not None
    look = partial(access_checks.check_absence, bench.store)
    await bench.control.submit(bench.agent)
    await bench.store.write(never_connect)
    soon, later = START + timedelta(minutes=10), START + timedelta(days=3)
    assert list(await look(soon - timedelta(seconds=1))) == []
    for at, severity in ((soon, "notice"), (later - timedelta(seconds=1), "notice"), (later, "warning")):
        (found,) = await look(at)
        assert found.severity == severity, at
    assert found.explanation == (
        "device desk has never connected, and 1 run waits for it since 2026-01-05 09:00 UTC"
    )
    await bench.store.write(live)
    await bench.store.write(open_session, bench.agent.device_id, at=epoch_ms(START))
    assert list(await look(later)) == []
    await bench.store.write(close_left_sessions, epoch_ms(START), boot_id=BootId("next"), is_alone=True)
    (found,) = await look(later)
    assert (found.id, found.since, found.user_id) == ("device.absent", START, "u")
    assert found.explanation.startswith("device desk is away since 2026-01-05 09:00 UTC, and 1 run waits")
    assert found.fix.endswith("hub devices revoke desk, and hub agents pause notes")
    await bench.store.write(revoke_device, bench.agent.device_id, at=epoch_ms(START), actor="me")
    assert list(await look(later)) == []
    (found,) = await access_checks.check_device_names(
        bench.store, START
    )  # at once, and though it was the only device
    assert (found.id, found.since) == ("device.unknown", START)
    assert found.explanation.endswith("'desk', which was revoked, so none of its runs starts")
    assert found.fix.endswith("hub connect URL --root DIR --name desk --new-key; or hub agents pause notes")
    await bench.store.write(state_moves.move, bench.agent.id, "lifecycle", "paused", at=1, actor="user")
    assert list(await access_checks.check_device_names(bench.store, START)) == []


@pytest.mark.parametrize(
    ("word", "after", "remedy"),
    [
        ("bad_frame", timedelta(), "hub logs --device desk"),
        ("stopped", timedelta(minutes=10), "on desk, start it as before: hub up"),
        ("connection_lost", timedelta(minutes=10), "on desk, start it as before: hub up"),
        ("paused", timedelta(days=3), "on desk: hub device resume"),
    ],
)
async def test_absent_device_is_reported_once_its_cause_lasts_with_the_remedy_of_the_cause(
    bench: Bench, word: str, after: timedelta, remedy: str
) -> None:
    device_id = bench.agent.device_id
    assert device_id is not None
    epoch = await bench.store.write(open_session, device_id, at=epoch_ms(START))
    await bench.store.write(close_session, device_id, epoch, epoch_ms(START), reason=left_by(word))
    await bench.control.submit(bench.agent)
    look = partial(access_checks.check_absence, bench.store)
    if after:
        assert list(await look(START + after - timedelta(seconds=1))) == []
    (found,) = await look(START + after)
    assert f"({AWAY[word].sentence})" in found.explanation
    assert remedy in found.fix


@pytest.mark.parametrize(
    ("reason", "missing", "shown"),
    [
        ("nothing_shared", [], "device desk shares none of the folders that the agent reads"),
        ("nothing_shared", ["~/notes"], "~/notes was moved or renamed, or its disk is not there"),
        ("overloaded", [], None),  # it passes
    ],
)
async def test_failed_run_after_a_success_is_reported_at_once_if_its_reason_lasts(
    bench: Bench, reason: str, missing: list[str], shown: str | None
) -> None:
    refused = AgentAck(run_id="r", fence=1, accepted=False, reason=reason)
    link = bench.connect(runs=[*folder(a="- [ ] one"), [refused]])
    link.missing = missing
    await bench.run()
    await bench.run()
    found = list(await work.check_failing(bench.store, bench.clock.now()))
    assert [finding.explanation for finding in found] == (
        [] if shown is None else [f"agent notes failed in its last run: {shown}"]
    )


async def test_agent_with_failing_runs_is_an_error_with_reason_and_command_until_a_run_succeeds(
    bench: Bench,
) -> None:
    frames = folder(a="- [ ] one")[0]
    frames[-1] = AgentComplete(run_id="r", skipped=[SkippedFile(path="notez", reason="missing")])
    look = partial(work.check_failing, bench.store)
    (changed,) = folder(a="- [ ] one", b="- [ ] two")
    partly = [*changed[:-1], frames[-1]]
    bench.connect(runs=[[*frames[:1], frames[-1]], *folder(a="- [ ] one"), partly])
    await bench.run()
    now = bench.clock.now()
    (found,) = await look(now)
    assert (found.id, found.severity, found.subject) == ("agent.runs_fail", Severity.ERROR, bench.agent.id)
    assert found.explanation == (
        "agent notes failed in its last run: device desk has no notez in the folders that it shares"
    )
    assert (
        found.fix == "correct the paths: hub config set 'agents.notes.paths=[\"PATH\"]'; then hub run notes"
    )
    assert found.since == now
    await bench.run()
    assert list(await look(bench.clock.now())) == []
    run = await bench.run()  # files that fail are reported at once, although the run before succeeded
    assert (run.outcome, run.units_failed) == (RunOutcome.PARTIAL, 1)
    (found,) = await look(bench.clock.now())
    assert (found.id, found.severity) == ("agent.files_fail", Severity.WARNING)
    assert (
        "did only a part of its last run, 1 error in the last: device desk has no notez" in found.explanation
    )

"""Runs without news are folded into the newest one; every other run stays, and every fire stays decided."""

from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from protocol.ids import AgentId, RunId
from protocol.lifecycles import RunEvent, RunOutcome, RunState
from storage import audit
from storage.agents import agents, measurements
from storage.executing_runs import FencedRun
from storage.runs import run_moves, runs, units
from storage.runs.runs import RunReport
from storage.schema import activity_log, agent_state_history, changes, schedule_fires
from storage.schema import agents as agent_table
from tests.storage.rows import AT, answer, calls, claim, make_run, plan, some, undone
from tests.storage.scheduled import HOUR, fire, make_schedule, told

ID = "schedule-inbox"
INBOX = AgentId("agent-inbox")
FILES = 3
STEP = 10_000  # milliseconds between fires
Deed = Callable[[sa.Connection, FencedRun], object]


def at_of(number: int) -> int:
    return AT + number * STEP


def run_of(number: int) -> RunId:
    return RunId(f"{ID}-{at_of(number)}")


def begin(c: sa.Connection, number: int, **made_with: Any) -> FencedRun:
    """Let the schedule fire for the time of that number, and start its run."""
    fire(c, at_of(number), **made_with)
    claimed = some(claim(c, at=at_of(number), per_device=9))
    assert claimed.id == run_of(number)
    return run_moves.move(c, claimed.held, RunEvent.ACKNOWLEDGED, at=at_of(number), actor="device")


def end(
    c: sa.Connection, number: int, held: FencedRun, *, files: int = FILES, is_measured: bool = True
) -> None:
    """Let the run see so many files that have not changed, and end; it is told of and measured."""
    at = at_of(number)
    runs.note_progress(c, held, files, at, unchanged=files)
    run_moves.move(c, held, RunEvent.FINISHED, at=at, actor="hub", outcome=RunOutcome.SUCCESS)
    of_run: dict[str, Any] = {"run_id": held.id, "agent_id": INBOX, "actor": "hub"}
    audit.record(c, id=f"told-{held.id}", at=at, event_type="run.finished", message="Run finished", **of_run)
    if is_measured:
        measurements.measure(c, at=at, retention=measurements.BucketRetention(minutes_from=0, hours_from=0))


def run(c: sa.Connection, *numbers: int, do: Deed = lambda c, held: None, **how: Any) -> None:
    for number in numbers:
        held = begin(c, number, **{name: how.pop(name) for name in ("fingerprint",) if name in how})
        do(c, held)
        end(c, number, held, **how)


def kept(c: sa.Connection) -> dict[int, int]:
    """Return how many runs each one that is there represents, oldest first, by its number."""
    return {(row.created_at - AT) // STEP: row.folded for row in runs.list_runs(c)[::-1]}


def rows(c: sa.Connection, table: sa.Table, *where: sa.ColumnElement[bool]) -> int:
    return c.execute(sa.select(sa.func.count()).select_from(table).where(*where)).scalar_one()


def deliver(c: sa.Connection, held: FencedRun) -> None:
    plan(c, held, of=calls("call-1"))
    answer(c, held, "call-1")
    units.settle_unit(c, held, "a.txt", AT)


def fail(c: sa.Connection, held: FencedRun) -> None:
    units.fail_unit(
        c, held, unit_key="a.txt", content_hash="", size_bytes=None, error="broken", code="bad", at=AT
    )


def skip(name: str, digest: str = "") -> Deed:
    return lambda c, held: units.skip_units(c, held, [(name, digest, None)], AT, reason="of no known kind")


def report(**what: Any) -> Deed:
    return lambda c, held: runs.report(c, held, RunReport(**what), at=AT, context_bytes=1_000)


@pytest.mark.usefixtures("schedule")
def test_runs_without_news_are_folded_into_a_single_counting_row(c: sa.Connection) -> None:
    run(c, 1)
    before = {table: rows(c, table) for table in (agent_state_history, activity_log, changes)}
    run(c, *range(2, 12))
    assert kept(c) == {1: 0, 11: 9}
    newest = runs.get_run(c, run_of(11))
    assert (newest.folded_since, newest.state) == (at_of(2), RunState.COMPLETED)
    assert [(row.first_at, row.fire_at, row.fires, row.decision, row.run_id) for row in told(c)] == [
        (at_of(1), at_of(1), 1, "run", run_of(1)),
        (at_of(2), at_of(11), 10, "run", run_of(11)),
    ]
    moves = rows(c, agent_state_history, agent_state_history.c.reason.like("run %"))
    assert moves == 2 * before[agent_state_history] - 2 * rows(
        c, agent_state_history, agent_state_history.c.axis != "activity"
    )
    assert (rows(c, activity_log), rows(c, changes, changes.c.source == "runs")) == (2, 2)
    (outcome,) = runs.count_by_end(c, agent_id=INBOX)
    assert (outcome.runs, outcome.folded, runs.count_runs(c, 99, agent_id=INBOX)) == (11, 9, 11)
    series = measurements.list_series(c, INBOX, name="hub.runs")
    buckets = measurements.list_buckets(c, [one.id for one in series], size_ms=HOUR, since=0, until=at_of(99))
    assert sum(bucket.sum for bucket in buckets) == 11


@pytest.mark.usefixtures("schedule")
def test_run_with_news_and_the_next_run_are_not_folded(c: sa.Connection) -> None:
    cases: dict[str, dict[str, Any]] = {
        "an item": {"do": deliver},
        "a failed file": {"do": fail},
        "another skipped file": {"do": skip("b.bin")},
        "a message of the device": {"do": report(message="half of it")},
        "a context of the device": {"do": report(context={"page": 2})},
        "one file fewer": {"files": FILES - 1},
        "other settings": {"fingerprint": "fingerprint-2"},
    }
    for name, news in cases.items():
        with undone(c):
            run(c, 1, 2, 3)
            run(c, 4, **news)
            run(c, 5, 6, 7)
            assert kept(c) == {1: 0, 3: 1, 4: 0, 5: 0, 7: 1}, name


@pytest.mark.usefixtures("schedule")
def test_run_started_by_a_person_and_the_next_run_are_not_folded(c: sa.Connection) -> None:
    run(c, 1, 2, 3)
    make_run(c, "by hand", agent=agents.get_agent(c, INBOX), state=RunState.COMPLETED, at=at_of(4))
    run(c, 5, 6, 7)
    assert kept(c) == {1: 0, 3: 1, 4: 0, 5: 0, 7: 1}


@pytest.mark.usefixtures("schedule")
def test_file_skipped_by_every_run_is_no_news_until_the_file_changes(c: sa.Connection) -> None:
    run(c, 1, 2, 3, 4, do=skip("a.bin"))
    run(c, 5, 6, 7, do=skip("a.bin", "changed"))
    assert kept(c) == {1: 0, 4: 2, 5: 0, 7: 1}


@pytest.mark.usefixtures("schedule")
def test_run_is_not_folded_before_being_measured(c: sa.Connection) -> None:
    run(c, 1)
    run(c, 2, 3, 4, is_measured=False)
    assert kept(c) == {1: 0, 2: 0, 3: 0, 4: 0}
    run(c, 5)
    run(c, 6)
    assert (kept(c), [row.fires for row in told(c)]) == ({1: 0, 6: 4}, [1, 5])


@pytest.mark.usefixtures("schedule")
def test_fires_blocked_by_a_folded_run_remain_decided(c: sa.Connection) -> None:
    run(c, 1)
    for number in (2, 4, 6):
        held = begin(c, number)
        fire(c, at_of(number + 1))
        end(c, number, held)
    assert kept(c) == {1: 0, 6: 2}
    assert [(row.first_at, row.fires, row.decision) for row in told(c)] == [
        (at_of(1), 1, "run"),
        (at_of(2), 5, "run"),
        (at_of(7), 1, "skipped_overlap"),
    ]


def test_activity_moves_shared_by_two_runs_survive_folding(c: sa.Connection) -> None:
    make_schedule(c, overlap="allow")
    c.execute(sa.update(agent_table).values(max_concurrent_runs=2))
    run(c, 1, 2)
    third, fourth = begin(c, 3), begin(c, 4)
    end(c, 3, third)
    end(c, 4, fourth, is_measured=False)
    run(c, 5, is_measured=False)
    assert kept(c) == {1: 0, 4: 2, 5: 0}
    moves = c.execute(
        sa.select(agent_state_history.c.old_value, agent_state_history.c.new_value)
        .where(agent_state_history.c.axis == "activity")
        .order_by(agent_state_history.c.seq)
    ).all()
    assert [move.old_value for move in moves[1:]] == [move.new_value for move in moves[:-1]]


@pytest.mark.usefixtures("schedule")
def test_newest_run_of_each_hour_is_not_folded(c: sa.Connection) -> None:
    last = (HOUR - AT) // STEP - 1  # of the first hour
    run(c, 1, *range(last - 3, last + 5))
    assert (kept(c), [row.fires for row in told(c)]) == ({1: 0, last: 3, last + 4: 3}, [1, 4, 4])


@pytest.mark.usefixtures("schedule")
def test_run_is_not_folded_across_another_fire_decision(c: sa.Connection) -> None:
    run(c, 1, 2, 3)
    paused = {"fire_at": at_of(3) + 2, "first_at": at_of(3) + 1, "decision": "skipped_paused"}
    c.execute(sa.insert(schedule_fires), {"schedule_id": ID, "decided_at": at_of(3), **paused})
    run(c, 4, 5, 6)
    assert (kept(c), [row.fires for row in told(c)]) == ({1: 0, 3: 1, 6: 2}, [1, 2, 1, 3])


def test_runs_ending_in_another_order_than_their_fires_are_not_folded(c: sa.Connection) -> None:
    make_schedule(c, overlap="allow")
    c.execute(sa.update(agent_table).values(max_concurrent_runs=2))
    run(c, 1, 2)
    third, fourth = begin(c, 3), begin(c, 4)
    end(c, 4, fourth)
    end(c, 5, third)
    run(c, 6, 7)
    assert (kept(c)[4], sum(row.fires for row in told(c))) == (0, 6)

"""Each law of the rows holds in an ordinary database, and sees what breaks it."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from protocol.lifecycles import CallEvent, RunEvent, RunOutcome, RunState
from storage.kernel.sqlite import set_clock
from storage.runs import run_moves, units
from storage.runs.calls import mark_sent
from storage.schema import metadata
from tests.storage.laws import LAWS, Memory, broken_laws, held_by_others, over_limits
from tests.storage.machine import run_machine
from tests.storage.rows import AT, BOOT, NEXT_BOOT, answer, calls, make_agent, make_run, plan
from tests.storage.scheduled import HOUR, fire, make_schedule


@pytest.fixture(scope="module")
def ordinary() -> Iterator[sqlite3.Connection]:
    """An ordinary database in which nothing stands in the way of what must never be.

    A run that is done, one that failed, one that executes with a call sent, one that
    pauses, one that a schedule queued for a fire and one more.
    """
    engine = sa.create_engine("sqlite://", poolclass=sa.StaticPool)
    sa.event.listen(engine, "connect", lambda driver, _: set_clock(driver))
    metadata.create_all(engine)
    with engine.connect() as connection:
        _fill(connection)
        for table in metadata.sorted_tables:  # the same rows, without any constraint
            connection.exec_driver_sql(f"CREATE TABLE bare AS SELECT * FROM {table.name}")
            connection.exec_driver_sql(f"DROP TABLE {table.name}")
            connection.exec_driver_sql(f"ALTER TABLE bare RENAME TO {table.name}")
        connection.commit()
        driver = connection.connection.driver_connection
        assert isinstance(driver, sqlite3.Connection)
        yield driver
    engine.dispose()


@pytest.fixture
def c(ordinary: sqlite3.Connection) -> Iterator[sa.Connection]:
    """A copy of it."""

    def copy() -> sqlite3.Connection:
        connection = sqlite3.connect(":memory:")
        ordinary.backup(connection)
        return connection

    engine = sa.create_engine("sqlite://", creator=copy, poolclass=sa.NullPool)
    with engine.connect() as connection:
        yield connection
    engine.dispose()


def _fill(c: sa.Connection) -> None:
    for number, state in enumerate(("done", "failed", "paused", "running")):
        agent = make_agent(c, state, device=f"desk-{number}")
        held = make_run(c, state, agent=agent, state=RunState.RUNNING).held
        plan(c, held, of=calls(f"call-{state}"))
        if state != "running":
            event = CallEvent.REJECTED if state == "failed" else CallEvent.ACKED
            answer(c, held, f"call-{state}", event=event)
            units.settle_unit(c, held, "a.txt", AT)
        match state:
            case "done":
                run_moves.move(c, held, RunEvent.FINISHED, at=AT, actor="hub", outcome=RunOutcome.SUCCESS)
            case "failed":
                run_moves.move(c, held, RunEvent.FAILED, at=AT, actor="hub")
            case "paused":
                run_moves.move(c, held, RunEvent.DEVICE_LOST, at=AT, actor="hub")
            case "running":
                mark_sent(c, held, [calls("call-running")[0].call_id], AT)
    make_schedule(c, "timed")
    fire(c, AT + HOUR, schedule_id="schedule-timed")
    fire(c, AT + 2 * HOUR, schedule_id="schedule-timed")


PLANTED = {
    "a fire makes one run at most (I2)": "UPDATE runs SET agent_id = 'a', fire_key = 'k'",
    "one run at most waits in a slot (I2)": "UPDATE runs SET state = 'QUEUED', fence = 0, queue_slot = 's'",
    "the outcome is that of the state (I4)": "UPDATE runs SET outcome = NULL WHERE id = 'failed'",
    "who executes has a lease, and nobody else (I9)": "UPDATE runs SET lease_boot_id = NULL",
    "who pauses has a reason, and nobody else (I9)": "UPDATE runs SET pause_reason = NULL",
    "a history has no gap, and each move begins where the last one ended (I4)": (
        "DELETE FROM run_state_history WHERE run_id = 'done' AND seq = 2"
    ),
    "every move is one of the table (I4)": (
        "UPDATE run_state_history SET new_state = 'RUNNING' WHERE new_state = 'PREPARING'"
    ),
    "the last move leads to the state the run is in (I4)": "UPDATE runs SET state = 'RUNNING'",
    "a fence never falls along a history (I5)": (
        "UPDATE run_state_history SET fence = 0 WHERE run_id = 'done' AND seq = 2"
    ),
    "a call belongs to a unit that is there (I6)": "DELETE FROM run_units WHERE run_id = 'done'",
    "a completed run has no open call and no open unit (I6)": "UPDATE run_calls SET state = 'SENT'",
    "every call of a unit that is done was taken (I6)": "UPDATE run_calls SET state = 'REJECTED'",
    "what may be sent again can be (I6)": "UPDATE run_calls SET payload = NULL",
    "a call was sent as its state says (I6)": "UPDATE run_calls SET sends = 0 WHERE state = 'ACKED'",
    "a unit of a live run counts its calls (I6)": "UPDATE run_units SET calls_settled = calls_settled + 1",
    "a run counts its units (I12)": "UPDATE runs SET units_done = 0",
    "an agent counts its runs (I12)": "UPDATE agent_states SET runs_waiting = runs_waiting + 1",
    "nothing is tried more often than it may be (I12)": "UPDATE runs SET attempt = 6",
    "the axes of an agent are where their history led": "UPDATE agent_states SET lifecycle = 'paused'",
    "every move of an agent is one of its tables": (
        "UPDATE agent_state_history SET new_value = 'paused' WHERE new_value = 'initializing'"
    ),
    "the newest move of an agent is the version of its state": "UPDATE agent_states SET version = 1",
    "an agent whose runs make it busy has told of it": "DELETE FROM agent_state_history",
    "no fire is decided twice (I1)": "UPDATE schedule_fires SET first_at = 0",
    "no fire beyond the cursor is decided (I1)": "UPDATE schedules SET cursor_at = 0",
    "the next fire lies beyond the cursor (I1)": "UPDATE schedules SET next_fire_at = cursor_at",
}


def test_ordinary_database_breaks_no_law(c: sa.Connection) -> None:
    assert (broken_laws(c), list(Memory().look(c))) == ([], [])
    assert c.exec_driver_sql("SELECT count(*) FROM schedule_fires").scalar_one() == 2


@pytest.mark.parametrize("law", LAWS)
def test_broken_law_is_found_in_the_database(c: sa.Connection, law: str) -> None:
    c.exec_driver_sql(PLANTED[law])
    assert [found for found in broken_laws(c) if found.startswith(law)]


def test_run_held_by_a_dead_hub_is_found(c: sa.Connection) -> None:
    assert held_by_others(c, BOOT) == []
    assert held_by_others(c, NEXT_BOOT) == ["held by a dead boot: ('running', 'boot-1')"]


@pytest.mark.parametrize(
    ("executing", "finding"),
    [
        ("device_id = 'd'", "('device', 'd', 5)"),
        ("agent_id = 'agent-done'", "('agent', 'agent-done', 5)"),
        ("attempt = 1", "('hub', '', 5)"),
    ],
)
def test_runs_executing_over_the_limits_are_found(c: sa.Connection, executing: str, finding: str) -> None:
    assert over_limits(c, per_device=1, total=1) == []
    c.exec_driver_sql(f"UPDATE runs SET state = 'RUNNING', {executing}")
    assert f"too many runs execute: {finding}" in over_limits(c, per_device=4, total=4)


@pytest.mark.parametrize(
    ("change", "finding"),
    [
        ("DELETE FROM runs WHERE id = 'paused'", "a live run is gone"),
        ("UPDATE runs SET state = 'QUEUED' WHERE id = 'failed'", "a run that had ended changed"),
        ("UPDATE runs SET fence = 0 WHERE id = 'running'", "a fence fell"),
        ("UPDATE schedules SET cursor_at = 0", "a cursor went back"),
        ("UPDATE run_calls SET state = 'SENT' WHERE call_id = 'call-done'", "an answer was forgotten"),
    ],
)
def test_forbidden_change_since_the_last_check_is_found(c: sa.Connection, change: str, finding: str) -> None:
    memory = Memory()
    assert list(memory.look(c)) == []
    c.exec_driver_sql(change)
    assert any(line.startswith(finding) for line in memory.look(c))


def test_deleted_ended_run_and_clock_correction_break_no_law(c: sa.Connection) -> None:
    memory = Memory()
    assert list(memory.look(c)) == []
    c.exec_driver_sql("DELETE FROM runs WHERE id = 'failed'")
    c.exec_driver_sql("UPDATE schedules SET cursor_at = 0")
    memory.clock_was_set()
    assert list(memory.look(c)) == []


@pytest.mark.slow
@pytest.mark.parametrize("examples", [2, pytest.param(50, marks=pytest.mark.soak)])
def test_random_steps_leave_the_expected_rows(tmp_path: Path, examples: int) -> None:
    run_machine(tmp_path, examples=examples, steps=80, is_repeatable=True)

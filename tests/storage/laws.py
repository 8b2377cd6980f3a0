"""What must hold of the rows after every transaction, whatever happened before.

A law is a query for who breaks it, so that it knows nothing of the code that keeps it.
The letters in brackets are the invariants of the design that it belongs to.
"""

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa

from protocol.lifecycles import FINAL_RUN_STATES

# T1 to T13, written out here once more: a table that allows too much would not notice itself.
_LEGAL = """
    ('', 'QUEUED'), ('QUEUED', 'PREPARING'), ('QUEUED', 'PAUSED'), ('QUEUED', 'CANCELLED'),
    ('PREPARING', 'RUNNING'), ('PREPARING', 'QUEUED'), ('PREPARING', 'FAILED'), ('PREPARING', 'CANCELLED'),
    ('RUNNING', 'PAUSED'), ('RUNNING', 'COMPLETED'), ('RUNNING', 'QUEUED'), ('RUNNING', 'FAILED'),
    ('RUNNING', 'CANCELLED'), ('PAUSED', 'QUEUED'), ('PAUSED', 'FAILED'), ('PAUSED', 'CANCELLED')"""
_FINAL = "('COMPLETED', 'FAILED', 'CANCELLED')"
_EXECUTING = "('PREPARING', 'RUNNING')"
_WAITING = "('QUEUED', 'PAUSED')"
# What the runs of an agent make of it, and the moves of its other axes, written out once more too.
_ACTIVITY = """(CASE WHEN runs_running >= max_concurrent_runs THEN 'saturated'
    WHEN runs_running > 0 THEN 'processing' WHEN runs_waiting + runs_executing > 0 THEN 'waiting'
    ELSE 'idle' END)"""
_STEPS_OF_AGENTS = """
    ('lifecycle', '', 'created'), ('lifecycle', 'created', 'initializing'),
    ('lifecycle', 'initializing', 'ready'), ('lifecycle', 'ready', 'active'),
    ('lifecycle', 'active', 'ready'), ('lifecycle', 'active', 'paused'), ('lifecycle', 'paused', 'active'),
    ('lifecycle', 'created', 'maintenance'), ('lifecycle', 'initializing', 'maintenance'),
    ('lifecycle', 'ready', 'maintenance'), ('lifecycle', 'active', 'maintenance'),
    ('lifecycle', 'paused', 'maintenance'), ('lifecycle', 'maintenance', 'created'),
    ('lifecycle', 'maintenance', 'initializing'), ('lifecycle', 'maintenance', 'ready'),
    ('lifecycle', 'maintenance', 'active'), ('lifecycle', 'maintenance', 'paused'),
    ('lifecycle', 'created', 'terminated'), ('lifecycle', 'initializing', 'terminated'),
    ('lifecycle', 'ready', 'terminated'), ('lifecycle', 'active', 'terminated'),
    ('lifecycle', 'paused', 'terminated'), ('lifecycle', 'maintenance', 'terminated'),
    ('availability', 'available', 'on_call'), ('availability', 'available', 'exhausted'),
    ('availability', 'on_call', 'available'), ('availability', 'on_call', 'exhausted'),
    ('availability', 'exhausted', 'available'), ('availability', 'exhausted', 'on_call'),
    ('connectivity', 'offline', 'online'), ('connectivity', 'online', 'offline'),
    ('health', 'ok', 'error'), ('health', 'error', 'ok')"""
_MOVES = """
    SELECT run_id, seq, old_state, new_state, fence, attempt,
        lag(seq, 1, 0) OVER whole AS seq_before,
        lag(new_state) OVER whole AS state_before,
        lag(fence, 1, 0) OVER whole AS fence_before,
        lead(seq) OVER whole AS seq_after
    FROM run_state_history WINDOW whole AS (PARTITION BY run_id ORDER BY seq)
"""
_STEPS = """
    SELECT agent_id, seq, axis, old_value, new_value,
        lag(new_value) OVER whole AS value_before,
        lead(seq) OVER whole AS seq_after
    FROM agent_state_history WINDOW whole AS (PARTITION BY agent_id, axis ORDER BY seq)
"""

LAWS: dict[str, str] = {
    "a fire makes one run at most (I2)": """
        SELECT fire_key FROM runs GROUP BY agent_id, fire_key HAVING count(*) > 1""",
    "one run at most waits in a slot (I2)": """
        SELECT queue_slot FROM runs WHERE state = 'QUEUED' AND fence = 0 AND queue_slot IS NOT NULL
        GROUP BY queue_slot HAVING count(*) > 1""",
    "the outcome is that of the state (I4)": f"""
        SELECT id FROM runs WHERE NOT CASE state
            WHEN 'COMPLETED' THEN coalesce(outcome IN ('success', 'partial'), FALSE)
            WHEN 'FAILED' THEN coalesce(outcome = 'error', FALSE) ELSE outcome IS NULL END
            OR (state IN {_FINAL}) <> (completed_at IS NOT NULL)""",
    "who executes has a lease, and nobody else (I9)": f"""
        SELECT id FROM runs WHERE (state IN {_EXECUTING}) <> (lease_boot_id IS NOT NULL)
            OR (state IN {_EXECUTING}) <> (lease_expires_at IS NOT NULL)""",
    "who pauses has a reason, and nobody else (I9)": """
        SELECT id FROM runs WHERE (state = 'PAUSED') <> (pause_reason IS NOT NULL)""",
    "a history has no gap, and each move begins where the last one ended (I4)": f"""
        SELECT run_id || ' ' || seq FROM ({_MOVES}) AS moves
        WHERE seq <> seq_before + 1 OR old_state IS NOT state_before""",
    "every move is one of the table (I4)": f"""
        SELECT run_id || ' ' || seq FROM run_state_history
        WHERE (coalesce(old_state, ''), new_state) NOT IN (VALUES {_LEGAL})""",
    "the last move leads to the state the run is in (I4)": f"""
        SELECT runs.id FROM runs
        LEFT JOIN ({_MOVES}) AS last ON last.run_id = runs.id AND last.seq_after IS NULL
        WHERE last.new_state IS NOT runs.state OR last.seq IS NOT runs.state_seq
            OR last.fence IS NOT runs.fence OR last.attempt IS NOT runs.attempt""",
    "a fence never falls along a history (I5)": f"""
        SELECT run_id || ' ' || seq FROM ({_MOVES}) AS moves
        WHERE fence < fence_before OR (new_state = 'PREPARING' AND fence = fence_before)""",
    "a call belongs to a unit that is there (I6)": """
        SELECT call_id FROM run_calls WHERE NOT EXISTS (SELECT 1 FROM run_units
            WHERE run_units.run_id = run_calls.run_id AND run_units.unit_key = run_calls.unit_key)""",
    "a completed run has no open call and no open unit (I6)": """
        SELECT runs.id FROM runs WHERE state = 'COMPLETED' AND (
            EXISTS (SELECT 1 FROM run_calls WHERE run_id = runs.id AND state IN ('PLANNED', 'SENT'))
            OR EXISTS (SELECT 1 FROM run_units
                WHERE run_id = runs.id AND state IN ('PENDING', 'EXTRACTED')))""",
    "every call of a unit that is done was taken (I6)": """
        SELECT call_id FROM run_calls JOIN run_units USING (run_id, unit_key)
        WHERE run_units.state = 'DONE' AND run_calls.state <> 'ACKED'""",
    "what may be sent again can be (I6)": f"""
        SELECT call_id FROM run_calls JOIN runs ON runs.id = run_calls.run_id
        WHERE runs.state NOT IN {_FINAL} AND run_calls.state IN ('PLANNED', 'SENT') AND payload IS NULL""",
    "a call was sent as its state says (I6)": """
        SELECT call_id FROM run_calls
        WHERE state <> 'UNKNOWN' AND (state = 'PLANNED') <> (sends = 0)""",
    "a unit of a live run counts its calls (I6)": f"""
        SELECT run_units.run_id || ' ' || unit_key FROM run_units JOIN runs ON runs.id = run_units.run_id
        WHERE runs.state NOT IN {_FINAL} AND (
            calls_planned <> (SELECT count(*) FROM run_calls
                WHERE run_calls.run_id = run_units.run_id AND run_calls.unit_key = run_units.unit_key)
            OR calls_settled <> (SELECT count(*) FROM run_calls
                WHERE run_calls.run_id = run_units.run_id AND run_calls.unit_key = run_units.unit_key
                AND run_calls.state NOT IN ('PLANNED', 'SENT')))""",
    "a run counts its units (I12)": """
        SELECT id FROM runs WHERE (units_done, units_skipped, units_failed) <> (
            SELECT count(CASE state WHEN 'DONE' THEN 1 END), count(CASE state WHEN 'SKIPPED' THEN 1 END),
                count(CASE state WHEN 'FAILED' THEN 1 END)
            FROM run_units WHERE run_id = runs.id)""",
    "an agent counts its runs (I12)": f"""
        SELECT agent_id FROM agent_states WHERE (runs_waiting, runs_executing, runs_running) <> (
            SELECT count(CASE WHEN state IN {_WAITING} THEN 1 END),
                count(CASE WHEN state IN {_EXECUTING} THEN 1 END),
                count(CASE WHEN state = 'RUNNING' THEN 1 END)
            FROM runs WHERE runs.agent_id = agent_states.agent_id)""",
    "nothing is tried more often than it may be (I12)": """
        SELECT id FROM runs WHERE attempt > max_attempts""",
    "the axes of an agent are where their history led": f"""
        SELECT steps.agent_id || ' ' || axis FROM ({_STEPS}) AS steps
        JOIN agent_states ON agent_states.agent_id = steps.agent_id JOIN agents ON id = steps.agent_id
        WHERE (value_before IS NOT NULL AND old_value IS NOT value_before)
            OR (seq_after IS NULL AND new_value <> CASE axis
                WHEN 'lifecycle' THEN lifecycle WHEN 'availability' THEN availability
                WHEN 'connectivity' THEN connectivity WHEN 'health' THEN health
                ELSE {_ACTIVITY} END)""",
    "every move of an agent is one of its tables": f"""
        SELECT agent_id || ' ' || seq FROM agent_state_history
        WHERE (axis, coalesce(old_value, ''), new_value) NOT IN (VALUES {_STEPS_OF_AGENTS})
            AND (axis <> 'activity' OR old_value = new_value)""",
    "the newest move of an agent is the version of its state": """
        SELECT agent_id FROM agent_states WHERE version <
            (SELECT max(seq) FROM agent_state_history WHERE agent_id = agent_states.agent_id)""",
    "an agent whose runs make it busy has told of it": f"""
        SELECT agent_id FROM agent_states JOIN agents ON id = agent_id WHERE {_ACTIVITY} <> 'idle'
            AND NOT EXISTS (SELECT 1 FROM agent_state_history AS told
                WHERE told.agent_id = agent_states.agent_id AND axis = 'activity')""",
    "no fire is decided twice (I1)": """
        SELECT schedule_id || ' ' || fire_at FROM (
            SELECT schedule_id, fire_at, first_at,
                lag(fire_at) OVER (PARTITION BY schedule_id ORDER BY fire_at) AS fire_before
            FROM schedule_fires) AS fires
        WHERE first_at <= fire_before""",
    "no fire beyond the cursor is decided (I1)": """
        SELECT schedule_id || ' ' || fire_at FROM schedule_fires JOIN schedules ON schedules.id = schedule_id
        WHERE fire_at > cursor_at""",
    "the next fire lies beyond the cursor (I1)": """
        SELECT id FROM schedules WHERE next_fire_at <= cursor_at""",
}


_ALL_LAWS = " UNION ALL ".join(f"SELECT '{law}', * FROM ({query})" for law, query in LAWS.items())


def broken_laws(c: sa.Connection) -> list[str]:
    """What breaks a law, one line each."""
    return [f"{law}: {who}" for law, who in c.exec_driver_sql(_ALL_LAWS)]


def held_by_others(c: sa.Connection, boot_id: str) -> list[str]:
    """Runs that execute under a boot that is dead, right after recovery (I9)."""
    held = "SELECT id, lease_boot_id FROM runs WHERE lease_boot_id IS NOT NULL AND lease_boot_id <> :boot"
    return [f"held by a dead boot: {tuple(row)}" for row in c.execute(sa.text(held), {"boot": boot_id})]


def over_limits(c: sa.Connection, *, per_device: int, total: int) -> list[str]:
    """Devices, agents, or the hub, that execute more than they may (I3)."""
    return [
        f"too many runs execute: {tuple(row)}"
        for query in (
            "SELECT 'device', device_id, count(*) FROM runs WHERE state IN ('PREPARING', 'RUNNING')"
            " GROUP BY device_id HAVING count(*) > :per_device",
            "SELECT 'agent', agent_id, count(*) FROM runs JOIN agents ON agents.id = agent_id"
            " WHERE state IN ('PREPARING', 'RUNNING')"
            " GROUP BY agent_id, max_concurrent_runs HAVING count(*) > max_concurrent_runs",
            "SELECT 'hub', '', count(*) FROM runs WHERE state IN ('PREPARING', 'RUNNING')"
            " HAVING count(*) > :total",
        )
        for row in c.execute(sa.text(query), {"per_device": per_device, "total": total})
    ]


class Memory:
    """What was so once and may never be otherwise: ended runs, fences, cursors, answers."""

    def __init__(self) -> None:
        self._runs: dict[str, Any] = {}
        self._cursors: dict[str, int] = {}
        self._calls: dict[str, Any] = {}
        self._is_redated = False

    def look(self, c: sa.Connection) -> Iterator[str]:
        """Compare with the last look, and remember this one."""
        runs = {
            row.id: row
            for row in c.exec_driver_sql("SELECT id, state, outcome, fence, attempt, completed_at FROM runs")
        }
        seen = 5 if self._is_redated else 6  # columns
        for run_id, before in self._runs.items():
            now = runs.get(run_id)
            if now is None:
                if before.state not in FINAL_RUN_STATES:
                    yield f"a live run is gone (I12): {tuple(before)}"
            elif before.state in FINAL_RUN_STATES and now[:seen] != before[:seen]:
                yield f"a run that had ended changed (I4): {tuple(before)} {tuple(now)}"
            elif now.fence < before.fence or now.attempt < before.attempt:
                yield f"a fence fell (I5): {tuple(before)} {tuple(now)}"
        cursors = {row.id: row.cursor_at for row in c.exec_driver_sql("SELECT id, cursor_at FROM schedules")}
        for schedule_id, cursor_at in self._cursors.items():
            if cursors[schedule_id] < cursor_at:
                yield f"a cursor went back (I1): {schedule_id} {cursor_at} {cursors[schedule_id]}"
        calls = {
            row.call_id: row for row in c.exec_driver_sql("SELECT call_id, state, result FROM run_calls")
        }
        for call_id, before in self._calls.items():
            if before.state == "ACKED" and call_id in calls and calls[call_id] != before:
                yield f"an answer was forgotten (I6): {tuple(before)} {tuple(calls[call_id])}"
        self._runs, self._cursors, self._calls, self._is_redated = runs, cursors, calls, False

    def clock_was_set(self) -> None:
        """Cursors may go back once, and runs may have ended at another time."""
        self._cursors, self._is_redated = {}, True

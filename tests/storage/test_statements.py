"""Every statement is one text for two databases."""

import importlib
import operator
import pkgutil
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import sqlite
from sqlalchemy.schema import CreateIndex, CreateTable
from sqlalchemy.sql import visitors
from sqlalchemy.sql.dml import UpdateBase

import storage
from protocol.ids import AgentId
from protocol.lifecycles import RunOutcome, RunState
from storage.agents import state_history
from storage.devices.tokens import DEVICE_TOKENS, OPERATOR_TOKENS
from storage.runs import runs
from storage.schema import metadata
from tests.storage.conftest import POSTGRESQL
from tests.support.families import each

STATEMENTS: dict[str, sa.Select[*tuple[object, ...]] | UpdateBase] = {
    f"{found.name.rpartition('.')[2]}.{name}": value
    for found in pkgutil.walk_packages(storage.__path__, "storage.")
    if ".migrations" not in found.name
    for name, value in vars(importlib.import_module(found.name)).items()
    if isinstance(value, sa.Select | UpdateBase)
} | {
    "tokens.DEVICE_TOKENS.of_hash": DEVICE_TOKENS.of_hash,
    "tokens.OPERATOR_TOKENS.of_hash": OPERATOR_TOKENS.of_hash,
}

DIALECTS: tuple[sa.Dialect, ...] = (POSTGRESQL, sqlite.dialect())


def test_statement_collection_contains_known_statements() -> None:
    assert {"run_moves.MOVE", "run_claims.CLAIM", "calls.SETTLE_CALL", "units.ENTRIES"} <= STATEMENTS.keys()


@each("name", sorted(STATEMENTS))
def test_a_statement_compiles_for_both_databases(name: str) -> None:
    for dialect in DIALECTS:
        assert str(STATEMENTS[name].compile(dialect=dialect))


def test_claim_statement_skips_rows_locked_by_others() -> None:
    assert "FOR UPDATE SKIP LOCKED" in str(STATEMENTS["run_claims.CLAIM"].compile(dialect=POSTGRESQL))


@each("name", sorted(metadata.tables))
def test_a_table_can_be_made_on_postgresql(name: str) -> None:
    table = metadata.tables[name]
    statements: list[CreateTable | CreateIndex] = [CreateTable(table), *map(CreateIndex, table.indexes)]
    for made in statements:
        assert str(made.compile(dialect=POSTGRESQL))


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("name", "values", "index"),
    [
        (
            "run_claims.READY",
            {
                "now": 0,
                "boot": "b",
                "held": 0,
                "busy_agents": [],
                "busy_devices": [],
                "unmet": [],
                "most": 9,
            },
            "runs_ready",
        ),
        ("run_claims.ANY_WAITING", {"now": 0, "boot": "b"}, "runs_ready"),
        ("run_needs.NEEDY_RUNS", {}, "runs_needy"),
        ("run_moves.LEFT_BEHIND", {"boot": "b", "is_alone": 1, "dead": []}, "runs_"),
        ("waiting_runs.LATE", {"now": 0}, "runs_late"),
        ("run_resumes.PAUSED_RUNS", {"pause": "drain"}, "runs_paused"),
        ("waiting_runs.AWAITED_DEVICES", {}, "runs_paused"),
        ("exhaustion.NEXT_BACK", {}, "agent_states_recovery"),
        ("runs.MOVES_OF_RUNS", {"agent": "a"}, "runs_agent"),
        ("calls.OPEN_CALLS", {"run": "r"}, "run_calls_open"),
        ("calls.OPEN_CALLS_OF_UNIT", {"run": "r", "unit": "u"}, "run_calls_open"),
        ("calls.MARK_SENT", {"run": "r", "calls": ["a", "b"], "now": 0}, "call_id=?"),
        ("items.REOPEN", {"calls": ["a", "b"]}, "items_call"),
        ("tokens.DEVICE_TOKENS.of_hash", {"hash": b""}, "sqlite_autoindex_device_tokens"),
        ("tokens.OPERATOR_TOKENS.of_hash", {"hash": b""}, "sqlite_autoindex_operator_tokens"),
        ("agents.PRESENT_AGENTS", {}, "runs_agent"),
        ("due_schedules.DUE", {"now": 0, "most": 1}, "schedules_due"),
        ("schedule_rows.NEXT_DUE", {"now": 0}, "schedules_due"),
        ("schedule_rows.UNPLANNED", {"most": 1}, "schedules_unplanned"),
        ("schedule_rows.SCHEDULES_OF", {"agent": "a"}, "schedules_agent"),
        ("fire_decisions.LIVE_RUNS", {"listed": ["s-1", "s-2"]}, "runs_of_schedule"),
        ("fire_decisions.WAITING_FOR_DEVICES", {"listed": ["d-1", "d-2"]}, "runs_queued"),
        ("fire_runs.FIRED", {"agent": "a", "keys": ["k", "l"]}, "agent_id=? AND fire_key=?"),
        ("questions.OVER", {"now": 0, "most": 1}, "questions_waiting"),
        ("questions.OPEN_OF_USER", {"user": "u"}, "questions_waiting"),
        ("questions.NOT_ASKED", {"listed": ["d-1", "d-2"]}, "questions_waiting"),
        ("questions.NOT_CLOSED", {"listed": ["d-1", "d-2"]}, "question_tellings_device"),
        ("messages.RESULTS", {"broadcast": "b"}, "messages_broadcast"),
        ("messages.STATES_OF", {"broadcast": "b"}, "messages_broadcast"),
        ("messages.UNDELIVERED", {"broadcast": "b", "after": "", "most": 1}, "messages_broadcast"),
        ("messages.OPEN", {"after": "", "most": 1}, "broadcasts_open"),
        ("locks.NEXT_IN_TURN", {"user": "u", "name": "n"}, "user_id=? AND resource=?"),
        ("locks.LOCKS_OF_REQUESTS", {"requests": ["r-1", "r-2"]}, "agent_locks_request"),
        ("run_locks.HELD_BY_RUNS", {"runs": ["r-1", "r-2"]}, "agent_locks_holder"),
        ("run_locks.WAITED_BY_RUNS", {"runs": ["r-1", "r-2"]}, "lock_waits_holder"),
        ("souls.DUE_WRITES", {"now": 0, "most": 1, "after": ""}, "soul_writes_"),
        ("souls.NEXT_WRITE", {}, "soul_writes_open"),
        ("souls.OPEN_WRITE", {"agent": "a"}, "soul_writes_open"),
        ("souls.WRITES", {"agent": "a", "most": 1}, "soul_writes_agent"),
        (
            "items.OF_UNITS",
            {"user": "u", "agents": ["a", "b"], "device": "d", "units": ["x", "y"]},
            "items_unit",
        ),
        (
            "items.ALIKE",
            {"user": "u", "device": "d", "likenesses": ["a", "b"]},
            "items_likeness",
        ),
        ("items.QUOTED", {"user": "u", "device": "d", "quotes": ["a", "b"]}, "items_quote"),
        ("agreement.PLANNED", {"calls": ["a", "b"]}, "call_id=?"),
        ("audit.LAST_BACKUP", {}, "audit_log_event"),
        (
            "run_moves.UNREAD",
            {"agent_id": "a", "trigger_kind": "manual", "rerun_of": None, "config_rev": 1}
            | {"config_fingerprint": "f", "needs": [], "locks": [], "parameters": {}, "context": {}}
            | {"task_id": None},
            "runs_live_agent",
        ),
        ("run_moves.WAITING", {"agent": "a", "fingerprint": "f"}, "runs_live_agent"),
        ("model_calls.SPENT_BY_FIRE", {"run": "r"}, "runs_history"),
        ("fires.MISSED", {"runs": ["r-1", "r-2"]}, "schedule_fires_run"),
    ],
)
def test_a_frequent_statement_uses_an_index(
    c: sa.Connection, name: str, values: dict[str, object], index: str
) -> None:
    assert index in plan_of(c, lambda: c.execute(STATEMENTS[name], values))


def plan_of(c: sa.Connection, ask: Callable[[], object]) -> str:
    """Return how SQLite finds the rows of the first statement that *ask* executes."""
    said: list[tuple[str, tuple[object, ...]]] = []
    sa.event.listen(c, "before_cursor_execute", lambda *call: said.append((call[2], call[3])))
    ask()
    statement, parameters = said[0]
    return " ".join(str(step[3]) for step in c.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters))


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("asked", "index"),
    [
        ({"states": [RunState.RUNNING]}, "runs_live"),
        ({"states": [RunState.CANCELLED]}, "runs_cancelled"),
        ({"states": [RunState.FAILED]}, "runs_by_outcome"),
        ({"states": [RunState.COMPLETED]}, "runs_by_age"),
        ({"states": [RunState.COMPLETED], "agent_id": "a"}, "runs_agent"),
        ({"outcome": RunOutcome.SUCCESS, "agent_id": "a"}, "runs_agent"),
        ({"logged_as": "error", "agent_id": "a"}, "runs_agent"),
        ({"task_id": "t"}, "runs_of_task"),
        ({"task_id": "t", "agent_id": "a"}, "runs_of_task"),
    ],
)
def test_runs_are_filtered_by_an_index(c: sa.Connection, asked: dict[str, Any], index: str) -> None:
    assert index in plan_of(c, lambda: runs.list_runs(c, limit=2, **asked))


@each("name", sorted(STATEMENTS))
def test_parameter_in_arithmetic_is_bound_as_a_big_integer(name: str) -> None:
    """PostgreSQL reads a parameter beside a small number as a small one, and no instant fits into that."""
    for part in visitors.iterate(STATEMENTS[name]):
        if isinstance(part, sa.BinaryExpression) and part.operator in (operator.add, operator.sub):
            given = [side for side in (part.left, part.right) if isinstance(side, sa.BindParameter)]
            assert all(isinstance(side.type, sa.BigInteger) for side in given if side.value is None), part


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
@pytest.mark.parametrize("after", [None, (7,)])
def test_word_changes_query_uses_an_index(c: sa.Connection, after: tuple[int, ...] | None) -> None:
    plan = plan_of(c, lambda: state_history.word_changes(c, AgentId("a"), limit=2, after=after))
    assert "agent_state_history_words" in plan and "TEMP B-TREE" not in plan

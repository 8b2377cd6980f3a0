"""Rows of a hub that has worked for a year, of any size, written through the real tables.

At the size 1: 10,000 devices and agents, 200,000 runs, 1,000,000 items, 1,000,000 entries of the audit log.
Rows are made by SQLite itself, from numbers; only the chain of the audit log needs Python. The constraints of
the tables hold while they are written, and the references are checked at the end.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from hub.clock import epoch_ms
from storage.audit import FIRST, AuditRow, hash_of
from storage.kernel.migrate import upgrade
from storage.schema import metadata
from tests.support.clock import START

NOW: Final = epoch_ms(START)
DAY: Final = 86_400_000
_USERS: Final = 10  # however large it is
_LEDGER: Final = 50  # units of an agent
_WAITING: Final = 40  # runs, however large it is; half as many have paused; none of the first devices
_SOURCE: Final = """'{"path":"notes/%d.md","quote":"I promised to send report %d","start":1,"end":40}'"""
_PART: Final = 50_000  # entries of the audit log in one statement


class Sizes(NamedTuple):
    """Numbers of rows."""

    agents: int = 10_000  # each with a device and a schedule
    runs: int = 200_000
    items: int = 1_000_000
    audit: int = 1_000_000

    @classmethod
    def of(cls, scale: float) -> "Sizes":
        """Return the numbers at *scale*; at 1 they are the defaults."""
        return cls(*(max(20, round(count * scale)) for count in cls()))


def make(path: Path, sizes: Sizes) -> None:
    """Create the database *path* with so many rows."""
    upgrade(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as c:
        for pragma in ("journal_mode=off", "synchronous=off", "foreign_keys=off", "cache_size=-400000"):
            c.execute(f"PRAGMA {pragma}").close()
        c.execute("BEGIN")
        for table, count, columns in _tables(sizes):
            _fill(c, table, count, columns)
        _count_runs(c)
        _fill_audit(c, sizes.audit)
        c.execute("COMMIT")
        lost = c.execute("PRAGMA foreign_key_check").fetchall()
        assert not lost, f"rows that refer to no row: {lost[:3]}"
        c.execute("PRAGMA journal_mode=wal").close()


def _fill(c: sqlite3.Connection, table: str, count: int, columns: dict[str, object]) -> None:
    """Insert *count* rows. *columns*: an expression for each column, of ``x``, the number of the row from 0.

    Columns that are not named get their default.
    """
    known = metadata.tables[table].columns
    assert columns.keys() <= {column.name for column in known}, table
    listed = ", ".join(f'"{name}"' for name in columns)
    c.execute(
        f"WITH RECURSIVE n(x) AS (SELECT 0 UNION ALL SELECT x + 1 FROM n WHERE x + 1 < {count})"
        f" INSERT INTO {table} ({listed}) SELECT {', '.join(map(str, columns.values()))} FROM n"
    )


def _id(kind: str, number: str = "x") -> str:
    return f"printf('{kind}-%08d', {number})"


def _digest(number: str) -> str:
    """Return an expression that looks like a digest: numbers in a row are far apart."""
    return f"printf('%08x%08x', ({number}) * 2654435761 % 4294967296, ({number}) * 40503 % 4294967296)"


def _ago(days: float, count: int) -> str:
    """Return the instant of row x of *count*, spread evenly over so many days until now."""
    span = round(days * DAY)
    return f"{NOW} - {span} + x * {span} / {count}"


def _tables(sizes: Sizes) -> Iterator[tuple[str, int, dict[str, object]]]:
    agents, runs, items = sizes.agents, sizes.runs, sizes.items
    stamps: dict[str, object] = {"created_at": NOW - 400 * DAY, "updated_at": NOW - DAY}
    agent, run = _id("a", f"x % {agents}"), _id("r", f"x % {runs}")
    device, user = _id("d", f"x % {agents}"), f"'u-' || (x % {agents} % {_USERS})"
    yield (
        "users",
        _USERS,
        {"id": "'u-' || x", "name": "CASE x WHEN 0 THEN 'owner' ELSE 'user ' || x END"}
        | {"created_at": NOW - 400 * DAY},
    )
    yield (
        "devices",
        agents,
        {
            "id": _id("d"),
            "user_id": user,
            "name": "printf('desk %d', x)",
            "platform": "'linux'",
            "session_epoch": 40,
            "last_seen_at": f"{NOW} - x * 1000 % {DAY}",
            "created_at": stamps["created_at"],
        },
    )
    yield (
        "device_tokens",
        agents,
        {
            "id": _id("t"),
            "device_id": _id("d"),
            "token_hash": f"CAST({_digest('x')} AS BLOB)",
            "created_at": stamps["created_at"],
            "last_used_at": NOW - DAY,
        },
    )
    yield (
        "device_stores",
        agents,
        {
            "device_id": _id("d"),
            "store_id": _id("store"),
            "counter": items // agents,
            "cause": "'first'",
            "began_at": NOW - 300 * DAY,
            "agreed_at": NOW - 300 * DAY,
        },
    )
    yield from _of_agents(agents, stamps)
    yield from _of_runs(sizes, stamps, agent=agent, device=device, run=run, user=user)
    yield (
        "agent_state_history",
        20 * agents,
        {
            "agent_id": _id("a", "x / 20"),
            "seq": "x % 20 + 1",
            "axis": "'activity'",
            "old_value": "CASE x % 2 WHEN 0 THEN 'idle' ELSE 'waiting' END",
            "new_value": "CASE x % 2 WHEN 0 THEN 'waiting' ELSE 'idle' END",
            "actor": "'hub'",
            "at": f"{NOW} - {80 * DAY} + x % 20 * {4 * DAY}",
        },
    )
    yield (
        "activity_log",
        2 * runs,
        {
            "id": _id("e"),
            "at": _ago(80, 2 * runs),
            "event_type": "CASE x % 4 WHEN 0 THEN 'device.connected' ELSE 'run.finished' END",
            "agent_id": agent,
            "run_id": run,
            "device_id": device,
            "actor": "'hub'",
            "message": "'the run has ended'",
        },
    )
    yield (
        "idempotency_keys",
        runs // 20,
        {
            "scope": "'operator:1000'",
            "key": _id("key"),
            "request_hash": _digest("x"),
            "created_at": _ago(29, runs // 20),
        },
    )
    yield from _of_messages(runs // 10, agents)


def _of_agents(agents: int, stamps: dict[str, object]) -> Iterator[tuple[str, int, dict[str, object]]]:
    yield (
        "agents",
        agents,
        stamps
        | {
            "id": _id("a"),
            "user_id": f"'u-' || (x % {_USERS})",
            "name": "printf('agent %d', x)",
            "executor": "'device'",
            "device_id": _id("d"),
            "data_types": """'["tasks"]'""",
            "prompt_template": "'Find what I promised to do.'",
            "config_fingerprint": "'f'",
        },
    )
    configs = ("paths", '["notes"]'), ("file_extensions", '[".md"]'), ("timezone", '"UTC"')
    for key, value in configs:
        yield (
            "agent_configs",
            agents,
            stamps
            | {
                "agent_id": _id("a"),
                "config_key": f"'{key}'",
                "config_type": "'json'",
                "config_value": f"'{value}'",
            },
        )
    yield (
        "agent_states",
        agents,
        {
            "agent_id": _id("a"),
            "lifecycle": "'active'",
            "last_activity_at": NOW - DAY,
            "updated_at": NOW - DAY,
            "version": 21,
        },
    )
    yield (
        "schedules",
        agents,
        stamps
        | {
            "id": _id("s"),
            "agent_id": _id("a"),
            "kind": "'every'",
            "every_ms": DAY,
            "cursor_at": NOW - DAY,
            "next_fire_at": f"{NOW + DAY // 12} + x * {DAY // 2} / {agents}",
            "due_at": f"{NOW + DAY // 12} + x * {DAY // 2} / {agents}",
        },
    )
    yield (
        "schedule_fires",
        40 * agents,
        {
            "schedule_id": _id("s", "x / 40"),
            "fire_at": f"{NOW} - {40 * DAY} + x % 40 * {DAY}",
            "first_at": f"{NOW} - {40 * DAY} + x % 40 * {DAY}",
            "decision": "CASE x % 40 < 20 WHEN 1 THEN 'skipped_window' ELSE 'run' END",
            "decided_at": f"{NOW} - {40 * DAY} + x % 40 * {DAY}",
        },
    )
    yield (
        "metric_series",
        3 * agents,
        {
            "id": _id("m"),
            "agent_id": _id("a", "x / 3"),
            "name": "'hub.runs.' || (x % 3)",
            "created_at": NOW - 80 * DAY,
            "last_at": NOW - DAY,
        },
    )
    yield (
        "agent_metrics",
        60 * agents,
        {
            "series_id": _id("m", "x / 20"),
            "bucket_ms": 3_600_000,
            "bucket_at": f"{NOW} - {20 * DAY} + x % 20 * {DAY}",
            "n": 1,
            "sum": 1.0,
            "min": 1.0,
            "max": 1.0,
            "last": 1.0,
            "last_at": f"{NOW} - {20 * DAY} + x % 20 * {DAY}",
        },
    )


def _of_runs(
    sizes: Sizes, stamps: dict[str, object], *, agent: str, device: str, run: str, user: str
) -> Iterator[tuple[str, int, dict[str, object]]]:
    agents, runs, items = sizes.agents, sizes.runs, sizes.items
    made_at = _ago(28, runs)
    # The newest runs wait.
    waiting = min(_WAITING, runs // 4)
    paused = waiting // 2
    state = (
        f"CASE WHEN x >= {runs - waiting} THEN 'QUEUED' WHEN x >= {runs - waiting - paused} THEN 'PAUSED'"
        " WHEN x % 25 = 7 THEN 'FAILED' WHEN x % 50 = 3 THEN 'CANCELLED' ELSE 'COMPLETED' END"
    )
    has_ended = f"x < {runs - waiting - paused}"
    yield (
        "runs",
        runs,
        {
            "id": _id("r"),
            "agent_id": agent,
            "schedule_id": _id("s", f"x % {agents}"),
            "device_id": device,
            "trigger_kind": "'schedule'",
            "fire_key": _id("k"),
            "fire_at": made_at,
            "eligible_at": made_at,
            "state": state,
            "outcome": f"CASE {state} WHEN 'COMPLETED' THEN 'success' WHEN 'FAILED' THEN 'error' END",
            "pause_reason": f"CASE {state} WHEN 'PAUSED' THEN 'device_offline' END",
            "fence": f"CASE {state} WHEN 'QUEUED' THEN 0 ELSE 1 END",
            "config_rev": 1,
            "config_fingerprint": "'f'",
            "units_total": 3,
            "units_done": 3,
            "items_created": 5,
            "state_seq": f"CASE {has_ended} WHEN 1 THEN 4 ELSE 1 END",
            "created_at": made_at,
            "started_at": f"CASE {has_ended} WHEN 1 THEN {made_at} END",
            "completed_at": f"CASE {has_ended} WHEN 1 THEN {made_at} + 60000 END",
            "measured_at": f"CASE {has_ended} WHEN 1 THEN {made_at} + 60000 END",
            "forgotten_at": f"CASE {has_ended} AND {made_at} < {NOW - 8 * DAY} WHEN 1 THEN {NOW - DAY} END",
            "updated_at": made_at,
        },
    )
    ended = runs - waiting - paused
    for seq, (old, new) in enumerate(
        [
            ("NULL", "'QUEUED'"),
            ("'QUEUED'", "'PREPARING'"),
            ("'PREPARING'", "'RUNNING'"),
            ("'RUNNING'", state),
        ]
    ):
        yield (
            "run_state_history",
            runs if seq == 0 else ended,
            {
                "run_id": _id("r"),
                "seq": seq + 1,
                "old_state": old,
                "new_state": new,
                "attempt": 1,
                "fence": min(seq, 1),
                "actor": "'hub'",
                "at": f"{made_at} + {seq * 1000}",
            },
        )
    yield (
        "run_units",
        3 * ended,
        {
            "run_id": _id("r", "x / 3"),
            "unit_key": "printf('notes/%d/%d.md', x / 3, x % 3)",
            "content_hash": _digest("x"),
            "state": "'DONE'",
            "calls_planned": 1,
            "calls_settled": 1,
            "updated_at": NOW - DAY,
        },
    )
    yield (
        "run_calls",
        3 * ended,
        {
            "call_id": _digest("x"),
            "run_id": _id("r", "x / 3"),
            "unit_key": "printf('notes/%d/%d.md', x / 3, x % 3)",
            "ordinal": 0,
            "target_table": "'tasks'",
            "item_id": _digest("x"),
            "state": "'ACKED'",
            "sends": 1,
            "updated_at": NOW - DAY,
        },
    )
    verdict = "CASE WHEN x % 10 < 6 THEN 'approved' WHEN x % 10 = 6 THEN 'edited' WHEN x % 10 = 7"
    verdict += " THEN 'rejected' ELSE 'open' END"
    yield (
        "items",
        items,
        {
            "id": _digest("x"),
            "user_id": user,
            "agent_id": agent,
            "device_id": device,
            "unit_key": f"printf('notes/%d.md', x / {agents} % {_LEDGER})",
            "target_table": "'tasks'",
            "likeness": _digest("x * 3"),
            "quote_hash": _digest("x * 5"),
            "place_hash": _digest("x * 7"),
            "config_fingerprint": "'f'",
            "data": """printf('{"title":"Send the report number %d to the office","status":"open"}', x)""",
            "date_ms": f"CASE x % 3 WHEN 0 THEN {_ago(200, items)} END",
            "source": f"printf({_SOURCE}, x / {agents} % {_LEDGER}, x)",
            "call_id": _digest("x"),
            "run_id": run,
            "row_id": _digest("x + 11"),
            "answered_at": _ago(390, items),
            "verdict": verdict,
            "verdict_at": f"CASE WHEN x % 10 < 8 THEN {NOW - DAY} END",
            "created_at": _ago(390, items),
            "updated_at": _ago(390, items),
        },
    )
    yield (
        "unit_ledger",
        _LEDGER * agents,
        {
            "agent_id": _id("a", f"x / {_LEDGER}"),
            "unit_key": f"printf('notes/%d.md', x % {_LEDGER})",
            "content_hash": _digest("x"),
            "config_fingerprint": "'f'",
            "run_id": run,
            "done_at": NOW - DAY,
        },
    )
    yield (
        "model_calls",
        2 * runs,
        {
            "id": _id("c"),
            "at": _ago(80, 2 * runs),
            "agent_id": agent,
            "user_id": user,
            "run_id": run,
            "question": _digest("x"),
            "model": "'small'",
            "outcome": "'answered'",
            "measured_at": NOW - DAY,
        },
    )
    yield (
        "model_answers",
        runs // 2,
        {
            "agent_id": agent,
            "question": _digest("x"),
            "model": "'small'",
            "finish": "'whole'",
            "answer": "'[]'",
            "created_at": NOW - 20 * DAY,
            "used_at": _ago(20, runs // 2),
        },
    )
    yield (
        "seen_messages",
        runs,
        {
            "agent_id": agent,
            "key_hash": _digest("x"),
            "state": "'planned'",
            "seen_at": _ago(390, runs),
        },
    )
    yield (
        "wakes",
        runs // 10,
        {
            "id": _id("w"),
            "schedule_id": _id("s", f"x % {agents}"),
            "agent_id": agent,
            "fire_at": f"{NOW} - {20 * DAY} + x",
            "ends_at": f"{NOW} - {20 * DAY} + x + 1000",
            "state": "'acknowledged'",
            "next_at": NOW - 20 * DAY,
            "settled_at": _ago(20, runs // 10),
        }
        | stamps,
    )


def _of_messages(count: int, agents: int) -> Iterator[tuple[str, int, dict[str, object]]]:
    user, agent = f"'u-' || (x % {agents} % {_USERS})", _id("a", f"x % {agents}")
    yield (
        "messages",
        count,
        {
            "id": _id("msg"),
            "user_id": user,
            "kind": "'nudge'",
            "actor": "'hub'",
            "to_agent_id": agent,
            "content": "'well done'",
            "trace_id": _digest("x"),
            "state": "'consumed'",
            "not_before": NOW - 80 * DAY,
            "expires_at": NOW - 70 * DAY,
            "created_at": _ago(80, count),
            "updated_at": _ago(80, count),
            "settled_at": _ago(80, count),
        },
    )
    yield (
        "questions",
        count,
        {
            "id": _id("q"),
            "user_id": user,
            "from_agent_id": agent,
            "actor": "'hub'",
            "content": "'May I go?'",
            "trace_id": _digest("x"),
            "state": "'withdrawn'",
            "created_at": _ago(80, count),
            "expires_at": NOW - DAY,
            "settled_at": _ago(80, count),
        },
    )


def _count_runs(c: sqlite3.Connection) -> None:
    """Set the counters that the hub keeps of an agent's runs."""
    c.execute(
        "UPDATE agent_states SET runs_waiting = found.n FROM (SELECT agent_id, count(*) AS n FROM runs"
        " WHERE state IN ('QUEUED', 'PAUSED') GROUP BY agent_id) AS found"
        " WHERE found.agent_id = agent_states.agent_id"
    )


def _fill_audit(c: sqlite3.Connection, count: int) -> None:
    """Write a valid chain. None of its entries tells of a backup: so they are searched for in vain."""
    names = [column.name for column in sa.inspect(metadata.tables["audit_log"]).columns]
    insert = f"INSERT INTO audit_log ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"
    for start in range(0, count, _PART):
        entries = list(_entries(c, start, min(count, start + _PART), count))
        c.executemany(insert, ([getattr(entry, name) for name in names] for entry in entries))
    last = c.execute("SELECT seq, hash FROM audit_log ORDER BY seq DESC LIMIT 1").fetchone()
    head = f'{{"seq":{last[0]},"hash":"{last[1].hex()}"}}'
    known = {"hub_id": "big", "audit.head": head, "extraction.secret": "00" * 32, "identity.key": "11" * 32}
    c.executemany("INSERT OR REPLACE INTO hub (key, value) VALUES (?, ?)", known.items())


def _entries(c: sqlite3.Connection, start: int, end: int, count: int) -> Iterator[AuditRow]:
    before = c.execute("SELECT hash FROM audit_log WHERE seq = ?", (start,)).fetchone()
    last: bytes = FIRST if before is None else before[0]
    for number in range(start + 1, end + 1):
        values: dict[str, Any] = {
            "seq": number,
            "at": NOW - 390 * DAY + number * 390 * DAY // (count + 1),
            "actor": f"device:d-{number % 100}",
            "event": "hub.created" if number == 1 else ("auth.refused", "token.created")[number % 2],
            "subject": None,
            "outcome": "refused" if number > 1 and number % 2 == 0 else "done",
            "detail": "{}",
            "prev_hash": last,
        }
        last = hash_of(AuditRow(**values, hash=b""))
        yield AuditRow(**values, hash=last)

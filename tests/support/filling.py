"""Rows for every table: a database of any size, in which rows refer to each other."""

from collections.abc import Callable, Mapping
from typing import Any, Final

import sqlalchemy as sa

from protocol.keys import key_id
from storage.schema import metadata

AT: Final = 1_700_000_000_000  # epoch milliseconds of the oldest row; each next one is a second younger
FAR: Final = 2**42  # in the year 2109
PART: Final = 5_000  # rows of one INSERT

Value = Callable[[int], object]

_ENDED: Final = (("COMPLETED", "success"), ("COMPLETED", "partial"), ("FAILED", "error"), ("CANCELLED", None))


def _text(name: str) -> Value:
    return lambda n: f"{name}-{n:06}"


def _at(n: int) -> int:
    return AT + 1_000 * n


# What constraints and readers ask of a column; a function gets the number of the row.
VALUES: Final[Mapping[str, Mapping[str, object]]] = {
    "activity_log": {"agent_id": _text("id"), "event_type": lambda n: f"event.{n % 7}"},
    "agent_configs": {
        "agent_id": _text("id"),
        "config_key": "paths",
        "config_value": '["notes"]',
        "config_type": "json",
    },
    "agent_capabilities": {"ver_major": 1, "ver_minor": 0, "ver_patch": 0},
    "agent_locks": {
        "agent_id": _text("id"),  # an agent has few
        "holder_kind": "device",
        "holder_id": "d",
        "expires_at": FAR,
        "acquired_at": _at,
    },
    "agent_metrics": {"bucket_ms": 60_000, "n": 1, "sum": 1.0, "min": 1.0, "max": 1.0, "last": 1.0},
    "agent_state_history": {"axis": "health", "new_value": "ok"},
    "agent_states": {"lifecycle": "active"},
    "agents": {"executor": "device", "project_id": lambda n: f"project-{n % 5}", "connector_id": None},
    "audit_log": {"outcome": "done", "detail": "{}", "event": lambda n: f"event.{n % 7}"},
    "broadcasts": {"kind": "question", "settled_at": _at},
    "checkpoints": {"scope": _text("scope")},
    "connectors": {"provider": "imap"},
    "credentials": {},
    "device_stores": {"cause": "first", "agreed_at": _at},
    "gateway_agents": {"role": "worker", "state": "ready"},
    "invitations": {"uses_left": 1, "expires_at": FAR},
    "items": {
        "target_table": "tasks",
        "verdict": lambda n: "open" if n % 10 else "approved",
        "verdict_at": lambda n: None if n % 10 else _at(n),
        "row_id": _text("row"),
        "answered_at": _at,
        "run_id": lambda n: f"id-{n // 100:06}",
    },
    "item_proposals": {"verdict": "reject", "state": "declined", "settled_at": _at},
    "item_verdicts": {"verdict": "approve", "state": "done", "settled_at": _at, "device_id": _text("id")},
    "leases": {},
    "lock_waits": {"holder_kind": "device", "user_id": "id-000000", "resource": "resource-000001"},
    "messages": {
        "kind": "nudge",
        "state": "expired",
        "settled_at": _at,
        "device_id": None,
        "broadcast_id": lambda n: None if n % 10 else f"id-{n // 10:06}",
    },
    "message_moves": {"new_state": "expired"},
    "model_answers": {"finish": "whole"},
    "model_batches": {"state": "done"},
    "operator_tokens": {"role": "viewer", "scopes": ["read"], "expires_at": FAR},
    "browser_sessions": {"role": "viewer", "scopes": ["read"], "expires_at": FAR},
    "device_tokens": {"expires_at": FAR},
    "agent_tokens": {"expires_at": FAR},
    "pairings": {"expires_at": FAR, "key_id": lambda n: key_id(f"{n:032}".encode()), "device_id": None},
    "posted": {"settled_at": _at},
    "question_tellings": {"device_id": _text("id")},
    "questions": {"state": "expired", "settled_at": _at},
    "run_calls": {
        "run_id": _text("id"),
        "unit_key": _text("unit_key"),
        "state": "ACKED",
    },
    "item_words": {"item_id": _text("id")},
    "run_state_history": {"new_state": "QUEUED"},
    "run_units": {"run_id": _text("id"), "state": "DONE"},
    "runs": {
        "trigger_kind": "manual",
        "state": lambda n: _ENDED[n % 4][0],
        "outcome": lambda n: _ENDED[n % 4][1],
        "completed_at": _at,
        "fence": 1,
        "task_id": lambda n: f"task-{n % 50}",
        "measured_at": _at,
    },
    "schedule_fires": {"decision": "skipped_paused", "first_at": AT},
    "schedules": {
        "agent_id": _text("id"),
        "kind": "every",
        "every_ms": 3_600_000,
        "next_fire_at": FAR,
        "due_at": FAR,
    },
    "seen_messages": {"state": "left_out"},
    "sign_ins": {"way": "device", "outcome": "done", "settled_at": _at, "device_id": None},
    "soul_versions": {"kind": "seen"},
    "soul_writes": {"state": "done", "settled_at": _at},
    "wakes": {"state": "skipped", "settled_at": _at, "ends_at": FAR},
}


def fill(c: sa.Connection, counts: Mapping[str, int]) -> None:
    """Insert as many rows into each table; half of those that refer to a row refer to the first one."""
    for table in metadata.sorted_tables:
        many = counts.get(table.name, 0)
        columns: dict[str, Value] = {}
        for column in table.columns:
            if (value := _value_of(column, counts)) is not None:
                columns[column.name] = value
        for start in range(0, many, PART):
            numbers = range(start, min(start + PART, many))
            c.execute(
                sa.insert(table), [{name: value(n) for name, value in columns.items()} for n in numbers]
            )


def _value_of(column: sa.Column[Any], counts: Mapping[str, int]) -> Value | None:
    given = VALUES.get(column.table.name, {})
    if column.name in given:
        value: Any = given[column.name]
        return value if callable(value) else lambda _: value
    if column.foreign_keys:
        return _reference(column, counts)
    if column.nullable or column.server_default is not None:
        return None
    if isinstance(column.type, sa.LargeBinary):
        return lambda n: f"{n:032}".encode()
    if isinstance(column.type, sa.BigInteger | sa.Integer):
        return _at if column.name.endswith("at") else lambda n: 10 + n
    return _text(column.name)


def _reference(column: sa.Column[Any], counts: Mapping[str, int]) -> Value | None:
    (target, *_) = column.foreign_keys
    rows = counts.get(target.column.table.name, 0)
    if rows == 0:
        return None
    if [*column.table.primary_key.columns] == [column]:
        return _text("id")
    return lambda n: f"{target.column.name}-{0 if n % 2 else n // 2 % rows:06}"

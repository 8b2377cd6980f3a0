"""Declared schedules and calendar slots of agents.

An agent has at most one schedule that creates runs, and any number of slots that wake it. An edit never
causes catch-up; the fires that it passes over are recorded in one row.
"""

from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

import msgspec
import sqlalchemy as sa

from protocol.ids import AgentId
from storage.kernel.rows import values_of
from storage.schedules.schedule_rows import (
    REMOVED,
    USER,
    DeclaredSchedule,
    ScheduleRow,
    lock_schedules_of,
    lock_slots_of,
)
from storage.schema import schedule_fires, schedules


class Passed(msgspec.Struct, frozen=True):
    """Fires after *cursor_at* that were passed over: *count* of them, from *first_at* to *fire_at*."""

    cursor_at: int
    first_at: int
    fire_at: int
    count: int


_is_schedule = schedules.c.id == sa.bindparam("schedule")
_changed = {"rev": schedules.c.rev + 1, "updated_at": sa.bindparam("now")}
_declared: dict[sa.Column[Any], Any] = {
    schedules.c.coalesce_policy if name == "coalesce" else schedules.c[name]: sa.bindparam(f"new_{name}")
    for name in DeclaredSchedule.__struct_fields__
}
EDIT = (
    sa.update(schedules)
    .where(_is_schedule)
    .values(
        _declared
        | {
            schedules.c.enabled: sa.bindparam("on"),
            schedules.c.paused_reason: sa.bindparam("why"),
            schedules.c.consecutive_failures: 0,
            schedules.c.cursor_at: sa.bindparam("cursor"),
            schedules.c.next_fire_at: None,
            schedules.c.due_at: None,
            schedules.c.rev: schedules.c.rev + 1,
            schedules.c.updated_at: sa.bindparam("now"),
        }
    )
)
EDIT_PAUSED = (
    sa.update(schedules)
    .where(_is_schedule)
    .values(
        _declared
        | {
            schedules.c.cursor_at: sa.bindparam("cursor"),
            schedules.c.next_fire_at: None,
            schedules.c.due_at: None,
            schedules.c.rev: schedules.c.rev + 1,
            schedules.c.updated_at: sa.bindparam("now"),
        }
    )
)
_is_declared = sa.or_(schedules.c.enabled, schedules.c.paused_reason.is_distinct_from(REMOVED))
_removed = {"enabled": False, "paused_reason": REMOVED, **_changed}
REMOVE = (
    sa.update(schedules).where(schedules.c.agent_id == sa.bindparam("agent"), _is_declared).values(_removed)
)
REMOVE_RUNS = REMOVE.where(schedules.c.action == "run")
REMOVE_ONE = sa.update(schedules).where(_is_schedule, _is_declared).values(_removed)


def declare(
    c: sa.Connection, agent_id: AgentId, declared: DeclaredSchedule | None, *, fresh_id: str, at: int
) -> bool:
    """Make the agent's schedule of runs match the declaration. Return True if it changed.

    An edit keeps the row and its id, and moves the cursor to *at*: it never causes catch-up. It ends every
    pause except one by a person. An unchanged declaration changes nothing, and keeps a pause.

    Args:
        declared: ``None`` pauses the schedule for good; its history stays.
        fresh_id: id of the row if the agent never had a schedule.
    """
    if declared is None:
        return c.execute(REMOVE_RUNS, {"agent": agent_id, "now": at}).rowcount > 0
    old = next(iter(lock_schedules_of(c, agent_id)), None)
    return _declare(c, agent_id, old, declared, fresh_id=fresh_id, at=at)


def declare_slots(
    c: sa.Connection, agent_id: AgentId, declared: Sequence[DeclaredSchedule], *, at: int
) -> bool:
    """Make the agent's slots, identified by label, match the declarations. Return True if any changed.

    Each is treated like the schedule in ``declare``. Open wakes are kept.
    """
    known = {row.id: row for row in lock_slots_of(c, agent_id)}
    is_changed = False
    for slot in declared:
        id = slot_id(agent_id, slot.label or "")
        is_changed |= _declare(c, agent_id, known.pop(id, None), slot, fresh_id=id, at=at)
    for gone in known:
        is_changed |= c.execute(REMOVE_ONE, {"schedule": gone, "now": at}).rowcount > 0
    return is_changed


def slot_id(agent_id: AgentId, label: str) -> str:
    """Return the id of an agent's slot, derived from its label, so that a re-added slot is the same row."""
    return blake2b(f"{agent_id}\0{label}".encode(), digest_size=16).hexdigest()


def _declare(
    c: sa.Connection,
    agent_id: AgentId,
    old: ScheduleRow | None,
    declared: DeclaredSchedule,
    *,
    fresh_id: str,
    at: int,
) -> bool:
    if old is None:
        own = {"id": fresh_id, "agent_id": agent_id, "coalesce_policy": declared.coalesce}
        times = {"cursor_at": at, "created_at": at, "updated_at": at}
        c.execute(sa.insert(schedules), values_of(declared, schedules, **own, **times))
        return True
    # An older release recorded no reason when the schedule was removed from the file.
    was_removed = not old.enabled and old.paused_reason in (REMOVED, None)
    if old.declared == declared and not was_removed:
        return False
    new = {f"new_{name}": value for name, value in msgspec.structs.asdict(declared).items()}
    new |= {"schedule": old.id, "now": at}
    pass_over(c, old, at)
    later = max(old.cursor_at, at)
    if old.paused_reason != USER:
        c.execute(EDIT, new | {"on": True, "why": None, "cursor": later})
        return True
    # After a second edit in one pause the passed fires are unknown here; they are recorded when it ends.
    c.execute(EDIT_PAUSED, new | {"cursor": old.cursor_at if old.next_fire_at is None else later})
    return True


def remove(c: sa.Connection, agent_id: AgentId, at: int) -> bool:
    """Disable the agent's schedules and slots. Return True if any was declared."""
    return c.execute(REMOVE, {"agent": agent_id, "now": at}).rowcount > 0


def pass_over(c: sa.Connection, old: ScheduleRow, at: int, passed: Passed | None = None) -> None:
    """Record the undecided fires between the cursor and *at*, to which the caller moves the cursor."""
    decision, reason = ("skipped_window", "edited") if old.enabled else ("skipped_paused", "schedule_paused")
    row = {"schedule_id": old.id, "decision": decision, "reason": reason, "decided_at": at}
    if passed is not None and passed.cursor_at == old.cursor_at:
        row |= {"first_at": passed.first_at, "fire_at": passed.fire_at, "missed_count": passed.count - 1}
    elif old.next_fire_at is not None and old.next_fire_at <= at:
        # At least this fire was passed over; only the trigger knows the number of later ones.
        row |= {"first_at": old.next_fire_at, "fire_at": at, "missed_count": 0}
    else:
        return
    c.execute(sa.insert(schedule_fires), row)

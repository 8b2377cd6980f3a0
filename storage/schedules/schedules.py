"""Schedules: planning, pausing, enabling.

Also re-exports ``declared_schedules`` (declarations), ``schedule_rows`` (reading) and ``schedule_clocks``
(wrong clocks, new time zones); ``fires`` decides their fires. Two invariants hold: the cursor never goes
back, except from a wrong future, and fires passed over without a decision are recorded in a row.
"""

from collections.abc import Sequence

import msgspec
import sqlalchemy as sa

from protocol.lifecycles import RunOutcome
from storage.audit import activity
from storage.devices.leases import Term, check_term
from storage.schedules.declared_schedules import Passed, declare, declare_slots, pass_over, remove, slot_id
from storage.schedules.schedule_clocks import bring_back, clamp_future_cursors, replan_all
from storage.schedules.schedule_rows import (
    BROKEN,
    CATCHING_UP,
    FAILURES,
    FINISHED,
    REMOVED,
    USER,
    Agenda,
    Coalesce,
    DeclaredSchedule,
    DueSchedule,
    Kind,
    Overlap,
    ScheduleRow,
    UnknownSchedule,
    Unreadable,
    agenda,
    due,
    get_schedule,
    list_schedules,
    lock_schedule,
    next_due_at,
    schedules_of,
    slots_of,
    told,
    unplanned,
    with_settings,
)
from storage.schema import schedules

__all__ = [
    "BROKEN",
    "FAILURES",
    "FINISHED",
    "REMOVED",
    "USER",
    "Agenda",
    "Coalesce",
    "DeclaredSchedule",
    "DueSchedule",
    "Kind",
    "NextFire",
    "Overlap",
    "Passed",
    "ScheduleRow",
    "UnknownSchedule",
    "Unreadable",
    "agenda",
    "bring_back",
    "clamp_future_cursors",
    "count_outcome",
    "declare",
    "declare_slots",
    "due",
    "get_schedule",
    "give_up",
    "list_schedules",
    "next_due_at",
    "plan_next",
    "remove",
    "replan_all",
    "schedules_of",
    "set_enabled",
    "slot_id",
    "slots_of",
    "told",
    "unplanned",
    "with_settings",
]


class NextFire(msgspec.Struct, frozen=True):
    """Next fire of a schedule, valid for its *rev*; *fire_at*: ``None`` if no fire is left."""

    schedule_id: str
    rev: int
    fire_at: int | None
    due_at: int | None


_is_schedule = schedules.c.id == sa.bindparam("schedule")
_changed = {"rev": schedules.c.rev + 1, "updated_at": sa.bindparam("now")}
PLAN = (
    sa.update(schedules)
    .where(
        _is_schedule,
        schedules.c.rev == sa.bindparam("seen"),
        schedules.c.enabled,
        schedules.c.due_at.is_(None),
    )
    .values(
        next_fire_at=sa.bindparam("fire"),
        due_at=sa.bindparam("due"),
        enabled=sa.bindparam("on"),
        paused_reason=sa.func.coalesce(sa.bindparam("why", type_=sa.Text), schedules.c.paused_reason),
        updated_at=sa.bindparam("now"),
    )
)


def plan_next(c: sa.Connection, term: Term, planned: Sequence[NextFire], at: int) -> None:
    """Record the next fires of unplanned schedules; a schedule edited meanwhile is left for the next call.

    Raises:
        LostLease: nothing was written.
    """
    check_term(c, term)
    plans = [
        {
            "schedule": plan.schedule_id,
            "seen": plan.rev,
            "fire": plan.fire_at,
            "due": plan.due_at,
            "on": plan.fire_at is not None,
            "why": None if plan.fire_at is not None else FINISHED,
            "now": at,
        }
        for plan in planned
    ]
    if plans:
        c.execute(PLAN, plans)


PAUSE = (
    sa.update(schedules)
    .where(_is_schedule, schedules.c.enabled)
    .values(enabled=False, paused_reason=sa.bindparam("why"), **_changed)
)
GIVE_UP = PAUSE.where(schedules.c.rev == sa.bindparam("seen"))
ENABLE = (
    sa.update(schedules)
    .where(_is_schedule)
    .values(
        enabled=True,
        paused_reason=None,
        consecutive_failures=0,
        cursor_at=sa.bindparam("cursor"),
        next_fire_at=None,
        due_at=None,
        **_changed,
    )
)
CATCH_UP = (
    sa.update(schedules)
    .where(_is_schedule)
    .values(
        enabled=True,
        paused_reason=CATCHING_UP,
        consecutive_failures=0,
        next_fire_at=None,  # its old value may come from a former trigger or time zone
        due_at=None,
        **_changed,
    )
)


def set_enabled(
    c: sa.Connection,
    id: str,
    on: bool,
    *,
    at: int,
    reason: str = USER,
    catch_up: bool = False,
    passed: Passed | None = None,
) -> bool:
    """Pause or enable a schedule. Return False if nothing changed.

    A schedule that is no longer declared stays paused.

    Args:
        reason: stable code of a pause.
        catch_up: decide the fires passed over as after a downtime; otherwise they are recorded in one row and
            skipped.
        passed: contents of that row, computed by the caller, who knows the trigger; ignored if the cursor has
            moved since.

    Raises:
        UnknownSchedule: no schedule has the id.
    """
    old = lock_schedule(c, id)
    if not on:
        return c.execute(PAUSE, {"schedule": id, "why": reason, "now": at}).rowcount > 0
    if old.enabled or old.paused_reason in (REMOVED, None):
        return False
    if catch_up:
        c.execute(CATCH_UP, {"schedule": id, "now": at})
        return True
    pass_over(c, old, at, passed)
    c.execute(ENABLE, {"schedule": id, "cursor": max(old.cursor_at, at), "now": at})
    return True


def give_up(c: sa.Connection, term: Term, schedule: ScheduleRow, at: int) -> bool:
    """Pause a schedule that cannot fire. Return False if it changed, so perhaps it can.

    Raises:
        LostLease: nothing was written.
    """
    check_term(c, term)
    seen = {"schedule": schedule.id, "seen": schedule.rev, "why": BROKEN, "now": at}
    return c.execute(GIVE_UP, seen).rowcount > 0


FAILED = (
    sa.update(schedules)
    .where(_is_schedule)
    .values(consecutive_failures=schedules.c.consecutive_failures + 1, updated_at=sa.bindparam("now"))
    .returning(
        schedules.c.agent_id,
        schedules.c.consecutive_failures,
        schedules.c.pause_after_failures,
        schedules.c.rev,
    )
)
SUCCEEDED = (
    sa.update(schedules)
    .where(_is_schedule, schedules.c.consecutive_failures > 0)
    .values(consecutive_failures=0, updated_at=sa.bindparam("now"))
)


def count_outcome(c: sa.Connection, schedule_id: str, outcome: RunOutcome | None, at: int) -> bool:
    """Count the outcome of a scheduled run. Return True if the schedule was paused for it.

    Consecutive failures are counted, a success resets the count, a partial or cancelled run (``None``)
    changes nothing. The pause adds an activity entry.
    """
    match outcome:
        case RunOutcome.SUCCESS:
            c.execute(SUCCEEDED, {"schedule": schedule_id, "now": at})
            return False
        case RunOutcome.PARTIAL | None:
            return False
        case RunOutcome.ERROR:
            pass
    failed = c.execute(FAILED, {"schedule": schedule_id, "now": at}).one_or_none()
    if failed is None or not 0 < failed.pause_after_failures <= failed.consecutive_failures:
        return False
    if not set_enabled(c, schedule_id, False, at=at, reason=FAILURES):
        return False
    activity.record(
        c,
        id=f"{schedule_id}.{failed.rev}.{FAILURES}",  # the rev grows with each pause
        at=at,
        event_type="schedule.paused",
        level="warning",
        message=f"Schedule paused after {failed.consecutive_failures} failed runs in a row",
        agent_id=failed.agent_id,
        actor="scheduler",
        data={"schedule_id": schedule_id, "reason": FAILURES},
    )
    return True

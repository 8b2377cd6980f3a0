"""Schedules: declared, planned, paused, let fire again.

The door to ``schedule_rows`` (reading them) and ``schedule_clocks`` (wrong clocks, new
time zones) too; ``fires`` decides what they fire. Two things
hold whatever happens: the cursor never goes back (but from a future that was never
there), and what is passed over without a decision leaves a row that says so.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from protocol.ids import AgentId
from protocol.lifecycles import RunOutcome
from storage import activity
from storage.leases import Term, check_term
from storage.schedule_clocks import bring_back, clamp_future_cursors, replan_all
from storage.schedule_rows import (
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
    lock_schedules_of,
    next_due_at,
    schedules_of,
    told,
    unplanned,
    with_settings,
)
from storage.schema import schedule_fires, schedules

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
    "told",
    "unplanned",
    "with_settings",
]


class NextFire(msgspec.Struct, frozen=True):
    """The next fire of a schedule, as its *rev* has it; *fire_at* is ``None`` where none is left."""

    schedule_id: str
    rev: int
    fire_at: int | None
    due_at: int | None


class Passed(msgspec.Struct, frozen=True):
    """So many fires after *cursor_at*, from *first_at* to *fire_at*, that nobody decided."""

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
REMOVE = (
    sa.update(schedules)
    .where(
        schedules.c.agent_id == sa.bindparam("agent"),
        sa.or_(schedules.c.enabled, schedules.c.paused_reason.is_distinct_from(REMOVED)),
    )
    .values(enabled=False, paused_reason=REMOVED, **_changed)
)


def declare(
    c: sa.Connection, agent_id: AgentId, declared: DeclaredSchedule | None, *, fresh_id: str, at: int
) -> bool:
    """Make the agent's one schedule what is declared; whether that changed anything.

    An edit keeps the row and its id, and moves the cursor to *at*: it never causes
    catch-up. It takes the schedule out of any pause but one that a person wanted.
    The same declaration again changes nothing, and leaves a pause alone.

    Args:
        declared: ``None`` pauses the schedule for good; its history stays.
        fresh_id: of the row, where the agent never had one.
    """
    if declared is None:
        return remove(c, agent_id, at)
    old = next(iter(lock_schedules_of(c, agent_id)), None)
    if old is None:
        row = msgspec.structs.asdict(declared) | {"id": fresh_id, "agent_id": agent_id}
        row["coalesce_policy"] = row.pop("coalesce")
        c.execute(sa.insert(schedules), row | {"cursor_at": at, "created_at": at, "updated_at": at})
        return True
    # An older release wrote no reason when the schedule left the file.
    was_removed = not old.enabled and old.paused_reason in (REMOVED, None)
    if old.declared == declared and not was_removed:
        return False
    new = {f"new_{name}": value for name, value in msgspec.structs.asdict(declared).items()}
    new |= {"schedule": old.id, "now": at}
    _pass_over(c, old, at)
    later = max(old.cursor_at, at)
    if old.paused_reason != USER:
        c.execute(EDIT, new | {"on": True, "why": None, "cursor": later})
        return True
    # Of a second edit in one pause nobody here knows what it would pass over: that is told at the end.
    c.execute(EDIT_PAUSED, new | {"cursor": old.cursor_at if old.next_fire_at is None else later})
    return True


def remove(c: sa.Connection, agent_id: AgentId, at: int) -> bool:
    """The agent's schedules are no longer declared; whether any was."""
    return c.execute(REMOVE, {"agent": agent_id, "now": at}).rowcount > 0


def _pass_over(c: sa.Connection, old: ScheduleRow, at: int, passed: Passed | None = None) -> None:
    """Tell of the fires between the cursor and *at*, which is where the cursor goes without deciding them."""
    decision, reason = ("skipped_window", "edited") if old.enabled else ("skipped_paused", "schedule_paused")
    row = {"schedule_id": old.id, "decision": decision, "reason": reason, "decided_at": at}
    if passed is not None and passed.cursor_at == old.cursor_at:
        row |= {"first_at": passed.first_at, "fire_at": passed.fire_at, "missed_count": passed.count - 1}
    elif old.next_fire_at is not None and old.next_fire_at <= at:
        # That one for sure; how many came after it, only its trigger knows.
        row |= {"first_at": old.next_fire_at, "fire_at": at, "missed_count": 0}
    else:
        return
    c.execute(sa.insert(schedule_fires), row)


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
    """The next fires of schedules that had none; one that was edited meanwhile is left to the next look.

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
        next_fire_at=None,  # the one it had may be of a trigger, or of time zones, that it no longer has
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
    """Pause a schedule, or let it fire again; False where nothing changed.

    One that is no longer declared stays paused.

    Args:
        reason: of a pause; a stable word.
        catch_up: what the pause passed over is decided as if the hub had been down;
            else it is told of in one row and forgotten.
        passed: what that row tells, from who knows the trigger; a cursor that has moved
            since makes it void.

    Raises:
        UnknownSchedule: there is none.
    """
    old = lock_schedule(c, id)
    if not on:
        return c.execute(PAUSE, {"schedule": id, "why": reason, "now": at}).rowcount > 0
    if old.enabled or old.paused_reason in (REMOVED, None):
        return False
    if catch_up:
        c.execute(CATCH_UP, {"schedule": id, "now": at})
        return True
    _pass_over(c, old, at, passed)
    c.execute(ENABLE, {"schedule": id, "cursor": max(old.cursor_at, at), "now": at})
    return True


def give_up(c: sa.Connection, term: Term, schedule: ScheduleRow, at: int) -> bool:
    """Pause a schedule that cannot fire; False if it is no longer as it was seen, so perhaps it can.

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
    """A run of the schedule has ended; whether the schedule is paused for it.

    Failures in a row are counted, a success forgives them, a partial or cancelled run
    (``None``) does neither. The pause leaves an activity for the owner.
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

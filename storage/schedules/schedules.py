"""Schedules and slots: declaring, planning of the next fire, pausing, repair after a wrong clock.

Also re-exports ``schedule_rows`` (reading); ``fires`` decides their fires. An agent has at most one schedule
that creates runs, and any number of slots that wake it. Two invariants hold: the cursor never goes back,
except from a wrong future, and fires passed over without a decision are recorded in a row. An edit never
causes catch-up.
"""

from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Any

import msgspec
import sqlalchemy as sa

from protocol.ids import AgentId
from protocol.lifecycles import RunOutcome
from storage import audit
from storage.kernel.columns import Int, in_parts, values_of
from storage.leases import Term, check_term
from storage.schedules.schedule_rows import (
    AWAITED,
    BROKEN,
    CATCHING_UP,
    FAILURES,
    FINISHED,
    REMOVED,
    USER,
    DeclaredSchedule,
    ScheduleRow,
    lock_schedule,
    lock_schedules_of,
    lock_slots_of,
)
from storage.schema import hub, runs, schedule_fires, schedules, wakes


class PassedFires(msgspec.Struct, frozen=True):
    """Fires after *cursor_at* that were passed over: *count* of them, from *first_at* to *fire_at*."""

    cursor_at: int
    first_at: int
    fire_at: int
    count: int


_is_declared = sa.or_(schedules.c.enabled, schedules.c.paused_reason.is_distinct_from(REMOVED))
_removed = {
    "enabled": False,
    "paused_reason": REMOVED,
    "rev": schedules.c.rev + 1,
    "updated_at": sa.bindparam("now"),
}
REMOVE = (
    sa.update(schedules).where(schedules.c.agent_id == sa.bindparam("agent"), _is_declared).values(_removed)
)
REMOVE_RUNS = REMOVE.where(schedules.c.action == "run")


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
    of_agent = {"agent": agent_id, "now": at}
    is_changed = False
    for slot in declared:
        id = slot_id(agent_id, slot.label or "")
        is_changed |= _declare(c, agent_id, known.pop(id, None), slot, fresh_id=id, at=at)
    for surplus in known:
        is_changed |= c.execute(REMOVE.where(schedules.c.id == surplus), of_agent).rowcount > 0
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
        first = AWAITED if declared.on_first_connect else None
        c.execute(sa.insert(schedules), values_of(declared, schedules, **own, **times, first_connect=first))
        return True
    # An older release recorded no reason when the schedule was removed from the file.
    was_removed = not old.enabled and old.paused_reason in (REMOVED, None)
    if old.declared == declared and not was_removed:
        return False
    pass_over(c, old, at)
    new = values_of(declared, schedules, coalesce_policy=declared.coalesce, cursor_at=max(old.cursor_at, at))
    if old.paused_reason != USER:
        new |= {"enabled": True, "paused_reason": None, "consecutive_failures": 0}
    elif old.next_fire_at is None:
        # After a second edit in one pause the passed fires are unknown here; they are recorded when it ends.
        new["cursor_at"] = old.cursor_at
    new |= {"next_fire_at": None, "due_at": None}
    if declared.on_first_connect != old.on_first_connect:
        new["first_connect"] = AWAITED if declared.on_first_connect else None
    c.execute(_changed(old.id, at).values(new))
    return True


def _changed(id: str, at: int) -> sa.Update:
    """Return an update of the schedule that invalidates plans made before it."""
    return sa.update(schedules).where(schedules.c.id == id).values(rev=schedules.c.rev + 1, updated_at=at)


def remove(c: sa.Connection, agent_id: AgentId, at: int) -> bool:
    """Disable the agent's schedules and slots. Return True if any was declared."""
    return c.execute(REMOVE, {"agent": agent_id, "now": at}).rowcount > 0


def pass_over(c: sa.Connection, old: ScheduleRow, at: int, passed: PassedFires | None = None) -> None:
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


REPEATED_MS = 3 * 3_600_000  # as in Debian's cron: fixed times that the clock shows again after less are over
_FROM_CLOCK = sa.select(schedules.c.id, schedules.c.expr, schedules.c.cursor_at).where(
    schedules.c.kind != "every", schedules.c.cursor_at > sa.bindparam("now", type_=Int)
)
_INTERVALS = sa.select(schedules.c.id).where(schedules.c.kind == "every")


def follow_step(c: sa.Connection, *, by_ms: int, at: int, follows_wall: Callable[[str], bool]) -> int:
    """Adjust all schedules after the clock has stepped by *by_ms* to *at*. Return their number.

    Intervals go on as if the clock had not stepped. Expressions and single instants follow the clock: what it
    has passed over is missed, and what it will show again has not been yet; but a fixed time, which was
    decided already, is not repeated after a small step back. Decisions about fires that are yet to come are
    deleted; runs created for them stay.

    Args:
        follows_wall: whether an expression repeats times that the clock shows again.
    """
    changed = {"rev": schedules.c.rev + 1, "updated_at": at}
    intervals = c.execute(_INTERVALS).scalars().all()
    moved = (schedules.c.cursor_at, schedules.c.next_fire_at, schedules.c.due_at, schedules.c.created_at)
    c.execute(
        sa.update(schedules)
        .where(schedules.c.kind == "every")
        .values(changed | {column.name: column + by_ms for column in moved})
    )
    from_clock = [
        row.id
        for row in c.execute(_FROM_CLOCK, {"now": at})
        if row.cursor_at > at + REPEATED_MS or (row.expr is not None and follows_wall(row.expr))
    ]
    for part in in_parts(from_clock):
        again = sa.update(schedules).where(schedules.c.id.in_(part))
        c.execute(again.values(changed | {"cursor_at": at, "next_fire_at": None, "due_at": None}))
        c.execute(again.where(schedules.c.paused_reason == FINISHED).values(enabled=True, paused_reason=None))
    if by_ms < 0:
        for part in in_parts([*intervals, *from_clock]):
            _forget_decisions(c, part)
    return len(intervals) + len(from_clock)


def _forget_decisions(c: sa.Connection, ids: Sequence[str]) -> None:
    """Delete decisions about fires after the cursors of these schedules."""
    fires = schedule_fires.c
    of_these, cursor = fires.schedule_id.in_(ids), _cursor_of(fires.schedule_id)
    c.execute(sa.delete(schedule_fires).where(of_these, fires.first_at > cursor))
    c.execute(sa.update(schedule_fires).where(of_these, fires.fire_at > cursor).values(fire_at=cursor))
    cursor = _cursor_of(wakes.c.schedule_id)
    c.execute(sa.delete(wakes).where(wakes.c.schedule_id.in_(ids), wakes.c.fire_at > cursor))
    cursor = _cursor_of(runs.c.schedule_id)
    c.execute(
        sa.update(runs)
        .where(runs.c.schedule_id.in_(ids), runs.c.fire_at > cursor)
        .values(fire_key="w:" + runs.c.id, fire_at=cursor)  # its fire is to come, and will have its own run
    )


def _cursor_of(id: sa.Column[Any]) -> sa.ScalarSelect[int]:
    return sa.select(schedules.c.cursor_at).where(schedules.c.id == id).scalar_subquery()


TZDATA = "tzdata"  # key in the table hub


def replan_all(c: sa.Connection, term: Term, tzdata: str, at: int) -> int:
    """Plan all cron schedules again if the time zone data changed. Return their number.

    Cursors stay, so no fire is lost or decided twice.

    Args:
        tzdata: identifies the release of the tz database.

    Raises:
        LostLease: nothing was written.
    """
    check_term(c, term)
    known = c.execute(sa.select(hub.c.value).where(hub.c.key == TZDATA)).scalar_one_or_none()
    if known == tzdata:
        return 0
    if known is None:
        c.execute(sa.insert(hub), {"key": TZDATA, "value": tzdata})
    else:
        c.execute(sa.update(hub).where(hub.c.key == TZDATA).values(value=tzdata))
    return c.execute(
        sa.update(schedules)
        .where(schedules.c.enabled, schedules.c.kind == "cron")
        .values(next_fire_at=None, due_at=None, rev=schedules.c.rev + 1, updated_at=at)
    ).rowcount


class NextFire(msgspec.Struct, frozen=True):
    """Next fire of a schedule, valid for its *rev*; *fire_at*: ``None`` if no fire is left."""

    schedule_id: str
    rev: int
    fire_at: int | None
    due_at: int | None


PLAN = (
    sa.update(schedules)
    .where(
        schedules.c.id == sa.bindparam("schedule"),
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


def set_enabled(
    c: sa.Connection,
    id: str,
    on: bool,
    *,
    at: int,
    reason: str = USER,
    catch_up: bool = False,
    passed: PassedFires | None = None,
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
        CodedError (BAD_PARAMS): no schedule has the id.
    """
    old = lock_schedule(c, id)
    if not on:
        return _pause(c, old, reason, at)
    if old.enabled or old.paused_reason in (REMOVED, None):
        return False
    # Its old next fire may come from a former trigger or time zone.
    enabled = _changed(id, at).values(
        enabled=True, consecutive_failures=0, next_fire_at=None, due_at=None, paused_reason=None
    )
    if catch_up:
        c.execute(enabled.values(paused_reason=CATCHING_UP))
        return True
    pass_over(c, old, at, passed)
    c.execute(enabled.values(cursor_at=max(old.cursor_at, at)))
    return True


def _pause(c: sa.Connection, seen: ScheduleRow, reason: str, at: int) -> bool:
    """Pause a schedule that is enabled and unchanged since it was read. Return False if it is not."""
    is_seen = _changed(seen.id, at).where(schedules.c.enabled, schedules.c.rev == seen.rev)
    return c.execute(is_seen.values(enabled=False, paused_reason=reason)).rowcount > 0


def give_up(c: sa.Connection, term: Term, schedule: ScheduleRow, at: int) -> bool:
    """Pause a schedule that cannot fire. Return False if it changed, so perhaps it can.

    Raises:
        LostLease: nothing was written.
    """
    check_term(c, term)
    return _pause(c, schedule, BROKEN, at)


def count_outcome(c: sa.Connection, schedule_id: str, outcome: RunOutcome | None, at: int) -> bool:
    """Count the outcome of a scheduled run. Return True if the schedule was paused for it.

    Consecutive failures are counted, a success resets the count, a partial or cancelled run (``None``)
    changes nothing. The pause adds an activity entry.
    """
    match outcome:
        case RunOutcome.SUCCESS:
            failing = sa.update(schedules).where(
                schedules.c.id == schedule_id, schedules.c.consecutive_failures > 0
            )
            c.execute(failing.values(consecutive_failures=0, updated_at=at))
            return False
        case RunOutcome.PARTIAL | None:
            return False
        case RunOutcome.ERROR:
            pass
    failed = c.execute(
        sa.update(schedules)
        .where(schedules.c.id == schedule_id)
        .values(consecutive_failures=schedules.c.consecutive_failures + 1, updated_at=at)
        .returning(
            schedules.c.agent_id,
            schedules.c.consecutive_failures,
            schedules.c.pause_after_failures,
            schedules.c.rev,
        )
    ).one_or_none()
    if failed is None or not 0 < failed.pause_after_failures <= failed.consecutive_failures:
        return False
    if not set_enabled(c, schedule_id, False, at=at, reason=FAILURES):
        return False
    audit.record(
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

"""Decisions about a schedule's fires and their results; pure.

``hub.schedules`` decides which fires get a run; ``storage.schedules.fires`` takes the existing runs into
account.
"""

from typing import Any, Literal

import msgspec

from protocol.ids import AgentId, RunId
from storage.kernel.rows import values_of
from storage.schedules.fire_rows import Decision
from storage.schedules.schedule_rows import DueSchedule
from storage.schedules.scheduled_runs import FreshRun
from storage.schema import schedule_fires

SLOTTED = frozenset({"skip", "queue_one", "cancel_running"})  # policies with at most one waiting run


class Covered(msgspec.Struct, frozen=True):
    """*count* consecutive fires without a run of their own; *of*: the fire whose run covers them, if any."""

    first_at: int
    fire_at: int
    count: int
    decision: Literal["coalesced", "skipped_window"]
    of: int | None


class FireDecision(msgspec.Struct, frozen=True, kw_only=True):
    """Planned decision about every fire of a schedule up to *cursor_at*, before overlap is considered.

    Attributes:
        due: the schedule as it was read.
        next_fire_at: the first later fire; ``None``: no fire is left.
        due_at: time at which that fire is to be decided.
        runs: runs to create, ascending; each fire is one of these or within one of *covered*.
        config_fingerprint, parameters: properties of these runs.
    """

    due: DueSchedule
    cursor_at: int
    next_fire_at: int | None
    due_at: int | None
    runs: tuple[FreshRun, ...]
    covered: tuple[Covered, ...]
    trigger_kind: Literal["schedule", "catchup"]
    config_fingerprint: str
    parameters: dict[str, Any]


class Decided(msgspec.Struct, frozen=True, kw_only=True):
    """Result for *fires* consecutive fires, from *first_at* to *fire_at*; stored as one row.

    Attributes:
        run_id: the run that covers them, or that blocked them.
        cancelled: executing runs whose cancellation was requested to make room.
    """

    schedule_id: str
    agent_id: AgentId
    first_at: int
    fire_at: int
    fires: int
    decision: Decision
    reason: str | None
    run_id: RunId | None
    cancelled: tuple[RunId, ...] = ()


def with_one_slot(decision: FireDecision) -> tuple[tuple[FreshRun, ...], tuple[Covered, ...]]:
    """Reduce the runs to that of the newest fire if only one may wait; it covers the others."""
    if len(decision.runs) < 2 or decision.due.schedule.overlap not in SLOTTED:
        return decision.runs, decision.covered
    *older, newest = decision.runs
    covered = [
        msgspec.structs.replace(part, of=newest.fire_at) if part.of else part for part in decision.covered
    ]
    covered += [Covered(run.fire_at, run.fire_at, 1, "coalesced", newest.fire_at) for run in older]
    return (newest,), tuple(covered)


def cover(decision: FireDecision, part: Covered, placed: dict[int, Decided]) -> Decided:
    """Return the result of covered fires, which share that of the fire whose run covers them."""
    if part.of is None:
        return became(decision, part, "skipped_window", "window", None)
    of = placed[part.of]
    if of.decision in ("run", "coalesced", "deferred"):  # deferred: a wake that is due later
        reason = "schedule_paused" if decision.due.schedule.is_catching_up else "hub_down"
        return became(decision, part, "coalesced", reason, of.run_id)
    return became(decision, part, of.decision, of.reason, of.run_id)


def became(
    decision: FireDecision,
    of: FreshRun | Covered,
    what: Decision,
    reason: str | None,
    run_id: RunId | None,
    cancelled: tuple[RunId, ...] = (),
) -> Decided:
    """Return the result of one fire, or of several with the same result."""
    schedule = decision.due.schedule
    first_at, fires = (of.fire_at, 1) if isinstance(of, FreshRun) else (of.first_at, of.count)
    return Decided(
        schedule_id=schedule.id,
        agent_id=schedule.agent_id,
        first_at=first_at,
        fire_at=of.fire_at,
        fires=fires,
        decision=what,
        reason=reason,
        run_id=run_id,
        cancelled=cancelled,
    )


def row_of(decided: Decided, at: int) -> dict[str, Any]:
    """Return the row of schedule_fires for the result."""
    return values_of(decided, schedule_fires, missed_count=decided.fires - 1, decided_at=at)


PUNCTUAL_MS = 60_000  # a run that starts within this time of its fire is on time


def start_by(decision: FireDecision, run: FreshRun) -> int | None:
    """Return the latest time at which the fire's run may start; ``None``: no limit.

    The catch-up window limits the age of a fire that could not run in time. If only the device was missing,
    the run exists already, and waits no longer than the window.
    """
    schedule = decision.due.schedule
    limits = [] if schedule.start_deadline_ms is None else [schedule.start_deadline_ms]
    if schedule.catchup_window_ms is not None and decision.trigger_kind == "schedule":
        limits.append(schedule.catchup_window_ms + PUNCTUAL_MS)
    return run.fire_at + min(limits) if limits else None

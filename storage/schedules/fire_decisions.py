"""A decision about a schedule's fires, and what became of them; pure.

``hub.schedules`` says which fires deserve a run, ``storage.schedules.fires`` what the runs that
are there already make of it.
"""

from typing import Any, Literal

import msgspec

from protocol.ids import AgentId, RunId
from storage.schedules.fire_rows import Decision
from storage.schedules.schedule_rows import DueSchedule
from storage.schedules.scheduled_runs import FreshRun

SLOTTED = frozenset({"skip", "queue_one", "cancel_running"})  # policies under which one run at most waits


class Covered(msgspec.Struct, frozen=True):
    """*count* consecutive fires that deserve no run: that of *of* stands for them, or none does."""

    first_at: int
    fire_at: int
    count: int
    decision: Literal["coalesced", "skipped_window"]
    of: int | None


class FireDecision(msgspec.Struct, frozen=True, kw_only=True):
    """What shall become of every fire of a schedule up to *cursor_at*, runs that are in the way apart.

    Attributes:
        due: the schedule as it was seen.
        next_fire_at: the first fire after those; ``None``: none is left.
        due_at: when that one is to be decided.
        runs: what is to be made, ascending; each fire is one of these or within one of *covered*.
        config_fingerprint, parameters: what these runs are made with.
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
    """What became of *fires* consecutive fires, from *first_at* to *fire_at*: a row.

    Attributes:
        run_id: the run that stands for them, or stood in their way.
        cancelled: runs that execute, and whose end was asked for to make room.
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
    """Where one run at most may wait, the newest fire's stands for the others of this decision."""
    if len(decision.runs) < 2 or decision.due.schedule.overlap not in SLOTTED:
        return decision.runs, decision.covered
    *older, newest = decision.runs
    covered = [
        msgspec.structs.replace(part, of=newest.fire_at) if part.of else part for part in decision.covered
    ]
    covered += [Covered(run.fire_at, run.fire_at, 1, "coalesced", newest.fire_at) for run in older]
    return (newest,), tuple(covered)


def cover(decision: FireDecision, part: Covered, placed: dict[int, Decided]) -> Decided:
    """Fires share the fate of the one whose run stands for them."""
    if part.of is None:
        return became(decision, part, "skipped_window", "window", None)
    of = placed[part.of]
    if of.decision in ("run", "coalesced", "deferred"):  # deferred: a wake that is to come
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
    """What became of one fire, or of several that share their fate."""
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
    """It as a row of schedule_fires."""
    return {
        "schedule_id": decided.schedule_id,
        "fire_at": decided.fire_at,
        "first_at": decided.first_at,
        "missed_count": decided.fires - 1,
        "decision": decided.decision,
        "reason": decided.reason,
        "run_id": decided.run_id,
        "decided_at": at,
    }


PUNCTUAL_MS = 60_000  # a run that starts within this of its fire has not missed it


def start_by(decision: FireDecision, run: FreshRun) -> int | None:
    """When a run of this fire is not worth starting any more; ``None``: it always is.

    A catch-up window says how old a fire may be whose time passed while nothing could
    run. Where that was for want of the device, the run is there already, and waits no
    longer than that.
    """
    schedule = decision.due.schedule
    limits = [] if schedule.start_deadline_ms is None else [schedule.start_deadline_ms]
    if schedule.catchup_window_ms is not None and decision.trigger_kind == "schedule":
        limits.append(schedule.catchup_window_ms + PUNCTUAL_MS)
    return run.fire_at + min(limits) if limits else None

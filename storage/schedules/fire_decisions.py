"""Decisions about a schedule's fires: their results, overlap policies, and the rows that they depend on.

``hub.schedules`` decides which fires get a run; ``storage.schedules.fires`` takes the existing runs into
account.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from enum import Enum, auto
from typing import Any, Literal, assert_never

import msgspec
import sqlalchemy as sa

from protocol.ids import AgentId, RunId
from protocol.lifecycles import PauseReason, RunState
from storage.kernel.rows import values_of
from storage.schedules.calendar_wakeups import open_of
from storage.schedules.fire_rows import Decision, FreshRun
from storage.schedules.schedule_rows import DueSchedule, Overlap
from storage.schema import LIVE, agent_states, agents, runs, schedule_fires, schedules

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


_listed: sa.BindParameter[Any] = sa.bindparam("listed", expanding=True)
SEEN = (
    sa.select(
        schedules.c.id,
        schedules.c.rev,
        schedules.c.cursor_at,
        agent_states.c.lifecycle,
        agent_states.c.availability,
        agent_states.c.connectivity,
    )
    .join_from(schedules, agents)
    .join(agent_states, agent_states.c.agent_id == agents.c.id)
    .where(schedules.c.id.in_(_listed), schedules.c.enabled, agents.c.deleted_at.is_(None))
    .order_by(schedules.c.id)
    .with_for_update(of=schedules)
)
LIVE_RUNS = (
    sa.select(runs.c.id, runs.c.schedule_id, runs.c.state, runs.c.fence, runs.c.pause_reason)
    .where(
        runs.c.schedule_id.in_(_listed),
        sa.text("runs.schedule_id IS NOT NULL AND runs." + LIVE),
        runs.c.trigger_kind != "backfill",  # covers an old fire, and does not block a new one
    )
    .order_by(runs.c.id)
    .with_for_update()
)
WAITING_FOR_DEVICES = (
    sa.select(runs.c.device_id, sa.func.count().label("runs"))
    .where(
        runs.c.device_id.in_(_listed),
        sa.text("runs.state = 'QUEUED'"),
        runs.c.trigger_kind.in_(("schedule", "catchup")),
    )
    .group_by(runs.c.device_id)
)


class Live(msgspec.Struct, frozen=True):
    """Run that has started and is not over."""

    id: RunId
    state: RunState


class Standing(msgspec.Struct):
    """Schedule as the transaction reads it, and as its decisions change it."""

    axes: Any
    under_way: list[Live]
    waits: list[RunId]  # runs that never started, newest last
    without_model: list[RunId] = []  # runs that wait for a model: they block no other run
    open_wakes: list[str] = []  # open wakes of a slot

    @property
    def waiting(self) -> RunId | None:
        """Newest waiting run, if any."""
        return self.waits[-1] if self.waits else None

    @property
    def why_waiting(self) -> str:
        """Reason why the waiting run does not start."""
        if self.axes.lifecycle != "active":
            return "agent_paused"
        if self.axes.connectivity == "offline":
            return "device_offline"
        return "exhausted" if self.axes.availability == "exhausted" else "still_waiting"


def standings_of(c: sa.Connection, batch: Sequence[FireDecision]) -> dict[str, Standing]:
    """Lock and return the schedules that are unchanged since their decisions were planned."""
    saw = {d.due.schedule.id: (d.due.schedule.rev, d.due.schedule.cursor_at) for d in batch}
    standings = {
        row.id: Standing(row, [], [])
        for row in c.execute(SEEN, {"listed": list(saw)})
        if (row.rev, row.cursor_at) == saw[row.id]
    }
    if not standings:
        return standings
    for row in c.execute(LIVE_RUNS, {"listed": list(standings)}):
        standing = standings[row.schedule_id]
        if row.pause_reason is PauseReason.MODEL_AWAY:
            standing.without_model.append(row.id)
            continue
        # A run that a person paused before its start also waits: when resumed, it runs for the newest
        # fire.
        if row.fence > 0 or row.state not in (RunState.QUEUED, RunState.PAUSED):
            standing.under_way.append(Live(row.id, row.state))
        else:
            standing.waits.append(row.id)
    slots = [d.due.schedule.id for d in batch if d.due.schedule.action == "wake"]
    for id, found in open_of(c, [id for id in slots if id in standings]).items() if slots else ():
        standings[id].open_wakes = found
    return standings


def waiting_for_devices(c: sa.Connection, batch: Iterable[FireDecision]) -> Counter[str | None]:
    """Return the number of scheduled runs that wait for each device of the batch."""
    devices = sorted({d.due.schedule.device_id for d in batch if d.due.schedule.device_id is not None})
    found = c.execute(WAITING_FOR_DEVICES, {"listed": devices}) if devices else ()
    return Counter({row.device_id: row.runs for row in found})


class QueueLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Limits on waiting scheduled runs; fires beyond them are dropped, and recorded."""

    per_schedule: int = 100
    per_device: int = 1_000  # of all schedules together


class Fate(Enum):
    """Fate of a fire."""

    RUN = auto()  # queue a run
    MERGE = auto()  # the waiting run covers it
    SKIP = auto()  # the run under way suffices
    DROP = auto()  # too many runs wait already
    REPLACE = auto()  # cancel runs under way and waiting runs, then queue a run


def decide_overlap(policy: Overlap, *, is_under_way: bool, is_waiting: bool, queued: int, most: int) -> Fate:
    """Return the fate of a fire under *policy*.

    Args:
        is_under_way: a run of the schedule began and is not over; may be paused.
        is_waiting: a run of the schedule never started.
        queued: number of runs that never started.
        most: maximum of *queued*.
    """
    match policy:
        case "skip":
            if is_waiting:
                return Fate.MERGE
            return Fate.SKIP if is_under_way else Fate.RUN
        case "queue_one":
            return Fate.MERGE if is_waiting else Fate.RUN
        case "cancel_running":
            return Fate.REPLACE if is_under_way or is_waiting else Fate.RUN
        case "queue_all" | "allow":
            return Fate.DROP if queued >= most else Fate.RUN
        case never:
            assert_never(never)

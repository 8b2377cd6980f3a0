"""Decision about each due fire: run, wake, merge or skip, by overlap policy and waiting runs.

``hub.schedules.trigger`` decides which fires get a run; this module takes the existing runs and the overlap
policies into account; by most of them only one run may wait. One transaction decides for up to a few hundred
schedules, in sets. A schedule that was changed since its decision was planned (edited, paused, decided by
another hub) is left out. So of two hubs that decide the same fire one wins. The caller holds a term of the
lease; see ``storage.leases``.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, Literal, assert_never

import msgspec
import sqlalchemy as sa

from protocol.ids import AgentId, RunId
from protocol.lifecycles import EXECUTING_RUN_STATES, PauseReason, RunState
from storage.agents.due_schedules import DueSchedule
from storage.effects.fire_runs import (
    ACTOR,
    INSERT_FIRES,
    INSERT_RUNS,
    FreshRun,
    first_move,
    run_row,
    runs_of_fires,
)
from storage.kernel.columns import isolating_broken_row, values_of
from storage.leases import Term, check_term
from storage.runs.run_devices import waits_alone
from storage.runs.run_locks import release_locks, with_other_locks
from storage.runs.run_moves import remember_moves
from storage.runs.run_pauses import request_cancel
from storage.runs.runs import RunMove
from storage.schedules.schedule_rows import FINISHED, Overlap
from storage.schedules.wakes import INSERT as INSERT_WAKES
from storage.schedules.wakes import WAITING as NOT_SENT_YET
from storage.schedules.wakes import open_of, settle, wake_row, wakes_of_fires
from storage.schema import LIVE, Decision, agent_states, agents, runs, schedule_fires, schedules

SLOTTED = frozenset({"skip", "queue_one", "cancel_running"})  # policies with at most one waiting run


class CoveredFireRow(msgspec.Struct, frozen=True):
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
        config_fingerprint, settings: properties of these runs.
    """

    due: DueSchedule
    cursor_at: int
    next_fire_at: int | None
    due_at: int | None
    runs: tuple[FreshRun, ...]
    covered: tuple[CoveredFireRow, ...]
    trigger_kind: Literal["schedule", "catchup"]
    config_fingerprint: str
    settings: dict[str, Any]


class DecidedFires(msgspec.Struct, frozen=True, kw_only=True):
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


def with_one_slot(decision: FireDecision) -> tuple[tuple[FreshRun, ...], tuple[CoveredFireRow, ...]]:
    """Reduce the runs to that of the newest fire if only one may wait; it covers the others."""
    if len(decision.runs) < 2 or decision.due.schedule.overlap not in SLOTTED:
        return decision.runs, decision.covered
    *older, newest = decision.runs
    covered = [
        msgspec.structs.replace(part, of=newest.fire_at) if part.of else part for part in decision.covered
    ]
    covered += [CoveredFireRow(run.fire_at, run.fire_at, 1, "coalesced", newest.fire_at) for run in older]
    return (newest,), tuple(covered)


def cover(decision: FireDecision, part: CoveredFireRow, placed: dict[int, DecidedFires]) -> DecidedFires:
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
    of: FreshRun | CoveredFireRow,
    what: Decision,
    reason: str | None,
    run_id: RunId | None,
    cancelled: tuple[RunId, ...] = (),
) -> DecidedFires:
    """Return the result of one fire, or of several with the same result."""
    schedule = decision.due.schedule
    first_at, fires = (of.fire_at, 1) if isinstance(of, FreshRun) else (of.first_at, of.count)
    return DecidedFires(
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


def row_of(decided: DecidedFires, at: int) -> dict[str, Any]:
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
    sa.select(
        runs.c.id,
        runs.c.schedule_id,
        runs.c.state,
        runs.c.fence,
        runs.c.pause_reason,
        (
            runs.c.agent_id
            != sa.select(schedules.c.agent_id).where(schedules.c.id == runs.c.schedule_id).scalar_subquery()
        ).label("is_stray"),
    )
    .where(
        runs.c.schedule_id.in_(_listed),
        sa.text("runs.schedule_id IS NOT NULL AND runs." + LIVE),
        runs.c.trigger_kind != "backfill",  # covers an old fire, and does not block a new one
    )
    .order_by(runs.c.id)
    .with_for_update()
)
WAITS_ALONE = sa.select(runs.c.id).where(
    runs.c.id.in_(sa.bindparam("runs", expanding=True)), waits_alone(runs)
)
GIVE_UP_PLACE = sa.update(runs).where(runs.c.id == sa.bindparam("run")).values(queue_slot=None)
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


class ScheduleSight(msgspec.Struct):
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


def lock_schedules(c: sa.Connection, batch: Sequence[FireDecision]) -> dict[str, ScheduleSight]:
    """Lock and return the schedules that are unchanged since their decisions were planned."""
    saw = {d.due.schedule.id: (d.due.schedule.rev, d.due.schedule.cursor_at) for d in batch}
    sights = {
        row.id: ScheduleSight(row, [], [])
        for row in c.execute(SEEN, {"listed": list(saw)})
        if (row.rev, row.cursor_at) == saw[row.id]
    }
    if not sights:
        return sights
    live = c.execute(LIVE_RUNS, {"listed": list(sights)}).all()
    away = [row.id for row in live if row.pause_reason is PauseReason.DEVICE_OFFLINE]
    alone = set(c.execute(WAITS_ALONE, {"runs": away}).scalars()) if away else set()
    for row in live:
        sight = sights[row.schedule_id]
        if row.is_stray:  # of another agent or of none: a broken row, which never ends
            with isolating_broken_row(c):
                c.execute(GIVE_UP_PLACE, {"run": row.id})
            continue
        if row.id in alone:  # its items wait for their device, and new ones go to another
            continue
        if row.pause_reason is PauseReason.MODEL_AWAY:
            sight.without_model.append(row.id)
            continue
        # A run that a person paused before its start also waits: when resumed, it runs for the newest
        # fire.
        if row.fence > 0 or row.state not in (RunState.QUEUED, RunState.PAUSED):
            sight.under_way.append(Live(row.id, row.state))
        else:
            sight.waits.append(row.id)
    slots = [d.due.schedule.id for d in batch if d.due.schedule.action == "wake"]
    for id, found in open_of(c, [id for id in slots if id in sights]).items() if slots else ():
        sights[id].open_wakes = found
    return sights


def waiting_for_devices(c: sa.Connection, batch: Iterable[FireDecision]) -> Counter[str | None]:
    """Return the number of scheduled runs that wait for each device of the batch."""
    devices = sorted({d.due.schedule.device_id for d in batch if d.due.schedule.device_id is not None})
    found = c.execute(WAITING_FOR_DEVICES, {"listed": devices}) if devices else ()
    return Counter({row.device_id: row.runs for row in found})


# Fate of a fire.
Fate = Literal[
    "run",  # queue a run
    "merge",  # the waiting run covers it
    "skip",  # the run under way suffices
    "drop",  # too many runs wait already
    "replace",  # cancel runs under way and waiting runs, then queue a run
]


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
                return "merge"
            return "skip" if is_under_way else "run"
        case "queue_one":
            return "merge" if is_waiting else "run"
        case "cancel_running":
            return "replace" if is_under_way or is_waiting else "run"
        case "queue_all" | "allow":
            return "drop" if queued >= most else "run"
        case never:
            assert_never(never)


SUPERSEDED = "superseded"
# Waiting scheduled runs; fires beyond them are dropped, and recorded.
WAITING_PER_SCHEDULE: Final = 100
WAITING_PER_DEVICE: Final = 1_000  # of all schedules together
NOTHING_HAD: Final[Mapping[int, DecidedFires]] = MappingProxyType({})


def decide(
    c: sa.Connection,
    term: Term,
    batch: Sequence[FireDecision],
    at: int,
) -> list[DecidedFires]:
    """Execute the planned decisions. Return the results, by schedule and fire.

    Schedules that changed since are left out, and nothing is written for them.

    Raises:
        LostLease: nothing was written.
    """
    check_term(c, term)
    sights = lock_schedules(c, batch)
    ours = [decision for decision in batch if decision.due.schedule.id in sights]
    if not ours:
        return []
    clerk = _Clerk(at, waiting_for_devices(c, ours))
    for decision in ours:
        clerk.decide(decision, sights[decision.due.schedule.id])
    clerk.write(c)
    return clerk.decided


NEWEST_DECIDED = sa.select(sa.func.max(schedule_fires.c.fire_at)).where(
    schedule_fires.c.schedule_id == sa.bindparam("schedule"),
    schedule_fires.c.fire_at > sa.bindparam("cursor"),
)
MOVE_ON = (
    sa.update(schedules)
    .where(schedules.c.id == sa.bindparam("schedule"))
    .values(
        cursor_at=sa.bindparam("cursor"),
        next_fire_at=None,
        due_at=None,
        rev=schedules.c.rev + 1,
        updated_at=sa.bindparam("now"),
    )
)


def decide_what_is_left(
    c: sa.Connection,
    term: Term,
    decision: FireDecision,
    at: int,
) -> list[DecidedFires] | None:
    """Decide again after ``decide`` met a Conflict, because some of the fires may be decided already.

    If rows exist for fires beyond the cursor, the cursor moves to the last of them, and later fires must be
    planned. A fire that has a run keeps it.

    Returns:
        The results; ``None`` if the cursor moved or the schedule changed: plan again.

    Raises:
        LostLease: nothing was written.
        Conflict: another cause; nothing was written.
    """
    check_term(c, term)
    schedule = decision.due.schedule
    sights = lock_schedules(c, [decision])
    if not sights:
        return None
    seen = {"schedule": schedule.id, "cursor": schedule.cursor_at}
    newest_decided = c.execute(NEWEST_DECIDED, seen).scalar_one()
    if newest_decided is not None:
        c.execute(MOVE_ON, {"schedule": schedule.id, "cursor": newest_decided, "now": at})
        return None
    had = _had(c, decision)
    clerk = _Clerk(at, waiting_for_devices(c, [decision]))
    clerk.decide(decision, sights[schedule.id], had)
    clerk.write(c)
    return clerk.decided


def _had(c: sa.Connection, decision: FireDecision) -> dict[int, DecidedFires]:
    """Return the results of fires that have a run or a wake already."""
    schedule, fresh = decision.due.schedule, {run.fire_at: run for run in decision.runs}
    if schedule.action == "wake":
        woken = wakes_of_fires(c, schedule.id, list(fresh))
        return {at: became(decision, fresh[at], "deferred", NOT_SENT_YET, None) for at in woken}
    had = runs_of_fires(c, schedule, list(fresh))
    return {at: became(decision, fresh[at], "run", None, run_id) for at, run_id in had.items()}


MERGE = (
    sa.update(runs)
    .where(
        runs.c.id == sa.bindparam("run"),
        runs.c.fence == 0,
        sa.text("runs.state IN ('QUEUED', 'PAUSED')"),
    )
    .values(
        fire_at=sa.bindparam("fire"),
        coalesced_count=runs.c.coalesced_count + sa.bindparam("more"),
        device_id=sa.bindparam("device"),
        eligible_at=sa.bindparam("now"),
        timeout_ms=sa.bindparam("timeout"),
        start_deadline_at=sa.bindparam("start_by"),
        max_attempts=sa.bindparam("attempts"),
        priority=sa.bindparam("rank"),
        config_rev=sa.bindparam("config"),
        config_fingerprint=sa.bindparam("fingerprint"),
        needs=sa.bindparam("needing"),
        locks=sa.bindparam("locking"),
        settings=sa.bindparam("made_with"),
        updated_at=sa.bindparam("now"),
    )
)
ADVANCE = (
    sa.update(schedules)
    .where(schedules.c.id == sa.bindparam("schedule"))
    .values(
        cursor_at=sa.bindparam("cursor"),
        next_fire_at=sa.bindparam("fire"),
        due_at=sa.bindparam("due"),
        enabled=sa.bindparam("on"),
        paused_reason=sa.bindparam("why"),
        updated_at=sa.bindparam("now"),
    )
)


class _Clerk:
    """Collector of rows to write, so that each kind is written once for all schedules."""

    def __init__(self, at: int, waiting_for: Counter[str | None]) -> None:
        self.decided: list[DecidedFires] = []
        self._at = at
        self._waiting_for = waiting_for
        self._cancels: list[RunId] = []
        self._runs: list[dict[str, Any]] = []
        self._made: list[tuple[RunId, AgentId, RunMove]] = []
        self._merges: list[dict[str, Any]] = []
        self._wakes: list[dict[str, Any]] = []
        self._superseded: list[str] = []  # ids of wakes
        self._cursors: list[dict[str, Any]] = []

    def decide(
        self, decision: FireDecision, sight: ScheduleSight, had: Mapping[int, DecidedFires] = NOTHING_HAD
    ) -> None:
        """Collect the rows of every fire, and move the cursor; *had*: results that exist already."""
        is_finished = decision.next_fire_at is None
        self._cursors.append(
            {
                "schedule": decision.due.schedule.id,
                "cursor": decision.cursor_at,
                "fire": decision.next_fire_at,
                "due": decision.due_at,
                "on": not is_finished,
                "why": FINISHED if is_finished else None,
                "now": self._at,
            }
        )
        fresh, covered = with_one_slot(decision)
        covering = Counter[int | None]()
        for part in covered:
            covering[part.of] += part.count
        placed = {
            run.fire_at: had.get(run.fire_at) or self._place(decision, sight, run, covering[run.fire_at])
            for run in fresh
        }
        for part in covered:
            placed[part.fire_at] = cover(decision, part, placed)
        self.decided += (placed[fire_at] for fire_at in sorted(placed))

    def _place(
        self, decision: FireDecision, sight: ScheduleSight, run: FreshRun, covers: int
    ) -> DecidedFires:
        """Return the result of a fire that should get a run; *covers*: number of fires it would cover."""
        if decision.due.schedule.action == "wake":
            return self._place_wake(decision, sight, run)
        match self._fate(decision, sight):
            case "merge":
                self._merge(decision, sight, run, 1 + covers)
                return became(decision, run, "coalesced", sight.why_waiting, sight.waiting)
            case "skip":
                in_the_way = sight.under_way[0].id
                return became(decision, run, "skipped_overlap", "still_running", in_the_way)
            case "drop":
                return became(decision, run, "dropped_queue_full", "queue_full", None)
            case "replace":
                cancelled = self._make_room(sight)
                self._queue(decision, sight, run, covers)
                return became(decision, run, "run", None, run.id, cancelled)
            case "run":
                self._queue(decision, sight, run, covers)
                return became(decision, run, "run", None, run.id)

    def _place_wake(self, decision: FireDecision, sight: ScheduleSight, fresh: FreshRun) -> DecidedFires:
        """Collect the wake of a slot that has begun; the device's answer is recorded later."""
        schedule = decision.due.schedule
        fate = decide_overlap(
            schedule.overlap,
            is_under_way=bool(sight.open_wakes),
            is_waiting=False,
            queued=len(sight.open_wakes),
            most=WAITING_PER_SCHEDULE,
        )
        match fate:
            case "skip":
                return became(decision, fresh, "skipped_overlap", "still_waking", None)
            case "drop":
                return became(decision, fresh, "dropped_queue_full", "queue_full", None)
            case "replace":
                self._superseded += sight.open_wakes
                sight.open_wakes.clear()
            case "run" | "merge":
                pass
        assert schedule.duration_ms is not None  # guaranteed by a CHECK constraint
        self._wakes.append(
            wake_row(
                fresh.id,
                schedule_id=schedule.id,
                agent_id=schedule.agent_id,
                fire_at=fresh.fire_at,
                duration_ms=schedule.duration_ms,
                at=self._at,
            )
        )
        sight.open_wakes.append(fresh.id)
        return became(decision, fresh, "deferred", NOT_SENT_YET, None)

    def _fate(self, decision: FireDecision, sight: ScheduleSight) -> Fate:
        schedule = decision.due.schedule
        fate = decide_overlap(
            schedule.overlap,
            is_under_way=bool(sight.under_way),
            is_waiting=sight.waiting is not None,
            queued=len(sight.waits),
            most=WAITING_PER_SCHEDULE,
        )
        is_one_more = fate == "run" or (fate == "replace" and sight.waiting is None)
        is_placed = schedule.device_id is not None
        is_full = is_placed and self._waiting_for[schedule.device_id] >= WAITING_PER_DEVICE
        return "drop" if is_one_more and is_full else fate

    def _queue(self, decision: FireDecision, sight: ScheduleSight, run: FreshRun, covers: int) -> None:
        schedule = decision.due.schedule
        has_slot = schedule.overlap in SLOTTED
        # The new run reads their units too: only one run at a time waits for an unavailable model.
        self._cancels += sight.without_model
        sight.without_model.clear()
        self._runs.append(
            run_row(
                decision.due,
                run,
                trigger_kind=decision.trigger_kind,
                at=self._at,
                # Runs of one decision become ready in the order of their fires.
                eligible_at=self._at + decision.runs.index(run),
                queue_slot=schedule.id if has_slot else None,
                start_deadline_at=start_by(decision, run),
                coalesced_count=covers,
                config_fingerprint=decision.config_fingerprint,
                settings=decision.settings,
            )
        )
        self._made.append(first_move(run, schedule.agent_id, self._at, ACTOR))
        self._waiting_for[schedule.device_id] += 1
        sight.waits.append(run.id)

    def _merge(self, decision: FireDecision, sight: ScheduleSight, run: FreshRun, more: int) -> None:
        """Turn the waiting run into that of the newest fire, with the current settings."""
        schedule = decision.due.schedule
        self._merges.append(
            {
                "run": sight.waiting,
                "fire": run.fire_at,
                "more": more,
                "device": schedule.device_id,
                "timeout": schedule.run_timeout_ms,
                "start_by": start_by(decision, run),
                "attempts": schedule.max_attempts,
                "rank": decision.due.priority,
                "config": decision.due.config_rev,
                "fingerprint": decision.config_fingerprint,
                "needing": list(decision.due.needs),
                "locking": sorted(set(decision.due.locks)),
                "made_with": decision.settings,
                "now": self._at,
            }
        )

    def _make_room(self, sight: ScheduleSight) -> tuple[RunId, ...]:
        """Cancel runs under way and waiting runs. Return those that execute, which end a little later."""
        self._cancels += [run.id for run in sight.under_way]
        self._cancels += sight.waits  # several, if another policy queued them
        sight.waits.clear()
        return tuple(run.id for run in sight.under_way if run.state in EXECUTING_RUN_STATES)

    def write(self, c: sa.Connection) -> None:
        """Write all collected rows; cancellations first, because they may free the slot of a new run."""
        for run_id in self._cancels:
            request_cancel(c, run_id, SUPERSEDED, self._at, actor=ACTOR)
        for wake_id in self._superseded:
            settle(c, wake_id, "skipped", "skipped_overlap", at=self._at, reason=SUPERSEDED)
        relocked = with_other_locks(c, {merge["run"]: merge["locking"] for merge in self._merges})
        for statement, rows in (
            (MERGE, self._merges),
            (INSERT_RUNS, self._runs),
            (INSERT_WAKES, self._wakes),
        ):
            if rows:
                c.execute(statement, rows)
        release_locks(c, relocked)  # releases their old locks and waits
        remember_moves(c, self._made)
        if self.decided:
            c.execute(INSERT_FIRES, [row_of(decided, self._at) for decided in self.decided])
        c.execute(ADVANCE, self._cursors)

"""Decisions of fires: each becomes a run or a wake, merges into a waiting run, or is recorded as skipped.

One transaction decides for up to a few hundred schedules, in sets. A schedule that was changed since its
decision was planned (edited, paused, decided by another hub) is left out. So of two hubs that decide the same
fire one wins. The caller holds a term of the lease; see ``leases``.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import sqlalchemy as sa

from protocol.ids import AgentId, RunId
from protocol.lifecycles import EXECUTING_RUN_STATES
from storage.devices.leases import Term, check_term
from storage.runs.run_locks import let_go, with_other_locks
from storage.runs.run_moves import remember_moves
from storage.runs.run_pauses import request_cancel
from storage.runs.runs import RunMove
from storage.schedules.calendar_wakeups import INSERT as INSERT_WAKES
from storage.schedules.calendar_wakeups import WAITING as NOT_TOLD_YET
from storage.schedules.calendar_wakeups import settle, wake_row, wakes_of_fires
from storage.schedules.fire_decisions import (
    SLOTTED,
    Decided,
    Fate,
    FireDecision,
    QueueLimits,
    Standing,
    became,
    cover,
    decide_overlap,
    row_of,
    standings_of,
    start_by,
    waiting_for_devices,
    with_one_slot,
)
from storage.schedules.fire_rows import (
    ACTOR,
    INSERT_FIRES,
    INSERT_RUNS,
    FreshRun,
    first_move,
    run_row,
    runs_of_fires,
)
from storage.schedules.schedule_rows import FINISHED
from storage.schema import runs, schedule_fires, schedules

SUPERSEDED = "superseded"
DEFAULT_LIMITS = QueueLimits()
NOTHING_HAD: Final[Mapping[int, Decided]] = MappingProxyType({})


def decide(
    c: sa.Connection,
    term: Term,
    batch: Sequence[FireDecision],
    at: int,
    *,
    limits: QueueLimits = DEFAULT_LIMITS,
) -> list[Decided]:
    """Execute the planned decisions. Return the results, by schedule and fire.

    Schedules that changed since are left out, and nothing is written for them.

    Raises:
        LostLease: nothing was written.
    """
    check_term(c, term)
    standings = standings_of(c, batch)
    ours = [decision for decision in batch if decision.due.schedule.id in standings]
    if not ours:
        return []
    clerk = _Clerk(at, waiting_for_devices(c, ours), limits)
    for decision in ours:
        clerk.decide(decision, standings[decision.due.schedule.id])
    clerk.write(c)
    return clerk.decided


NEWEST_TOLD = sa.select(sa.func.max(schedule_fires.c.fire_at)).where(
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
    *,
    limits: QueueLimits = DEFAULT_LIMITS,
) -> list[Decided] | None:
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
    standings = standings_of(c, [decision])
    if not standings:
        return None
    seen = {"schedule": schedule.id, "cursor": schedule.cursor_at}
    newest_told = c.execute(NEWEST_TOLD, seen).scalar_one()
    if newest_told is not None:
        c.execute(MOVE_ON, {"schedule": schedule.id, "cursor": newest_told, "now": at})
        return None
    had = _had(c, decision)
    clerk = _Clerk(at, waiting_for_devices(c, [decision]), limits)
    clerk.decide(decision, standings[schedule.id], had)
    clerk.write(c)
    return clerk.decided


def _had(c: sa.Connection, decision: FireDecision) -> dict[int, Decided]:
    """Return the results of fires that have a run or a wake already."""
    schedule, fresh = decision.due.schedule, {run.fire_at: run for run in decision.runs}
    if schedule.action == "wake":
        woken = wakes_of_fires(c, schedule.id, list(fresh))
        return {at: became(decision, fresh[at], "deferred", NOT_TOLD_YET, None) for at in woken}
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
        parameters=sa.bindparam("made_with"),
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

    def __init__(self, at: int, waiting_for: Counter[str | None], limits: QueueLimits) -> None:
        self._limits = limits
        self.decided: list[Decided] = []
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
        self, decision: FireDecision, standing: Standing, had: Mapping[int, Decided] = NOTHING_HAD
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
            run.fire_at: had.get(run.fire_at) or self._place(decision, standing, run, covering[run.fire_at])
            for run in fresh
        }
        for part in covered:
            placed[part.fire_at] = cover(decision, part, placed)
        self.decided += (placed[fire_at] for fire_at in sorted(placed))

    def _place(self, decision: FireDecision, standing: Standing, run: FreshRun, stands_for: int) -> Decided:
        """Return the result of a fire that should get a run; *stands_for*: number of fires it would cover."""
        if decision.due.schedule.action == "wake":
            return self._place_wake(decision, standing, run)
        match self._fate(decision, standing):
            case Fate.MERGE:
                self._merge(decision, standing, run, 1 + stands_for)
                return became(decision, run, "coalesced", standing.why_waiting, standing.waiting)
            case Fate.SKIP:
                in_the_way = standing.under_way[0].id
                return became(decision, run, "skipped_overlap", "still_running", in_the_way)
            case Fate.DROP:
                return became(decision, run, "dropped_queue_full", "queue_full", None)
            case Fate.REPLACE:
                cancelled = self._make_room(standing)
                self._queue(decision, standing, run, stands_for)
                return became(decision, run, "run", None, run.id, cancelled)
            case Fate.RUN:
                self._queue(decision, standing, run, stands_for)
                return became(decision, run, "run", None, run.id)

    def _place_wake(self, decision: FireDecision, standing: Standing, fresh: FreshRun) -> Decided:
        """Collect the wake of a slot that has begun; the device's answer is recorded later."""
        schedule = decision.due.schedule
        fate = decide_overlap(
            schedule.overlap,
            is_under_way=bool(standing.open_wakes),
            is_waiting=False,
            queued=len(standing.open_wakes),
            most=self._limits.per_schedule,
        )
        match fate:
            case Fate.SKIP:
                return became(decision, fresh, "skipped_overlap", "still_waking", None)
            case Fate.DROP:
                return became(decision, fresh, "dropped_queue_full", "queue_full", None)
            case Fate.REPLACE:
                self._superseded += standing.open_wakes
                standing.open_wakes.clear()
            case Fate.RUN | Fate.MERGE:
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
        standing.open_wakes.append(fresh.id)
        return became(decision, fresh, "deferred", NOT_TOLD_YET, None)

    def _fate(self, decision: FireDecision, standing: Standing) -> Fate:
        schedule = decision.due.schedule
        fate = decide_overlap(
            schedule.overlap,
            is_under_way=bool(standing.under_way),
            is_waiting=standing.waiting is not None,
            queued=len(standing.waits),
            most=self._limits.per_schedule,
        )
        is_one_more = fate is Fate.RUN or (fate is Fate.REPLACE and standing.waiting is None)
        is_full = self._waiting_for[schedule.device_id] >= self._limits.per_device
        return Fate.DROP if is_one_more and is_full else fate

    def _queue(self, decision: FireDecision, standing: Standing, run: FreshRun, stands_for: int) -> None:
        schedule = decision.due.schedule
        has_slot = schedule.overlap in SLOTTED
        # The new run reads their units too: only one run at a time waits for an unavailable model.
        self._cancels += standing.without_model
        standing.without_model.clear()
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
                coalesced_count=stands_for,
                config_fingerprint=decision.config_fingerprint,
                parameters=decision.parameters,
            )
        )
        self._made.append(first_move(run, schedule.agent_id, self._at, ACTOR))
        self._waiting_for[schedule.device_id] += 1
        standing.waits.append(run.id)

    def _merge(self, decision: FireDecision, standing: Standing, run: FreshRun, more: int) -> None:
        """Turn the waiting run into that of the newest fire, with the current settings."""
        schedule = decision.due.schedule
        self._merges.append(
            {
                "run": standing.waiting,
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
                "made_with": decision.parameters,
                "now": self._at,
            }
        )

    def _make_room(self, standing: Standing) -> tuple[RunId, ...]:
        """Cancel runs under way and waiting runs. Return those that execute, which end a little later."""
        self._cancels += [run.id for run in standing.under_way]
        self._cancels += standing.waits  # several, if another policy queued them
        standing.waits.clear()
        return tuple(run.id for run in standing.under_way if run.state in EXECUTING_RUN_STATES)

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
        let_go(c, relocked)  # releases their old locks and waits
        remember_moves(c, self._made)
        if self.decided:
            c.execute(INSERT_FIRES, [row_of(one, self._at) for one in self.decided])
        c.execute(ADVANCE, self._cursors)

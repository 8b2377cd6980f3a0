"""Scheduler: which fires are due when, jitter, missed fires, and backfills.

``storage.schedules.fires`` carries a decision out, and makes the final choice if other runs are in the way.

A due fire becomes a row whether or not its device is connected; later events only open gates for the row. Of
several hubs on one database, only the lease holder decides. Each transaction checks the lease, so a hub that
was suspended writes nothing.
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
from typing import Final
from zoneinfo import ZoneInfoNotFoundError

import anyio
import anyio.lowlevel
import msgspec
from anyio.abc import TaskStatus

from hub.agents.prompts import BadPrompt
from hub.base.clock import Clock, IdFactory, now_ms, wait_for_event
from hub.base.fire_counts import MAX_WALKED
from hub.base.log import Channel
from hub.base.metrics import Metrics
from hub.base.periodic_loop import LoopReports
from hub.extraction.extractor import Extractor
from hub.runs.clock_watch import ClockWatch
from hub.runs.leadership import Leadership
from hub.runs.run_order import RunSettings, UndeclaredTable, settings_of, setups_of_due
from hub.schedules.cron import BadSchedule
from hub.schedules.missed_fires import plan_fires, walk
from hub.schedules.trigger import Trigger, Upcoming, offset_ms, trigger_of, tzdata_digest, upcoming
from protocol.errors import CodedError, ErrorCode
from protocol.ids import BootId, RunId
from storage import audit
from storage.agents import due_schedules as agents_due_schedules
from storage.agents.due_schedules import DueSchedule
from storage.audit import AuditEntry
from storage.effects import fire_decisions as effects_fire_decisions
from storage.effects import fire_runs as effects_fire_runs
from storage.effects import first_runs as effects_first_runs
from storage.effects.fire_decisions import CoveredFireRow, DecidedFires, FireDecision
from storage.effects.fire_runs import BackfillPlan, BackfillSight, FreshRun
from storage.effects.first_runs import FirstRun
from storage.kernel.database import Conflict, StorageError
from storage.leases import LostLease, Term
from storage.schedules import schedule_rows, schedules
from storage.schedules.fires import FireRow
from storage.schedules.schedule_rows import ScheduleRow
from storage.schedules.schedules import NextFire, PassedFires
from storage.store import Store


def trigger_for(schedule: ScheduleRow) -> Trigger:
    """Return the schedule's trigger.

    Raises:
        BadSchedule: this release cannot parse the row, or this machine lacks the time zone.
    """
    return trigger_of(
        kind=schedule.kind,
        expr=schedule.expr,
        every_ms=schedule.every_ms,
        at_ms=schedule.at_ms,
        tz=schedule.tz,
        anchor_ms=schedule.created_at,  # unchanged by edits, so that an edit shifts no fire
    )


def offset_of(schedule: ScheduleRow, trigger: Trigger) -> int:
    """Return the delay in ms between a fire and its decision; constant, below half a period."""
    if schedule.jitter_ms == 0:
        return 0
    return offset_ms(schedule.id, min(schedule.jitter_ms, (trigger.period_ms() - 1) // 2))


def next_fire(schedule: ScheduleRow) -> NextFire:
    """Return the first fire that is not decided yet.

    Raises:
        BadSchedule: see ``trigger_for``.
    """
    trigger = trigger_for(schedule)
    fire_at = trigger.next_after(schedule.cursor_at)
    due_at = None if fire_at is None else fire_at + offset_of(schedule, trigger)
    return NextFire(schedule.id, schedule.rev, fire_at, due_at)


def passed_over(schedule: ScheduleRow, at: int) -> PassedFires | None:
    """Return the undecided fires up to *at*, or None if every fire is decided.

    Raises:
        BadSchedule: see ``trigger_for``.
    """
    missed = walk(trigger_for(schedule), schedule.cursor_at, at)
    if missed is None:
        return None
    return PassedFires(schedule.cursor_at, missed.oldest, missed.newest, missed.count)


def decide(due: DueSchedule, settings: RunSettings | None, at: int, ids: IdFactory) -> FireDecision:
    """Decide on every fire that is due at *at*.

    Args:
        settings: parameters of the runs to create; None for a slot, which creates none.

    Raises:
        BadSchedule: see ``trigger_for``.
    """
    schedule = due.schedule
    trigger = trigger_for(schedule)
    offset = offset_of(schedule, trigger)
    until = at - offset
    missed = walk(trigger, schedule.cursor_at, until)
    fresh: tuple[FreshRun, ...] = ()
    covered: tuple[CoveredFireRow, ...] = ()
    is_catchup = False
    if missed is None:  # another release planned the fire by other rules; no fire is due
        cursor_at, next_at = schedule.cursor_at, trigger.next_after(schedule.cursor_at)
    else:
        cursor_at, next_at = missed.newest, missed.next_at
        plan = plan_fires(
            missed,
            coalesce=schedule.coalesce,
            window_ms=schedule.catchup_window_ms,
            max_catchup=schedule.max_catchup,
            now_ms=until,
        )
        is_catchup = plan.is_catchup
        fresh = tuple(FreshRun(RunId(ids.fresh()), fire_at) for fire_at in plan.runs)
        covered = tuple(
            CoveredFireRow(part.first_at, part.fire_at, part.count, part.decision, part.of)
            for part in plan.covered
        )
    return FireDecision(
        due=due,
        cursor_at=cursor_at,
        next_fire_at=next_at,
        due_at=None if next_at is None else next_at + offset,
        runs=fresh,
        covered=covered,
        trigger_kind="catchup" if is_catchup else "schedule",
        config_fingerprint="" if settings is None else settings.config_fingerprint,
        settings={} if settings is None else msgspec.to_builtins(settings),
    )


_HAD_A_RUN: Final = frozenset({"run", "coalesced", "deferred", "woken"})


class Backfilled(msgspec.Struct, frozen=True):
    """Result of a backfill or of its preview.

    Holds all fires of the range in epoch milliseconds, and among them the fires that get a run.

    Attributes:
        runs: ids of the created runs, in the order of their fires; empty in a preview.
    """

    fires: tuple[int, ...]
    missing: tuple[int, ...]
    runs: tuple[RunId, ...] = ()


def fires_between(schedule: ScheduleRow, first_at: int, last_at: int) -> tuple[int, ...]:
    """Return the fires from *first_at* to *last_at* that the schedule has already decided on.

    Later fires are left to the schedule itself.

    Raises:
        BadSchedule: the schedule's row cannot be parsed.
        CodedError (BAD_PARAMS): the range has more than a thousand fires.
    """
    missed = walk(trigger_for(schedule), first_at - 1, min(last_at, schedule.cursor_at))
    if missed is None:
        return ()
    if missed.is_capped:
        raise CodedError(
            ErrorCode.BAD_PARAMS, f"the range has more than {MAX_WALKED} fires; ask for a shorter one"
        )
    return missed.fires


def plan_backfill(
    due: DueSchedule,
    fires: Sequence[int],
    sight: BackfillSight,
    settings: RunSettings,
    ids: IdFactory,
) -> BackfillPlan:
    """Plan a run for each of *fires*, which are ascending, that had none and was not merged into another run.

    Other fires keep their recorded decisions.
    """
    trigger = trigger_for(due.schedule)
    had = set(sight.runs)
    for row in sight.rows:
        if row.decision in _HAD_A_RUN:
            had.update(_within(fires, row))
    missing = tuple(fire_at for fire_at in fires if fire_at not in had)
    dropped = tuple(row for row in sight.rows if row.decision not in _HAD_A_RUN and _within(missing, row))
    return BackfillPlan(
        due=due,
        runs=tuple(FreshRun(RunId(ids.fresh()), fire_at) for fire_at in missing),
        dropped=dropped,
        remaining=tuple(part for row in dropped for part in _parts(trigger, row, fires, sight)),
        config_fingerprint=settings.config_fingerprint,
        settings=msgspec.to_builtins(settings),
    )


def _parts(trigger: Trigger, row: FireRow, fires: Sequence[int], sight: BackfillSight) -> list[FireRow]:
    """Split *row* into the rows that remain when *fires* no longer belong to it."""
    parts = [
        _part(row, fire_at, fire_at, 1, decision="run", reason=None, run_id=sight.runs[fire_at])
        for fire_at in _within(fires, row)
        if fire_at in sight.runs
    ]
    if row.first_at < fires[0]:
        before = walk(trigger, row.first_at - 1, fires[0] - 1)
        newest, count = (row.first_at, 1) if before is None else (before.newest, before.count)
        parts.append(_part(row, row.first_at, newest, count))
    after = walk(trigger, fires[-1], row.fire_at)
    if after is not None:
        parts.append(_part(row, after.oldest, row.fire_at, after.count))
    return parts


def _part(row: FireRow, first_at: int, fire_at: int, count: int, **other: object) -> FireRow:
    return msgspec.structs.replace(row, first_at=first_at, fire_at=fire_at, missed_count=count - 1, **other)


def _within(fires: Sequence[int], row: FireRow) -> Sequence[int]:
    """Return the fires that *row* covers."""
    return fires[bisect_left(fires, row.first_at) : bisect_right(fires, row.fire_at)]


log = Channel(__name__)

LEASE: Final = "scheduler"
POLL_S: Final = 30.0  # upper bound of the time until a change by another hub is noticed
BATCH: Final = 200  # schedules per transaction, which blocks other writers for at most 0.1 s
RETRY_S: Final = 1.0  # after a conflict, so that an undecidable fire does not keep the hub busy
TURN_S: Final = 0.02  # of computing, before other tasks get a turn
ACTOR: Final = "scheduler"


class Scheduler:
    """Fires schedules; pauses and enables them, runs backfills, and forecasts fires."""

    def __init__(
        self,
        *,
        store: Store,
        extractor: Extractor,
        clock: Clock,
        ids: IdFactory,
        metrics: Metrics,
        boot_id: BootId,
        on_queued: Callable[[], None],
        on_cancel: Callable[[RunId], None],
        on_wakes: Callable[[], None] = lambda: None,
        clock_watch: ClockWatch | None = None,
        batch: int = BATCH,
    ) -> None:
        """Set up the scheduler.

        Args:
            on_queued: called when runs were queued, or changed in the queue.
            on_wakes: called when slots have begun whose agents must be woken.
            on_cancel: called when a newer run supersedes an executing run; its row already says so.
            clock_watch: knows whether other hubs have left the time of *clock*; None: there are none.
            batch: schedules decided in one transaction.
        """
        self.loop = LoopReports(clock)
        self._store = store
        self._extractor = extractor
        self._clock = clock
        self._ids = ids
        self._metrics = metrics
        self._on_queued = on_queued
        self._on_cancel = on_cancel
        self._on_wakes = on_wakes
        self._clock_watch = clock_watch
        self._batch = batch
        self._leadership = Leadership(store, LEASE, boot_id, clock=clock)
        self._wake = anyio.Event()
        self._full: set[str] = set()  # schedules whose owner was notified of dropped fires
        self._refused: set[str] = set()  # schedules whose fires could not be written in the last round
        self._turn_ends = 0.0  # monotonic

    async def serve(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Decide fires at their time, until cancelled."""
        task_status.started()
        try:
            while True:
                try:
                    await self._lead()
                except LostLease as exc:
                    log.warning("scheduler.deposed", why=str(exc))
                    self._leadership.lose()
                except StorageError as exc:
                    log.error("scheduler.database", exc=exc)
                    await self._clock.sleep(RETRY_S)
                except Exception as exc:  # the loop must survive any error
                    log.error("scheduler.broke", exc=exc)
                    await self._clock.sleep(RETRY_S)
        finally:
            await self._leadership.resign()

    def recheck(self) -> None:
        """Wake the loop, because schedules may have changed."""
        self._wake.set()

    async def _lead(self) -> None:
        """Wait for the lease, and decide fires while it is held.

        Raises:
            LostLease: another hub has taken the lease.
            StorageError: the database is unavailable.
        """
        self.loop.wait()  # another hub may hold the lease for days
        term = await self._leadership.hold()
        self.loop.work()
        # The following step may be repeated after a database error.
        replanned = await self._store.write(schedules.replan_all, term, tzdata_digest(), now_ms(self._clock))
        if replanned:
            log.info("schedules.replanned", schedules=replanned)
        while True:
            self._wake = anyio.Event()  # created before the read, so that a later notification is not lost
            wait_s = min(await self._tick(), self._leadership.renewed_in_s)
            self.loop.wait(wait_s)
            await wait_for_event(self._wake, self._clock, wait_s)

    async def _tick(self) -> float:
        """Plan and decide all due fires. Return the seconds until the next is due."""
        while True:
            self.loop.work()
            term = await self._leadership.keep()
            at = now_ms(self._clock)
            agenda = await self._store.read(agents_due_schedules.agenda, at, self._batch)
            if now_ms(self._clock) < at:  # it was set back meanwhile, and fires up to the old time are ahead
                continue
            if agenda.is_empty:
                if agenda.next_due_at is None:
                    return POLL_S
                return min(POLL_S, max(0.0, (agenda.next_due_at - now_ms(self._clock)) / 1000))
            if self._clock_watch is not None and await self._clock_watch.is_behind():
                return RETRY_S
            for unreadable in agenda.unreadable:
                await self._give_up(term, unreadable.schedule, f"it cannot be read: {unreadable.why}")
            await self._plan(term, agenda.unplanned, at)
            if agenda.due and not await self._decide(term, agenda.due, at):
                return RETRY_S
            for first in agenda.connected:
                await self._queue_first_run(term, first, at)

    async def _plan(self, term: Term, unplanned: Sequence[ScheduleRow], at: int) -> None:
        """Compute the next fire of new or changed schedules."""
        planned: list[NextFire] = []
        for schedule in unplanned:
            await self._let_others_work()
            try:
                planned.append(next_fire(schedule))
            except BadSchedule as exc:
                await self._give_up(term, schedule, f"it cannot be read: {exc}")
        if planned:
            await self._store.write(schedules.plan_next, term, planned, at)

    async def _decide(self, term: Term, due: Sequence[DueSchedule], at: int) -> bool:
        """Decide the due fires. Return False if no schedule changed by it."""
        decisions: list[FireDecision] = []
        found = await setups_of_due(self._store, due)
        for due_schedule in due:
            await self._let_others_work()
            try:
                # a wake has no parameters that could be invalid
                is_run = due_schedule.schedule.action == "run"
                setup = found.get(due_schedule.schedule.agent_id)
                settings = settings_of(due_schedule, self._extractor, setup) if is_run else None
                decisions.append(decide(due_schedule, settings, at, self._ids))
            except (BadSchedule, BadPrompt, UndeclaredTable, ValueError) as exc:
                await self._give_up(term, due_schedule.schedule, f"it cannot be read: {exc}")
        try:
            decided = await self._store.write(effects_fire_decisions.decide, term, decisions, at)
            self._refused.clear()
        except Conflict:
            decided = await self._decide_each(term, decisions, at)
        await self._publish(decisions, decided)
        return bool(decided) or len(decisions) < len(due)

    async def _decide_each(
        self, term: Term, decisions: Iterable[FireDecision], at: int
    ) -> list[DecidedFires]:
        """Decide one schedule at a time after a conflict, so that the others are not blocked."""
        decided: list[DecidedFires] = []
        refused_before, self._refused = self._refused, set()
        for decision in decisions:
            try:
                decided += await self._store.write(effects_fire_decisions.decide, term, [decision], at)
            except Conflict as exc:
                log.error("fire.refused", exc=exc, schedule_id=decision.due.schedule.id)
                is_last_try = decision.due.schedule.id in refused_before
                decided += await self._decide_what_is_left(term, decision, at, is_last_try=is_last_try)
        return decided

    async def _decide_what_is_left(
        self, term: Term, decision: FireDecision, at: int, *, is_last_try: bool
    ) -> Sequence[DecidedFires]:
        """Decide the fires that are not recorded yet. If that fails twice, disable the schedule."""
        schedule = decision.due.schedule
        try:
            decided = await self._store.write(effects_fire_decisions.decide_what_is_left, term, decision, at)
        except Conflict as exc:
            if is_last_try:
                await self._give_up(term, schedule, f"its fires cannot be written: {exc}")
            else:  # its device or agent may have been deleted; the next round checks again
                self._refused.add(schedule.id)
            return ()
        return decided or ()

    async def _queue_first_run(self, term: Term, due: DueSchedule, at: int) -> None:
        """Queue the run of an agent whose device connected for the first time, unless it has run before."""
        await self._let_others_work()
        schedule = due.schedule
        try:
            setup = (await setups_of_due(self._store, [due])).get(schedule.agent_id)
            settings = settings_of(due, self._extractor, setup)
            first = FirstRun(
                due=due,
                run=FreshRun(RunId(self._ids.fresh()), at),
                config_fingerprint=settings.config_fingerprint,
                settings=msgspec.to_builtins(settings),
            )
            queued = await self._store.write(effects_first_runs.queue_first_runs, term, [first], at)
        except (BadPrompt, UndeclaredTable, ValueError, Conflict) as exc:
            await self._give_up(term, schedule, f"its first run cannot be created: {exc}")
            return
        for first_run in queued:
            log.info(
                "fire.first_connect",
                schedule_id=schedule.id,
                agent_id=schedule.agent_id,
                run_id=first_run.run.id,
            )
            self._on_queued()

    async def _let_others_work(self) -> None:
        """Yield to other tasks: 200 schedules after a long downtime take a second of computing."""
        if self._clock.monotonic() >= self._turn_ends:
            await anyio.lowlevel.checkpoint()
            self._turn_ends = self._clock.monotonic() + TURN_S

    async def _publish(self, decisions: Sequence[FireDecision], decided: Sequence[DecidedFires]) -> None:
        """Count and log the decisions, and notify the dispatcher of queued runs and wakes."""
        at = now_ms(self._clock)
        policies = {decision.due.schedule.id: decision.due.schedule.coalesce for decision in decisions}
        for fire in decided:
            self._metrics.fires.labels(fire.decision).inc(fire.fires)
            if fire.decision not in ("run", "deferred"):  # a deferred wake may still happen
                self._metrics.scheduler_missed.labels(policies[fire.schedule_id]).inc(fire.fires)
            log.info(
                "fire.decided",
                schedule_id=fire.schedule_id,
                agent_id=fire.agent_id,
                fire_at=fire.fire_at,
                fires=fire.fires,
                decision=fire.decision,
                reason=fire.reason,
                run_id=fire.run_id,
            )
            for run_id in fire.cancelled:
                self._on_cancel(run_id)
            if fire.decision == "dropped_queue_full":
                self._metrics.limits_reached.labels("waiting_runs").inc(fire.fires)
            await self._notify_if_full(fire)
        ours = {fire.schedule_id for fire in decided}
        for decision in decisions:
            schedule = decision.due.schedule
            if schedule.id in ours and decision.trigger_kind == "schedule" and schedule.due_at is not None:
                self._metrics.scheduler_lag.observe((at - schedule.due_at) / 1000)
        if any(fire.decision in ("run", "coalesced") for fire in decided):
            self._on_queued()
        if any(fire.decision == "deferred" for fire in decided):
            self._on_wakes()

    async def _notify_if_full(self, one: DecidedFires) -> None:
        """Notify the owner once that fires are dropped, until one is queued again."""
        if one.decision != "dropped_queue_full":
            self._full.discard(one.schedule_id)
        elif one.schedule_id not in self._full:
            self._full.add(one.schedule_id)
            log.warning("schedule.queue_full", schedule_id=one.schedule_id)
            schedule = await self._store.read(schedule_rows.get_schedule, one.schedule_id)
            message = "Fires are dropped: too many runs wait already"
            await self._record(schedule, "queue_full", message, level="warning")

    async def _give_up(self, term: Term, schedule: ScheduleRow, why: str) -> None:
        """Disable a schedule that cannot fire, and record the reason for its owner."""
        if await self._store.write(schedules.give_up, term, schedule, now_ms(self._clock)):
            log.error("schedule.broken", schedule_id=schedule.id, why=why)
            await self._record(schedule, "broken", f"Schedule paused, {why}", level="error")

    # --- requests of people ---

    async def pause(self, schedule: ScheduleRow, *, actor: str) -> bool:
        """Disable the schedule. Return False if it was disabled already.

        Raises:
            CodedError (BAD_PARAMS): no schedule has this id.
        """
        paused = await self._store.write(schedules.set_enabled, schedule.id, False, at=now_ms(self._clock))
        if paused:
            log.info("schedule.paused", schedule_id=schedule.id)
            await self._record(schedule, "paused", "Schedule paused", actor=actor)
        return paused

    async def enable(self, schedule: ScheduleRow, *, catch_up: bool, actor: str) -> bool:
        """Enable the schedule. Return False if it was enabled already, or is no longer declared.

        Args:
            catch_up: True to decide the missed fires by the schedule's policies, as after a downtime of the
                hub.

        Raises:
            CodedError (BAD_PARAMS): no schedule has this id.
            BadSchedule: the schedule's row cannot be parsed.
        """
        at = now_ms(self._clock)
        passed = None if schedule.enabled or catch_up else passed_over(schedule, at)
        enabled = await self._store.write(
            schedules.set_enabled, schedule.id, True, at=at, catch_up=catch_up, passed=passed
        )
        if enabled:
            log.info("schedule.enabled", schedule_id=schedule.id, catch_up=catch_up)
            await self._record(schedule, "enabled", "Schedule fires again", actor=actor)
            self.recheck()
        return enabled

    async def backfill(
        self, schedule_id: str, first_at: int, last_at: int, *, actor: str, dry_run: bool = False
    ) -> Backfilled:
        """Queue a run for each fire from *first_at* to *last_at* that had none; they run in sequence.

        Fires that are not decided yet are left out. The schedule's catch-up window does not apply.

        Args:
            dry_run: True for a preview without writing.

        Raises:
            CodedError (BAD_PARAMS): no schedule has this id, or it is a slot.
            BadSchedule: the schedule's row cannot be parsed.
            CodedError (BAD_PARAMS): the range has more than a thousand fires.
            Conflict: a concurrent backfill did the same; nothing was queued.
        """
        due = await self._store.read(agents_due_schedules.with_settings, schedule_id)
        if due.schedule.action != "run":
            raise CodedError(
                ErrorCode.BAD_PARAMS, f"schedule {schedule_id} is a slot: it makes no runs to make up for"
            )
        within = fires_between(due.schedule, first_at, last_at)
        if not within:
            return Backfilled((), ())
        sight = await self._store.read(effects_fire_runs.backfill_sight, due, within)
        found = await setups_of_due(self._store, [due])
        settings = settings_of(due, self._extractor, found.get(due.schedule.agent_id))
        plan = plan_backfill(due, within, sight, settings, self._ids)
        missing = tuple(run.fire_at for run in plan.runs)
        if dry_run or not missing:
            return Backfilled(within, missing)
        entry = AuditEntry(
            at=now_ms(self._clock),
            actor=actor,
            event="schedule.backfilled",
            subject=schedule_id,
            detail={"first_at": within[0], "last_at": within[-1], "runs": len(missing)},
        )
        queue = audit.audited(effects_fire_runs.backfill, lambda _: entry)
        made = await self._store.write(queue, plan, entry.at, actor=actor)
        log.info("schedule.backfilled", schedule_id=schedule_id, runs=len(made))
        await self._record(due.schedule, "backfilled", f"{len(made)} runs for old fires queued", actor=actor)
        self._on_queued()
        return Backfilled(within, missing, tuple(made))

    def forecast(
        self, schedule: ScheduleRow, *, count: int = 5, since_ms: int = 0, until_ms: float = math.inf
    ) -> list[Upcoming]:
        """Return the schedule's next fires, provided that it stays enabled; fewer if it ends before.

        Args:
            since_ms, until_ms: only fires of this time; the second is not included.

        Raises:
            BadSchedule: the schedule's row cannot be parsed.
        """
        after = max(schedule.cursor_at, now_ms(self._clock), since_ms - 1)
        trigger = trigger_for(schedule)
        try:
            return upcoming(trigger, after, tz=schedule.tz, count=count, until_ms=until_ms)
        except (ZoneInfoNotFoundError, ValueError) as error:  # or it ends after the year 9999
            raise BadSchedule("row", f"its next fires cannot be computed: {error}") from error

    async def _record(
        self, schedule: ScheduleRow, what: str, message: str, *, level: str = "info", actor: str = ACTOR
    ) -> None:
        await self._store.write(
            audit.record,
            id=self._ids.fresh(),
            at=now_ms(self._clock),
            event_type=f"schedule.{what}",
            level=level,
            message=message,
            agent_id=schedule.agent_id,
            actor=actor,
            data={"schedule_id": schedule.id},
        )

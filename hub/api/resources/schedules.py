"""Routes of schedules and slots, and the calendar: which planned and past times it lists, backfills.

A schedule starts runs. At the times of a slot, which an agent's calendar has, its device is asked to wake it.
``MAX_PLANS`` limits a page of the calendar.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Annotated, Final, Literal

from msgspec import Meta

from hub.api.binding import BodyField
from hub.api.resource import (
    ALL,
    Actor,
    Instant,
    ListPage,
    ListPart,
    Paging,
    Resource,
    View,
    audited,
    listed,
    route,
    tool,
)
from hub.base.clock import Clock, epoch_ms, from_epoch_ms
from hub.base.roles import Scope
from hub.runs.scheduler import Scheduler, offset_of, trigger_for
from hub.runs.sentences import describe_decision, describe_pause, describe_wake
from hub.schedules.cron import BadSchedule
from hub.schedules.trigger import Upcoming
from protocol.errors import CodedError, ErrorCode
from protocol.ids import AgentId
from storage.agents import agents
from storage.agents.agents import AgentRow
from storage.devices import devices
from storage.schedules import fires, schedule_rows
from storage.schedules import wakes as schedules_wakes
from storage.schedules.fires import FireRow
from storage.schedules.schedule_rows import ScheduleRow
from storage.store import Connection, Store

MAX_PLANS: Final = 25  # schedules in a page of the calendar
MAX_FIRES: Final = 100  # past, and next, of each of them
WEEK: Final = timedelta(days=7)
NEXT_FIRES: Final = 5  # of a schedule or a slot, and of all schedules of an agent


class TimesView(View, kw_only=True):
    """Times of a schedule or a slot. One of *expr* (cron), *every_s* and *at* is given, as *kind* says."""

    id: str
    kind: Literal["cron", "every", "at"]
    expr: str | None = None
    every_s: float | None = None
    at: Instant | None = None
    said: str = ""  # the same in words, where it has common ones: "every day at 07:00"
    timezone: str = "UTC"
    overlap: str = "skip"
    enabled: bool = True
    paused_reason: str | None = None  # a stable word
    paused_because: str | None = None  # a sentence


class ScheduleView(TimesView, kw_only=True):
    """A schedule by which an agent runs, and the rules for fires that cannot run.

    One of *expr* (cron), *every_s* and *at* is given, as *kind* says. Runs are queued
    *offset_s* after each fire: this schedule's share of *jitter_s*, the same every time.
    """

    catch_up: Literal["latest", "earliest", "all", "none"] = "latest"
    catch_up_window_s: float | None = None  # None: however old
    max_catch_up: int = 10
    jitter_s: float = 0.0
    offset_s: float = 0.0
    start_deadline_s: float | None = None
    run_timeout_s: float = 3_600.0
    max_attempts: int = 5
    pause_after_failures: int = 5  # in a row; 0: never
    consecutive_failures: int = 0
    on_first_connect: bool = False
    first_connect: Literal["awaited", "due", "done"] | None = None  # done: it was decided, for good
    next_fires: tuple[Upcoming, ...] = ()  # the next five; none while it is not enabled


class DecisionView(View, kw_only=True):
    """The decision on so many *fires* in a row, from *first_at* to *fire_at*; *said* is it in words."""

    first_at: Instant
    fire_at: Instant
    fires: int = 1
    schedule: str = ""  # its id
    decision: str  # a stable word
    reason: str | None = None  # a stable word
    said: str
    run: str | None = None  # the id of the run that covers these fires
    decided_at: Instant


class BackfillView(View, kw_only=True):
    """The result of a backfill, or, with *dry_run*, what it would do.

    *fires* are in the range, from *first_at* to *last_at*; *wanted* of them had no run and get one.
    """

    agent: str
    dry_run: bool
    first_at: Instant | None = None
    last_at: Instant | None = None
    fires: int
    wanted: int
    runs: tuple[str, ...] = ()


class AgentSchedules(View):
    """The schedules of an agent."""

    schedules: tuple[ScheduleView, ...]


_BACKFILL_REQUEST: Final = BodyField(
    "BackfillRequest", "The range to backfill, ends included; *dry_run* only counts the runs."
)


class SchedulesResource(Resource):
    """Schedules by which agents run."""

    name, path = "schedules", "/v1/agents/{name}"
    errors = (ErrorCode.UNKNOWN_AGENT,)

    def __init__(self, *, store: Store, scheduler: Scheduler) -> None:
        self._store = store
        self._scheduler = scheduler

    @tool()
    @route("GET", "/next", Scope.READ)
    async def next_fires(self, name: str) -> AgentSchedules:
        """List the next five fires of each schedule, in UTC and in its own zone."""
        _, rows = await self._store.read(agents.with_agent, name, self.user_id, schedule_rows.schedules_of)
        return AgentSchedules(schedules=tuple(map(self._view, filter(_is_declared, rows))))

    @route("GET", "/fires", Scope.READ, page="FirePage.fires")
    async def past_fires(self, name: str, paging: Paging) -> ListPage[DecisionView]:
        """List the past fires, the newest first, each with its run or the reason why it has none."""
        agent, rows = await self._store.read(
            agents.with_agent, name, self.user_id, fires.list_fires, paging.part.limit, after=paging.after
        )
        found = [_decision_view(row, agent.device_name or "") for row in rows]
        return paging.fetched(found, key=lambda fire: (epoch_ms(fire.fire_at), fire.schedule))

    @route("POST", "/backfill", Scope.RUN)
    @audited("schedule.backfilled")
    async def backfill(
        self,
        name: str,
        from_: Annotated[Instant, _BACKFILL_REQUEST],
        to: Annotated[Instant, _BACKFILL_REQUEST],
        actor: Actor,
        dry_run: Annotated[bool, _BACKFILL_REQUEST] = False,
    ) -> BackfillView:
        """Queue a run for each fire in the range that had none, one after the other."""
        agent = await self._agent_called(name)
        declared = await self._declared(agent)
        if not declared:
            raise CodedError(
                ErrorCode.BAD_PARAMS,
                f"the agent {name!r} has no schedule, so there is nothing to make up for",
            )
        first, last = epoch_ms(from_), epoch_ms(to)
        done = await self._scheduler.backfill(declared[0].id, first, last, actor=actor, dry_run=dry_run)
        return BackfillView(
            agent=name,
            dry_run=dry_run,
            first_at=from_epoch_ms(done.fires[0]) if done.fires else None,
            last_at=from_epoch_ms(done.fires[-1]) if done.fires else None,
            fires=len(done.fires),
            wanted=len(done.missing),
            runs=tuple(done.runs),
        )

    def views_of(self, rows: Iterable[ScheduleRow]) -> dict[AgentId, list[ScheduleView]]:
        """Return the views of those schedules that are declared now, by agent."""
        views: defaultdict[AgentId, list[ScheduleView]] = defaultdict(list)
        for row in filter(_is_declared, rows):
            views[row.agent_id].append(self._view(row))
        return views

    async def resume(self, agent: AgentRow, *, catch_up: bool, actor: str) -> None:
        """Enable every schedule and slot of the agent that an operator, or failures, paused."""
        slots = await self._store.read(schedule_rows.slots_of, agent.id)
        for row in (*await self._declared(agent), *filter(_is_declared, slots)):
            if not row.enabled and row.paused_reason != schedule_rows.FINISHED:
                await self._scheduler.enable(row, catch_up=catch_up, actor=actor)

    async def _declared(self, agent: AgentRow) -> list[ScheduleRow]:
        return [
            row for row in await self._store.read(schedule_rows.schedules_of, agent.id) if _is_declared(row)
        ]

    def _view(self, row: ScheduleRow) -> ScheduleView:
        try:
            offset_ms = offset_of(row, trigger_for(row))
            next_fires = self._scheduler.forecast(row, count=NEXT_FIRES) if row.enabled else []
        except BadSchedule:  # the scheduler finds it too, and pauses it as broken
            offset_ms, next_fires = 0, []
        return ScheduleView.from_row(
            _times(row),
            row,
            catch_up="none" if row.catchup_window_ms == 0 else row.coalesce,
            catch_up_window_s=_seconds(row.catchup_window_ms or None),
            max_catch_up=row.max_catchup,
            jitter_s=row.jitter_ms / 1_000,
            offset_s=offset_ms / 1_000,
            start_deadline_s=_seconds(row.start_deadline_ms),
            run_timeout_s=row.run_timeout_ms / 1_000,
            next_fires=tuple(next_fires),
        )


def _is_declared(row: ScheduleRow) -> bool:
    """Return whether the schedule is declared now; of one that was removed, only the history counts."""
    return row.enabled or row.paused_reason not in (None, schedule_rows.REMOVED)


def _decision_view(row: FireRow, device: str) -> DecisionView:
    return DecisionView.from_row(
        row,
        said=describe_decision(row.decision, row.reason, fires=row.fires, device=device),
    )


def _times(row: ScheduleRow) -> TimesView:
    at = None if row.at_ms is None else from_epoch_ms(row.at_ms)
    reason = row.paused_reason
    return TimesView.from_row(
        row,
        every_s=_seconds(row.every_ms),
        at=at,
        said=schedule_rows.time_text(row.expr, row.every_ms, row.at_ms),
        timezone=row.tz,
        paused_because=None if reason is None else describe_pause(reason, row.consecutive_failures, at=at),
    )


def _seconds(ms: int | None) -> float | None:
    return None if ms is None else ms / 1_000


class SlotTimeView(View):
    """Future occurrence of a slot, in UTC; *local* is its start in the slot's zone.

    *shift* is a sentence where the clocks change that night.
    """

    starts_at: Instant
    ends_at: Instant
    local: Instant
    shift: str | None = None


class SlotView(TimesView, kw_only=True):
    """Times when an agent is woken, and the time for which each wake is useful.

    One of *expr* (cron), *every_s* and *at* is given, as *kind* says.
    """

    label: str
    duration_s: float
    next_times: tuple[SlotTimeView, ...] = ()  # the next five; none while it is not enabled


class WakeView(View, kw_only=True):
    """The outcome of one past occurrence of a slot; *said* is it in words."""

    id: str
    slot: str  # its label
    starts_at: Instant
    ends_at: Instant
    state: Literal["waiting", "sent", "deferred", "acknowledged", "failed", "skipped"]
    reason: str | None = None  # a stable word
    said: str
    sends: int = 0  # number of times that it was sent to the device
    sent_at: Instant | None = None  # the last time
    settled_at: Instant | None = None


class CalendarPage(View):
    """An agent's slots, and a page of its wakes; *next_cursor* leads to the next one."""

    slots: tuple[SlotView, ...]
    wakes: tuple[WakeView, ...]
    next_cursor: str | None = None


class PlanView(View, kw_only=True):
    """Fires of a schedule or a slot in a range: at most 100 past ones, the newest first, and 100 next.

    *label*: of a slot, at whose times its agent is woken. *is_cut*: there are more fires in the range.
    """

    id: str
    agent: str
    label: str | None = None
    times: str  # in words, as in schedules of agents
    timezone: str
    enabled: bool
    paused_because: str | None = None  # a sentence
    past_fires: tuple[DecisionView, ...] = ()
    next_fires: tuple[Upcoming, ...] = ()
    is_cut: bool = False


class PlansResource(Resource):
    """Schedules and slots of all agents, with their fires in a range of time."""

    name, path, list_key = "schedule", "/v1/schedule", "schedules"

    def __init__(self, *, store: Store, scheduler: Scheduler, clock: Clock) -> None:
        self._store = store
        self._scheduler = scheduler
        self._clock = clock

    @tool()
    @listed("", Scope.READ, key=lambda plan: (plan.id,), most=MAX_PLANS)
    async def all(
        self,
        since: Annotated[Instant, Meta(description="Start of the range; now by default.")] | None = None,
        until: Annotated[Instant, Meta(description="Its end; a week after *since* by default.")]
        | None = None,
        part: ListPart = ALL,
    ) -> list[PlanView]:
        """List the schedules and slots of all agents, with past and next fires of a range of time."""
        begin = since or self._clock.now()
        first, last = epoch_ms(begin), epoch_ms(until or begin + WEEK)

        def read(c: Connection) -> list[tuple[ScheduleRow, str, list[FireRow]]]:
            rows = schedule_rows.page_of_declared(c, user_id=self.user_id, limit=part.limit, after=part.after)
            named = devices.names_of_devices(c, (row.device_id for row in rows if row.device_id is not None))
            return [
                (
                    row,
                    named.get(row.device_id, "") if row.device_id else "",
                    fires.newest_within(c, row.id, first, last, MAX_FIRES + 1),
                )
                for row in rows
            ]

        return [self._view(*found, first, last) for found in await self._store.read(read)]

    def _view(
        self, row: ScheduleRow, device: str, past: Sequence[FireRow], first: int, last: int
    ) -> PlanView:
        coming: list[Upcoming] = []
        if row.enabled:
            with suppress(BadSchedule):  # the scheduler finds it too, and pauses it as broken
                coming = self._scheduler.forecast(row, count=MAX_FIRES + 1, since_ms=first, until_ms=last)
        return PlanView.from_row(
            _times(row),
            row,
            agent=row.agent_name,
            times=schedule_rows.time_text(row.expr, row.every_ms, row.at_ms),
            past_fires=tuple(_decision_view(fire, device) for fire in past[:MAX_FIRES]),
            next_fires=tuple(coming[:MAX_FIRES]),
            is_cut=max(len(past), len(coming)) > MAX_FIRES,
        )


class SlotsResource(Resource):
    """Slots of agents, and their wakes."""

    name, path = "slots", "/v1/agents/{name}/slots"
    errors = (ErrorCode.UNKNOWN_AGENT,)

    def __init__(self, *, store: Store, scheduler: Scheduler) -> None:
        self._store = store
        self._scheduler = scheduler

    @route("GET", "", Scope.READ)
    async def calendar(self, name: str, paging: Paging) -> CalendarPage:
        """List the slots with the next five times of each, and the past wakes, the newest first."""
        agent, (slots, rows) = await self._store.read(
            agents.with_agent,
            name,
            self.user_id,
            lambda c, agent_id: (
                schedule_rows.slots_of(c, agent_id),
                schedules_wakes.wakes_of(c, agent_id, paging.part.limit, after=paging.after),
            ),
        )
        device = agent.device_name or ""
        found = [
            WakeView.from_row(
                row,
                slot=row.label,
                starts_at=row.fire_at,
                said=describe_wake(row.state, row.reason, device=device),
            )
            for row in rows
        ]
        page = paging.fetched(found, key=lambda wake: (epoch_ms(wake.starts_at), wake.id))
        return CalendarPage(slots=tuple(self._slots(slots)), wakes=page.items, next_cursor=page.next_cursor)

    async def of_agent(self, name: str) -> list[SlotView]:
        """Return the agent's slots by label, with the next five times of each."""
        _, rows = await self._store.read(agents.with_agent, name, self.user_id, schedule_rows.slots_of)
        return self._slots(rows)

    def _slots(self, rows: Iterable[ScheduleRow]) -> list[SlotView]:
        return [self._view(row) for row in rows if row.enabled or row.paused_reason != schedule_rows.REMOVED]

    def _view(self, row: ScheduleRow) -> SlotView:
        duration = timedelta(milliseconds=row.duration_ms or 0)
        try:
            fires = self._scheduler.forecast(row, count=NEXT_FIRES) if row.enabled else []
        except BadSchedule:  # the scheduler finds it too, and pauses it as broken
            fires = []
        return SlotView.from_row(
            _times(row),
            label=row.label or "",
            duration_s=duration.total_seconds(),
            next_times=tuple(
                SlotTimeView(
                    starts_at=fire.at, ends_at=fire.at + duration, local=fire.local, shift=fire.shift
                )
                for fire in fires
            ),
        )

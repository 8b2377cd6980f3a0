"""Slots of agents' calendars: the times at which devices are notified to wake agents, and past wakes."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Final, Literal

from hub.api.door.roles import Scope
from hub.api.noun import Noun, route
from hub.api.paging import Paging
from hub.api.view import Instant, View, moment
from hub.clock import epoch_ms
from hub.runs.decisions import describe_pause, describe_wake
from hub.runs.scheduler import Scheduler
from hub.schedules.cron import BadSchedule
from protocol.errors import ErrorCode
from storage.agents import agents
from storage.schedules import calendar_wakeups, schedule_rows
from storage.schedules.calendar_wakeups import WakeRow
from storage.schedules.schedule_rows import ScheduleRow
from storage.store import Store

NEXT_TIMES: Final = 5


class SlotTimeView(View):
    """Future occurrence of a slot, in UTC; *local* is its start in the slot's zone.

    *shift* is a sentence where the clocks change that night.
    """

    starts_at: Instant
    ends_at: Instant
    local: Instant
    shift: str | None = None


class SlotView(View, kw_only=True):
    """Times when an agent is woken, and the time for which each wake is useful.

    One of *expr* (cron), *every_s* and *at* is given, as *kind* says.
    """

    id: str
    label: str
    kind: Literal["cron", "every", "at"]
    expr: str | None = None
    every_s: float | None = None
    at: Instant | None = None
    said: str = ""  # the same in short, for people
    timezone: str = "UTC"
    duration_s: float
    overlap: str = "skip"
    enabled: bool = True
    paused_reason: str | None = None  # a stable word
    paused_because: str | None = None  # a sentence
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


class Slots(Noun):
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
                calendar_wakeups.wakes_of(c, agent_id, paging.part.limit, after=paging.after),
            ),
        )
        found = [_wake_view(row, agent.device_name or "") for row in rows]
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
        at = moment(row.at_ms)
        try:
            fires = self._scheduler.forecast(row, count=NEXT_TIMES) if row.enabled else []
        except BadSchedule:  # the scheduler finds it too, and pauses it as broken
            fires = []
        reason = row.paused_reason
        return SlotView.from_row(
            row,
            label=row.label or "",
            every_s=None if row.every_ms is None else row.every_ms / 1_000,
            at=at,
            said=schedule_rows.time_text(row.expr, row.every_ms, row.at_ms),
            timezone=row.tz,
            duration_s=duration.total_seconds(),
            paused_reason=reason,
            paused_because=None
            if reason is None
            else describe_pause(reason, row.consecutive_failures, at=at),
            next_times=tuple(
                SlotTimeView(
                    starts_at=fire.at, ends_at=fire.at + duration, local=fire.local, shift=fire.shift
                )
                for fire in fires
            ),
        )


def _wake_view(row: WakeRow, device: str) -> WakeView:
    return WakeView.from_row(
        row,
        slot=row.label,
        starts_at=row.fire_at,
        said=describe_wake(row.state, row.reason, device=device),
    )

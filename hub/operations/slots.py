"""Slots of agents' calendars, as operators are told of them: what is to come, and what became of the past."""

from datetime import timedelta
from typing import Final

from hub.api.views.slots import SlotTimeView, SlotView, WakeView
from hub.clock import from_epoch_ms
from hub.operations.names import agent_named
from hub.operations.seen import Seen
from hub.runs.decisions import told_pause, told_wake
from hub.runs.scheduler import Scheduler
from hub.schedules.cron import BadSchedule
from storage.schedules import calendar_wakeups, schedules
from storage.schedules.calendar_wakeups import WakeRow
from storage.schedules.schedules import ScheduleRow
from storage.store import Store

TIMES_TOLD: Final = 5


class SlotOperations(Seen):
    """Implements ``api.facades.slots.SlotFacade``."""

    def __init__(self, *, store: Store, scheduler: Scheduler) -> None:
        self._store = store
        self._scheduler = scheduler

    async def of_agent(self, name: str) -> list[SlotView]:
        """The agent's slots by label, with the next five times of each."""
        agent = await agent_named(self._store, name, self.user_id)
        rows = await self._store.read(schedules.slots_of, agent.id)
        return [self._view(row) for row in rows if row.enabled or row.paused_reason != schedules.REMOVED]

    async def wakes(self, name: str, *, limit: int, after: tuple[int, str] | None = None) -> list[WakeView]:
        """What became of the slots that have come, the newest first."""
        agent = await agent_named(self._store, name, self.user_id)
        rows = await self._store.read(calendar_wakeups.wakes_of, agent.id, limit, after=after)
        return [wake_view(row, agent.device_name or "") for row in rows]

    def _view(self, row: ScheduleRow) -> SlotView:
        lasts = timedelta(milliseconds=row.duration_ms or 0)
        at = None if row.at_ms is None else from_epoch_ms(row.at_ms)
        try:
            to_come = self._scheduler.forecast(row, count=TIMES_TOLD) if row.enabled else []
        except BadSchedule:  # the scheduler finds it too, and pauses it as broken
            to_come = []
        reason = row.paused_reason
        return SlotView(
            id=row.id,
            label=row.label or "",
            kind=row.kind,
            expr=row.expr,
            every_s=None if row.every_ms is None else row.every_ms / 1_000,
            at=at,
            said=schedules.told(row.expr, row.every_ms, row.at_ms),
            timezone=row.tz,
            duration_s=lasts.total_seconds(),
            overlap=row.overlap,
            enabled=row.enabled,
            paused_reason=reason,
            paused_because=None if reason is None else told_pause(reason, row.consecutive_failures, at=at),
            next_times=tuple(
                SlotTimeView(starts_at=fire.at, ends_at=fire.at + lasts, local=fire.local, shift=fire.shift)
                for fire in to_come
            ),
        )


def wake_view(row: WakeRow, device: str) -> WakeView:
    """What became of a slot that has come."""
    return WakeView(
        id=row.id,
        slot=row.label,
        starts_at=from_epoch_ms(row.fire_at),
        ends_at=from_epoch_ms(row.ends_at),
        state=row.state,
        reason=row.reason,
        said=told_wake(row.state, row.reason, device=device),
        sends=row.sends,
        sent_at=None if row.sent_at is None else from_epoch_ms(row.sent_at),
        settled_at=None if row.settled_at is None else from_epoch_ms(row.settled_at),
    )

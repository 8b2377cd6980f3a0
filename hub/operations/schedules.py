"""Schedules, as operators are told of them: what is to come, what became of what is past, and making up."""

from collections import defaultdict
from collections.abc import Collection
from datetime import datetime
from typing import Final

from hub.api.facade import NoSchedule
from hub.api.views.view import BackfillView, DecisionView, FireView, ScheduleView
from hub.clock import epoch_ms
from hub.operations.names import agent_named
from hub.operations.schedule_views import backfill_view, decision_view, schedule_view
from hub.operations.seen import Seen
from hub.runs.firing import offset_of, trigger_for
from hub.runs.scheduler import Scheduler
from hub.schedules.cron import BadSchedule
from protocol.ids import AgentId
from storage.agents.agents import AgentRow
from storage.schedules import fires, schedules
from storage.schedules.schedules import ScheduleRow
from storage.store import Store

FIRES_TOLD: Final = 5


class ScheduleOperations(Seen):
    """Implements ``api.facade.ScheduleFacade``."""

    def __init__(self, *, store: Store, scheduler: Scheduler) -> None:
        self._store = store
        self._scheduler = scheduler

    async def of_agent(self, name: str) -> list[ScheduleView]:
        """The agent's schedules, with the next five fires of each."""
        agent = await agent_named(self._store, name, self.user_id)
        return [self._view(row) for row in await self._counting(agent)]

    async def of(self, rows: Collection[AgentRow]) -> dict[AgentId, list[ScheduleView]]:
        """The schedules of these agents, by agent."""
        told: defaultdict[AgentId, list[ScheduleView]] = defaultdict(list)
        if len(rows) == 1:
            (agent,) = rows
            found = await self._store.read(schedules.schedules_of, agent.id)
        else:
            found = await self._store.read(schedules.list_schedules)
        for row in found:
            if row.action == "run" and _counts(row):
                told[row.agent_id].append(self._view(row))
        return told

    async def decisions(
        self, name: str, *, limit: int, after: tuple[int, str] | None = None
    ) -> list[DecisionView]:
        """What became of the agent's last fires, the newest first."""
        agent = await agent_named(self._store, name, self.user_id)
        rows = await self._store.read(fires.list_fires, agent.id, limit, after=after)
        return [decision_view(row, agent.device_name or "") for row in rows]

    async def backfill(
        self, name: str, *, first: datetime, last: datetime, dry_run: bool, actor: str
    ) -> BackfillView:
        """A run for each fire in the range that had none."""
        agent = await agent_named(self._store, name, self.user_id)
        counting = await self._counting(agent)
        if not counting:
            raise NoSchedule(f"the agent {name!r} has no schedule, so there is nothing to make up for")
        done = await self._scheduler.backfill(
            counting[0].id, epoch_ms(first), epoch_ms(last), actor=actor, dry_run=dry_run
        )
        return backfill_view(name, done, dry_run=dry_run)

    async def resume(self, agent: AgentRow, *, catch_up: bool, actor: str) -> None:
        """Let every schedule and slot of the agent fire again that somebody, or its failures, paused."""
        slots = await self._store.read(schedules.slots_of, agent.id)
        for row in (*await self._counting(agent), *filter(_counts, slots)):
            if not row.enabled and row.paused_reason != schedules.FINISHED:
                await self._scheduler.enable(row, catch_up=catch_up, actor=actor)

    async def _counting(self, agent: AgentRow) -> list[ScheduleRow]:
        return [row for row in await self._store.read(schedules.schedules_of, agent.id) if _counts(row)]

    def _view(self, row: ScheduleRow) -> ScheduleView:
        try:
            offset_ms = offset_of(row, trigger_for(row))
            fires = self._scheduler.forecast(row, count=FIRES_TOLD) if row.enabled else []
        except BadSchedule:  # the scheduler finds it too, and pauses it as broken
            offset_ms, fires = 0, []
        told = [FireView(at=fire.at, local=fire.local, shift=fire.shift) for fire in fires]
        return schedule_view(row, offset_ms=offset_ms, next_fires=told)


def _counts(row: ScheduleRow) -> bool:
    """Whether it is declared; of a schedule that was so once, only the history counts."""
    return row.enabled or row.paused_reason not in (None, schedules.REMOVED)

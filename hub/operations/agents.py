"""Agents, as operators are told of them; started, paused and resumed."""

from collections.abc import Iterable, Sequence

from hub.links.roster import Roster
from hub.operations.names import agent_named
from hub.operations.runs import RunOperations
from hub.operations.schedules import FIRES_TOLD, ScheduleOperations
from hub.ops.views import AgentView, FireView, RunView, ScheduleView
from hub.runs.dispatcher import Dispatcher
from storage.store import AgentRow, Store, agents, runs


class AgentOperations:
    """Implements ``ops.facade.AgentFacade``."""

    def __init__(
        self,
        *,
        store: Store,
        roster: Roster,
        dispatcher: Dispatcher,
        runs: RunOperations,
        schedules: ScheduleOperations,
    ) -> None:
        self._store = store
        self._roster = roster
        self._dispatcher = dispatcher
        self._runs = runs
        self._schedules = schedules

    async def all(self) -> list[AgentView]:
        """All agents that are not archived, by name."""
        return await self._views(await self._store.read(agents.list_agents))

    async def get(self, name: str) -> AgentView:
        """Raises UnknownAgent."""
        (told,) = await self._views([await agent_named(self._store, name)])
        return told

    async def start_run(self, name: str, idempotency_key: str | None, *, actor: str) -> RunView:
        """Queue a run; the same key gives the same run."""
        agent = await agent_named(self._store, name)
        return await self._runs.view(
            await self._dispatcher.submit(agent, fire_key=idempotency_key, actor=actor)
        )

    async def pause(self, name: str, *, actor: str) -> AgentView:
        """No run of it starts any more."""
        agent = await agent_named(self._store, name)
        await self._dispatcher.pause_agent(agent.id, actor=actor)
        return await self.get(name)

    async def resume(self, name: str, *, catch_up: bool, actor: str) -> AgentView:
        """It works again, and its schedules fire again."""
        agent = await agent_named(self._store, name)
        await self._dispatcher.resume_agent(agent.id, actor=actor)
        await self._schedules.resume(agent, catch_up=catch_up, actor=actor)
        return await self.get(name)

    async def _views(self, rows: Sequence[AgentRow]) -> list[AgentView]:
        newest = [row.last_run.id for row in rows if row.last_run is not None]
        last_runs = await self._runs.views(await self._store.read(runs.find_runs, newest))
        by_id = {run.id: run for run in last_runs}
        scheduled = await self._schedules.of(rows)
        return [
            self._view(
                row, scheduled.get(row.id, []), None if row.last_run is None else by_id.get(row.last_run.id)
            )
            for row in rows
        ]

    def _view(self, row: AgentRow, scheduled: Sequence[ScheduleView], last_run: RunView | None) -> AgentView:
        return AgentView(
            id=row.id,
            name=row.name,
            device=row.device_name or "",
            device_connected=row.device_id is not None and self._roster.find(row.device_id) is not None,
            paths=tuple(row.paths),
            file_extensions=tuple(row.file_extensions),
            data_types=tuple(row.data_types),
            prompt=row.prompt,
            schedule=row.schedule or next((schedule.said for schedule in scheduled), None),
            timezone=row.timezone,
            source="file" if row.source == "file" else "api",
            priority=row.priority,
            max_concurrent_runs=row.max_concurrent_runs,
            lifecycle=row.lifecycle,
            availability=row.availability,
            schedules=tuple(scheduled),
            next_fires=_soonest(scheduled),
            last_run=last_run,
        )


def _soonest(schedules: Iterable[ScheduleView]) -> tuple[FireView, ...]:
    """The next fires of all the schedules together."""
    fires = (fire for schedule in schedules for fire in schedule.next_fires)
    return tuple(sorted(fires, key=lambda fire: fire.at)[:FIRES_TOLD])

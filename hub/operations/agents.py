"""Agents, as operators are told of them; started, paused and resumed."""

from collections.abc import Iterable, Sequence

from hub.api.nouns.runs import Runs
from hub.api.nouns.schedules import NEXT_FIRES, Schedules
from hub.api.views.view import AgentView, FireView, RunView, ScheduleView
from hub.links.roster import Roster
from hub.log import Channel
from hub.operations.moments import moment
from hub.operations.names import agent_named, user_names
from hub.operations.seen import Seen
from hub.runs.control import RunControl
from hub.runs.wishes import NOTHING_MORE, RunWish
from storage.agents import agents
from storage.agents.agents import AgentRow
from storage.runs import runs
from storage.store import Store

log = Channel(__name__)


class AgentOperations(Seen):
    """Implements ``api.facade.AgentFacade``."""

    def __init__(
        self,
        *,
        store: Store,
        roster: Roster,
        control: RunControl,
        runs: Runs,
        schedules: Schedules,
    ) -> None:
        self._store = store
        self._roster = roster
        self._control = control
        self._runs = runs
        self._schedules = schedules

    async def all(self) -> list[AgentView]:
        """All agents that are not archived, by name."""
        return await self._views(await self._store.read(agents.list_agents, user_id=self.user_id))

    async def get(self, name: str) -> AgentView:
        """Raises UnknownAgent."""
        return await self.view(await self._agent(name))

    async def view(self, row: AgentRow) -> AgentView:
        """An agent whose row is at hand."""
        (told,) = await self._views([row])
        return told

    async def start_run(
        self, name: str, idempotency_key: str | None, *, actor: str, wish: RunWish = NOTHING_MORE
    ) -> RunView:
        """Queue a run; the same key gives the same run."""
        agent = await self._agent(name)
        fire_key = None if idempotency_key is None else f"{actor}:{idempotency_key}"
        run = await self._control.submit(agent, fire_key=fire_key, actor=actor, wish=wish)
        return await self._runs.view(run)

    async def pause(self, name: str, *, actor: str) -> AgentView:
        """No run of it starts any more."""
        agent = await self._agent(name)
        if await self._control.pause_agent(agent.id, actor=actor):
            log.info("agent.paused", agent_id=agent.id, actor=actor)
        return await self.get(name)

    async def resume(self, name: str, *, catch_up: bool, actor: str) -> AgentView:
        """It works again, and its schedules fire again."""
        agent = await self._agent(name)
        if await self._control.resume_agent(agent.id, actor=actor):
            log.info("agent.resumed", agent_id=agent.id, actor=actor)
        await self._schedules.resume(agent, catch_up=catch_up, actor=actor)
        return await self.get(name)

    async def _agent(self, name: str) -> AgentRow:
        return await agent_named(self._store, name, self.user_id)

    async def _views(self, rows: Sequence[AgentRow]) -> list[AgentView]:
        newest = [row.last_run.id for row in rows if row.last_run is not None]
        last_runs = await self._runs.views(await self._store.read(runs.find_runs, newest))
        by_id = {run.id: run for run in last_runs}
        scheduled = await self._schedules.of(rows)
        names = await user_names(self._store)
        return [
            self._view(
                row,
                names[row.user_id],
                scheduled.get(row.id, []),
                None if row.last_run is None else by_id.get(row.last_run.id),
            )
            for row in rows
        ]

    def _view(
        self, row: AgentRow, user: str, scheduled: Sequence[ScheduleView], last_run: RunView | None
    ) -> AgentView:
        return AgentView(
            id=row.id,
            name=row.name,
            user=user,
            device=row.device_name or "",
            device_connected=row.device_id is not None and self._roster.find(row.device_id) is not None,
            gateway=row.gateway,
            connectivity=row.connectivity,
            paths=tuple(row.paths),
            file_extensions=tuple(row.file_extensions),
            data_types=tuple(row.data_types),
            prompt=row.prompt,
            schedule=row.schedule or next((schedule.said for schedule in scheduled), None),
            timezone=row.timezone,
            source="file" if row.source == "file" else "api",
            priority=row.priority,
            max_concurrent_runs=row.max_concurrent_runs,
            description=row.description,
            type=row.type,
            subtype=row.subtype,
            template=row.template,
            external_id=row.external_id,
            instance_id=row.instance_id,
            project_id=row.project_id,
            needs=row.needs,
            locks=row.locks,
            config_rev=row.config_rev,
            lifecycle=row.lifecycle,
            availability=row.availability,
            health=row.health,
            recovery_at=moment(row.recovery_at),
            schedules=tuple(scheduled),
            next_fires=_soonest(scheduled),
            last_run=last_run,
        )


def _soonest(schedules: Iterable[ScheduleView]) -> tuple[FireView, ...]:
    """The next fires of all the schedules together."""
    fires = (fire for schedule in schedules for fire in schedule.next_fires)
    return tuple(sorted(fires, key=lambda fire: fire.at)[:NEXT_FIRES])

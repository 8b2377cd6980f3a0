"""Gateways, as operators are told of them; tried again, and given agents."""

from collections.abc import Callable, Mapping
from typing import Final, Protocol

from hub.api.views.gateways import GatewayAgentView, GatewayDetail, GatewayProblemView, GatewayView
from hub.api.views.view import AgentView
from hub.clock import Clock, IdFactory, epoch_ms
from hub.coordination.gateway_standing import GatewayStandings
from hub.log import Channel
from hub.metrics import Metrics
from hub.openclaw import Fleet, GatewayError, GatewayHealth, GatewayState, Problem
from hub.openclaw.methods import agents_list
from hub.operations.names import user_names
from hub.operations.seen import Seen
from protocol.ids import AgentId, UserId
from protocol.standing import Axes, Connectivity
from storage.agents import agents
from storage.agents.agents import AgentRow, UnknownAgent
from storage.agents.made_agents import AgentLimits, TooManyAgents
from storage.audit import audit
from storage.audit.audit import Entry
from storage.coordination import gateway_agents, gateways
from storage.coordination.gateway_agents import GatewayAgentRow
from storage.coordination.gateways import GatewayRow
from storage.store import Store

log = Channel(__name__)

LOOK_S: Final = 5.0  # for a gateway to say which agents it has; one that does not is believed to have it
_NAMED: Final = 10  # agents of a gateway that a refusal names


class NotThere(UnknownAgent):
    """The gateway has no agent of that id; nothing was written."""

    hint = "name one that it has, or leave --agent out: then one is made there"


class AgentViews(Protocol):
    """Makes the views of agents."""

    async def view(self, row: AgentRow) -> AgentView: ...


class GatewayOperations(Seen):
    """Implements ``api.facades.gateways.GatewayFacade``.

    Attributes:
        limits: how many agents there may be.
    """

    def __init__(
        self,
        store: Store,
        fleet: Fleet,
        standings: GatewayStandings,
        *,
        clock: Clock,
        ids: IdFactory,
        metrics: Metrics,
    ) -> None:
        self._store = store
        self._fleet = fleet
        self._standings = standings
        self._clock = clock
        self._ids = ids
        self._limits_reached = metrics.limits_reached
        self.views: AgentViews | None = None  # set once all nouns are there
        self.limits: Callable[[], AgentLimits] = AgentLimits

    async def all(self) -> list[GatewayView]:
        """All of them, by name."""
        names = await user_names(self._store)
        rows = await self._store.read(gateways.list_gateways, user_id=self.user_id)
        return [GatewayView(**dict(await self._told(row, names))) for row in rows]

    async def get(self, gateway: str) -> GatewayDetail:
        """One of them."""
        row = await self._row(gateway)
        members = await self._store.read(gateway_agents.list_gateway_agents, row.id)
        told = dict(await self._told(row, await user_names(self._store)))
        axes = await self._store.read(gateway_agents.axes_of, row.id)
        there = tuple(_member(one, axes[one.agent_id]) for one in members if one.agent_id in axes)
        return GatewayDetail(**told, members=there)

    async def ready(self) -> dict[str, bool]:
        """By the name of each, whether it is connected."""
        rows = await self._store.read(gateways.list_gateways, user_id=self.user_id)
        clients = {row.name: self._fleet.find(row.name) for row in rows}
        return {
            name: client is not None and client.health().state is GatewayState.READY
            for name, client in clients.items()
        }

    async def reconnect(self, gateway: str, *, actor: str) -> GatewayDetail:
        """Try it now."""
        row = await self._row(gateway)
        entry = self._entry("gateway.tried_again", actor, row)
        await self._store.write(audit.append_entry, entry)
        self._fleet.wake(row.name)
        log.info("gateway.tried_again", gateway=row.name, actor=actor)
        return await self.get(gateway)

    async def adopt(self, gateway: str, name: str, remote_id: str | None, *, actor: str) -> AgentView:
        """Make an agent that lives there."""
        row = await self._row(gateway)
        if remote_id is not None:
            await self._check_there(row, remote_id)
        entry = self._entry("agent.created", actor, row, agent=name, remote_id=remote_id)
        fresh_id = AgentId(self._ids.fresh())
        try:
            made = await self._store.write(
                audit.audited(gateway_agents.make_gateway_agent, lambda _: entry),
                gateway_id=row.id,
                user_id=row.user_id,
                name=name,
                remote_id=remote_id,
                fresh_id=fresh_id,
                at=entry.at,
                actor=actor,
                limits=self.limits(),
            )
        except TooManyAgents as reached:
            self._limits_reached.labels(reached.limit).inc()
            raise
        log.info("agent.changed", agent_id=made.agent_id, change="created", actor=actor)
        self._standings.look_again(row.name)
        assert self.views is not None
        return await self.views.view(await self._store.read(agents.get_agent, made.agent_id))

    async def _check_there(self, row: GatewayRow, remote_id: str) -> None:
        """Raises UnknownAgent where the gateway says that it has none of that id."""
        client = self._fleet.find(row.name)
        if client is None or client.health().state is not GatewayState.READY:
            return
        try:
            there = await agents_list(client)
        except GatewayError as error:
            log.info("gateway.not_asked", gateway=row.name, code=error.code)
            return
        if there.find(remote_id) is None:
            known = ", ".join(sorted(one.id for one in there.agents)[:_NAMED])
            raise NotThere(f"gateway {row.name!r} has no agent {remote_id!r}; it has: {known}")

    async def _row(self, gateway: str) -> GatewayRow:
        return await self._store.read(gateways.get_gateway, gateway, user_id=self.user_id)

    async def _told(self, row: GatewayRow, names: Mapping[UserId, str]) -> GatewayView:
        client = self._fleet.find(row.name)
        health = (
            GatewayHealth(name=row.name, state=GatewayState.STOPPED, since=self._clock.now())
            if client is None
            else client.health()
        )
        members = await self._store.read(gateway_agents.list_gateway_agents, row.id)
        axes = await self._store.read(gateway_agents.axes_of, row.id)
        online = sum(one.connectivity is Connectivity.ONLINE for one in axes.values())
        main = next((one.agent_name for one in members if one.role == gateway_agents.MAIN), None)
        return GatewayView(
            id=row.id,
            name=row.name,
            user=names[row.user_id],
            state=health.state.value,
            since=health.since,
            unreachable_since=self._standings.lost_since(row.name),
            next_try_at=health.next_try_at,
            problem=_problem(health.problem),
            admin_problem=_problem(health.admin_problem),
            version=health.version,
            scopes=health.scopes,
            restarts=health.restarts,
            agents=len(members),
            agents_online=online,
            main_agent=main,
        )

    def _entry(self, event: str, actor: str, row: GatewayRow, **detail: str | None) -> Entry:
        told = {"gateway": row.name, **detail}
        return Entry(at=epoch_ms(self._clock.now()), actor=actor, event=event, subject=row.id, detail=told)


def _member(row: GatewayAgentRow, axes: Axes) -> GatewayAgentView:
    return GatewayAgentView(
        agent=row.agent_name,
        role=row.role,
        remote_id=row.remote_id,
        state=row.state,
        problem=row.problem,
        connectivity=axes.connectivity,
        activity=axes.activity,
        availability=axes.availability,
        health=axes.health,
    )


def _problem(problem: Problem | None) -> GatewayProblemView | None:
    if problem is None:
        return None
    return GatewayProblemView(code=problem.code, message=problem.message, hint=problem.hint)

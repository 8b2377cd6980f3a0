"""Routes of gateways: connection state, reconnect, and the agents at a gateway."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Annotated, Final, Literal

from msgspec import Meta

from hub.api.binding import BodyField
from hub.api.resource import (
    ALL,
    Actor,
    Instant,
    ListPart,
    Name,
    Resource,
    View,
    audited,
    command,
    listed,
    route,
)
from hub.api.resources.agents import AgentView
from hub.base.clock import Clock, IdFactory
from hub.base.log import Channel
from hub.base.metrics import Metrics
from hub.base.roles import Scope
from hub.coordination.gateway_watch import GatewayMonitor
from hub.openclaw import Fleet, GatewayError, GatewayHealth, GatewayProblem
from hub.openclaw.methods import agents_list
from protocol.agent_status import Axes, Connectivity
from protocol.errors import CodedError, ErrorCode
from protocol.ids import AgentId
from storage import audit
from storage.agents import agents
from storage.agents.agents import AgentRow
from storage.agents.declared_agents import AgentLimits
from storage.audit import AuditEntry
from storage.coordination import gateway_agents, gateways
from storage.coordination.gateway_agents import GatewayAgentRow
from storage.coordination.gateways import GatewayRow
from storage.store import Connection, Store

log = Channel(__name__)

_NAMED: Final = 10  # agents of a gateway that a refusal names


GatewayWord = Literal["connecting", "ready", "waiting", "parked", "refused", "stopped"]


class GatewayView(View):
    """A gateway of hub.toml, and the state of the connection to it.

    *state*: *ready*, or *connecting*; *waiting*: retried automatically, soon; *parked*: a person has to
    approve this hub there; *refused*: a person has to change something; *stopped*: not meant to be
    connected. *since*: start of that state; *unreachable_since*: since when it has not been ready, however
    often it was tried. *restarts*: starts of the gateway seen since the first.
    """

    id: str
    name: str
    user: str
    state: GatewayWord
    since: Instant
    unreachable_since: Instant | None = None
    next_try_at: Instant | None = None
    problem: GatewayProblem | None = None
    admin_problem: GatewayProblem | None = None  # of the last try to get admin rights there
    version: str | None = None
    scopes: tuple[str, ...] = ()
    restarts: int = 0
    agents: int = 0  # of this hub, that live there
    agents_online: int = 0
    main_agent: str | None = None


class GatewayAgentView(View, kw_only=True):
    """An agent that lives at a gateway. *problem*: why it could not be created there."""

    agent: str
    role: str  # main, lead or worker
    remote_id: str
    state: str  # wanted, creating, ready or failed
    problem: str | None = None
    connectivity: str
    activity: str
    availability: str
    health: str


class GatewayDetail(GatewayView):
    """A gateway with the hub's agents that live there, by name."""

    members: tuple[GatewayAgentView, ...] = ()


_ADOPTED: Final = BodyField(
    "Adopted",
    "An agent to create. *remote_id*: of an agent that the gateway has; by default one is created there.",
)


_Found = tuple[GatewayRow, Sequence[GatewayAgentRow], Mapping[AgentId, Axes]]


class GatewaysResource(Resource):
    """Gateways of hub.toml, by name or id.

    *view_of* makes the response of an agent. *limits* returns how many agents there may be.
    """

    name, path = "gateways", "/v1/gateways"

    def __init__(
        self,
        store: Store,
        fleet: Fleet,
        monitor: GatewayMonitor,
        retry_agents: Callable[[str], None],
        *,
        view_of: Callable[[AgentRow], Awaitable[AgentView]],
        limits: Callable[[], AgentLimits],
        clock: Clock,
        ids: IdFactory,
        metrics: Metrics,
    ) -> None:
        self._store = store
        self._fleet = fleet
        self._monitor = monitor
        self._retry_agents = retry_agents
        self._clock = clock
        self._ids = ids
        self._metrics = metrics
        self._view_of = view_of
        self._limits = limits

    @command(
        "gateways ls",
        example="hub gateways ls",
        json="gateways",
        table=(
            "name as gateway",
            "user",
            "state",
            "*|since_at as since",
            "next_try_at|at as next try",
            "version",
            "*|online as agents",
        ),
        notes=("*|gateway_problems",),
        empty="no gateways; add one to hub.toml: [[gateways]]",
    )
    @listed("", Scope.READ, key=lambda gateway: (gateway.name,))
    async def all(self, part: ListPart = ALL) -> list[GatewayView]:
        """List the gateways of hub.toml by name, with the state of the connection to each."""

        def read(c: Connection) -> list[_Found]:
            rows = gateways.list_gateways(c, user_id=self.user_id, limit=part.limit, after=part.after)
            return [_with_members(c, row) for row in rows]

        return [self._view(found) for found in await self._store.read(read)]

    @command(
        "gateways show GATEWAY",
        example="hub gateways show home",
        json="gateway",
        facts=(
            "name as gateway",
            "user",
            "*|state_since as state",
            "next_try_at|moment as next try",
            "version",
            "scopes",
            "restarts as restarts seen",
        ),
        rows="members",
        table=(
            "agent",
            "role",
            "remote_id",
            "*|remote_state as state",
            "connectivity",
            "activity",
            "availability",
            "health",
        ),
        notes=("*|gateway_problems",),
    )
    @route("GET", "/{gateway}", Scope.READ, errors=[ErrorCode.UNKNOWN_GATEWAY])
    async def get(self, gateway: str) -> GatewayDetail:
        """Show a gateway, by name or id, with the agents that live there."""
        found = await self._store.read(
            lambda c: _with_members(c, gateways.get_gateway(c, gateway, user_id=self.user_id))
        )
        _, residents, axes = found
        members = tuple(
            GatewayAgentView.from_row(resident, axes[resident.agent_id])
            for resident in residents
            if resident.agent_id in axes
        )
        return GatewayDetail.from_row(self._view(found), members=members)

    @command(
        "gateways reconnect GATEWAY",
        example="hub gateways reconnect home",
        json="gateway",
        message="gateway {name} is {state}",
        notes=("*|gateway_problems",),
    )
    @route("POST", "/{gateway}/reconnect", Scope.RUN, errors=[ErrorCode.UNKNOWN_GATEWAY])
    @audited("gateway.tried_again")
    async def reconnect(self, gateway: str, actor: Actor) -> GatewayDetail:
        """Try now to connect to a gateway, without waiting any longer. One that is ready stays as it is.

        Agents that the gateway refused to create are tried again, too, and a connection with admin rights.
        """
        row = await self._row(gateway)
        entry = self._entry("gateway.tried_again", actor, row)
        await self._store.write(audit.append_entry, entry)
        self._fleet.wake(row.name)
        self._retry_agents(row.name)
        log.info("gateway.tried_again", gateway=row.name, actor=actor)
        return await self.get(gateway)

    @command(
        "gateways adopt GATEWAY NAME",
        help="Create an agent that lives at a gateway: an existing agent of the gateway, or a new one.",
        example="hub gateways adopt home scout --agent agent-7",
        json="agent",
        options={"remote_id": "--agent: Existing agent of the gateway [default: create one there]."},
        message="agent {name} lives at gateway {gateway}",
    )
    @route(
        "POST",
        "/{gateway}/agents",
        Scope.DEVICES,
        errors=[
            ErrorCode.UNKNOWN_GATEWAY,
            ErrorCode.UNKNOWN_AGENT,
            ErrorCode.NAME_TAKEN,
            ErrorCode.LIMIT_REACHED,
        ],
        status=201,
    )
    @audited("agent.created")
    async def adopt(
        self,
        gateway: str,
        name: Annotated[Name, _ADOPTED],
        actor: Actor,
        remote_id: Annotated[
            Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$(?!\n)", examples=["main"])] | None,
            _ADOPTED,
        ] = None,
    ) -> AgentView:
        """Create an agent that lives at the gateway.

        With *remote_id*, it is that agent of the gateway; else it is created there too.
        """
        row = await self._row(gateway)
        if remote_id is not None:
            await self._check_exists(row, remote_id)
        entry = self._entry("agent.created", actor, row, agent=name, remote_id=remote_id)
        fresh_id = AgentId(self._ids.fresh())
        with self._metrics.count_limits():
            made = await self._store.write(
                audit.audited(gateway_agents.make_gateway_agent, lambda _: entry),
                gateway_id=row.id,
                user_id=row.user_id,
                name=name,
                remote_id=remote_id,
                fresh_id=fresh_id,
                at=entry.at,
                actor=actor,
                limits=self._limits(),
            )
        log.info("agent.changed", agent_id=made.agent_id, change="created", actor=actor)
        self._monitor.recheck(row.name)
        return await self._view_of(await self._store.read(agents.get_agent, made.agent_id))

    async def _check_exists(self, row: GatewayRow, remote_id: str) -> None:
        """Check that the gateway has this agent, as far as the gateway can be asked.

        Raises:
            CodedError (UNKNOWN_AGENT): the gateway answered that it has no such agent.
        """
        client = self._fleet.find(row.name)
        if client is None or client.health().state != "ready":
            return
        try:
            remote_agents = await agents_list(client)
        except GatewayError as error:
            log.info("gateway.not_asked", gateway=row.name, code=error.code)
            return
        if remote_agents.find(remote_id) is None:
            known = ", ".join(sorted(agent.id for agent in remote_agents.agents)[:_NAMED])
            raise CodedError(
                ErrorCode.UNKNOWN_AGENT,
                f"gateway {row.name!r} has no agent {remote_id!r}; it has: {known}",
                hint="name one that it has, or leave --agent out: then one is made there",
            )

    async def _row(self, gateway: str) -> GatewayRow:
        return await self._store.read(gateways.get_gateway, gateway, user_id=self.user_id)

    def _view(self, found: _Found) -> GatewayView:
        row, members, axes = found
        client = self._fleet.find(row.name)
        health = (
            GatewayHealth(name=row.name, state="stopped", since=self._clock.now())
            if client is None
            else client.health()
        )
        online = sum(agent_axes.connectivity is Connectivity.ONLINE for agent_axes in axes.values())
        main = next((member.agent_name for member in members if member.role == gateway_agents.MAIN), None)
        return GatewayView.from_row(
            health,
            row,
            unreachable_since=self._monitor.lost_since(row.name),
            agents=len(members),
            agents_online=online,
            main_agent=main,
        )

    def _entry(self, event: str, actor: str, row: GatewayRow, **detail: str | None) -> AuditEntry:
        about = {"gateway": row.name, **detail}
        return AuditEntry(at=self._now, actor=actor, event=event, subject=row.id, detail=about)


def _with_members(c: Connection, row: GatewayRow) -> _Found:
    return row, gateway_agents.list_gateway_agents(c, row.id), gateway_agents.axes_of(c, row.id)

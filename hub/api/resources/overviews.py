"""Route of agent overviews: current work, newest runs, and what waits for a person."""

from typing import Final

from hub.api.resource import (
    Instant,
    ListPart,
    Resource,
    ResourceRegistry,
    View,
    route,
    tool,
)
from hub.api.resources.agent_configs import AgentConfigsResource
from hub.api.resources.agent_status import AgentStatusesResource, AgentStatusView
from hub.api.resources.agents import AgentsResource, AgentView
from hub.api.resources.capabilities import CapabilitiesResource, CapabilityView
from hub.api.resources.checkpoints import CheckpointsResource
from hub.api.resources.costs import CostsResource, SpendView
from hub.api.resources.locks import LocksResource, LockView
from hub.api.resources.measurements import MeasurementsResource
from hub.api.resources.runs import RunListFilter, RunsResource, RunView
from hub.api.resources.schedules import SlotsResource, SlotView
from hub.base.roles import Scope
from protocol.errors import ErrorCode

NEWEST_RUNS: Final = 5


class CheckpointBrief(View):
    """A checkpoint without its content."""

    scope: str
    sequence: int
    is_recoverable: bool
    updated_at: Instant


class AgentOverview(View):
    """An agent, its state and why, its calendar, its runs, and what it holds, can and remembers.

    *runs* are the newest five; *capabilities* those that are enabled; *locks* those that it holds or
    waits for; *config* the keys of its configuration; *series* the number of its metrics.
    """

    agent: AgentView
    status: AgentStatusView
    slots: tuple[SlotView, ...]
    runs: tuple[RunView, ...]
    locks: tuple[LockView, ...]
    capabilities: tuple[CapabilityView, ...]
    config: tuple[str, ...]
    checkpoints: tuple[CheckpointBrief, ...]
    spend: SpendView
    series: int


class OverviewsResource(Resource):
    """Overviews of agents, made from the other resources of the hub."""

    name, path = "overviews", "/v1/agents/{name}/overview"
    errors = (ErrorCode.UNKNOWN_AGENT,)

    def __init__(self, hub: ResourceRegistry) -> None:
        self._hub = hub

    @tool()
    @route("GET", "", Scope.READ)
    async def get(self, name: str) -> AgentOverview:
        """Return one agent with its state and why, calendar, runs, locks, abilities and costs."""
        hub, mine = self._hub, self.user_id
        agent = await hub.resource(AgentsResource, mine).get(name)
        configuration = await hub.resource(AgentConfigsResource, mine).of_agent(name)
        capabilities = await hub.resource(CapabilitiesResource, mine).of_agent(name)
        checkpoints = await hub.resource(CheckpointsResource, mine).all(name)
        newest_runs = await hub.resource(RunsResource, mine).newest(
            RunListFilter(agent=name), ListPart(NEWEST_RUNS)
        )
        return AgentOverview(
            agent=agent,
            status=await hub.resource(AgentStatusesResource, mine).get(name),
            slots=tuple(await hub.resource(SlotsResource, mine).of_agent(name)),
            runs=tuple(newest_runs),
            locks=tuple(await hub.resource(LocksResource, mine).all(agent=name)),
            capabilities=tuple(capability for capability in capabilities if capability.enabled),
            config=tuple(sorted(configuration.configuration)),
            checkpoints=tuple(CheckpointBrief.from_row(checkpoint) for checkpoint in checkpoints),
            spend=await hub.resource(CostsResource, mine).of_agent(name),
            series=len(await hub.resource(MeasurementsResource, mine).series(name)),
        )

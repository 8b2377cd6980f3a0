"""Overviews of agents: one agent with what the other nouns know of it."""

from typing import Final

from hub.api.door.roles import Scope
from hub.api.noun import Noun, Part, route
from hub.api.nouns.agent_configs import AgentConfigs
from hub.api.nouns.agent_status import AgentStatuses, AgentStatusView
from hub.api.nouns.agents import Agents, AgentView
from hub.api.nouns.capabilities import Capabilities, CapabilityView
from hub.api.nouns.checkpoints import Checkpoints
from hub.api.nouns.costs import Costs, SpendView
from hub.api.nouns.locks import Locks, LockView
from hub.api.nouns.measurements import Measurements
from hub.api.nouns.runs import AskedRuns, Runs, RunView
from hub.api.nouns.schedules import Slots, SlotView
from hub.api.parameters import Hub
from hub.api.view import Instant, View
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


class Overviews(Noun):
    """Overviews of agents, made from the other nouns of the hub."""

    name, path = "overviews", "/v1/agents/{name}/overview"
    errors = (ErrorCode.UNKNOWN_AGENT,)

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    @route("GET", "", Scope.READ)
    async def get(self, name: str) -> AgentOverview:
        """Return one agent with its state and why, calendar, runs, locks, abilities and costs."""
        hub, mine = self._hub, self.user_id
        agent = await hub.noun(Agents, mine).get(name)
        configuration = await hub.noun(AgentConfigs, mine).of_agent(name)
        capabilities = await hub.noun(Capabilities, mine).of_agent(name)
        checkpoints = await hub.noun(Checkpoints, mine).all(name)
        return AgentOverview(
            agent=agent,
            status=await hub.noun(AgentStatuses, mine).get(name),
            slots=tuple(await hub.noun(Slots, mine).of_agent(name)),
            runs=tuple(await hub.noun(Runs, mine).newest(AskedRuns(agent=name), Part(NEWEST_RUNS))),
            locks=tuple(await hub.noun(Locks, mine).all(agent=name)),
            capabilities=tuple(one for one in capabilities if one.enabled),
            config=tuple(sorted(configuration.configuration)),
            checkpoints=tuple(CheckpointBrief.from_row(one) for one in checkpoints),
            spend=await hub.noun(Costs, mine).of_agent(name),
            series=len(await hub.noun(Measurements, mine).series(name)),
        )

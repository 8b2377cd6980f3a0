"""An agent on one screen, put together from what its nouns tell."""

from typing import Final

from hub.api.deps import Hub, NounRouter
from hub.api.errors import refusals
from hub.api.facade import HubFacade
from hub.api.nouns.agent_configs import AgentConfigs
from hub.api.nouns.agent_status import AgentStatuses
from hub.api.nouns.capabilities import Capabilities
from hub.api.nouns.checkpoints import Checkpoints
from hub.api.nouns.costs import Costs
from hub.api.nouns.locks import Locks
from hub.api.nouns.measurements import Measurements
from hub.api.views.overviews import AgentOverview, CheckpointBrief
from protocol.errors import ErrorCode

router = NounRouter(
    prefix="/v1/agents/{name}/overview", tags=["agents"], responses=refusals(ErrorCode.UNKNOWN_AGENT)
)

RUNS_TOLD: Final = 5


@router.get("")
async def get_overview(hub: Hub, name: str) -> AgentOverview:
    """One agent with all that people ask of it: state since when and why, fires, runs, locks, spend."""
    return await overview_of(hub, name)


async def overview_of(hub: HubFacade, name: str) -> AgentOverview:
    """Raises UnknownAgent."""
    agent = await hub.agents.get(name)
    configuration = await hub.noun(AgentConfigs).of_agent(name)
    return AgentOverview(
        agent=agent,
        standing=await hub.noun(AgentStatuses).of_agent(name),
        slots=tuple(await hub.slots.of_agent(name)),
        runs=tuple(await hub.runs.newest(agent=name, limit=RUNS_TOLD)),
        locks=tuple(await hub.noun(Locks).all(agent=name)),
        capabilities=tuple(one for one in await hub.noun(Capabilities).of_agent(name) if one.enabled),
        config=tuple(sorted(configuration.configuration)),
        checkpoints=tuple(
            CheckpointBrief(
                scope=one.scope,
                sequence=one.sequence,
                is_recoverable=one.is_recoverable,
                updated_at=one.updated_at,
            )
            for one in (await hub.noun(Checkpoints).all(name)).checkpoints
        ),
        spend=await hub.noun(Costs).of_agent(name),
        series=len(await hub.noun(Measurements).series(name)),
    )

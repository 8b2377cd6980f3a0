"""Agents: how they are, pausing them, and starting a run of one."""

from typing import Annotated

from fastapi import APIRouter, Body, Header, Response

from hub.ops.api.deps import Actor, Hub
from hub.ops.api.errors import refusals
from hub.ops.api.etags import Match, Matching, tag_of
from hub.ops.api.paging import Paging
from hub.ops.facade import HubFacade
from hub.ops.views import AgentView, RunView, View
from protocol.errors import ErrorCode

router = APIRouter(prefix="/v1/agents", tags=["agents"], responses=refusals(ErrorCode.UNKNOWN_AGENT))

_DECLARED = {
    *("id", "name", "device", "paths", "file_extensions", "data_types", "prompt"),
    *("timezone", "source", "priority", "max_concurrent_runs", "lifecycle"),
}


class Agents(View):
    """Some agents."""

    agents: tuple[AgentView, ...]
    next_cursor: str | None = None


class Resumption(View):
    """How an agent goes on. *catch_up*: what its paused schedules passed over is made up for."""

    catch_up: bool = False


@router.get("")
async def list_agents(hub: Hub, paging: Paging) -> Agents:
    """All agents that are not archived, by name."""
    page = paging.cut(await hub.agents.all(), key=lambda agent: (agent.name, agent.id))
    return Agents(agents=page.items, next_cursor=page.next_cursor)


@router.get("/{name}")
async def get_agent(hub: Hub, name: str, match: Match) -> AgentView:
    """One agent, its schedules with their next fires, and its last run."""
    return _tagged(await hub.agents.get(name), match)


@router.post("/{name}/pause")
async def pause_agent(hub: Hub, actor: Actor, name: str, match: Match) -> AgentView:
    """Start no run of it any more; one that executes goes on to its end."""
    await _check(hub, name, match)
    return _tagged(await hub.agents.pause(name, actor=actor), match)


@router.post("/{name}/resume")
async def resume_agent(
    hub: Hub,
    actor: Actor,
    name: str,
    match: Match,
    how: Annotated[Resumption, Body(default_factory=Resumption)],
) -> AgentView:
    """Let it work again, and its schedules fire again, those too that paused after failures."""
    await _check(hub, name, match)
    return _tagged(await hub.agents.resume(name, catch_up=how.catch_up, actor=actor), match)


@router.post(
    "/{name}/runs",
    status_code=202,
    tags=["runs"],
    responses=refusals(ErrorCode.UNKNOWN_AGENT, ErrorCode.LIMIT_REACHED),
)
async def start_run(
    hub: Hub,
    actor: Actor,
    name: str,
    response: Response,
    idempotency_key: Annotated[str | None, Header(min_length=1, max_length=128)] = None,
) -> RunView:
    """Queue a run; the same ``Idempotency-Key`` gives the run that it gave before."""
    run = await hub.agents.start_run(name, idempotency_key, actor=actor)
    response.headers["location"] = f"/v1/runs/{run.id}"
    return run


def _tag(agent: AgentView) -> str:
    """Of what is declared of an agent, and of what people decide about it; not of how it fares."""
    schedules = [
        schedule.model_dump(mode="json", exclude={"next_fires", "consecutive_failures"})
        for schedule in agent.schedules
    ]
    declared = agent.model_dump(mode="json", include=_DECLARED)
    return tag_of(declared, schedules)


async def _check(hub: HubFacade, name: str, match: Matching) -> None:
    if match.is_asked:
        match.check(_tag(await hub.agents.get(name)))


def _tagged(agent: AgentView, match: Matching) -> AgentView:
    match.tell(_tag(agent))
    return agent

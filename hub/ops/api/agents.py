"""Agents: how they are, pausing them, and starting a run of one."""

from typing import Annotated

from fastapi import APIRouter, Body, Header, Response

from hub.ops.api.deps import Actor, Hub
from hub.ops.views import AgentView, RunView, View

router = APIRouter(prefix="/v1/agents", tags=["agents"])


class Agents(View):
    """All agents."""

    agents: tuple[AgentView, ...]


class Resumption(View):
    """How an agent goes on. *catch_up*: what its paused schedules passed over is made up for."""

    catch_up: bool = False


@router.get("")
async def list_agents(hub: Hub) -> Agents:
    """All agents that are not archived, by name."""
    return Agents(agents=tuple(await hub.agents.all()))


@router.get("/{name}")
async def get_agent(hub: Hub, name: str) -> AgentView:
    """One agent, its schedules with their next fires, and its last run."""
    return await hub.agents.get(name)


@router.post("/{name}/pause")
async def pause_agent(hub: Hub, actor: Actor, name: str) -> AgentView:
    """Start no run of it any more; one that executes goes on to its end."""
    return await hub.agents.pause(name, actor=actor)


@router.post("/{name}/resume")
async def resume_agent(
    hub: Hub, actor: Actor, name: str, how: Annotated[Resumption, Body(default_factory=Resumption)]
) -> AgentView:
    """Let it work again, and its schedules fire again, those too that paused after failures."""
    return await hub.agents.resume(name, catch_up=how.catch_up, actor=actor)


@router.post("/{name}/runs", status_code=202, tags=["runs"])
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

"""Agents, and starting a run of one."""

from typing import Annotated

from fastapi import APIRouter, Header, Response

from hub.ops.api.deps import Hub
from hub.ops.facade import AgentView, RunView, View

router = APIRouter(prefix="/v1/agents", tags=["agents"])


class Agents(View):
    """All agents."""

    agents: tuple[AgentView, ...]


@router.get("")
async def list_agents(hub: Hub) -> Agents:
    """All agents that are not archived, by name."""
    return Agents(agents=tuple(await hub.agents()))


@router.get("/{name}")
async def get_agent(hub: Hub, name: str) -> AgentView:
    """One agent and its last run."""
    return await hub.agent(name)


@router.post("/{name}/runs", status_code=202, tags=["runs"])
async def start_run(
    hub: Hub,
    name: str,
    response: Response,
    idempotency_key: Annotated[str | None, Header(min_length=1, max_length=128)] = None,
) -> RunView:
    """Queue a run; the same ``Idempotency-Key`` gives the run that it gave before."""
    run = await hub.start_run(name, idempotency_key)
    response.headers["location"] = f"/v1/runs/{run.id}"
    return run

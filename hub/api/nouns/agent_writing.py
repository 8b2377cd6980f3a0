"""Agents written over the API: made, changed, removed, and looked over."""

from typing import Final

from fastapi import Response

from hub.api.agent_bodies import AgentBody, AgentChanges
from hub.api.deps import Actor, Hub, NounRouter
from hub.api.errors import refusals
from hub.api.etags import Match
from hub.api.nouns.agents import tag_of_agent
from hub.api.views.templates import VerdictView
from hub.api.views.view import AgentView
from protocol.errors import ErrorCode

router = NounRouter(prefix="/v1/agents", tags=["agents"])

_WRITTEN: Final = (
    ErrorCode.NAME_TAKEN,
    ErrorCode.UNKNOWN_DEVICE,
    ErrorCode.UNKNOWN_TEMPLATE,
    ErrorCode.BAD_CONFIG,
)


@router.post(
    "",
    status_code=201,
    responses=refusals(*_WRITTEN, ErrorCode.UNKNOWN_USER, ErrorCode.LIMIT_REACHED),
)
async def create_agent(
    hub: Hub, actor: Actor, body: AgentBody, match: Match, response: Response
) -> AgentView:
    """Make an agent. It is checked as one of hub.toml is, and by its template."""
    made = await hub.agent_writing.create(body, actor=actor)
    response.headers["location"] = f"/v1/agents/{made.name}"
    match.tell(tag_of_agent(made))
    return made


@router.patch("/{name}", responses=refusals(ErrorCode.UNKNOWN_AGENT, ErrorCode.MANAGED_BY_FILE, *_WRITTEN))
async def edit_agent(hub: Hub, actor: Actor, name: str, changes: AgentChanges, match: Match) -> AgentView:
    """Change what is said of an agent; what is left out stays, and null takes away."""
    revision = None
    if match.is_asked:
        before = await hub.agents.get(name)
        match.check(tag_of_agent(before))
        revision = before.config_rev
    done = await hub.agent_writing.edit(name, changes.said, revision=revision, actor=actor)
    match.tell(tag_of_agent(done))
    return done


@router.delete("/{name}", responses=refusals(ErrorCode.UNKNOWN_AGENT, ErrorCode.MANAGED_BY_FILE))
async def remove_agent(hub: Hub, actor: Actor, name: str, match: Match) -> AgentView:
    """Pause an agent and archive it; its runs that wait are cancelled, and its history stays."""
    if match.is_asked:
        match.check(tag_of_agent(await hub.agents.get(name)))
    return await hub.agent_writing.remove(name, actor=actor)


@router.post("/{name}/validate", responses=refusals(ErrorCode.UNKNOWN_AGENT))
async def validate_agent(hub: Hub, name: str) -> VerdictView:
    """What is wrong with how an agent is set up, by its template and its prompt. Writes nothing."""
    return await hub.agent_writing.validate(name)

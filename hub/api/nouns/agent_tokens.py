"""Tokens of agents: by one an agent asks in its own name, under ``/v1/agent``."""

from fastapi import Response

from hub.api.deps import Actor, Hub, NounRouter
from hub.api.errors import refusals
from hub.api.nouns.tokens import Lifetime
from hub.api.paging import Paging
from hub.api.views.boards import AgentTokenView, NewAgentToken
from hub.api.views.view import View
from protocol.errors import ErrorCode

router = NounRouter(tags=["tokens"])


class AgentTokens(View):
    """Some tokens in order, without their secrets; *next_cursor* leads to those after them."""

    tokens: tuple[AgentTokenView, ...]
    next_cursor: str | None = None


class AgentTokenRequest(View):
    """How long the token is to count; as long as hub.toml says where that is not told."""

    ttl_s: Lifetime | None = None


@router.get("/v1/agents/{name}/tokens", responses=refusals(ErrorCode.UNKNOWN_AGENT))
async def list_agent_tokens(hub: Hub, name: str, paging: Paging) -> AgentTokens:
    """The tokens of an agent, revoked ones too, the oldest first."""
    page = paging.cut(await hub.agent_tokens.all(name), key=_age)
    return AgentTokens(tokens=page.items, next_cursor=page.next_cursor)


@router.post(
    "/v1/agents/{name}/tokens",
    status_code=201,
    responses=refusals(ErrorCode.UNKNOWN_AGENT, ErrorCode.LIMIT_REACHED),
)
async def create_agent_token(
    hub: Hub, actor: Actor, name: str, wanted: AgentTokenRequest, response: Response
) -> NewAgentToken:
    """Make a token for an agent: it opens what stands under ``/v1/agent``, and nothing else."""
    response.headers["cache-control"] = "no-store"
    return await hub.agent_tokens.create(name, ttl_s=wanted.ttl_s, actor=actor)


@router.delete("/v1/agent-tokens/{token_id}", responses=refusals(ErrorCode.UNKNOWN_TOKEN))
async def revoke_agent_token(hub: Hub, actor: Actor, token_id: str) -> AgentTokenView:
    """Revoke a token; doing it twice is no error."""
    return await hub.agent_tokens.revoke(token_id, actor=actor)


def _age(token: AgentTokenView) -> tuple[str | int, ...]:
    return (token.created_at.isoformat(), token.id)

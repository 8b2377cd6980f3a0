"""Tokens of agents, which authenticate an agent in its own name. Only hashes are stored."""

from typing import Final

import msgspec
import sqlalchemy as sa

from protocol.errors import ErrorCode, HubError
from protocol.ids import AgentId, TokenId, UserId
from storage import audit
from storage.agents.agents import UnknownAgent
from storage.agents.schema import agent_states, agents
from storage.coordination.schema import agent_tokens
from storage.devices.schema import users
from storage.kernel.rows import Key, columns_of, fill, paged

RETENTION_MS: Final = 30 * 86_400_000  # after its end, so that late requests learn the reason


class TooManyAgentTokens(HubError):
    """Error: the agent has the maximum number of valid tokens; no token was created."""

    code = ErrorCode.LIMIT_REACHED


class AgentTokenRow(msgspec.Struct, frozen=True, kw_only=True):
    """Token of an agent; the token itself is not stored.

    Attributes:
        is_removed: the agent is archived or terminated.
        last4: last four characters of the token, so that its owner can identify it.
        created_by: actor who created it.
    """

    id: TokenId
    agent_id: AgentId
    agent_name: str
    user_id: UserId
    user_name: str
    is_removed: bool
    last4: str
    created_by: str
    created_at: int
    expires_at: int
    last_used_at: int | None
    revoked_at: int | None


TOKENS = (
    sa.select(
        *columns_of(
            AgentTokenRow,
            agent_tokens,
            agents,
            agent_name=agents.c.name,
            user_name=users.c.name,
            is_removed=sa.or_(agents.c.deleted_at.is_not(None), agent_states.c.lifecycle == "terminated"),
        )
    )
    .join_from(agent_tokens, agents, agents.c.id == agent_tokens.c.agent_id)
    .join(agent_states, agent_states.c.agent_id == agents.c.id)
    .join(users, users.c.id == agents.c.user_id)
)
TOKEN = TOKENS.where(agent_tokens.c.id == sa.bindparam("token"))
TOKEN_OF_HASH = TOKENS.where(agent_tokens.c.token_hash == sa.bindparam("hash"))
TOKENS_OF_AGENT = TOKENS.where(agent_tokens.c.agent_id == sa.bindparam("agent"))
LOCK_AGENT = (
    sa.select(agents.c.user_id)
    .where(agents.c.id == sa.bindparam("agent"), agents.c.deleted_at.is_(None))
    .with_for_update(key_share=True)
)
COUNT_LIVE = sa.select(sa.func.count()).where(
    agent_tokens.c.agent_id == sa.bindparam("agent"),
    agent_tokens.c.revoked_at.is_(None),
    agent_tokens.c.expires_at > sa.bindparam("now"),
)
PRUNE = sa.delete(agent_tokens).where(
    agent_tokens.c.agent_id == sa.bindparam("agent"),
    sa.func.coalesce(agent_tokens.c.revoked_at, agent_tokens.c.expires_at) <= sa.bindparam("before"),
)
REVOKE = (
    sa.update(agent_tokens)
    .where(agent_tokens.c.id == sa.bindparam("token"), agent_tokens.c.revoked_at.is_(None))
    .values(revoked_at=sa.bindparam("now"))
)
USE = (
    sa.update(agent_tokens)
    .where(agent_tokens.c.id == sa.bindparam("token"), agent_tokens.c.revoked_at.is_(None))
    .values(last_used_at=sa.bindparam("now"))
)


def create_agent_token(
    c: sa.Connection,
    *,
    id: TokenId,
    token_hash: bytes,
    agent_id: AgentId,
    last4: str,
    most: int,
    actor: str,
    at: int,
    expires_at: int,
) -> AgentTokenRow:
    """Create a token, valid until *expires_at*. *token_hash* is its SHA-256.

    Tokens of the agent that ended a month ago are deleted.

    Raises:
        UnknownAgent: the agent does not exist or was removed.
        TooManyAgentTokens: the agent has *most* valid tokens already.
        In each case nothing was written.
    """
    if c.execute(LOCK_AGENT, {"agent": agent_id}).one_or_none() is None:
        raise UnknownAgent(f"there is no agent {agent_id}")
    c.execute(PRUNE, {"agent": agent_id, "before": at - RETENTION_MS})
    if c.execute(COUNT_LIVE, {"agent": agent_id, "now": at}).scalar_one() >= most:
        raise TooManyAgentTokens(f"this agent has {most} tokens that count (agent_tokens_per_agent)")
    row = {"id": id, "token_hash": token_hash, "agent_id": agent_id, "last4": last4, "created_by": actor}
    c.execute(sa.insert(agent_tokens), row | {"created_at": at, "expires_at": expires_at})
    audit.append(c, at=at, actor=actor, event="agent_token.created", subject=id, detail={"agent": agent_id})
    return fill(AgentTokenRow, c.execute(TOKEN, {"token": id}).one())


def find_agent_token(c: sa.Connection, token_hash: bytes) -> AgentTokenRow | None:
    """Return the token with this SHA-256; the caller checks whether it is valid."""
    row = c.execute(TOKEN_OF_HASH, {"hash": token_hash}).one_or_none()
    return None if row is None else fill(AgentTokenRow, row)


def find_agent_token_by_id(c: sa.Connection, id: TokenId) -> AgentTokenRow | None:
    """Return the token with that id, revoked or not."""
    row = c.execute(TOKEN, {"token": id}).one_or_none()
    return None if row is None else fill(AgentTokenRow, row)


def list_agent_tokens(
    c: sa.Connection, agent_id: AgentId, *, limit: int | None = None, after: Key | None = None
) -> list[AgentTokenRow]:
    """Return the agent's tokens, also revoked ones, oldest first."""
    tokens = agent_tokens.c
    query = paged(TOKENS_OF_AGENT, tokens.created_at, tokens.id, limit=limit, after=after)
    return [fill(AgentTokenRow, row) for row in c.execute(query, {"agent": agent_id})]


def revoke_agent_token(c: sa.Connection, id: TokenId, *, at: int, actor: str) -> bool:
    """Revoke the token. Return True if it was not revoked before."""
    revoked = c.execute(REVOKE, {"token": id, "now": at}).rowcount > 0
    if revoked:
        audit.append(c, at=at, actor=actor, event="agent_token.revoked", subject=id)
    return revoked


def use_agent_token(c: sa.Connection, id: TokenId, at: int) -> None:
    """Record the time of the token's last use."""
    c.execute(USE, {"token": id, "now": at})

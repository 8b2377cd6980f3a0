"""Tokens of agents: made, listed, revoked by operators."""

from typing import Final

from hub import tokens
from hub.api.nouns.tokens import UnknownToken
from hub.api.views.boards import AgentTokenView, NewAgentToken
from hub.clock import Chance, Clock, IdFactory, epoch_ms, from_epoch_ms
from hub.log import Channel
from hub.metrics import Metrics
from hub.operations.limits import IdentityLimits
from hub.operations.moments import moment
from hub.operations.names import agent_named
from hub.operations.seen import Seen
from hub.tokens import TokenKind
from protocol.ids import TokenId
from storage.agents import agent_tokens
from storage.agents.agent_tokens import AgentTokenRow, TooManyAgentTokens
from storage.store import Store

log = Channel(__name__)

DAY_S: Final = 86_400.0


class AgentTokenOperations(Seen):
    """Implements ``api.facades.boards.AgentTokenFacade``."""

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        ids: IdFactory,
        chance: Chance,
        metrics: Metrics,
        limits: IdentityLimits,
    ) -> None:
        self._store = store
        self._clock = clock
        self._ids = ids
        self._chance = chance
        self._metrics = metrics
        self.limits = limits

    async def all(self, agent: str) -> list[AgentTokenView]:
        """The agent's tokens, the oldest first."""
        found = await agent_named(self._store, agent, self.user_id)
        rows = await self._store.read(agent_tokens.list_agent_tokens, found.id)
        return [_view(row) for row in rows]

    async def create(self, agent: str, *, ttl_s: float | None = None, actor: str) -> NewAgentToken:
        """A token by which the agent asks in its own name."""
        found = await agent_named(self._store, agent, self.user_id)
        at = epoch_ms(self._clock.now())
        token = tokens.make(TokenKind.AGENT, self._chance)
        lasts_s = self.limits.agent_token_days * DAY_S if ttl_s is None else ttl_s
        try:
            row = await self._store.write(
                agent_tokens.create_agent_token,
                id=TokenId(self._ids.fresh()),
                token_hash=tokens.hash_token(token),
                agent_id=found.id,
                last4=tokens.last4(token),
                most=self.limits.agent_tokens_per_agent,
                actor=actor,
                at=at,
                expires_at=at + round(lasts_s * 1_000),
            )
        except TooManyAgentTokens:
            self._metrics.limits_reached.labels("agent_tokens_per_agent").inc()
            raise
        log.info("agent_token.created", token_id=row.id, agent_id=row.agent_id)
        return NewAgentToken(**_view(row).model_dump(), token=token)

    async def revoke(self, token_id: str, *, actor: str) -> AgentTokenView:
        """It opens nothing any more."""
        found = await self._find(token_id)
        at = epoch_ms(self._clock.now())
        await self._store.write(agent_tokens.revoke_agent_token, found.id, at=at, actor=actor)
        log.info("agent_token.revoked", token_id=found.id, agent_id=found.agent_id)
        return _view(await self._find(token_id))

    async def _find(self, token_id: str) -> AgentTokenRow:
        row = await self._store.read(agent_tokens.find_agent_token_by_id, TokenId(token_id))
        if row is None or self.user_id not in (None, row.user_id):
            raise UnknownToken(f"there is no token {token_id!r} of an agent")
        return row


def _view(row: AgentTokenRow) -> AgentTokenView:
    return AgentTokenView(
        id=row.id,
        agent=row.agent_name,
        user=row.user_name,
        last4=row.last4,
        created_by=row.created_by,
        created_at=from_epoch_ms(row.created_at),
        expires_at=from_epoch_ms(row.expires_at),
        last_used_at=moment(row.last_used_at),
        revoked_at=moment(row.revoked_at),
    )

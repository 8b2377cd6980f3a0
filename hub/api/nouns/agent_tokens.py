"""Tokens of agents, with which they send requests under ``/v1/agent``. The hub keeps only their hashes."""

from msgspec import structs

from hub import tokens
from hub.api.deps import Actor
from hub.api.door.roles import Scope
from hub.api.identity import IdentityLimits
from hub.api.noun import ALL, Noun, Part, command, listed, route
from hub.api.nouns.tokens import DAY_S, Lifetime, UnknownToken
from hub.api.view import Instant, View
from hub.clock import Chance, Clock, IdFactory, epoch_ms
from hub.log import Channel
from hub.metrics import Metrics
from hub.tokens import TokenKind
from protocol.errors import ErrorCode
from protocol.ids import TokenId
from storage.agents import agent_tokens, agents
from storage.agents.agent_tokens import AgentTokenRow, TooManyAgentTokens
from storage.store import Store

log = Channel(__name__)


class AgentTokenView(View, kw_only=True):
    """An agent's token without its secret, of which *last4* are the last characters."""

    id: str
    agent: str
    user: str = ""
    last4: str
    created_by: str  # the actor, as in the audit log
    created_at: Instant
    expires_at: Instant
    last_used_at: Instant | None = None
    revoked_at: Instant | None = None


class NewAgentToken(AgentTokenView, kw_only=True):
    """A created token of an agent. No other response contains *token*."""

    token: str


class AgentTokenRequest(View):
    """An agent's token to create. *ttl_s*: 90 days by default."""

    ttl_s: Lifetime | None = None


class AgentTokens(Noun):
    """Tokens of agents."""

    name, path, list_key = "agent_tokens", "", "tokens"

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

    @command(
        "agents tokens NAME",
        example="hub agents tokens notes",
        json="agent_tokens",
        table=(
            "id|id as token",
            "last4 as ends in",
            "created_by",
            "last_used_at|at as used",
            "expires_at|day as expires",
            "revoked_at|day as revoked",
        ),
        empty="agent {name} has no tokens; create one: hub agents token {name}",
    )
    @listed(
        "/v1/agents/{name}/tokens",
        Scope.DEVICES,
        key=lambda token: (epoch_ms(token.created_at), token.id),
        errors=[ErrorCode.UNKNOWN_AGENT],
    )
    async def all(self, name: str, part: Part = ALL) -> list[AgentTokenView]:
        """List the tokens of an agent, including revoked ones, the oldest first."""
        _, rows = await self._store.read(
            agents.with_agent,
            name,
            self.user_id,
            agent_tokens.list_agent_tokens,
            limit=part.limit,
            after=part.after,
        )
        return [_view(row) for row in rows]

    @command(
        "agents token NAME",
        help="Create a token for an agent, valid only under /v1/agent. It is printed once.",
        example="hub agents token notes --expires 90d",
        json="agent_token",
        options={"ttl_s": "--ttl,--expires: Lifetime of the token, as in 90d or 12h."},
        prints="token",
        message="The token is shown only once; it expires {expires_at|moment}. Give it to {name} alone: keep"
        " it out of messages and shared files. Use: Authorization: Bearer TOKEN, at /v1/agent and the routes"
        " below.",
    )
    @route(
        "POST",
        "/v1/agents/{name}/tokens",
        Scope.DEVICES,
        errors=[ErrorCode.UNKNOWN_AGENT, ErrorCode.LIMIT_REACHED],
        status=201,
        is_secret=True,
    )
    async def create(self, name: str, requested: AgentTokenRequest, actor: Actor) -> NewAgentToken:
        """Create a token for an agent, valid only under ``/v1/agent``. Only this response has the secret."""
        agent = await self._store.read(agents.agent_called, name, self.user_id)
        at = epoch_ms(self._clock.now())
        token = tokens.make(TokenKind.AGENT, self._chance)
        lasts_s = self.limits.agent_token_days * DAY_S if requested.ttl_s is None else requested.ttl_s
        try:
            row = await self._store.write(
                agent_tokens.create_agent_token,
                id=TokenId(self._ids.fresh()),
                token_hash=tokens.hash_token(token),
                agent_id=agent.id,
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
        return NewAgentToken(**structs.asdict(_view(row)), token=token)

    @route("DELETE", "/v1/agent-tokens/{token_id}", Scope.DEVICES, errors=[ErrorCode.UNKNOWN_TOKEN])
    async def revoke(self, token_id: str, actor: Actor) -> AgentTokenView:
        """Revoke a token; doing it twice is no error."""
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
    return AgentTokenView.from_row(row, agent=row.agent_name, user=row.user_name)

"""Tokens of operators and agents, as requests show them: looked up by hash, judged, their use written down.

Who tries too many waits (SEC-6, limits table), by network and by token. A good token is
let in all the same, and wipes nothing out: it cannot be guessed, and nobody can lock its
owner out by guessing next to him.
"""

import hashlib
from collections.abc import Callable
from typing import Final

from hub.api.door.roles import ROLE_SCOPES, Principal, Role, Scope
from hub.clock import Clock, epoch_ms
from hub.links.attempts import FailedAttempts, network_of
from hub.links.refusals import OTHERS, RefusalSamples
from hub.log import Channel
from hub.tokens import TokenKind
from protocol.errors import ErrorCode, HubError
from protocol.ids import TokenId
from storage.agents import agent_tokens
from storage.agents.agent_tokens import AgentTokenRow
from storage.audit import audit
from storage.devices import operator_tokens
from storage.devices.operator_tokens import OperatorTokenRow
from storage.kernel.database import StorageError
from storage.store import Store

log = Channel(__name__)

USED_EVERY_MS: Final = 60_000  # a token's last use is written down no more often
REMEMBERED: Final = 1_000  # tokens whose last use is known; far more than count at once
LONGEST_TOKEN: Final = 200
NEW_TOKEN: Final = "on the hub's machine: hub token create --role ROLE"
NEW_AGENT_TOKEN: Final = "on the hub's machine: hub agents token NAME"


class TokenRefused(HubError):
    """The token opens nothing."""

    code = ErrorCode.AUTH_FAILED

    def __init__(self, message: str, *, hint: str = NEW_TOKEN) -> None:
        super().__init__(message)
        self.hint = hint


class TooManyTokens(HubError):
    """Too many tokens were wrong, from this network or with this one."""

    code = ErrorCode.RATE_LIMITED

    def __init__(self, retry_after_s: float) -> None:
        super().__init__(f"too many wrong tokens; wait {retry_after_s:.0f} s")
        self.retry_after_s = retry_after_s


class BearerTokens:
    """Implements ``api.door.access.Bearer`` over the store.

    Args:
        attempts: who failed too often; others look at it and change its limits.
        on_limit: told of each token that was refused because of it.
    """

    def __init__(
        self,
        store: Store,
        *,
        clock: Clock,
        attempts: FailedAttempts,
        on_limit: Callable[[], None] = lambda: None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._attempts = attempts
        self._on_limit = on_limit
        self._samples = RefusalSamples(clock)
        self._used_at: dict[TokenId, int] = {}

    async def principal(self, token: str, network: str) -> Principal:
        """Whose token it is.

        Raises:
            TokenRefused: unknown, revoked or expired, or of an agent that is gone.
            TooManyTokens: the same, and not for the first time.
        """
        at = epoch_ms(self._clock.now())
        digest = hashlib.sha256(token[:LONGEST_TOKEN].encode()).digest()
        if token.startswith(TokenKind.AGENT):
            return await self._agent(digest, network, at)
        row = await self._store.read(operator_tokens.find_operator_token, digest)
        reason = _why_not(row, at)
        if row is None or reason is not None:
            raise await self._refusal(network_of(network), digest, reason or "unknown", at)
        if self._is_used_anew(row.id, at):
            await self._store.write(operator_tokens.use_operator_token, row.id, at)
        role = Role(row.role)
        scopes = ROLE_SCOPES[role] & {scope for scope in Scope if scope in row.scopes}
        return Principal(f"token:{row.id}", role, frozenset(scopes), row.user_id, row.name)

    async def _agent(self, digest: bytes, network: str, at: int) -> Principal:
        row = await self._store.read(agent_tokens.find_agent_token, digest)
        reason = _why_not(row, at)
        if row is None or reason is not None:
            raise await self._refusal(network_of(network), digest, reason or "unknown", at, door="agent")
        if self._is_used_anew(row.id, at):
            await self._store.write(agent_tokens.use_agent_token, row.id, at)
        return Principal.of_agent(row.agent_id, user_id=row.user_id, name=row.agent_name)

    async def still_counts(self, principal: Principal) -> bool:
        """Whether *principal* may go on with what it began; whoever came over the Unix socket may."""
        kind, _, id = principal.actor.partition(":")
        if kind != "token":
            return True
        try:
            row = await self._store.read(operator_tokens.find_operator_token_by_id, TokenId(id))
        except StorageError:  # it is asked again soon
            return True
        return _why_not(row, epoch_ms(self._clock.now())) is None

    async def tell_forbidden(self, principal: Principal, network: str, why: str) -> None:
        """Tell the audit and the log, of each token at most once a minute, that it asked for too much."""
        if (sample := self._samples.take(principal.actor, "forbidden")) is None:
            return
        actor, count = sample
        network = network_of(network)
        door = "operator" if principal.agent_id is None else "agent"
        log.warning("operator.refused", network=network, actor=actor, reason="forbidden", count=count)
        detail: audit.Detail = {
            "network": network,
            "reason": "forbidden",
            "why": why,
            "count": count,
            "door": door,
        }
        try:
            await self._store.write(
                audit.append,
                at=epoch_ms(self._clock.now()),
                actor="hub" if actor == OTHERS else actor,
                event="auth.refused",
                outcome="refused",
                detail=detail,
            )
        except StorageError as exc:  # the request is refused all the same
            log.warning("audit.not_written", code=exc.code, reason="forbidden")

    async def _refusal(
        self, network: str, digest: bytes, reason: str, at: int, *, door: str = "operator"
    ) -> HubError:
        """Count the failure, tell the audit of it now and then, and say how it is answered."""
        parties = (network, f"token:{digest[:12].hex()}")
        wait_s = max(map(self._attempts.wait_s, parties))
        if not wait_s:  # who waits already is not made to wait longer
            for party in parties:
                self._attempts.record(party)
        if (sample := self._samples.take(network, reason)) is not None:
            told, count = sample
            log.warning("operator.refused", network=told, reason=reason, count=count)
            detail: audit.Detail = {"network": told, "reason": reason, "count": count, "door": door}
            await self._store.write(
                audit.append, at=at, actor="hub", event="auth.refused", outcome="refused", detail=detail
            )
        if wait_s:
            self._on_limit()
            return TooManyTokens(wait_s)
        return TokenRefused(_TOLD[reason], hint=NEW_AGENT_TOKEN if door == "agent" else NEW_TOKEN)

    def _is_used_anew(self, id: TokenId, at: int) -> bool:
        """Whether its use is to be written down now."""
        if at - self._used_at.get(id, 0) < USED_EVERY_MS:
            return False
        if len(self._used_at) >= REMEMBERED:
            self._used_at.clear()  # then some are written down a second time within the minute
        self._used_at[id] = at
        return True


_TOLD: Final = {
    "unknown": "nobody knows this token",
    "revoked": "this token was revoked",
    "expired": "this token has expired",
    "removed": "the agent of this token was removed, or ended for good",
}


def _why_not(row: OperatorTokenRow | AgentTokenRow | None, at: int) -> str | None:
    """Why the token opens nothing; None: it does."""
    if row is None:
        return "unknown"
    if row.revoked_at is not None:
        return "revoked"
    if isinstance(row, AgentTokenRow) and row.is_removed:
        return "removed"
    return "expired" if row.expires_at <= at else None

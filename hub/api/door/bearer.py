"""Verification of the bearer tokens of operators and agents: looked up by hash, their last use stored.

Failed attempts are limited per network and per token. A valid token is accepted all the same and resets
no counter: tokens cannot be guessed, and failed attempts from the same network lock no owner out.
"""

import hashlib
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Final

from hub.api.door.roles import ROLE_SCOPES, Principal, Role, Scope
from hub.clock import Clock, epoch_ms
from hub.links.gate import FailedAttempts, network_of
from hub.links.refusals import OTHERS, RefusalSamples
from hub.log import Channel
from hub.tokens import TokenKind
from protocol.errors import ErrorCode, HubError
from protocol.ids import TokenId
from storage import audit
from storage.devices.tokens import (
    AGENT_TOKENS,
    OPERATOR_TOKENS,
    SESSIONS,
    AgentTokenRow,
    BrowserSessionRow,
    OperatorTokenRow,
    use_session,
)
from storage.kernel.database import StorageError
from storage.store import Connection, Store

log = Channel(__name__)

USED_EVERY_MS: Final = 60_000  # a token's last use is stored at most this often
REMEMBERED: Final = 1_000  # tokens whose last use is cached; far more than are valid at once
LONGEST_TOKEN: Final = 200
NEW_TOKEN: Final = "on the hub's machine: hub token create --role ROLE"
NEW_LINK: Final = "on the hub's machine: hub dashboard"
NEW_AGENT_TOKEN: Final = "on the hub's machine: hub agents token NAME"


class TokenRefused(HubError):
    """A token that is not valid."""

    code = ErrorCode.AUTH_FAILED

    def __init__(self, message: str, *, hint: str = NEW_TOKEN) -> None:
        super().__init__(message)
        self.hint = hint


class TooManyTokens(HubError):
    """Too many failed attempts from this network or with this token."""

    code = ErrorCode.RATE_LIMITED

    def __init__(self, retry_after_s: float) -> None:
        super().__init__(f"too many wrong tokens; wait {retry_after_s:.0f} s")
        self.retry_after_s = retry_after_s


class BearerTokens:
    """Verifier of the tokens of operators and agents.

    Args:
        attempts: failed attempts by network and token; shared with code that reads it or sets its limits.
        on_limit: called for each token that is refused because of too many failed attempts.
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

    async def principal(self, token: str, network: str, *, signs_in: bool = False) -> Principal:
        """Return the principal of a token that was sent from *network*.

        Args:
            signs_in: the request opens a session, for which alone the code of a link counts.

        Raises:
            TokenRefused: the token is unknown, revoked or expired, or its agent was removed.
            TooManyTokens: the same, after too many failed attempts.
        """
        at = epoch_ms(self._clock.now())
        digest = hashlib.sha256(token[:LONGEST_TOKEN].encode()).digest()
        if token.startswith(TokenKind.AGENT):
            return await self._agent(digest, network, at)
        if signs_in and token.startswith(TokenKind.LINK):
            return await self._link(digest, network, at)
        row = await self._store.read(OPERATOR_TOKENS.find, digest)
        reason = _why_not(row, at)
        if row is None or reason is not None:
            raise await self._refusal(network_of(network), digest, reason or "unknown", at)
        await self._note_use(row.id, at, partial(OPERATOR_TOKENS.use, id=row.id, at=at))
        return _principal(row, f"token:{row.id}")

    async def session(self, secret: str, network: str) -> Principal:
        """Return the principal of a browser's session. Raises HubError as ``principal`` does."""
        at = epoch_ms(self._clock.now())
        digest = hashlib.sha256(secret[:LONGEST_TOKEN].encode()).digest()
        row = await self._store.read(SESSIONS.find, digest)
        if row is None or row.opened_at is None:
            raise await self._refusal(network_of(network), digest, "no_session", at, door="browser")
        if _why_not(row, at) is not None:  # no guess: a browser sends its cookie until it is removed
            raise TokenRefused(_MESSAGES["no_session"], hint=NEW_LINK)
        await self._note_use(row.id, at, partial(use_session, row=row, at=at))
        return _principal(row, f"session:{row.id}")

    async def _link(self, digest: bytes, network: str, at: int) -> Principal:
        row = await self._store.read(SESSIONS.find, digest)
        if row is None or row.opened_at is not None or _why_not(row, at) is not None:
            raise await self._refusal(network_of(network), digest, "no_link", at, door="browser")
        return _principal(row, f"link:{row.id}")

    async def _agent(self, digest: bytes, network: str, at: int) -> Principal:
        row = await self._store.read(AGENT_TOKENS.find, digest)
        reason = _why_not(row, at)
        if row is None or reason is not None:
            raise await self._refusal(network_of(network), digest, reason or "unknown", at, door="agent")
        await self._note_use(row.id, at, partial(AGENT_TOKENS.use, id=row.id, at=at))
        return Principal.of_agent(row.agent_id, user_id=row.user_id, name=row.agent_name)

    async def still_counts(self, principal: Principal) -> bool:
        """Return whether the token of *principal* is still valid; always True for a caller without one."""
        kind, _, id = principal.actor.partition(":")
        if kind not in ("token", "session"):
            return True
        stored = OPERATOR_TOKENS if kind == "token" else SESSIONS
        try:
            row = await self._store.read(stored.find_by_id, TokenId(id))
        except StorageError:  # the caller checks again soon
            return True
        return _why_not(row, epoch_ms(self._clock.now())) is None

    async def report_forbidden(self, principal: Principal, network: str, why: str) -> None:
        """Log and audit a request without permission, at most once a minute per token."""
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
        """Count the failed attempt, audit a sample of the failures, and return the error to raise."""
        parties = (network, f"token:{digest[:12].hex()}")
        wait_s = await self._attempts.fail(*parties)
        if (sample := self._samples.take(network, reason)) is not None:
            shown_network, count = sample
            log.warning("operator.refused", network=shown_network, reason=reason, count=count)
            detail: audit.Detail = {"network": shown_network, "reason": reason, "count": count, "door": door}
            await self._store.write(
                audit.append, at=at, actor="hub", event="auth.refused", outcome="refused", detail=detail
            )
        if wait_s:
            self._on_limit()
            return TooManyTokens(wait_s)
        return TokenRefused(_MESSAGES[reason], hint=_HINTS[door])

    async def _note_use(self, id: TokenId, at: int, use: Callable[[Connection], object]) -> None:
        """Store the use of the token, once a minute."""
        if 0 <= at - self._used_at.get(id, 0) < USED_EVERY_MS:
            return
        if len(self._used_at) >= REMEMBERED:
            self._used_at.clear()  # some uses are then stored twice within a minute
        self._used_at[id] = at
        with suppress(StorageError):  # a database that cannot be written can still be read
            await self._store.write(use)


_HINTS: Final = {"operator": NEW_TOKEN, "agent": NEW_AGENT_TOKEN, "browser": NEW_LINK}
_MESSAGES: Final = {
    "no_session": "this session has ended: sign in again",
    "no_link": "this link was used, or is older than a minute",
    "unknown": "this token is unknown",
    "revoked": "this token was revoked",
    "expired": "this token has expired",
    "removed": "the agent of this token was removed, or ended for good",
}


def _principal(row: OperatorTokenRow, actor: str) -> Principal:
    role = Role(row.role)
    scopes = ROLE_SCOPES[role] & {scope for scope in Scope if scope in row.scopes}
    return Principal(actor, role, frozenset(scopes), row.user_id, row.name)


def _why_not(row: OperatorTokenRow | AgentTokenRow | None, at: int) -> str | None:
    """Return the reason why the token is not valid; None: it is valid."""
    if row is None:
        return "unknown"
    if row.revoked_at is not None:
        return "revoked"
    if isinstance(row, BrowserSessionRow):
        return "expired" if row.ends_at <= at else None
    if isinstance(row, AgentTokenRow) and row.is_removed:
        return "removed"
    return "expired" if row.expires_at <= at else None

"""Tokens of operators and their automation: rights and expiry. Only hashes are stored.

This module does not know what a role may do: roles and scopes are plain text here.
"""

from collections.abc import Sequence
from typing import Final

import msgspec
import sqlalchemy as sa

from protocol.ids import TokenId, UserId
from storage import audit
from storage.devices.schema import operator_tokens, users
from storage.kernel.rows import Key, columns_of, fill, paged

RETENTION_MS: Final = 30 * 86_400_000  # after its end, so that late requests learn the reason


class OperatorTokenRow(msgspec.Struct, frozen=True, kw_only=True):
    """Token of an operator; the token itself is not stored.

    Attributes:
        role: "viewer", "operator" or "admin".
        scopes: granted subset of the role's scopes.
        user_id: user whose devices, agents and runs it may access; ``None``: all users.
        last4: last four characters, so that its owner can identify it.
        created_by: actor who created it.
    """

    id: TokenId
    name: str
    role: str
    scopes: tuple[str, ...]
    user_id: UserId | None
    user_name: str | None
    last4: str
    created_by: str
    created_at: int
    expires_at: int
    last_used_at: int | None
    revoked_at: int | None


TOKENS = sa.select(*columns_of(OperatorTokenRow, operator_tokens, user_name=users.c.name)).join_from(
    operator_tokens, users, isouter=True
)
TOKEN = TOKENS.where(operator_tokens.c.id == sa.bindparam("token"))
TOKEN_OF_HASH = TOKENS.where(operator_tokens.c.token_hash == sa.bindparam("hash"))
COUNT_LIVE = sa.select(sa.func.count()).where(
    operator_tokens.c.revoked_at.is_(None), operator_tokens.c.expires_at > sa.bindparam("now")
)
COUNT_LIVE_OF_USER = COUNT_LIVE.where(operator_tokens.c.user_id == sa.bindparam("user"))
PRUNE = sa.delete(operator_tokens).where(
    sa.func.coalesce(operator_tokens.c.revoked_at, operator_tokens.c.expires_at) <= sa.bindparam("before")
)
REVOKE = (
    sa.update(operator_tokens)
    .where(operator_tokens.c.id == sa.bindparam("token"), operator_tokens.c.revoked_at.is_(None))
    .values(revoked_at=sa.bindparam("now"))
)
USE = (
    sa.update(operator_tokens)
    .where(operator_tokens.c.id == sa.bindparam("token"), operator_tokens.c.revoked_at.is_(None))
    .values(last_used_at=sa.bindparam("now"))
)


def create_operator_token(
    c: sa.Connection,
    *,
    id: TokenId,
    token_hash: bytes,
    name: str,
    role: str,
    scopes: Sequence[str],
    user_id: UserId | None,
    last4: str,
    actor: str,
    at: int,
    expires_at: int,
) -> OperatorTokenRow:
    """Create a token with these rights, valid until *expires_at*. *token_hash* is its SHA-256.

    Tokens that ended a month ago are deleted.

    Raises:
        Conflict: the user does not exist, or the hash is known already.
    """
    c.execute(PRUNE, {"before": at - RETENTION_MS})
    row = {"id": id, "token_hash": token_hash, "name": name, "role": role, "scopes": sorted(scopes)}
    about = {"user_id": user_id, "last4": last4, "created_by": actor, "expires_at": expires_at}
    c.execute(sa.insert(operator_tokens), row | about | {"created_at": at})
    detail: audit.Detail = {"name": name, "role": role, "scopes": " ".join(sorted(scopes)), "user": user_id}
    audit.append(c, at=at, actor=actor, event="operator_token.created", subject=id, detail=detail)
    return fill(OperatorTokenRow, c.execute(TOKEN, {"token": id}).one())


def find_operator_token(c: sa.Connection, token_hash: bytes) -> OperatorTokenRow | None:
    """Return the token with this SHA-256; the caller checks whether it is valid."""
    row = c.execute(TOKEN_OF_HASH, {"hash": token_hash}).one_or_none()
    return None if row is None else fill(OperatorTokenRow, row)


def find_operator_token_by_id(c: sa.Connection, id: TokenId) -> OperatorTokenRow | None:
    """Return the token with that id, revoked or not."""
    row = c.execute(TOKEN, {"token": id}).one_or_none()
    return None if row is None else fill(OperatorTokenRow, row)


def list_operator_tokens(
    c: sa.Connection, *, user_id: UserId | None = None, limit: int | None = None, after: Key | None = None
) -> list[OperatorTokenRow]:
    """Return tokens, also revoked ones, oldest first: all, or those bound to one user."""
    mine = sa.true() if user_id is None else operator_tokens.c.user_id == user_id
    tokens = operator_tokens.c
    query = paged(TOKENS.where(mine), tokens.created_at, tokens.id, limit=limit, after=after)
    return [fill(OperatorTokenRow, row) for row in c.execute(query)]


def count_live(c: sa.Connection, at: int, *, user_id: UserId | None = None) -> int:
    """Return the number of valid tokens: all, or those of one user."""
    if user_id is None:
        return int(c.execute(COUNT_LIVE, {"now": at}).scalar_one())
    return int(c.execute(COUNT_LIVE_OF_USER, {"now": at, "user": user_id}).scalar_one())


def revoke_operator_token(c: sa.Connection, id: TokenId, *, at: int, actor: str) -> bool:
    """Revoke the token. Return True if it was not revoked before."""
    revoked = c.execute(REVOKE, {"token": id, "now": at}).rowcount > 0
    if revoked:
        audit.append(c, at=at, actor=actor, event="operator_token.revoked", subject=id)
    return revoked


def use_operator_token(c: sa.Connection, id: TokenId, at: int) -> None:
    """Record the time of the token's last use."""
    c.execute(USE, {"token": id, "now": at})

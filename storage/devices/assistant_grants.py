"""Permissions of assistants in the database, renewal of tokens, and reuse of an old secret.

A secret has two halves. The one of the family stays, the one of the turn is replaced at each use: a secret
with another turn was used before, by its owner or by a thief, and the token is revoked. The code of an
authorization is the first secret of its family.
"""

from typing import Any, Final

import msgspec
import sqlalchemy as sa

from protocol.ids import TokenId
from storage.devices.tokens import OPERATOR_TOKENS, OperatorTokenRow
from storage.kernel.columns import columns_of, struct_or_none
from storage.schema import assistant_grants, devices, operator_tokens

_OPENERS: Final = {"device": devices, "token": operator_tokens}


_GRANTS: Final = assistant_grants.c
_TOKENS: Final = operator_tokens.c


class GrantRow(msgspec.Struct, frozen=True, kw_only=True):
    """Grant of an assistant, with everything that may end it.

    Attributes:
        code_challenge: for the verifier of its code; ``None``: the code was used.
        opener: device or token that the session of its person was opened with: ``device:ID``.
        ends_at: end of its token once the code was used.
    """

    token_id: TokenId
    turn_hash: bytes
    client_id: str
    redirect_uri: str
    code_challenge: str | None
    opener: str | None
    ends_at: int
    limits: dict[str, list[str]]
    expires_at: int
    revoked_at: int | None


_OF_GRANTS: Final = sa.select(*columns_of(GrantRow, assistant_grants, operator_tokens)).join_from(
    assistant_grants, operator_tokens
)


def create_grant(c: sa.Connection, *, grant: dict[str, Any], at: int, **token: Any) -> OperatorTokenRow:
    """Create a grant and its token, which counts once the code was used; delete codes that were not used.

    Args:
        grant: the columns of the grant.
        token: of the operator's token; see ``Tokens.create``.
    """
    unused = sa.select(_GRANTS.token_id).where(_GRANTS.code_challenge.is_not(None))
    c.execute(sa.delete(operator_tokens).where(_TOKENS.id.in_(unused), _TOKENS.expires_at <= at))
    row = OPERATOR_TOKENS.create(c, at=at, **token)
    c.execute(sa.insert(assistant_grants), {"token_id": row.id, "created_at": at, "renewed_at": at, **grant})
    return row


def find_grant(c: sa.Connection, family_hash: bytes, at: int) -> GrantRow | None:
    """Return the grant with secrets of this family, unless it has ended."""
    row = struct_or_none(
        GrantRow, c.execute(_OF_GRANTS.where(_GRANTS.family_hash == family_hash)).one_or_none()
    )
    if row is None or row.revoked_at is not None or row.expires_at <= at:
        return None
    if row.opener is not None:
        kind, _, id = row.opener.partition(":")
        opener = _OPENERS[kind].c
        valid = sa.select(opener.id).where(opener.id == id, opener.revoked_at.is_(None))
        if c.execute(valid).one_or_none() is None:
            return None
    return row


def find_client(c: sa.Connection, token_hash: bytes) -> tuple[TokenId, str] | None:
    """Return the id and the client of an assistant's token with this hash."""
    query = _OF_GRANTS.with_only_columns(_GRANTS.token_id, _GRANTS.client_id)
    found = c.execute(query.where(_TOKENS.token_hash == token_hash)).one_or_none()
    return None if found is None else (found.token_id, found.client_id)


def renew(
    c: sa.Connection,
    grant: GrantRow,
    turn_hash: bytes,
    *,
    next_hash: bytes,
    token_hash: bytes,
    last4: str,
    at: int,
) -> bool:
    """Replace the secret of a grant, and its token. False: the secret was used before, or the grant ended."""
    turn = {"turn_hash": next_hash, "code_challenge": None, "renewed_at": at}
    used = sa.update(assistant_grants).where(_GRANTS.token_id == grant.token_id)
    if not c.execute(used.where(_GRANTS.turn_hash == turn_hash).values(turn)).rowcount:
        OPERATOR_TOKENS.revoke(c, grant.token_id, at=at, actor="hub")
        return False
    token = {"token_hash": token_hash, "last4": last4, "expires_at": grant.ends_at}
    valid = sa.update(operator_tokens).where(_TOKENS.id == grant.token_id, _TOKENS.revoked_at.is_(None))
    return c.execute(valid.values(token)).rowcount > 0

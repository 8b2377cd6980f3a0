"""Stored responses of repeated requests."""

from typing import Any

import msgspec
import sqlalchemy as sa

from storage.kernel.database import Conflict
from storage.schema import idempotency_keys


class StoredResponse(msgspec.Struct, frozen=True):
    """Response to the first request with a key."""

    request_hash: str
    response: Any


ANSWER = sa.select(idempotency_keys.c.request_hash, idempotency_keys.c.response).where(
    idempotency_keys.c.scope == sa.bindparam("within"), idempotency_keys.c.key == sa.bindparam("given")
)


def find_answer(c: sa.Connection, scope: str, key: str) -> StoredResponse | None:
    """Return the stored response, if any."""
    row = c.execute(ANSWER, {"within": scope, "given": key}).one_or_none()
    return None if row is None else StoredResponse(*row)


def keep_answer(
    c: sa.Connection, scope: str, key: str, *, request_hash: str, response: Any, at: int
) -> StoredResponse:
    """Store the response to a request; the first one stays, and is returned.

    Raises:
        Conflict: the key was used for another request (its hash differs); nothing was written.
    """
    stored = find_answer(c, scope, key)
    if stored is None:
        row = {"scope": scope, "key": key, "request_hash": request_hash}
        c.execute(sa.insert(idempotency_keys), row | {"response": response, "created_at": at})
        return StoredResponse(request_hash, response)
    if stored.request_hash != request_hash:
        raise Conflict(f"the key {key!r} was used for another request")
    return stored

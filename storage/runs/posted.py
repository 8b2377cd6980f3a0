"""Posts to webhooks: each delivery is one row, however often it is posted.

A row waits until the agent that reads its connector has settled it. Then its body is deleted; its key stays
as long as the same delivery may be posted again.
"""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from protocol.errors import ErrorCode, HubError
from protocol.ids import AgentId
from storage.connectors.seen_messages import SETTLED, seen_of
from storage.kernel.columns import columns_of, fill_each, in_parts
from storage.schema import agents, connectors, posted

PROVIDER: Final = "webhook"


class TooManyPosted(HubError):
    """Error: the maximum number of posts waits to be read."""

    code = ErrorCode.LIMIT_REACHED


class PostedRow(msgspec.Struct, frozen=True, kw_only=True):
    """Waiting post. *key*: identity of the delivery, equal for repeated posts."""

    id: str
    key: str
    event: str
    media_type: str
    body: bytes
    received_at: int


_of_it = posted.c.connector_id == sa.bindparam("connector")
_waits = sa.text("posted.settled_at IS NULL")  # as text, so that the partial index is used
KNOWN = (
    sa.select(posted.c.id)
    .where(
        _of_it,
        posted.c.dedupe_key.in_(sa.bindparam("keys", expanding=True)),
        posted.c.received_at >= sa.bindparam("since"),
    )
    .limit(1)
)
COUNT = sa.select(sa.func.count()).select_from(posted).where(_of_it, _waits)
INSERT = sa.insert(posted)
WAITING = (
    sa.select(*columns_of(PostedRow, posted, key=posted.c.dedupe_key))
    .where(_of_it, _waits, posted.c.id > sa.bindparam("behind"))
    .order_by(posted.c.id)
    .limit(sa.bindparam("most", type_=sa.Integer))
)
KEYS = sa.select(posted.c.id, posted.c.dedupe_key).where(_of_it, _waits).order_by(posted.c.id)


def message_key_of(key: str) -> str:
    """Return the key of a delivery among the messages that an agent has seen."""
    return f"{PROVIDER}:{key}"


def take_in(
    c: sa.Connection,
    connector_id: str,
    *,
    id: str,
    keys: Sequence[str],
    since: int = 0,
    event: str,
    media_type: str,
    body: bytes,
    most_waiting: int,
    at: int,
) -> bool:
    """Store a post. Return False if the delivery is known.

    Args:
        keys: keys of the delivery, its own first; a post since *since* under any of them is the same
            delivery.

    Raises:
        TooManyPosted: nothing was written.
    """
    if c.execute(KNOWN, {"connector": connector_id, "keys": list(keys), "since": since}).first() is not None:
        return False
    if c.execute(COUNT, {"connector": connector_id}).scalar_one() >= most_waiting:
        raise TooManyPosted(f"{most_waiting} posts wait to be read, and no more may (posted_waiting)")
    row: dict[str, Any] = {"id": id, "connector_id": connector_id, "dedupe_key": keys[0], "event": event}
    row |= {"media_type": media_type, "size_bytes": len(body), "received_at": at}
    c.execute(INSERT, row | {"body": body})
    return True


def settle_and_list(
    c: sa.Connection, connector_id: str, *, after: str, most: int, at: int
) -> list[PostedRow]:
    """Delete the bodies of settled posts, and return the next waiting posts after the row *after*."""
    by_key = {message_key_of(row.dedupe_key): row.id for row in c.execute(KEYS, {"connector": connector_id})}
    query = sa.select(agents.c.id).where(
        sa.text("agents.connector_id IS NOT NULL"),
        agents.c.connector_id == connector_id,
        agents.c.deleted_at.is_(None),
    )
    for reader in c.execute(query).scalars().all():
        seen = seen_of(c, AgentId(reader), list(by_key))
        settled = [by_key[key] for key, one in seen.items() if one.state in SETTLED]
        for part in in_parts(settled):
            c.execute(sa.update(posted).where(posted.c.id.in_(part), _waits).values(body=None, settled_at=at))
    rows = c.execute(WAITING, {"connector": connector_id, "behind": after, "most": most})
    return fill_each(PostedRow, rows)


def connectors_with_news(c: sa.Connection) -> list[str]:
    """Return the ids of connectors with waiting posts."""
    return list(
        c.execute(
            sa.select(connectors.c.id)
            .where(
                connectors.c.deleted_at.is_(None),
                sa.exists().where(posted.c.connector_id == connectors.c.id, _waits),
            )
            .order_by(connectors.c.id)
        ).scalars()
    )

"""Deletion of old seen messages, posts and sign-ins, in bounded transactions as in ``storage/retention``."""

import sqlalchemy as sa

from storage.retention import ROWS
from storage.schema import posted, seen_messages, sign_ins

_rows: sa.BindParameter[int] = sa.bindparam("rows", type_=sa.Integer)
_before: sa.BindParameter[int] = sa.bindparam("before")

_seen = sa.tuple_(seen_messages.c.agent_id, seen_messages.c.key_hash)
DROP_SEEN = sa.delete(seen_messages).where(
    _seen.in_(
        sa.select(seen_messages.c.agent_id, seen_messages.c.key_hash)
        .where(seen_messages.c.seen_at < _before)
        .order_by(seen_messages.c.seen_at)
        .limit(_rows)
    )
)
DROP_POSTED = sa.delete(posted).where(
    posted.c.id.in_(
        sa.select(posted.c.id)
        .where(sa.text("posted.settled_at IS NOT NULL"), posted.c.settled_at < _before)
        .order_by(posted.c.settled_at)
        .limit(_rows)
    )
)
DROP_SIGN_INS = sa.delete(sign_ins).where(
    sign_ins.c.id.in_(
        sa.select(sign_ins.c.id)
        .where(sign_ins.c.expires_at < _before)
        .order_by(sign_ins.c.expires_at)
        .limit(_rows)
    )
)


def prune_seen(c: sa.Connection, *, before: int, rows: int = ROWS) -> int:
    """Delete records of messages last seen before *before*. Return the number deleted."""
    return c.execute(DROP_SEEN, {"before": before, "rows": rows}).rowcount


def prune_posted(c: sa.Connection, *, before: int, rows: int = ROWS) -> int:
    """Delete posts that were settled before *before*; waiting ones stay. Return the number deleted."""
    return c.execute(DROP_POSTED, {"before": before, "rows": rows}).rowcount


def prune_sign_ins(c: sa.Connection, *, before: int, rows: int = ROWS) -> int:
    """Delete sign-ins that expired before *before*. Return the number deleted."""
    return c.execute(DROP_SIGN_INS, {"before": before, "rows": rows}).rowcount

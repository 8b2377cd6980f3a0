"""Deletion of old messages, questions and broadcasts, in bounded transactions as in ``storage/retention``."""

import sqlalchemy as sa

from storage.retention import ROWS
from storage.schema import broadcasts, message_moves, messages, questions

_rows: sa.BindParameter[int] = sa.bindparam("rows", type_=sa.Integer)
_before: sa.BindParameter[int] = sa.bindparam("before")

DROP_QUESTIONS = sa.delete(questions).where(
    questions.c.id.in_(
        sa.select(questions.c.id)
        .where(questions.c.settled_at < _before)
        .order_by(questions.c.settled_at)
        .limit(_rows)
    )
)

OLD_MESSAGES = (
    sa.select(messages.c.id)
    .where(messages.c.settled_at < _before)
    .order_by(messages.c.settled_at)
    .limit(_rows)
)
_move = sa.tuple_(message_moves.c.message_id, message_moves.c.seq)
_old: sa.BindParameter[str] = sa.bindparam("old", expanding=True)
DROP_MOVES = sa.delete(message_moves).where(
    _move.in_(
        sa.select(message_moves.c.message_id, message_moves.c.seq)
        .where(message_moves.c.message_id.in_(_old))
        .limit(_rows)
    )
)
DROP_MESSAGES = sa.delete(messages).where(messages.c.id.in_(_old))
DROP_BROADCASTS = sa.delete(broadcasts).where(
    broadcasts.c.id.in_(
        sa.select(broadcasts.c.id)
        .where(
            broadcasts.c.settled_at < _before,
            ~sa.exists().where(messages.c.broadcast_id == broadcasts.c.id),
        )
        .order_by(broadcasts.c.settled_at)
        .limit(_rows)
    )
)
MESSAGES = 100  # examined in one transaction


def prune_messages(c: sa.Connection, *, before: int, rows: int = ROWS) -> int:
    """Delete messages that were settled before *before*, and their moves. Return the number of deleted rows.

    Answers stay in the memories of boards.
    """
    old = list(c.execute(OLD_MESSAGES, {"before": before, "rows": MESSAGES}).scalars())
    if not old:
        return 0
    if moves := c.execute(DROP_MOVES, {"old": old, "rows": rows}).rowcount:
        return moves  # moves first: a message with many moves takes more than one transaction
    return c.execute(DROP_MESSAGES, {"old": old}).rowcount


def prune_questions(c: sa.Connection, *, before: int, rows: int = ROWS) -> int:
    """Delete questions that were settled before *before*. Return the number of deleted rows.

    Their rows of notified devices are deleted too. The answers stay in the memories of their boards.
    """
    return c.execute(DROP_QUESTIONS, {"before": before, "rows": rows}).rowcount


def prune_broadcasts(c: sa.Connection, *, before: int, rows: int = ROWS) -> int:
    """Delete broadcasts that were settled before *before*, after all their messages. Return their number."""
    return c.execute(DROP_BROADCASTS, {"before": before, "rows": rows}).rowcount

"""Deletion of old model answers, requests and batches, in bounded transactions as in ``storage.retention``.

An answer in use stays; an answer unused for long may be requested again. Requests outlive their runs, because
costs are also reported by day, agent and user.
"""

import sqlalchemy as sa

from storage.retention import ROWS
from storage.schema import model_answers, model_batches, model_calls, runs

_rows: sa.BindParameter[int] = sa.bindparam("rows", type_=sa.Integer)
_before: sa.BindParameter[int] = sa.bindparam("before")

_answer = sa.tuple_(model_answers.c.agent_id, model_answers.c.question)
_oldest_answers = (
    sa.select(model_answers.c.agent_id, model_answers.c.question)
    .where(model_answers.c.used_at < _before)
    .order_by(model_answers.c.used_at)
    .limit(_rows)
)
DROP_ANSWERS = sa.delete(model_answers).where(_answer.in_(_oldest_answers))
NEWEST_TOO_MANY = (
    sa.select(model_answers.c.used_at)
    .order_by(model_answers.c.used_at.desc())
    .limit(1)
    .offset(sa.bindparam("kept", type_=sa.Integer))
)
DROP_CALLS = sa.delete(model_calls).where(
    model_calls.c.id.in_(
        sa.select(model_calls.c.id).where(model_calls.c.at < _before).order_by(model_calls.c.at).limit(_rows)
    )
)
# A run that has not ended would submit its questions again, and pay for them again.
_is_awaited = sa.exists().where(runs.c.id == model_batches.c.run_id, runs.c.completed_at.is_(None))
DROP_BATCHES = sa.delete(model_batches).where(
    model_batches.c.id.in_(
        sa.select(model_batches.c.id)
        .where(model_batches.c.created_at < _before, sa.not_(_is_awaited))
        .limit(_rows)
    )
)


def prune_answers(c: sa.Connection, *, before: int, rows: int = ROWS) -> int:
    """Delete answers that were not used since *before*. Return the number deleted."""
    return c.execute(DROP_ANSWERS, {"before": before, "rows": rows}).rowcount


def prune_crowded_answers(c: sa.Connection, *, kept: int, rows: int = ROWS) -> int:
    """Delete all but about *kept* answers, longest unused first. Return the number deleted.

    Answers used at the same instant as the newest surplus answer stay.
    """
    newest = c.execute(NEWEST_TOO_MANY, {"kept": kept}).scalar_one_or_none()
    return 0 if newest is None else prune_answers(c, before=newest, rows=rows)


def prune_calls(c: sa.Connection, *, before: int, rows: int = ROWS) -> int:
    """Delete requests to models before *before*. Return the number deleted. Runs keep their sums."""
    return c.execute(DROP_CALLS, {"before": before, "rows": rows}).rowcount


def prune_batches(c: sa.Connection, *, before: int, rows: int = ROWS) -> int:
    """Delete batches of ended runs created before *before*. Return the number deleted."""
    return c.execute(DROP_BATCHES, {"before": before, "rows": rows}).rowcount

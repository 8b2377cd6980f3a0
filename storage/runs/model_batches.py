"""Batches of a run's questions that were submitted together, with their state.

A batch is written before it is submitted (``made``), and after (``submitted``, with the endpoint's name for
it). So an interrupted submission is found again by the hub's name for it, and nothing is submitted twice.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

import msgspec
import sqlalchemy as sa

from protocol.ids import AgentId, RunId
from storage.kernel.rows import columns_of, fill
from storage.runs.model_answers import JournaledAnswer, answered, record_answer
from storage.runs.model_calls import ModelCall
from storage.schema import model_batches, runs


class BatchState(StrEnum):
    """State of a batch. The questions of a FAILED batch are asked one by one."""

    MADE = "made"
    SUBMITTED = "submitted"
    DONE = "done"
    FAILED = "failed"


class BatchRow(msgspec.Struct, frozen=True):
    """Batch of a run. *questions*: key in the journal and unit of each question."""

    id: str
    agent_id: AgentId
    run_id: RunId
    model: str
    remote_id: str | None
    state: BatchState
    questions: dict[str, str]
    created_at: int


_ROWS = sa.select(*columns_of(BatchRow, model_batches)).order_by(
    model_batches.c.created_at, model_batches.c.id
)
BATCHES = _ROWS.where(model_batches.c.run_id == sa.bindparam("run"))
_is_run_on = sa.exists().where(runs.c.id == model_batches.c.run_id, runs.c.completed_at.is_(None))
LEFT_BEHIND = _ROWS.where(
    model_batches.c.agent_id == sa.bindparam("agent"),
    model_batches.c.state.in_((BatchState.MADE, BatchState.SUBMITTED)),
    sa.not_(_is_run_on),
)
MOVE_BATCH = (
    sa.update(model_batches)
    .where(model_batches.c.id == sa.bindparam("batch"))
    .values(
        state=sa.bindparam("after"),
        remote_id=sa.func.coalesce(sa.bindparam("remote", type_=sa.Text), model_batches.c.remote_id),
        checked_at=sa.bindparam("now"),
        done_at=sa.bindparam("ended"),
    )
)
DROP_BATCH = sa.delete(model_batches).where(
    model_batches.c.id == sa.bindparam("batch"), model_batches.c.remote_id.is_(None)
)


def batches_of(c: sa.Connection, run_id: RunId) -> list[BatchRow]:
    """Return the batches of a run, oldest first."""
    return _rows(c, BATCHES, {"run": run_id})


def left_behind(c: sa.Connection, agent_id: AgentId) -> list[BatchRow]:
    """Return open batches whose runs have ended, as after a cancellation: their answers are paid for."""
    return _rows(c, LEFT_BEHIND, {"agent": agent_id})


def _rows(c: sa.Connection, query: sa.Select[Any], given: Mapping[str, str]) -> list[BatchRow]:
    return [fill(BatchRow, row) for row in c.execute(query, dict(given))]


def make_batch(
    c: sa.Connection,
    *,
    id: str,
    agent_id: AgentId,
    run_id: RunId,
    model: str,
    questions: Mapping[str, str],
    at: int,
) -> None:
    """Record that these questions are about to be submitted together."""
    row = {"id": id, "agent_id": agent_id, "run_id": run_id, "model": model}
    c.execute(sa.insert(model_batches), row | {"questions": dict(questions), "created_at": at})


def move_batch(
    c: sa.Connection, id: str, state: BatchState, at: int, *, remote_id: str | None = None
) -> None:
    """Record that the batch was submitted or has ended."""
    ended = at if state in (BatchState.DONE, BatchState.FAILED) else None
    c.execute(MOVE_BATCH, {"batch": id, "after": state, "remote": remote_id, "now": at, "ended": ended})


def drop_batch(c: sa.Connection, id: str) -> None:
    """Delete a batch that was never submitted; its questions may join another batch."""
    c.execute(DROP_BATCH, {"batch": id})


def record_answers(c: sa.Connection, calls: Sequence[tuple[ModelCall, JournaledAnswer]]) -> int:
    """Record the answers of an agent's batch and their cost. Return the number of new ones. Repeatable."""
    if not calls:
        return 0
    known = answered(c, calls[0][0].agent_id, [call.question for call, _ in calls])
    fresh = [(call, answer) for call, answer in calls if call.question not in known]
    for call, answer in fresh:
        record_answer(c, call, answer)
    return len(fresh)

"""Batches of model questions in the database, and their states at the provider."""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec
import sqlalchemy as sa

from protocol.ids import AgentId, RunId
from storage.kernel.columns import columns_of, structs_from
from storage.schema import model_batches, runs

# State of a batch. The questions of a FAILED batch are asked one by one.
BatchState = Literal["made", "submitted", "done", "failed"]


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
is_run_on = sa.exists().where(runs.c.id == model_batches.c.run_id, runs.c.completed_at.is_(None))
LEFT_BEHIND = _ROWS.where(
    model_batches.c.agent_id == sa.bindparam("agent"),
    model_batches.c.state.in_(("made", "submitted")),
    sa.not_(is_run_on),
)


def batches_of(c: sa.Connection, run_id: RunId) -> list[BatchRow]:
    """Return the batches of a run, oldest first."""
    return _rows(c, BATCHES, {"run": run_id})


def left_behind(c: sa.Connection, agent_id: AgentId) -> list[BatchRow]:
    """Return open batches whose runs have ended, as after a cancellation: their answers are paid for."""
    return _rows(c, LEFT_BEHIND, {"agent": agent_id})


def _rows(c: sa.Connection, query: sa.Select[Any], given: Mapping[str, str]) -> list[BatchRow]:
    return structs_from(BatchRow, c.execute(query, dict(given)))


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
    ended = at if state in ("done", "failed") else None
    c.execute(
        sa.update(model_batches)
        .where(model_batches.c.id == id)
        .values(
            state=state,
            remote_id=sa.func.coalesce(sa.literal(remote_id, sa.Text), model_batches.c.remote_id),
            checked_at=at,
            done_at=ended,
        )
    )


def drop_batch(c: sa.Connection, id: str) -> None:
    """Delete a batch that was never submitted; its questions may join another batch."""
    c.execute(sa.delete(model_batches).where(model_batches.c.id == id, model_batches.c.remote_id.is_(None)))

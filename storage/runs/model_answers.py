"""Journal of model answers: a question of an agent is sent to a model only once.

A *question* is a digest of everything that determines its answer. An answer is written together with its cost
(``record_answer``) before it is used. So a hub that dies repeats only the questions whose answers were
pending.

A batch of a run's questions is written before it is submitted (``made``), and after (``submitted``, with the
endpoint's name for it). So an interrupted submission is found again by the hub's name for it, and nothing is
submitted twice.
"""

from collections.abc import Collection, Mapping, Sequence
from enum import StrEnum
from typing import Any

import msgspec
import sqlalchemy as sa

from protocol.ids import AgentId, RunId
from storage.kernel.columns import in_parts
from storage.kernel.rows import columns_of, fill
from storage.runs.model_calls import ModelCall, record_call
from storage.schema import model_answers, model_batches, runs

DAY_MS = 86_400_000  # precision of ``used_at``: using an answer writes at most once a day


class JournaledAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Answer of a model. *finish*: why it ended: ``whole``, ``cut_off`` or ``too_long``."""

    model: str
    finish: str
    text: str


_ANSWER = (
    model_answers.c.agent_id == sa.bindparam("agent"),
    model_answers.c.question == sa.bindparam("asked"),
)
ANSWER = sa.select(
    model_answers.c.model, model_answers.c.finish, model_answers.c.answer, model_answers.c.used_at
).where(*_ANSWER)
THERE = sa.select(model_answers.c.question).where(*_ANSWER)
ANSWERED = sa.select(model_answers.c.question).where(
    model_answers.c.agent_id == sa.bindparam("agent"),
    model_answers.c.question.in_(sa.bindparam("asked", expanding=True)),
)
TOUCH = sa.update(model_answers).where(*_ANSWER).values(used_at=sa.bindparam("now"))
FORGET = sa.delete(model_answers).where(
    model_answers.c.agent_id == sa.bindparam("agent"),
    model_answers.c.question.in_(sa.bindparam("asked", expanding=True)),
)


def find_answer(
    c: sa.Connection, agent_id: AgentId, question: str, at: int
) -> tuple[JournaledAnswer, bool] | None:
    """Return the stored answer, if any, and True if ``touch_answer`` is due."""
    row = c.execute(ANSWER, {"agent": agent_id, "asked": question}).one_or_none()
    if row is None:
        return None
    found = JournaledAnswer(model=row.model, finish=row.finish, text=row.answer)
    return found, at - row.used_at >= DAY_MS


def answered(c: sa.Connection, agent_id: AgentId, questions: Collection[str]) -> set[str]:
    """Return those of the questions that have a stored answer."""
    return {
        str(question)
        for part in in_parts(sorted(questions))
        for question in c.execute(ANSWERED, {"agent": agent_id, "asked": part}).scalars()
    }


def touch_answer(c: sa.Connection, agent_id: AgentId, question: str, at: int) -> None:
    """Record that the answer was used, which extends its retention."""
    c.execute(TOUCH, {"agent": agent_id, "asked": question, "now": at})


def record_answer(c: sa.Connection, call: ModelCall, answer: JournaledAnswer) -> None:
    """Record an answer and its cost. The first answer to a question stays."""
    record_call(c, call)
    here = {"agent": call.agent_id, "asked": call.question}
    if c.execute(THERE, here).one_or_none() is not None:
        return
    c.execute(
        sa.insert(model_answers),
        {
            "agent_id": call.agent_id,
            "question": call.question,
            "model": answer.model,
            "finish": answer.finish,
            "answer": answer.text,
            "created_at": call.at,
            "used_at": call.at,
        },
    )


def forget_answers(c: sa.Connection, agent_id: AgentId, questions: Collection[str]) -> int:
    """Delete useless answers, so that the questions are asked again. Return the number deleted."""
    return sum(
        c.execute(FORGET, {"agent": agent_id, "asked": part}).rowcount for part in in_parts(sorted(questions))
    )


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

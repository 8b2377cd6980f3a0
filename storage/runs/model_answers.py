"""Stored model answers, so that an answered question is not asked again."""

from collections.abc import Collection, Sequence

import msgspec
import sqlalchemy as sa

from protocol.ids import AgentId
from storage.kernel.columns import execute_for_each, in_parts, insert_if_absent
from storage.kernel.database import lone
from storage.runs.model_calls import DAY_MS, ModelCall, record_call
from storage.schema import model_answers


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
ADD_ANSWER = insert_if_absent(model_answers)
ANSWERED_QUESTIONS = sa.select(model_answers.c.question).where(
    model_answers.c.agent_id == sa.bindparam("agent"),
    model_answers.c.question.in_(sa.bindparam("asked", expanding=True)),
)
TOUCH = sa.update(model_answers).where(*_ANSWER).values(used_at=sa.bindparam("now"))
FORGET = sa.delete(model_answers).where(
    model_answers.c.agent_id == sa.bindparam("agent"),
    model_answers.c.question.in_(sa.bindparam("asked", expanding=True)),
)


@lone
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
        for question in c.execute(ANSWERED_QUESTIONS, {"agent": agent_id, "asked": part}).scalars()
    }


def touch_answer(c: sa.Connection, agent_id: AgentId, question: str, at: int) -> None:
    """Record that the answer was used, which extends its retention."""
    c.execute(TOUCH, {"agent": agent_id, "asked": question, "now": at})


def record_answer(c: sa.Connection, call: ModelCall, answer: JournaledAnswer) -> None:
    """Record an answer and its cost. The first answer to a question stays."""
    record_call(c, call)
    row = {
        "agent_id": call.agent_id,
        "question": call.question,
        "model": answer.model,
        "finish": answer.finish,
        "answer": answer.text,
        "created_at": call.at,
        "used_at": call.at,
    }
    execute_for_each(c, ADD_ANSWER, [row])


def forget_answers(c: sa.Connection, agent_id: AgentId, questions: Collection[str]) -> int:
    """Delete useless answers, so that the questions are asked again. Return the number deleted."""
    return sum(
        c.execute(FORGET, {"agent": agent_id, "asked": part}).rowcount for part in in_parts(sorted(questions))
    )


def record_answers(c: sa.Connection, calls: Sequence[tuple[ModelCall, JournaledAnswer]]) -> int:
    """Record the answers of an agent's batch and their cost. Return the number of new ones. Repeatable."""
    if not calls:
        return 0
    known = answered(c, calls[0][0].agent_id, [call.question for call, _ in calls])
    fresh = [(call, answer) for call, answer in calls if call.question not in known]
    for call, answer in fresh:
        record_answer(c, call, answer)
    return len(fresh)

"""The journal of a model's answers: what was asked for an agent once is not asked again.

A *question* is a digest that stands for all that decides on its answer. An answer is
written together with the call that it cost (``record_answer``), before anybody acts upon
it; so a hub that dies repeats only the questions that were on their way.
"""

from collections.abc import Collection

import msgspec
import sqlalchemy as sa

from protocol.ids import AgentId
from storage.kernel.columns import in_parts
from storage.runs.model_calls import ModelCall, record_call
from storage.schema import model_answers

DAY_MS = 86_400_000  # how exactly ``used_at`` is kept: an answer that is found writes at most once a day


class JournaledAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What a model answered. *finish* is why the answer ended: ``whole``, ``cut_off`` or ``too_long``."""

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
    """What was answered before, if anything, and whether ``touch_answer`` is due."""
    row = c.execute(ANSWER, {"agent": agent_id, "asked": question}).one_or_none()
    if row is None:
        return None
    found = JournaledAnswer(model=row.model, finish=row.finish, text=row.answer)
    return found, at - row.used_at >= DAY_MS


def answered(c: sa.Connection, agent_id: AgentId, questions: Collection[str]) -> set[str]:
    """Those of these questions whose answers are here."""
    return {
        str(question)
        for part in in_parts(sorted(questions))
        for question in c.execute(ANSWERED, {"agent": agent_id, "asked": part}).scalars()
    }


def touch_answer(c: sa.Connection, agent_id: AgentId, question: str, at: int) -> None:
    """The answer was used: it is kept for longer."""
    c.execute(TOUCH, {"agent": agent_id, "asked": question, "now": at})


def record_answer(c: sa.Connection, call: ModelCall, answer: JournaledAnswer) -> None:
    """The model answered: the answer and what it cost, in one transaction. A first answer stays."""
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
    """These answers are of no use, so that asking again may help; returns how many went."""
    return sum(
        c.execute(FORGET, {"agent": agent_id, "asked": part}).rowcount for part in in_parts(sorted(questions))
    )

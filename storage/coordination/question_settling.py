"""Settling of questions: exactly once, with activity. Used by the modules that settle questions."""

from collections.abc import Collection
from typing import Any, Final

import sqlalchemy as sa

from protocol.errors import ErrorCode, HubError
from protocol.messages import MessageEvent, MessageState, QuestionState
from storage.agents.lock_turns import told_instant
from storage.audit import activity
from storage.coordination.messages import find_message, move_message
from storage.coordination.question_rows import IS_OPEN, QuestionRow
from storage.kernel.columns import in_parts
from storage.schema import agents, devices, questions

ASKED, ANSWERED = "question.asked", "question.answered"  # events of activity and of the audit log
WITHDRAWN, EXPIRED = "question.withdrawn", "question.expired"
_BECAME: Final = {QuestionState.WITHDRAWN: "was withdrawn", QuestionState.EXPIRED: "was over"}
_SHORT: Final = 120  # maximum characters of a question in a message about it


class QuestionSettled(HubError):
    """Error: the question was answered, withdrawn or expired; nothing was written.

    ``question`` is its current row.
    """

    code = ErrorCode.QUESTION_SETTLED

    def __init__(self, question: QuestionRow, by: str | None) -> None:
        """Build the message. *by*: display name of the actor that answered."""
        when = told_instant(question.settled_at or question.created_at)
        became = f"was answered by {by}" if by else _BECAME[question.state]
        super().__init__(f"question {question.id} {became} at {when}")
        self.question = question


SETTLE = (
    sa.update(questions)
    .where(questions.c.id == sa.bindparam("question"), sa.text(IS_OPEN))
    .values(
        state=sa.bindparam("to", type_=questions.c.state.type),
        answer=sa.bindparam("text"),
        answered_by=sa.bindparam("who"),
        memory_id=sa.bindparam("memory"),
        settled_at=sa.bindparam("now"),
    )
)


def settle(c: sa.Connection, asked: QuestionRow, to: QuestionState, at: int, given: dict[str, Any]) -> bool:
    """Settle an open question. Return False if it was settled before."""
    bound = {"text": None, "who": None, "memory": None} | given | {"question": asked.id, "to": to, "now": at}
    if c.execute(SETTLE, bound).rowcount == 0:
        return False
    _take_back(c, asked, at)
    return True


def settled(c: sa.Connection, standing: QuestionRow) -> QuestionSettled:
    """Return the error for a call after the question was settled."""
    return QuestionSettled(
        standing, None if standing.answered_by is None else told_actor(c, standing.answered_by)
    )


def told_actor(c: sa.Connection, actor: str) -> str:
    """Return the display name of an actor: ``device desk``, ``agent anna``; others unchanged."""
    return told_actors(c, [actor])[actor]


def told_actors(c: sa.Connection, actors: Collection[str]) -> dict[str, str]:
    """Return the display names of actors; see ``told_actor``."""
    told = {actor: actor for actor in actors}
    for kind, named in (("device", devices), ("agent", agents)):
        ids = [actor.partition(":")[2] for actor in told if actor.startswith(f"{kind}:")]
        for part in in_parts(ids):
            for id, name in c.execute(sa.select(named.c.id, named.c.name).where(named.c.id.in_(part))):
                told[f"{kind}:{id}"] = f"{kind} {name}"
    return told


def record(
    c: sa.Connection,
    event_type: str,
    asked: QuestionRow,
    message: str,
    id: str,
    actor: str,
    at: int,
    level: str = "info",
) -> None:
    activity.record(
        c,
        id=id,
        at=at,
        event_type=event_type,
        message=message,
        actor=actor,
        agent_id=asked.from_agent_id,
        level=level,
        data={"question_id": asked.id, "board_id": asked.board_id},
        trace_id=asked.trace_id,
    )


def short(content: str) -> str:
    line = " ".join(content.split())
    return line if len(line) <= _SHORT else f"{line[: _SHORT - 3]}..."


def _take_back(c: sa.Connection, asked: QuestionRow, at: int) -> None:
    """Cancel the question's message to the main agent if it has certainly not been sent."""
    message = None if asked.message_id is None else find_message(c, asked.message_id)
    if message is None or message.state not in (MessageState.WAITING, MessageState.INTERRUPTED):
        return
    move_message(
        c,
        message.id,
        MessageEvent.FAILED,
        seen_version=message.version,
        at=at,
        reason_code=ErrorCode.QUESTION_SETTLED,
        reason="nobody waits for the answer any more",
    )

"""Questions to the owner of this device: plain functions over its file, inside the caller's transaction.

Any program of the owner can answer an open question by writing ``answer`` into its row. The hub decides the
state of a question, because it may be answered elsewhere and the first answer counts.
"""

import sqlite3
from typing import Final

import msgspec

from hub.device.rows import Refusal
from protocol.calls import ANSWER_CHARACTERS, question_in
from protocol.errors import ErrorCode
from protocol.messages import QuestionState
from protocol.work import ToolCall


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """Question in the file.

    Attributes:
        number: the question's permanent number for the owner.
        answer: the owner's answer, or the answer that counts.
        settled_by: the hub's name for the author of the answer that counts.
        reported: True once the hub has the owner's answer, or another one.
    """

    number: int
    question_id: str
    content: str
    board: str | None
    asked_by: str | None
    state: QuestionState
    asked_at: int
    expires_at: int | None
    answer: str | None
    answered_at: int | None
    settled_by: str | None
    reported: bool

    @property
    def is_waiting(self) -> bool:
        """True if its owner may answer it."""
        return self.state is QuestionState.OPEN and not self.answer


class OwnerAnswer(msgspec.Struct, frozen=True):
    """Owner's answer that no hub has confirmed."""

    question_id: str
    answer: str


_COLUMNS: Final = ", ".join(Question.__struct_fields__)


def take(db: sqlite3.Connection, call: ToolCall) -> dict[str, bool]:
    """Store a question, or the end of a known question, that the hub sent.

    Raises:
        Refusal: the call's data is invalid.
    """
    try:
        question = question_in(call.data)
    except msgspec.ValidationError as error:
        raise Refusal(ErrorCode.BAD_RECORD, f"data of user.ask: {error}") from error
    if question.state is QuestionState.OPEN:
        db.execute(
            "INSERT INTO questions (question_id, content, board, asked_by, asked_at, expires_at)"
            " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (question_id) DO NOTHING",
            (
                question.question_id,
                question.content,
                question.board,
                question.asked_by,
                question.asked_at,
                question.expires_at,
            ),
        )
        return {"asked": True}
    db.execute(
        "UPDATE questions SET state = ?2, answer = nullif(?3, ''), settled_by = ?4, reported = 1"
        " WHERE question_id = ?1",
        (question.question_id, question.state.value, question.answer, question.settled_by),
    )
    return {"closed": True}


def listed(db: sqlite3.Connection) -> list[Question]:
    """Return all questions, the oldest first."""
    found = db.execute(f"SELECT {_COLUMNS} FROM questions ORDER BY number")
    return [_question(row) for row in found.fetchall()]


def unreported_answers(db: sqlite3.Connection, most: int) -> list[OwnerAnswer]:
    """Return at most *most* answers of the owner that no hub has confirmed. Blank answers are ignored."""
    found = db.execute(
        "SELECT question_id, answer FROM questions"
        " WHERE state = 'open' AND reported = 0 AND answer IS NOT NULL ORDER BY number"
    )
    answers = ((id, answer.strip()) for id, answer in found.fetchall())
    return [OwnerAnswer(id, answer[:ANSWER_CHARACTERS]) for id, answer in answers if answer][:most]


def note_answer(db: sqlite3.Connection, answer: OwnerAnswer, at_ms: int, *, counts: bool) -> None:
    """Mark an answer as confirmed, or as superseded; the hub sends the answer that counts by itself."""
    db.execute(
        "UPDATE questions SET reported = 1, answered_at = coalesce(answered_at, ?2),"
        " state = CASE WHEN ?3 AND state = 'open' THEN 'answered' ELSE state END WHERE question_id = ?1",
        (answer.question_id, at_ms, counts),
    )


def write_answer(db: sqlite3.Connection, number: int, text: str, at_ms: int) -> bool:
    """Store the owner's answer. Return False if the question is settled or its answer was reported."""
    written = db.execute(
        "UPDATE questions SET answer = ?2, answered_at = ?3"
        " WHERE number = ?1 AND state = 'open' AND reported = 0",
        (number, text, at_ms),
    )
    return written.rowcount > 0


def describe_question(call: ToolCall) -> str:
    """Describe a ``user.ask`` call for the person at the desktop."""
    question = question_in(call.data)
    asks = " ".join(
        part for part in (question.asked_by or "an agent", question.board and f"({question.board})") if part
    )
    content = " ".join(question.content.split())
    match question.state:
        case QuestionState.OPEN:
            return f"question of {asks}: {content[:400]}; answer it with 'hub answer'"
        case QuestionState.ANSWERED:
            return f"answered by {question.settled_by or 'another person'}: {content[:80]}"
        case QuestionState.WITHDRAWN:
            return f"the question was withdrawn: {content[:80]}"
        case QuestionState.EXPIRED:
            return f"the question has expired: {content[:80]}"


def _question(row: sqlite3.Row | tuple[object, ...]) -> Question:
    return msgspec.convert(
        dict(zip(Question.__struct_fields__, tuple(row), strict=True)), Question, strict=False
    )

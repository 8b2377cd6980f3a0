"""Messages to a device's agents and questions to its owner: storage in its file, and replies.

They run inside the caller's transaction. A stored message counts as delivered. An agent's program, or the
owner on its behalf, answers by writing ``answer`` into the message's row; the hub then forwards the answer to
the sender.

Any program of the owner can answer an open question by writing ``answer`` into its row. The hub decides the
state of a question, because it may be answered elsewhere and the first answer counts.
"""

import sqlite3
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from hub.device.rows import CallRefusal
from protocol.agent_messages import QuestionState
from protocol.calls import ANSWER_CHARACTERS, question_in
from protocol.errors import ErrorCode
from protocol.frame import EpochMs, Id
from protocol.tool_calls import ToolCall

_MESSAGE_ANSWER_CHARACTERS: Final = 32_768  # of an answer that is sent to the hub


class OwnerReply(msgspec.Struct, frozen=True):
    """Answer to the message or question *id* that no hub has confirmed."""

    id: str
    answer: str


class Delivered(msgspec.Struct, frozen=True, kw_only=True, rename={"sender": "from"}):
    """Data of a ``message.deliver`` call."""

    message_id: Id
    agent_id: Id
    kind: Annotated[str, Meta(min_length=1, max_length=128)]
    content: Annotated[str, Meta(min_length=1)]
    board: str | None = None
    sender: str | None = None
    correlation_id: str | None = None
    at_ms: EpochMs | None = None


def take_message(db: sqlite3.Connection, call: ToolCall, at_ms: int) -> dict[str, bool]:
    """Store a message; a known message stays unchanged.

    Raises:
        Refusal: the call's data is invalid.
    """
    delivered = delivered_in(call)
    db.execute(
        "INSERT INTO messages"
        " (message_id, agent_id, kind, content, board, sender, correlation_id, received_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (message_id) DO NOTHING",
        (
            delivered.message_id,
            delivered.agent_id,
            delivered.kind,
            delivered.content,
            delivered.board,
            delivered.sender,
            delivered.correlation_id,
            at_ms,
        ),
    )
    return {"delivered": True}


def delivered_in(call: ToolCall) -> Delivered:
    """Decode the message of a call. Raises Refusal if the data is invalid."""
    try:
        return msgspec.convert(call.data, Delivered)
    except msgspec.ValidationError as error:
        raise CallRefusal(ErrorCode.BAD_RECORD, f"data of message.deliver: {error}") from error


def unreported(db: sqlite3.Connection, most: int) -> list[OwnerReply]:
    """Return at most *most* answers to messages that no hub has confirmed. Blank answers are ignored."""
    found = db.execute(
        "SELECT message_id, answer FROM messages"
        " WHERE reported = 0 AND answer IS NOT NULL ORDER BY received_at, rowid"
    )
    return _replies(found, _MESSAGE_ANSWER_CHARACTERS)[:most]


def _replies(found: sqlite3.Cursor, most_characters: int) -> list[OwnerReply]:
    answers = ((id, answer.strip()) for id, answer in found)
    return [OwnerReply(id, answer[:most_characters]) for id, answer in answers if answer]


def note_reported(db: sqlite3.Connection, reply: OwnerReply, at_ms: int) -> None:
    """Mark the answer as confirmed, or as refused by the hub."""
    db.execute(
        "UPDATE messages SET reported = 1, answered_at = coalesce(answered_at, ?2) WHERE message_id = ?1",
        (reply.id, at_ms),
    )


def describe_message(call: ToolCall) -> str:
    """Describe a received message for the person at the desktop."""
    delivered = delivered_in(call)
    sender = f" from {delivered.sender}" if delivered.sender else ""
    return f"{delivered.kind}{sender} to {delivered.agent_id}: {' '.join(delivered.content.split())[:200]}"


class StoredQuestion(msgspec.Struct, frozen=True, kw_only=True):
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


def take_question(db: sqlite3.Connection, call: ToolCall) -> dict[str, bool]:
    """Store a question, or the end of a known question, that the hub sent.

    Raises:
        Refusal: the call's data is invalid.
    """
    try:
        question = question_in(call.data)
    except msgspec.ValidationError as error:
        raise CallRefusal(ErrorCode.BAD_RECORD, f"data of user.ask: {error}") from error
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


def list_questions(db: sqlite3.Connection) -> list[StoredQuestion]:
    """Return all questions, the oldest first."""
    names = StoredQuestion.__struct_fields__
    found = db.execute(f"SELECT {', '.join(names)} FROM questions ORDER BY number").fetchall()
    listed = [dict(zip(names, tuple(row), strict=True)) for row in found]
    return msgspec.convert(listed, list[StoredQuestion], strict=False)


def unreported_answers(db: sqlite3.Connection, most: int) -> list[OwnerReply]:
    """Return at most *most* answers of the owner that no hub has confirmed. Blank answers are ignored."""
    found = db.execute(
        "SELECT question_id, answer FROM questions"
        " WHERE state = 'open' AND reported = 0 AND answer IS NOT NULL ORDER BY number"
    )
    return _replies(found, ANSWER_CHARACTERS)[:most]


def note_answer(db: sqlite3.Connection, answer: OwnerReply, at_ms: int, *, counts: bool) -> None:
    """Mark an answer as confirmed, or as superseded; the hub sends the answer that counts by itself."""
    db.execute(
        "UPDATE questions SET reported = 1, answered_at = coalesce(answered_at, ?2),"
        " state = CASE WHEN ?3 AND state = 'open' THEN 'answered' ELSE state END WHERE question_id = ?1",
        (answer.id, at_ms, counts),
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

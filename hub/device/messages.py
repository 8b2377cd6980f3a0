"""Messages to agents of this device: plain functions over its file, inside the caller's transaction.

A stored message counts as delivered. An agent's program, or the owner on its behalf, answers by writing
``answer`` into the message's row; the hub then forwards the answer to the sender.
"""

import sqlite3
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from hub.device.rows import Refusal
from protocol.errors import ErrorCode
from protocol.frame import EpochMs, Id
from protocol.work import ToolCall

ANSWER_CHARACTERS: Final = 32_768  # of an answer that is sent to the hub


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


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """Message in the file. *reported* is set once the hub has confirmed or refused the answer."""

    message_id: str
    agent_id: str
    kind: str
    content: str
    board: str | None
    sender: str | None
    correlation_id: str | None
    received_at: int
    answer: str | None
    answered_at: int | None
    reported: bool


class Reply(msgspec.Struct, frozen=True):
    """Answer to a message that no hub has confirmed."""

    message_id: str
    answer: str


_COLUMNS: Final = ", ".join(Message.__struct_fields__)


def take(db: sqlite3.Connection, call: ToolCall, at_ms: int) -> dict[str, bool]:
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
        raise Refusal(ErrorCode.BAD_RECORD, f"data of message.deliver: {error}") from error


def listed(db: sqlite3.Connection) -> list[Message]:
    """Return all messages, the oldest first."""
    found = db.execute(f"SELECT {_COLUMNS} FROM messages ORDER BY received_at, rowid")
    return [_message(tuple(row)) for row in found.fetchall()]


def unreported(db: sqlite3.Connection, most: int) -> list[Reply]:
    """Return at most *most* answers that no hub has confirmed. Blank answers are ignored."""
    found = db.execute(
        "SELECT message_id, answer FROM messages"
        " WHERE reported = 0 AND answer IS NOT NULL ORDER BY received_at, rowid"
    )
    answers = ((id, answer.strip()) for id, answer in found.fetchall())
    return [Reply(id, answer[:ANSWER_CHARACTERS]) for id, answer in answers if answer][:most]


def note_reported(db: sqlite3.Connection, reply: Reply, at_ms: int) -> None:
    """Mark the answer as confirmed, or as refused by the hub."""
    db.execute(
        "UPDATE messages SET reported = 1, answered_at = coalesce(answered_at, ?2) WHERE message_id = ?1",
        (reply.message_id, at_ms),
    )


def describe_message(call: ToolCall) -> str:
    """Describe a received message for the person at the desktop."""
    delivered = delivered_in(call)
    sender = f" from {delivered.sender}" if delivered.sender else ""
    return f"{delivered.kind}{sender} to {delivered.agent_id}: {' '.join(delivered.content.split())[:200]}"


def _message(row: tuple[Any, ...]) -> Message:
    return msgspec.convert(dict(zip(Message.__struct_fields__, row, strict=True)), Message, strict=False)

"""Messages to agents of this device: plain functions over its file, inside the caller's transaction.

A message is kept, and by that its agent has it. Whoever writes ``answer`` into its row, the agent's
program or the owner in its name, has answered: the hub is told, and tells who asked.
"""

import sqlite3
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from hub.device.rows import Refusal
from protocol.errors import ErrorCode
from protocol.frame import EpochMs, Id
from protocol.work import ToolCall

ANSWER_CHARACTERS: Final = 32_768  # of an answer that the hub is told


class Delivered(msgspec.Struct, frozen=True, kw_only=True, rename={"sender": "from"}):
    """What a hub says with ``message.deliver``."""

    message_id: Id
    agent_id: Id
    kind: Annotated[str, Meta(min_length=1, max_length=128)]
    content: Annotated[str, Meta(min_length=1)]
    board: str | None = None
    sender: str | None = None
    correlation_id: str | None = None
    at_ms: EpochMs | None = None


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """A message as the file has it. *reported*: the hub knows the answer, or takes none."""

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
    """An answer to a message that no hub has confirmed."""

    message_id: str
    answer: str


_COLUMNS: Final = ", ".join(Message.__struct_fields__)


def take(db: sqlite3.Connection, call: ToolCall, at_ms: int) -> dict[str, bool]:
    """Keep a message; one that is there already stays as it is.

    Raises:
        Refusal: it is none.
    """
    told = delivered_in(call)
    db.execute(
        "INSERT INTO messages"
        " (message_id, agent_id, kind, content, board, sender, correlation_id, received_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (message_id) DO NOTHING",
        (
            told.message_id,
            told.agent_id,
            told.kind,
            told.content,
            told.board,
            told.sender,
            told.correlation_id,
            at_ms,
        ),
    )
    return {"delivered": True}


def delivered_in(call: ToolCall) -> Delivered:
    """Raises Refusal: the call brings no message."""
    try:
        return msgspec.convert(call.data, Delivered)
    except msgspec.ValidationError as error:
        raise Refusal(ErrorCode.BAD_RECORD, f"data of message.deliver: {error}") from error


def listed(db: sqlite3.Connection) -> list[Message]:
    """All of them, the oldest first."""
    found = db.execute(f"SELECT {_COLUMNS} FROM messages ORDER BY received_at, rowid")
    return [_message(tuple(row)) for row in found.fetchall()]


def unsaid(db: sqlite3.Connection, most: int) -> list[Reply]:
    """At most so many answers that no hub has confirmed. Of white space alone there is none."""
    found = db.execute(
        "SELECT message_id, answer FROM messages"
        " WHERE reported = 0 AND answer IS NOT NULL ORDER BY received_at, rowid"
    )
    said = ((id, answer.strip()) for id, answer in found.fetchall())
    return [Reply(id, answer[:ANSWER_CHARACTERS]) for id, answer in said if answer][:most]


def note_said(db: sqlite3.Connection, reply: Reply, at_ms: int) -> None:
    """The hub has confirmed the answer, or takes none."""
    db.execute(
        "UPDATE messages SET reported = 1, answered_at = coalesce(answered_at, ?2) WHERE message_id = ?1",
        (reply.message_id, at_ms),
    )


def told_message(call: ToolCall) -> str:
    """What the person at the desktop is told of a message that was taken."""
    told = delivered_in(call)
    sender = f" from {told.sender}" if told.sender else ""
    return f"{told.kind}{sender} to {told.agent_id}: {' '.join(told.content.split())[:200]}"


def _message(row: tuple[Any, ...]) -> Message:
    return msgspec.convert(dict(zip(Message.__struct_fields__, row, strict=True)), Message, strict=False)

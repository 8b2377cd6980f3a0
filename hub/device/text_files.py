"""Text files of a device's agents (SOUL.md): reading in parts, and replacement if unchanged.

Plain functions over a connection, inside the caller's transaction.
"""

import hashlib
import sqlite3
from typing import Any, TypeVar

import msgspec

from hub.device.rows import CallRefusal
from protocol.calls import (
    FILES,
    PART_BYTES,
    FileGet,
    FilePart,
    FilePut,
    FileStored,
)
from protocol.errors import ErrorCode
from protocol.frame import MAX_RESULT_BYTES
from protocol.tool_calls import ToolCall

T = TypeVar("T", FileGet, FilePut)


def read_file(db: sqlite3.Connection, call: ToolCall) -> dict[str, Any]:
    """Return one part of a text file.

    Raises:
        Refusal: the call is invalid.
    """
    request = _request(call, FileGet)
    row = _find(db, call.agent_id, request.name)
    if row is None:
        return msgspec.structs.asdict(FilePart(name=request.name, sha256=None))
    content: str = row["content"]
    part = _fitting(content[request.offset : request.offset + PART_BYTES])
    end = request.offset + len(part)
    answer = FilePart(
        name=request.name,
        sha256=row["sha256"],
        content=part,
        size_bytes=len(content.encode()),
        offset=request.offset,
        next_offset=end if end < len(content) else None,
        updated_at=row["updated_at"],
    )
    return msgspec.structs.asdict(answer)


def write_file(db: sqlite3.Connection, call: ToolCall, at_ms: int) -> dict[str, Any]:
    """Replace the text whose digest the call expects.

    Raises:
        Refusal: the call is invalid, or the stored text has another digest; nothing was changed.
    """
    request = _request(call, FilePut)
    if not request.content.strip() or "\0" in request.content:
        raise CallRefusal(ErrorCode.BAD_PARAMS, f"{request.name} has to say something, and without NUL")
    row = _find(db, call.agent_id, request.name)
    found = None if row is None else row["sha256"]
    if found != request.expected_sha256:
        actual = "there is none" if found is None else f"it is {found}"
        raise CallRefusal(ErrorCode.CHANGED_MEANWHILE, f"{request.name} is not what was expected: {actual}")
    raw = request.content.encode()
    sha256 = hashlib.sha256(raw).hexdigest()
    db.execute(
        "INSERT INTO agent_files VALUES (?, ?, ?, ?, ?) ON CONFLICT (agent_id, name) DO UPDATE SET"
        " content = excluded.content, sha256 = excluded.sha256, updated_at = excluded.updated_at",
        (call.agent_id, request.name, request.content, sha256, at_ms),
    )
    return msgspec.structs.asdict(
        FileStored(name=request.name, sha256=sha256, size_bytes=len(raw), updated_at=at_ms)
    )


def _request(call: ToolCall, kind: type[T]) -> T:
    try:
        request: T = msgspec.convert(call.data, kind)
    except msgspec.ValidationError as error:
        raise CallRefusal(ErrorCode.BAD_PARAMS, f"{call.action}: {error}") from None
    if call.agent_id is None:
        raise CallRefusal(ErrorCode.BAD_PARAMS, f"{call.action} has to say whose text it is: agent_id")
    if request.name not in FILES:
        raise CallRefusal(ErrorCode.BAD_PARAMS, f"there is no text {request.name!r}, only {', '.join(FILES)}")
    return request


def _find(db: sqlite3.Connection, agent_id: str | None, name: str) -> sqlite3.Row | None:
    found = db.execute("SELECT * FROM agent_files WHERE agent_id = ? AND name = ?", (agent_id, name))
    row: sqlite3.Row | None = found.fetchone()
    return row


def _fitting(part: str) -> str:
    """Shorten *part* until its JSON fits an answer: escapes take up to six times the length."""
    assert PART_BYTES < MAX_RESULT_BYTES
    while len(msgspec.json.encode(part)) > PART_BYTES:
        part = part[: len(part) // 2]
    return part

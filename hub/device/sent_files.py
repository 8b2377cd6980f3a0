"""Reading of the log of sent and held-back files for the owner."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import msgspec

from protocol.errors import CodedError, ErrorCode

_SENT: Final = (
    "SELECT at_ms, hub, agent_id, run_id, reader, path, bytes, sha256 FROM sent"
    " WHERE at_ms >= ? ORDER BY number DESC LIMIT ?"
)


_HELD: Final = (
    "SELECT at_ms, hub, path, reason FROM held_back WHERE at_ms >= ? ORDER BY at_ms DESC, path LIMIT ?"
)


_DAYS: Final = (
    "SELECT date(at_ms / 1000, 'unixepoch', 'localtime') AS day, hub, reader, count(*), sum(bytes) FROM sent"
    " WHERE at_ms >= ? GROUP BY 1, 2, 3 ORDER BY 1 DESC, 2, 3 LIMIT ?"
)


class SentEntry(msgspec.Struct, frozen=True):
    """File that was sent.

    Attributes:
        hub: public key of the hub.
        reader: who reads the text there: ``rules``, or ``local`` or ``cloud`` and the name of a model.
        bytes: size of what was sent, in UTF-8.
        sha256: digest of the file's bytes.
    """

    at_ms: int
    hub: str
    agent_id: str
    run_id: str
    reader: str
    path: str
    bytes: int
    sha256: str


class HeldBack(msgspec.Struct, frozen=True):
    """File that was not sent, with the latest reason."""

    at_ms: int
    hub: str
    path: str
    reason: str


class Day(msgspec.Struct, frozen=True):
    """Files that were sent to one hub and reader on one day of this machine's calendar."""

    day: str
    hub: str
    reader: str
    files: int
    bytes: int


def read_sent(path: Path, since_ms: int, most: int) -> list[SentEntry]:
    """Return the newest files that were sent. Raises as ``read_days``."""
    return [SentEntry(*row) for row in _rows(path, _SENT, since_ms, most)]


def read_held_back(path: Path, since_ms: int, most: int) -> list[HeldBack]:
    """Return the files that were held back last. Raises as ``read_days``."""
    return [HeldBack(*row) for row in _rows(path, _HELD, since_ms, most)]


def read_days(path: Path, since_ms: int, most: int) -> list[Day]:
    """Return what was sent by day, hub and reader, the newest day first.

    Raises:
        CodedError: the file has no log that can be read.
    """
    return [Day(*row) for row in _rows(path, _DAYS, since_ms, most)]


def _rows(path: Path, select: str, *values: int) -> list[Any]:
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as db:
            return db.execute(select, values).fetchall()
    except sqlite3.Error as error:
        raise no_log(path, error) from error


def no_log(path: Path, error: sqlite3.Error) -> CodedError:
    """Return the error of a file whose log cannot be read."""
    message = f"{path} has no log that can be read: {error}"
    hint = "a device of this version makes one when it runs: hub device run"
    return CodedError(ErrorCode.DATABASE_UNAVAILABLE, message, hint=hint)

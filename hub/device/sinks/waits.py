"""Rows of a sink that wait alone: the place refused them, or a look missed them."""

import sqlite3
from enum import StrEnum

import msgspec


class WaitReason(StrEnum):
    """Kind of a wait: the place refused the row, or the row was not found where it was."""

    REFUSED = "refused"
    MISSED = "missed"


class Wait(msgspec.Struct, frozen=True):
    """Wait of a row, from *since_ms* to *until_ms* (epoch milliseconds), with the answer of the place.

    *tries*: attempts, or looks, that had this result, one after the other.
    """

    key: str
    what: WaitReason
    since_ms: int
    until_ms: int
    reason: str = ""
    tries: int = 1


def waits_of(db: sqlite3.Connection, sink: str) -> dict[str, Wait]:
    """Return the waits of a sink's rows by key."""
    query = "SELECT key, what, since_ms, until_ms, reason, tries FROM sink_waits WHERE sink = ?"
    return {
        key: Wait(key, WaitReason(what), since_ms, until_ms, reason, tries)
        for key, what, since_ms, until_ms, reason, tries in db.execute(query, (sink,))
    }


def store_wait(db: sqlite3.Connection, sink: str, wait: Wait) -> None:
    """Store the wait of a row, in place of its former one."""
    db.execute(
        "INSERT OR REPLACE INTO sink_waits (sink, key, what, since_ms, until_ms, reason, tries)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        (sink, wait.key, wait.what, wait.since_ms, wait.until_ms, wait.reason, wait.tries),
    )


def end_wait(db: sqlite3.Connection, sink: str, key: str) -> None:
    """Forget that a row waits."""
    db.execute("DELETE FROM sink_waits WHERE sink = ? AND key = ?", (sink, key))

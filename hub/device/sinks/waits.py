"""Rows of a sink that wait alone: the place refused them, or a look missed them."""

import sqlite3
from collections.abc import Collection, Iterable, Mapping
from enum import StrEnum
from typing import Final

import msgspec

from hub.base.outbound.refusal_reach import MAX_REFUSALS, RefusalScope
from hub.text.rows.row import TargetFailed

MISSED_MS: Final = 10_000  # from the first look that misses a row to the one by which it counts as deleted
_BASE_MS: Final = 30_000  # before the second attempt; doubled after each one
_CAP_MS: Final = 6 * 3_600_000


class WaitReason(StrEnum):
    """Kind of a wait: the place refused the row, or the row was not found where it was."""

    REFUSED = "refused"
    MISSED = "missed"


class RowWait(msgspec.Struct, frozen=True):
    """Wait of a row, from *since_ms* to *until_ms* (epoch milliseconds), with the answer of the place.

    *tries*: attempts, or looks, that had this result, one after the other. Of a refused row 0: the place
    accepted no other row yet, so that the refusal may be of the place, and the row is tried each time.
    """

    key: str
    what: WaitReason
    since_ms: int
    until_ms: int
    reason: str = ""
    tries: int = 1

    def is_over(self, at_ms: int, changed_ms: int) -> bool:
        """Return True if a refused row, last changed at *changed_ms*, is to be tried at *at_ms*."""
        return not self.tries or at_ms >= self.until_ms or changed_ms > self.until_ms - _delay_ms(self.tries)


def waits_of(db: sqlite3.Connection, sink: str, what: WaitReason | None = None) -> dict[str, RowWait]:
    """Return the waits of a sink's rows by key, of one kind or of all."""
    query = "SELECT key, what, since_ms, until_ms, reason, tries FROM sink_waits WHERE sink = ?"
    return {
        key: RowWait(key, WaitReason(kind), since_ms, until_ms, reason, tries)
        for key, kind, since_ms, until_ms, reason, tries in db.execute(query, (sink,))
        if what in (None, kind)
    }


def store_wait(db: sqlite3.Connection, sink: str, wait: RowWait) -> None:
    """Store the wait of a row, in place of its former one."""
    db.execute(
        "INSERT OR REPLACE INTO sink_waits (sink, key, what, since_ms, until_ms, reason, tries)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        (sink, wait.key, wait.what, wait.since_ms, wait.until_ms, wait.reason, wait.tries),
    )


def end_waits(db: sqlite3.Connection, sink: str, keys: Iterable[str]) -> None:
    """Forget that rows wait."""
    db.executemany("DELETE FROM sink_waits WHERE sink = ? AND key = ?", [(sink, key) for key in keys])


def due_keys(
    waits: Mapping[str, RowWait], keys: Iterable[str], changed_ms: Mapping[str, int], at_ms: int
) -> list[str]:
    """Return those of *keys* that are to be tried at *at_ms*: rows that were refused come last.

    Args:
        waits: the waits of the sink's refused rows, by key.
        changed_ms: when each row was last changed, by key; of a deleted row nothing.
    """
    since = {key: wait.until_ms for key, wait in waits.items()}
    due = [key for key in keys if key not in waits or waits[key].is_over(at_ms, changed_ms.get(key, 0))]
    return sorted(due, key=lambda key: since.get(key, 0))


def note_refusals(
    db: sqlite3.Connection,
    sink: str,
    waits: Mapping[str, RowWait],
    refused: Mapping[str, TargetFailed],
    has_accepted: bool,
    at_ms: int,
) -> TargetFailed | None:
    """Store the waits of rows that a place has refused; return the error if it is of the place.

    A refusal is of the row if the place has accepted another row since, or if it says so itself; several in
    a row without an accepted one are of the place.

    Args:
        waits: the waits of the sink's refused rows until now, by key.
        refused: the errors in the order of the attempts.
        has_accepted: the place accepted another row in this synchronization.
    """
    first = {key: error for key, error in refused.items() if key not in waits or not waits[key].tries}
    limits = [
        error for error in refused.values() if error.scope in (RefusalScope.ACCOUNT, RefusalScope.MOMENT)
    ]
    of_place = [error for error in first.values() if error.scope is RefusalScope.PLACE and not has_accepted]
    if not has_accepted and len(first) >= MAX_REFUSALS:
        of_place = [*first.values()]
    for key, error in refused.items():
        before = waits.get(key, RowWait(key, WaitReason.REFUSED, at_ms, at_ms, tries=0))
        is_of_row = error not in limits and not (of_place and key in first)
        tries = before.tries + is_of_row
        until_ms = at_ms + _delay_ms(tries)
        reason = (is_of_row and error.of_row) or str(error)
        wait = RowWait(key, WaitReason.REFUSED, before.since_ms, until_ms, reason, tries)
        store_wait(db, sink, wait)
    return next(iter([*limits, *of_place]), None)


def _delay_ms(tries: int) -> int:
    return min(_BASE_MS << min(max(tries - 1, 0), 20), _CAP_MS)


def missed_until(db: sqlite3.Connection, sink: str, keys: Collection[str], at_ms: int) -> dict[str, int]:
    """Return until when rows wait that were not found at *at_ms*, in epoch ms, without those that need not.

    The first look that misses a row is stored; a row that is found again waits no more.
    """
    missed = waits_of(db, sink, WaitReason.MISSED)
    end_waits(db, sink, missed.keys() - set(keys))
    waiting: dict[str, int] = {}
    for key in keys:
        wait = missed.get(key)
        if wait is None or at_ms < wait.since_ms:  # the clock was set back
            wait = RowWait(key, WaitReason.MISSED, at_ms, at_ms + MISSED_MS)
            store_wait(db, sink, wait)
        if at_ms < wait.until_ms:
            waiting[key] = wait.until_ms
    return waiting

"""Cache of query results since the last commit, because hubs repeat their queries every few seconds."""

import sqlite3
from collections.abc import Callable
from typing import Any

from storage import leases
from storage.agents import due_schedules
from storage.runs import run_claims, run_moves, run_resumes, waiting_runs

CHECKED_ANSWERS = 50  # one of so many remembered answers is looked up all the same
# Queries with the current time as an argument, and the index of that argument.
POLLS: dict[Callable[..., Any], int | str] = {
    run_claims.claim_runs: "at",
    run_moves.recover: "at",
    waiting_runs.read_gates: "at",
    run_resumes.resume_runs: "at",
    due_schedules.agenda: 0,
}
NEXT_INSTANT = """SELECT min(at) FROM (
    SELECT eligible_at AS at FROM runs WHERE state = 'QUEUED'
    UNION ALL SELECT start_deadline_at FROM runs WHERE state = 'QUEUED'
    UNION ALL SELECT updated_at + 604800000 FROM runs WHERE state = 'PAUSED'
    UNION ALL SELECT due_at FROM schedules WHERE enabled
) WHERE at > ?"""
RENEWALS = frozenset({leases.beat, leases.renew_lease})  # they change when a lease ends, which no query tells
LIVE_LEASES = "SELECT name, holder_boot_id, fence FROM leases WHERE expires_at > hub_now_ms()"
NEXT_EXPIRY = """SELECT min(at) FROM (
    SELECT expires_at AS at FROM leases UNION ALL SELECT lease_expires_at FROM runs
) WHERE at > :now"""


class Answers:
    """Cached results.

    A job is a pure function of the database and its arguments. For the jobs in ``POLLS``, one argument is the
    time, which they compare with instants in the rows. Their result stays valid until the next of these
    instants.
    """

    def __init__(self, raw: sqlite3.Connection) -> None:
        self._raw = raw
        self._known: dict[Any, Any] = {}
        self._from_ms = self._until_ms = 0
        self._looked_up = 0
        self.lease_clock: Callable[[], int] | None = None  # where leases expire that results depend on
        self._leased_until_ms = 0

    def __contains__(self, key: Any) -> bool:
        return key in self._known

    def __getitem__(self, key: Any) -> Any:
        return self._known[key]

    def key(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return the cache key of a job, or None if its result cannot be cached."""
        if self.lease_clock is not None and (now_ms := self.lease_clock()) >= self._leased_until_ms:
            self.clear()
            (expires_ms,) = self._raw.execute(NEXT_EXPIRY, {"now": now_ms}).fetchone()
            self._leased_until_ms = expires_ms or 2**62
        if fn in POLLS:
            at = POLLS[fn]
            if isinstance(at, int):
                at_ms, args = args[at], (*args[:at], *args[at + 1 :])
            else:
                at_ms, kwargs = kwargs[at], {name: value for name, value in kwargs.items() if name != at}
            self._come_to(at_ms)
        key = (fn, args, tuple(kwargs.items()))
        try:
            hash(key)
        except TypeError:  # a list among the arguments
            return None
        return key

    def is_checked(self) -> bool:
        """Return True if a cached result is also computed again, to verify the cache."""
        self._looked_up += 1
        return self._looked_up % CHECKED_ANSWERS == 0

    def keep(self, key: Any, value: Any) -> None:
        """Store a result, or verify that it equals the cached one."""
        if key in self._known and self._known[key] != value:
            raise AssertionError(f"{name_of(key[0])} is no pure function of the database and the time")
        self._known[key] = value

    def lease_holders(self) -> list[Any]:
        """Return the holders of unexpired leases."""
        return self._raw.execute(LIVE_LEASES).fetchall()

    def clear(self) -> None:
        """Drop all results after a change of the database."""
        self._known.clear()
        self._from_ms = self._until_ms = self._leased_until_ms = 0

    def _come_to(self, at_ms: int) -> None:
        if self._from_ms <= at_ms < self._until_ms:
            return
        for key in [key for key in self._known if key[0] in POLLS]:
            del self._known[key]
        (until_ms,) = self._raw.execute(NEXT_INSTANT, (at_ms,)).fetchone()
        self._from_ms, self._until_ms = at_ms, until_ms or 2**62


def name_of(fn: Callable[..., Any]) -> str:
    """Return the name of a job."""
    return str(getattr(getattr(fn, "func", fn), "__name__", fn))

"""The contract of a database: functions are handed to it, and run inside one transaction.

A job is a plain function over ``sa.Connection`` and its arguments. It must be a
pure function of the database: no clock, no chance, nothing but its connection,
because it is run again when another job of its batch fails, or when two writers
collide.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Concatenate, Final, ParamSpec, Protocol, TypeVar

import sqlalchemy as sa

from protocol.errors import ErrorCode, HubError

P = ParamSpec("P")
T = TypeVar("T")

CAUSE: Final[ContextVar[str]] = ContextVar("cause", default="")  # whose writes these are; empty: the hub's


@contextmanager
def written_for(cause: str) -> Iterator[None]:
    """Let writes in the block, and in tasks that begin in it, take their turn as those of *cause*."""
    token = CAUSE.set(cause)
    try:
        yield
    finally:
        CAUSE.reset(token)


class StorageError(HubError):
    """The database could not do what it was asked to; nothing of the job was written."""

    code = ErrorCode.DATABASE_UNAVAILABLE


class Busy(StorageError):
    """Another process holds the database."""

    code = ErrorCode.DATABASE_BUSY


class Conflict(StorageError):
    """A constraint refused the row: it is there already, or one it refers to is not."""

    code = ErrorCode.DATABASE_CONFLICT


class Unavailable(StorageError):
    """The database, or the disk below it, does not work; or it was closed."""

    code = ErrorCode.DATABASE_UNAVAILABLE


class DiskFull(Unavailable):
    """There is no room for what was to be written."""


class FromTheFuture(StorageError):
    """A newer hub wrote this database."""

    code = ErrorCode.DATABASE_FROM_THE_FUTURE


class Database(Protocol):
    """What every backend promises.

    * ``write``: all of the job or nothing; it is on the disk when ``write`` returns.
    * ``read``: one snapshot; a job that tries to write fails.
    * A cancelled caller does not take its job along: the job is complete or was
      not begun, and nobody knows which. Every write is therefore one that may be
      repeated.
    * Errors of the database are ``Busy``, ``Conflict`` or ``Unavailable``; what a
      job raises of its own comes through as it is.

    Where writes wait for each other, those of one cause (``written_for``) keep their order, and one of
    another cause waits for no more than one of each other.

    And what they do not promise: that writes happen one after the other. They do in
    a database of this process alone; where ``is_shared``, others write at the same
    time. A job that looks before it writes then locks what it looks at, or says in
    the UPDATE what it saw; what it looked for in vain may be there when it inserts,
    and the job is run again, once, so that it finds it.
    """

    @property
    def is_shared(self) -> bool:
        """Whether other hubs may write it too; else it is this process's alone."""
        ...

    async def read(
        self, fn: Callable[Concatenate[sa.Connection, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """What *fn* returns, from one snapshot.

        Raises:
            Busy, Unavailable: see the class.
        """
        ...

    async def write(
        self, fn: Callable[Concatenate[sa.Connection, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """What *fn* returns, once what it wrote is on the disk.

        Raises:
            Busy, Conflict, Unavailable: see the class; nothing of this job was written,
                unless Unavailable says that nobody knows.
        """
        ...


_BUSY = {5, 6}  # SQLITE_BUSY, SQLITE_LOCKED
_FULL = 13  # SQLITE_FULL
_BROKEN = {8, 10, 11, 14, 26}  # READONLY, IOERR, CORRUPT, CANTOPEN, NOTADB
# SQLSTATEs of PostgreSQL: whole ones, or the class that their first two characters are.
_STATES: dict[str, tuple[type[StorageError], str]] = {
    "08": (Unavailable, "the connection to the database was lost"),
    "23": (Conflict, "the database refused"),
    "25006": (Unavailable, "the database cannot be written here"),  # in a read, or on a standby
    "25P03": (Unavailable, "the connection to the database was lost"),  # idle in a transaction
    "28": (Unavailable, "the database lets this hub not in"),
    "3D": (Unavailable, "the database is not there"),
    "40": (Busy, "others write the same rows"),  # serialization failure, deadlock
    "42501": (Unavailable, "the database lets this hub not do that"),
    "53": (Busy, "the database has no room for more"),
    "53100": (DiskFull, "the disk of the database is full"),
    "55P03": (Busy, "another hub holds the row"),  # lock_timeout
    "57014": (Busy, "the database took too long"),  # statement_timeout
    "57P": (Unavailable, "the database stops or starts"),
    "58": (Unavailable, "the database does not work"),
    "XX": (Unavailable, "the database does not work"),
}


def translated(error: Exception) -> Exception:
    """*error* as one of ours, if the database raised it; a fault in a statement stays what it is."""
    if not isinstance(error, sa.exc.DBAPIError):
        return error
    if (state := sqlstate(error)) is not None:
        return _of_state(state, error)
    if isinstance(error, sa.exc.IntegrityError):
        return Conflict(f"the database refused: {error.orig}")
    primary = _sqlite_code(error.orig)
    if primary in _BUSY:
        return Busy(f"another process holds the database: {error.orig}")
    if primary == _FULL:
        return DiskFull(f"the database does not work: {error.orig}")
    if primary in _BROKEN or error.connection_invalidated:
        return Unavailable(f"the database does not work: {error.orig}")
    return error


def sqlstate(error: Exception) -> str | None:
    """PostgreSQL's five characters for what went wrong, if it told them."""
    state = getattr(getattr(error, "orig", None), "sqlstate", None)
    return None if state is None else str(state)


def _of_state(state: str, error: sa.exc.DBAPIError) -> Exception:
    for length in (5, 3, 2):
        if (known := _STATES.get(state[:length])) is not None:
            kind, message = known
            # Its first argument alone: the detail has values of the row in it.
            return kind(f"{message}: {error.orig.args[0] if error.orig else state}")
    return error


def _sqlite_code(cause: Any) -> int | None:
    extended = getattr(cause, "sqlite_errorcode", None)
    return None if extended is None else int(extended) & 0xFF

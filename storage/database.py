"""The contract of a database: functions are handed to it, and run inside one transaction.

A job is a plain function over ``sa.Connection`` and its arguments. It must be a
pure function of the database: no clock, no chance, nothing but its connection,
because it is run again when another job of its batch fails, or when two writers
collide.
"""

from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

import sqlalchemy as sa

from protocol.errors import ErrorCode, HubError

P = ParamSpec("P")
T = TypeVar("T")


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


class FromTheFuture(StorageError):
    """A newer hub wrote this database."""

    code = ErrorCode.DATABASE_FROM_THE_FUTURE


class Database(Protocol):
    """What every backend promises.

    * ``write``: all of the job or nothing; it is on the disk when ``write``
      returns. Writes of one database happen one after the other, so a job that
      reads before it writes never loses an update.
    * ``read``: one snapshot; a job that tries to write fails.
    * A cancelled caller does not take its job along: the job is complete or was
      not begun, and nobody knows which. Every write is therefore one that may be
      repeated.
    * Errors of the database are ``Busy``, ``Conflict`` or ``Unavailable``; what a
      job raises of its own comes through as it is.
    """

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
            Busy, Conflict, Unavailable: see the class; nothing of this job was written.
        """
        ...


_BUSY = {5, 6}  # SQLITE_BUSY, SQLITE_LOCKED
_BROKEN = {8, 10, 11, 13, 14, 26}  # READONLY, IOERR, CORRUPT, FULL, CANTOPEN, NOTADB


def translated(error: Exception) -> Exception:
    """*error* as one of ours, if the database raised it; a fault in a statement stays what it is."""
    if not isinstance(error, sa.exc.DBAPIError):
        return error
    if isinstance(error, sa.exc.IntegrityError):
        return Conflict(f"the database refused: {error.orig}")
    primary = _sqlite_code(error.orig)
    if primary in _BUSY:
        return Busy(f"another process holds the database: {error.orig}")
    if primary in _BROKEN or error.connection_invalidated:
        return Unavailable(f"the database does not work: {error.orig}")
    return error


def _sqlite_code(cause: Any) -> int | None:
    extended = getattr(cause, "sqlite_errorcode", None)
    return None if extended is None else int(extended) & 0xFF

"""Interface of a database: jobs as transactions, errors (busy, full, damaged), and size.

A job is a plain function of a ``sa.Connection`` and its arguments. It may depend only on the database: it
uses no clock and no randomness. The database runs a job again when another job of its batch fails, or when
two writers collide.

One hub at a time opens a file, which a lock ensures. The hubs that share a server name their sessions there:
a hub may freeze in the middle of a statement because it was suspended or its machine vanished. It then keeps
the locks of its transaction, and no time-out of the server applies to a partly received statement. A hub that
takes over therefore ends the sessions of the frozen hub first.
"""

import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import partial
from pathlib import Path
from typing import Any, Concatenate, Final, Literal, ParamSpec, Protocol, Self, TypeVar, get_args

import msgspec
import sqlalchemy as sa

from protocol.errors import DependencyFailed, ErrorCode
from storage.kernel.address import SQLITE

P = ParamSpec("P")
T = TypeVar("T")

# actor on whose behalf the task writes; empty: the hub
CAUSE: Final[ContextVar[str]] = ContextVar("cause", default="")


@contextmanager
def written_for(cause: str) -> Iterator[None]:
    """Assign writes in the block, and in tasks started in it, to *cause* in the write queue."""
    token = CAUSE.set(cause)
    try:
        yield
    finally:
        CAUSE.reset(token)


_LONE: Final[set[Callable[..., Any]]] = set()


def lone(job: Callable[P, T]) -> Callable[P, T]:
    """Mark a job that is one SELECT: a snapshot by itself, so that a server need not begin and end one."""
    _LONE.add(job)
    return job


def is_lone(job: Callable[..., Any]) -> bool:
    """Return True if the job is marked by ``lone``."""
    return job in _LONE


# Condition in which a database does not work; see ``storage.store``.
Trouble = Literal[
    "damaged",  # its file is not what was written
    "replaced",  # another file is in its place
    "full",
    "read_only",
    "failing",  # the disk fails, or a limit of the system refuses a write
    "away",  # it cannot be opened or reached
    "busy",  # another process holds it for long
]


CONTINUES: Final = "; the hub continues by itself"
REMEDIES: Final = {
    "damaged": "hub doctor names the backup to restore",
    "replaced": "hub doctor names where its data is, and how to go on with it",
    "full": f"free some space{CONTINUES}",
    "read_only": f"let the hub's user write the file and its folder{CONTINUES}",
    "failing": f"see dmesg for the disk, quota and ulimit -f for limits{CONTINUES}",
    "away": f"see whether its address is right, and who may open its file{CONTINUES}",
    "busy": f"hub drain --state DIR ends a hub; fuser -v FILE names another program{CONTINUES}",
}
REMEDIES_ON_A_SERVER: Final = REMEDIES | {
    "damaged": "hub drain; restore a dump with pg_restore, see backup.md; hub serve",
    "read_only": f"let the hub's role write, at a server that takes writes{CONTINUES}",
    "failing": f"see the log of the server{CONTINUES}",
    "away": f"see whether its address is right, and its server runs{CONTINUES}",
    "busy": f"end what holds it: SELECT * FROM pg_stat_activity{CONTINUES}",
}


class StorageError(DependencyFailed):
    """Error: the database could not run the job. Nothing of the job was written.

    *trouble*: condition of the database that the error shows, if any. *is_on_a_server*: not of a file here.
    """

    code = ErrorCode.DATABASE_UNAVAILABLE
    trouble: Trouble | None = None
    is_on_a_server = False

    @property
    def hint(self) -> str:
        """Remedy of the condition; empty without a condition."""
        remedies = REMEDIES_ON_A_SERVER if self.is_on_a_server else REMEDIES
        return "" if self.trouble is None else remedies[self.trouble]

    def on_a_server(self) -> Self:
        """Mark the error as one of a database server, and return it."""
        self.is_on_a_server = True
        return self


class Busy(StorageError):
    """Error: another process holds the database."""

    code = ErrorCode.DATABASE_BUSY
    trouble = "busy"


class Conflict(StorageError):
    """Error: a constraint refused the row, as a duplicate or for a missing referenced row."""

    code = ErrorCode.DATABASE_CONFLICT


class DatabaseUnavailable(StorageError):
    """Error: the database or its disk does not work; *trouble*: how, or None if this process closed it."""

    def __init__(self, message: str, trouble: Trouble | None = "away") -> None:
        super().__init__(message)
        self.trouble = trouble


class UnreadableRow(StorageError):
    """Error: a column of a row holds a value that is not of its field's type."""

    code = ErrorCode.ROW_UNREADABLE


class FromTheFuture(StorageError):
    """Error: a newer hub wrote this database."""

    code = ErrorCode.DATABASE_FROM_THE_FUTURE


class Database(Protocol):
    """Promises of every database backend.

    * ``write``: all or nothing of the job is written; it is on the disk when ``write`` returns.
    * ``read``: one snapshot; a job that tries to write fails.
    * Cancelling the caller does not cancel the job: the job is complete or was not begun, and the outcome is
      unknown. Every write must therefore be repeatable.
    * Errors of the database are ``Busy``, ``Conflict`` or ``DatabaseUnavailable``; errors that a job raises
      itself propagate unchanged.

    Where writes queue, writes of one cause (``written_for``) keep their order. The writer serves the causes
    in turn, so that a cause waits for at most one write of each other cause. On a server this holds for reads
    too, and every other turn is the hub's own.

    Writes are not serialized in general. They are in a database that only this process writes; where
    ``is_shared``, other hubs write at the same time. There, a job that reads before it writes must lock the
    rows that it reads, or state in the UPDATE the values that it read. If a row that it did not find exists
    at its INSERT, the job is run once more and then finds it.
    """

    @property
    def is_shared(self) -> bool:
        """True if other hubs may write to the database too."""
        ...

    async def read(
        self, fn: Callable[Concatenate[sa.Connection, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run *fn* in one snapshot and return its result.

        Raises:
            Busy, Unavailable: see the class.
        """
        ...

    async def write(
        self, fn: Callable[Concatenate[sa.Connection, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run *fn* in one transaction and return its result after the commit is on the disk.

        Raises:
            Busy, Conflict, Unavailable: see the class. Nothing of the job was written, unless Unavailable
                says that the outcome is unknown.
        """
        ...


_in_trouble: Final = {trouble: partial(DatabaseUnavailable, trouble=trouble) for trouble in get_args(Trouble)}
_DAMAGED = (_in_trouble["damaged"], "the database is damaged")
_FAILING = (
    _in_trouble["failing"],
    "the database's disk failed, or a quota or a limit of the system refused its file",
)
# SQLite's codes: extended ones, or the primary in the lowest byte.
_CODES: dict[int, tuple[Callable[[str], StorageError], str]] = {
    sqlite3.SQLITE_PERM: (_in_trouble["read_only"], "the database may not be written"),
    sqlite3.SQLITE_BUSY: (Busy, "another process holds the database"),
    sqlite3.SQLITE_LOCKED: (Busy, "another process holds the database"),
    sqlite3.SQLITE_READONLY: (_in_trouble["read_only"], "the database may not be written"),
    sqlite3.SQLITE_READONLY_DBMOVED: (_in_trouble["replaced"], "the file of the database was moved"),
    sqlite3.SQLITE_IOERR: _FAILING,
    sqlite3.SQLITE_IOERR_CORRUPTFS: _DAMAGED,
    sqlite3.SQLITE_IOERR_DATA: _DAMAGED,
    sqlite3.SQLITE_IOERR_SHORT_READ: _DAMAGED,
    sqlite3.SQLITE_CORRUPT: _DAMAGED,
    sqlite3.SQLITE_FULL: (_in_trouble["full"], "the disk of the database is full"),
    sqlite3.SQLITE_CANTOPEN: (DatabaseUnavailable, "the file of the database cannot be opened"),
    sqlite3.SQLITE_PROTOCOL: (Busy, "another process holds the database"),
    sqlite3.SQLITE_NOLFS: _FAILING,
    sqlite3.SQLITE_NOTADB: _DAMAGED,
}
POOLED: Final = "if this is PgBouncer in transaction mode, add the option pgbouncer=true to the address"
# PostgreSQL's SQLSTATEs: complete ones, or the class in the first two characters.
_STATES: dict[str, tuple[Callable[[str], StorageError], str]] = {
    "08": (DatabaseUnavailable, "the connection to the database was lost"),
    "23": (Conflict, "the database refused"),
    "25006": (
        _in_trouble["read_only"],
        "the database cannot be written here",
    ),  # in a read, or on a standby
    "25P03": (DatabaseUnavailable, "the connection to the database was lost"),  # idle in a transaction
    "26": (DatabaseUnavailable, f"the database has lost a prepared statement; {POOLED}"),
    "28": (DatabaseUnavailable, "the database lets this hub not in"),
    "3D": (DatabaseUnavailable, "the database is not there; create it, or correct its name in the address"),
    "40": (Busy, "others write the same rows"),  # serialization failure, deadlock
    "42P05": (DatabaseUnavailable, f"the database has that prepared statement already; {POOLED}"),
    "42501": (DatabaseUnavailable, "the database lets this hub not do that"),
    "53": (Busy, "the database has no room for more"),
    "53300": (
        Busy,
        "the database has no connection free; raise its max_connections, or put PgBouncer between",
    ),
    "53100": (_in_trouble["full"], "the disk of the database is full"),
    "55P03": (Busy, "another hub holds the row"),  # lock_timeout
    "57014": (Busy, "the database took too long"),  # statement_timeout
    "57P": (DatabaseUnavailable, "the database stops or starts"),
    "58": (_in_trouble["failing"], "the database does not work"),
    "XX": (DatabaseUnavailable, "the database does not work"),
    "XX001": _DAMAGED,
    "XX002": (_in_trouble["damaged"], "an index of the database is damaged"),
}


def translated(error: Exception) -> Exception:
    """Translate *error* to a StorageError. A fault in a statement is returned unchanged."""
    cause = error.orig if isinstance(error, sa.exc.DBAPIError) else error
    if isinstance(error, sa.exc.DBAPIError) and (state := sqlstate(error)) is not None:
        return _of_state(state, error)
    if isinstance(cause, sqlite3.IntegrityError):
        return Conflict(f"the database refused: {cause}")
    code = getattr(cause, "sqlite_errorcode", None)  # none where the driver itself refused
    known = None if code is None else _CODES.get(code) or _CODES.get(code & 0xFF)
    if known is not None:
        kind, message = known
        return kind(f"{message}: {cause} ({getattr(cause, 'sqlite_errorname', code)})")
    if isinstance(error, sa.exc.DBAPIError) and error.connection_invalidated:
        return DatabaseUnavailable(f"the database does not work: {cause}")
    return error


@contextmanager
def translation() -> Iterator[None]:
    """Raise errors of the block as ``translated`` has them."""
    try:
        yield
    except (sa.exc.DBAPIError, sqlite3.Error) as error:
        if (ours := translated(error)) is error:
            raise
        raise ours from error


def sqlstate(error: Exception) -> str | None:
    """Return PostgreSQL's five-character code of the error, if it has one."""
    state = getattr(getattr(error, "orig", None), "sqlstate", None)
    return None if state is None else str(state)


def _of_state(state: str, error: sa.exc.DBAPIError) -> Exception:
    for length in (5, 3, 2):
        if (known := _STATES.get(state[:length])) is not None:
            kind, message = known
            # Only the first argument: the detail contains values of the row.
            return kind(f"{message}: {error.orig.args[0] if error.orig else state}").on_a_server()
    return error


ON_A_SERVER = sa.select(sa.func.pg_database_size(sa.func.current_database()))
WAL = "-wal"  # suffix of SQLite's write-ahead log, next to the file


class DatabaseSize(msgspec.Struct, frozen=True):
    """Size of the database in bytes. *log*: SQLite's write-ahead log, 0 without one."""

    data: int
    log: int


def measure_size(c: sa.Connection) -> DatabaseSize:
    """Return the current size of the database."""
    if c.dialect.name == "postgresql":
        return DatabaseSize(c.execute(ON_A_SERVER).scalar_one(), 0)
    pages = c.exec_driver_sql("PRAGMA page_count").scalar_one()
    data = pages * c.exec_driver_sql("PRAGMA page_size").scalar_one()
    file = next(row[2] for row in c.exec_driver_sql("PRAGMA database_list") if row[1] == "main")
    try:
        return DatabaseSize(data, Path(file + WAL).stat().st_size if file else 0)
    except FileNotFoundError:  # nothing was written since the database was opened
        return DatabaseSize(data, 0)


# Of each table its share of live rows, by the server's figures: space that deleted rows left is used again.
_USED_ON_A_SERVER = """
SELECT COALESCE(SUM(LEAST(size, COALESCE(live * (28 + width) * size / GREATEST(heap, 8192), size))), 0)
FROM (SELECT pg_total_relation_size(relid)::float8 AS size, pg_relation_size(relid) AS heap,
    n_live_tup AS live, (SELECT SUM(avg_width) FROM pg_stats
        WHERE pg_stats.schemaname = tables.schemaname AND tablename = relname) AS width
    FROM pg_stat_user_tables AS tables) AS measured"""


def measure_used(c: sa.Connection) -> int:
    """Return the bytes that rows use: without free pages of a file, on a server by its own estimates."""
    if c.dialect.name == "postgresql":
        return int(c.exec_driver_sql(_USED_ON_A_SERVER).scalar_one())
    free = c.exec_driver_sql("PRAGMA freelist_count").scalar_one()
    return measure_size(c).data - int(free * c.exec_driver_sql("PRAGMA page_size").scalar_one())


def file_of(url: str, base: Path | None = None) -> Path | None:
    """Return the file that *url* names, or ``None`` for a database in memory.

    Args:
        base: folder of a relative path; by default the working directory.

    Raises:
        Unavailable: the URL names no file.
    """
    if not url.startswith(SQLITE):
        # The URL is not repeated: it may contain the password of a server.
        raise DatabaseUnavailable(
            "the database is of a kind this hub does not know; write sqlite:///hub.db"
            " or postgresql://user@host/name"
        )
    name = url.removeprefix(SQLITE)
    if name in ("", "/:memory:"):
        return None
    if not name.startswith("/") or name == "/":
        raise DatabaseUnavailable(f"the database {url!r} names no file; write sqlite:///hub.db")
    try:
        return ((base or Path.cwd()) / name[1:]).resolve()
    except RuntimeError as error:  # until Python 3.13
        raise DatabaseUnavailable(f"the database {url!r} is a link to itself") from error


def address_of(path: Path) -> sa.URL:
    """Return the address of a SQLite file, in whose name no character has another meaning."""
    return sa.URL.create("sqlite", database=str(path))


@contextmanager
def held_alone(path: Path, otherwise: str = "") -> Iterator[None]:
    """Lock the file against every other hub, until the block ends or the process dies.

    The lock is on a file next to the database: SQLite's own locks end with each transaction.

    Args:
        otherwise: other remedy than to stop the hub that has it open.

    Raises:
        Busy: another hub has the file open.
        Unavailable: the lock file cannot be opened.
    """
    import fcntl  # imported here, and below: Windows has none

    lock = _lock_of(path)
    try:
        handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise DatabaseUnavailable(f"cannot open the database {path}: {error.strerror} ({lock})") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        holder = (_lock_text(handle) or ["unknown"])[0]
        os.close(handle)
        raise Busy(
            f"another hub (process {holder}) has the database {path} open; stop it first{otherwise}"
        ) from None
    try:
        # on a full disk: the lock still holds, only the process id is missing from it
        with suppress(OSError):
            os.ftruncate(handle, 0)
            os.pwrite(handle, f"{os.getpid()} {_identity(path)}\n".encode(), 0)
        yield
    finally:
        # releases the lock; the file stays, because another process may wait for a lock on it
        os.close(handle)


def check_in_place(path: Path) -> None:
    """Check that a hub which has the database open has the file of this name open, and no earlier one.

    Raises:
        Unavailable: another file took its place; it and the log of the open one do not belong together.
    """
    import fcntl

    with suppress(OSError):  # no hub has used it
        handle = os.open(_lock_of(path), os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            if len(words := _lock_text(handle)) == 2 and words[1] != _identity(path):
                message = f"{path} was replaced by another file while a hub had it open"
                raise DatabaseUnavailable(message, "replaced") from None
        finally:
            os.close(handle)


def _lock_of(path: Path) -> Path:
    return path.with_name(path.name + ".lock")


def _lock_text(handle: int) -> list[str]:
    """Return the process that holds the lock, and the device and inode of its database."""
    return os.pread(handle, 100, 0).decode("ascii", "replace").split()


def _identity(path: Path) -> str:
    try:
        found = path.stat()
    except FileNotFoundError:
        return ""
    return f"{found.st_dev}:{found.st_ino}"


END_SESSIONS = sa.text(
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE application_name = :session AND usename = current_user AND pid <> pg_backend_pid()"
)


def session_name(boot_id: str) -> str:
    """Return the application name of the sessions of this hub process."""
    return f"hub {boot_id}"


def end_sessions(c: sa.Connection, boot_ids: Iterable[str]) -> None:
    """End every session of these hub processes, whose leases expired. No effect on SQLite."""
    if c.dialect.name != "postgresql":
        return
    for boot_id in boot_ids:
        c.execute(END_SESSIONS, {"session": session_name(boot_id)})

"""SQLite database: writer with group commit, reader, locks, damage checks.

The writer takes up to ``BATCH`` waiting jobs, one of each cause in turn. It runs them in aiosqlite's own
thread in one transaction and commits once. Callers get their result after the commit, so acknowledged data is
on the disk. If a job of a batch raises, the batch is rolled back and replayed with a savepoint around each
job. Only the failing job then raises to its caller.

Files of an open SQLite database, which other programs may damage, replace or remove meanwhile.

SQLite goes on with the files that it opened. A backup, or the next start of the hub, opens other ones by the
same names then, and would mix the pages of two databases.
"""

import asyncio
import os
import re
import sqlite3
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing, suppress
from functools import cache, partial
from pathlib import Path
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

import aiosqlite
import anyio
import sqlalchemy as sa

from protocol.items import folded
from storage.change_triggers import make_triggers
from storage.kernel.database import CAUSE, WAL, DatabaseUnavailable, StorageError, translated, translation
from storage.kernel.migrate import make_tables
from storage.kernel.statements import KernelConnection
from storage.schema import metadata

_MAGIC: Final = b"SQLite format 3\0"
_COUNTER: Final = slice(24, 28)  # of the header: grows with the commits, as far as they left the log
# what SQLite's check of a file says about values that a constraint forbids: the file itself is sound
_ABOUT_VALUES: Final = re.compile(r"CHECK constraint failed in |(NULL|NUMERIC|TEXT|non-\w+) value in ")
_NAMED_DAMAGES: Final = 3
TABLE_NAMES: Final = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"


class SqliteFiles:
    """Database file at *path*, its log and its index, as they were when they were first seen."""

    def __init__(self, path: Path) -> None:
        self.path = path
        # Open until SQLite has closed the file: to close any descriptor of it releases SQLite's locks.
        try:
            self._opened = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise DatabaseUnavailable(f"cannot open the database {path}: {error.strerror}") from error
        file = os.fstat(self._opened)
        self._seen = {str(path): (file.st_dev, file.st_ino)}
        self._counter = 0

    def check(self) -> None:
        """Compare device and inode of each file. Raises Unavailable."""
        for name in (str(self.path), f"{self.path}{WAL}", f"{self.path}-shm"):
            known = self._seen.get(name)
            try:
                found = os.stat(name)
            except FileNotFoundError:
                if known is not None:
                    message = f"{name} was removed while the hub had it open"
                    raise DatabaseUnavailable(message, "replaced") from None
            except OSError as error:
                raise DatabaseUnavailable(f"the file of the database cannot be opened: {error}") from error
            else:
                if self._seen.setdefault(name, (found.st_dev, found.st_ino)) != (found.st_dev, found.st_ino):
                    message = f"{name} was replaced by another file while the hub had it open"
                    raise DatabaseUnavailable(message, "replaced")

    def check_header(self) -> None:
        """Check that the file has the header of a database, and that no older copy overwrote it.

        Raises:
            Unavailable: otherwise.
        """
        header = os.pread(self._opened, 100, 0)
        if not header.startswith(_MAGIC):
            message = f"the database is damaged: {self.path} does not begin as a database"
            raise DatabaseUnavailable(message, "damaged")
        counter = int.from_bytes(header[_COUNTER])
        if counter < self._counter:
            message = f"{self.path} was overwritten by an older copy while the hub had it open"
            raise DatabaseUnavailable(message, "damaged")
        self._counter = counter

    def check_pages(self) -> None:
        """Read all pages, other than through the caches of the open database. Blocks.

        Raises:
            StorageError: a page is not what was written.
        """
        self.check()
        with translation(), closing(sqlite3.connect(f"{self.path.as_uri()}?mode=rw", uri=True)) as opened:
            if damages := find_damages(opened, "quick_check(2147483647)")[0]:
                raise DatabaseUnavailable(f"the database is damaged: {'; '.join(damages)}", "damaged")

    def damaged_tables(self) -> list[str]:
        """Return the names of tables of which not all pages can be read. Blocks."""
        return [name for name in self._table_names() if self._is_damaged(name)]

    def _table_names(self) -> list[str]:
        """Return the tables of the file, or those of the schema if their list is damaged."""
        try:
            with closing(sqlite3.connect(f"{self.path.as_uri()}?mode=rw", uri=True)) as opened:
                return [name for (name,) in opened.execute(TABLE_NAMES)]
        except sqlite3.Error:
            return list(metadata.tables)

    def _is_damaged(self, table: str) -> bool:
        try:
            with closing(sqlite3.connect(f"{self.path.as_uri()}?mode=rw", uri=True)) as opened:
                return bool(find_damages(opened, f"quick_check({table})")[0])
        except sqlite3.Error:
            return True

    @property
    def is_lost(self) -> bool:
        """True if the name of the database leads to another file, or to none."""
        opened = os.fstat(self._opened)
        with suppress(OSError):
            found = os.stat(self.path)
            return (found.st_dev, found.st_ino) != (opened.st_dev, opened.st_ino)
        return True

    def close(self) -> None:
        """Close the file, after SQLite has."""
        os.close(self._opened)


def find_damages(opened: sqlite3.Connection, check: str) -> tuple[list[str], bool]:
    """Run the PRAGMA *check*. Return the first damages, and True if values violate constraints.

    Such values damage no page: another program wrote them, and the other rows are sound.
    """
    has_broken_rows = False
    damages: list[str] = []
    for (found,) in opened.execute(f"PRAGMA {check}"):
        if _ABOUT_VALUES.match(found):
            has_broken_rows = True
        elif found != "ok":
            damages.append(found)
        if len(damages) == _NAMED_DAMAGES:
            break
    return damages, has_broken_rows


P = ParamSpec("P")
T = TypeVar("T")

BATCH = 128  # jobs per COMMIT: more does not commit faster, and the first jobs would wait longer
QUEUE = 1_024  # waiting jobs, 8 batches; beyond it callers wait, so that a slow disk slows down its users
# a cause with fewer than its share of the waiting jobs may still enter
# size of the cache: all compiled statements, about 700, in both shapes of their parameters
STATEMENTS = 2_000
LOSSY = partial(str, encoding="utf-8", errors="replace")  # a damaged text must not hide the other rows
BUSY_TIMEOUT_MS = 5_000  # for a backup or a shell on the same file; a lock file excludes a second hub

_PRAGMAS = (
    f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}",
    "PRAGMA journal_mode=wal",
    "PRAGMA synchronous=full",  # a plan of calls must be on the disk before the first call is sent
    "PRAGMA foreign_keys=on",
    # A row with a trigger can be undone alone: what it changed is kept until it is written, not in a file.
    "PRAGMA temp_store=memory",
    "PRAGMA secure_delete=on",  # what was deleted is overwritten: an erased person's words are gone
)


def machine_now_ms() -> int:
    """Return this machine's wall clock, UTC epoch milliseconds."""
    # SQLite runs in this process, so the database's clock is this machine's.
    return time.time_ns() // 1_000_000


def set_clock(driver: sqlite3.Connection, now_ms: Callable[[], int] = machine_now_ms) -> None:
    """Set ``now_ms()`` and ``folded_text()`` of ``storage.kernel.columns`` on this connection."""
    driver.create_function("hub_now_ms", 0, now_ms)
    driver.create_function("hub_folded", 1, lambda text: folded(text or ""), deterministic=True)


def empty_database() -> bytes:
    """Serialize a database with empty tables; ``open_sqlite`` makes copies of it in memory."""
    engine = sa.create_engine("sqlite://", poolclass=sa.StaticPool)
    with engine.begin() as connection:
        make_tables(connection)
        make_triggers(connection)
        driver = connection.connection.driver_connection
        assert isinstance(driver, sqlite3.Connection)
    content = driver.serialize()
    engine.dispose()
    return content


@asynccontextmanager
async def open_sqlite(
    source: Path | bytes, *, now_ms: Callable[[], int] = machine_now_ms
) -> AsyncIterator["SqliteDatabase"]:
    """Open the database file *source*, or a database in memory that copies the bytes *source*.

    Its tables must exist already. Leaving the block writes the queued jobs, then closes the database.

    Args:
        source: a path, or a serialized database such as ``empty_database`` returns.
        now_ms: the database's clock; see ``set_clock``.
    """
    failure: Exception | None = None
    async with AsyncExitStack() as opened:
        files = None if isinstance(source, bytes) else SqliteFiles(source)
        if files is not None:
            opened.callback(files.close)
        session, reader = await opened.enter_async_context(_sessions(source, now_ms))
        owner = await opened.enter_async_context(anyio.create_task_group())
        database = SqliteDatabase(session, reader, files)
        owner.start_soon(database.serve)
        try:
            yield database
        except Exception as error:
            failure = error  # raised below: a task group would wrap it
        finally:
            database.close()
    if failure is not None:
        raise failure


class _Job:
    """Function queued for the writer with its arguments, and its result."""

    __slots__ = ("args", "error", "fn", "kwargs", "settled", "value")

    def __init__(
        self,
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        settled: "asyncio.Future[Any]",
    ) -> None:
        self.fn, self.args, self.kwargs = fn, args, kwargs
        self.settled = settled
        self.value: Any = None
        self.error: Exception | None = None

    def succeed(self, value: Any) -> None:
        self.value, self.error = value, None

    def fail(self, error: Exception) -> None:
        self.value, self.error = None, _ours(error)

    def settle(self) -> None:
        """Resolve the caller's future, unless the caller was cancelled."""
        if self.settled.done():
            return
        if self.error is not None:
            self.settled.set_exception(self.error)
        else:
            self.settled.set_result(self.value)


class SqliteDatabase:
    """``Database`` in one file, created by ``open_sqlite``: a queue in front of the writing session.

    Each job has a plain asyncio future: streams and events of anyio cost a write more than its SQL does.
    """

    is_shared = False

    def __init__(self, writer: "_Session", reader: "_Session", files: SqliteFiles | None = None) -> None:
        self.files = files
        self._session = writer
        if files is not None:
            writer.check_files = files.check
        self._reader = reader
        # by cause; no queue is empty, and the first key has the next turn
        self._queues: dict[str, deque[_Job]] = {}
        self._count = 0
        self._arrived = anyio.Event()
        self._room = anyio.Event()
        self._is_closed = False

    async def read(
        self, fn: Callable[Concatenate[sa.Connection, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run *fn* in one snapshot; see ``Database.read``."""
        return await self._reader.in_thread(self._reader.run_read, fn, args, kwargs)

    async def write(
        self, fn: Callable[Concatenate[sa.Connection, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run *fn* in one transaction; see ``Database.write``. Cancelling the caller keeps the job."""
        cause = CAUSE.get()
        while self._is_full_for(cause) and not self._is_closed:
            self._room = anyio.Event() if self._room.is_set() else self._room
            await self._room.wait()
        if self._is_closed:
            raise DatabaseUnavailable("the database is closed", None)
        settled: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        queue = self._queues.get(cause)
        if queue is None:
            queue = self._queues[cause] = deque()
        queue.append(_Job(fn, args, kwargs, settled))
        self._count += 1
        self._arrived.set()
        return await settled

    async def save_replaced(self, copy: Path) -> bool:
        """Keep the written data after another file took the place of one of the database's files.

        The log is emptied into the file that was opened, so that its pages get into no other one.

        Returns:
            True if the opened file has no name any more, so *copy* was made of it.
        """
        assert self.files is not None
        return await self._session.in_thread(self._session.save, self.files, copy)

    async def empty_log(self) -> bool:
        """Move the log into the file, and truncate it. Return False if a reader needs it."""
        return await self._session.in_thread(self._session.empty_log)

    def close(self) -> None:
        """Refuse new jobs; the queued jobs will still be written."""
        self._is_closed = True
        self._arrived.set()
        self._room.set()

    async def serve(self) -> None:
        """Write until the queue is closed and empty.

        Shielded without a time limit: queued jobs are written even when the hub is cancelled. A statement
        that waits for the disk cannot be abandoned anyway. The queue is bounded, and closed by then.
        """
        with anyio.CancelScope(shield=True):
            while self._queues or not self._is_closed:
                if not self._queues:
                    self._arrived = anyio.Event()
                    await self._arrived.wait()
                    continue
                batch = self._take_batch()
                self._room.set()
                try:
                    await self._session.in_thread(self._session.run_batch, batch)
                except Exception as error:
                    for job in batch:
                        job.fail(error)
                    raise
                finally:
                    for job in batch:
                        job.settle()

    def _is_full_for(self, cause: str) -> bool:
        """Return True if QUEUE jobs wait and *cause* has its share of them."""
        queues = self._queues
        return self._count >= QUEUE and len(queues.get(cause, ())) * len(queues) >= QUEUE

    def _take_batch(self) -> list[_Job]:
        """Take the next batch: one job of each cause in turn."""
        queues = self._queues
        batch: list[_Job] = []
        while queues and len(batch) < BATCH:
            cause = next(iter(queues))
            queue = queues.pop(cause)
            batch.append(queue.popleft())
            if queue:
                queues[cause] = queue  # after the other causes
        self._count -= len(batch)
        return batch


class _TransactionLost(Exception):
    """Error: SQLite rolled back the whole transaction, as after a full disk or a failed write."""


# ``driver``: the SQLite connection that the engine wraps next in this thread.
_LOCAL = threading.local()


@cache
def _engine() -> sa.Engine:
    """Return the engine of all sessions of this process, so that each statement is compiled once."""
    engine = sa.create_engine(
        "sqlite://",
        creator=lambda: _LOCAL.driver,
        poolclass=sa.NullPool,
        query_cache_size=STATEMENTS,
        hide_parameters=True,  # they are people's documents, and errors are logged
    )
    engine._connection_cls = KernelConnection
    return engine


class _Session:
    """SQLAlchemy connection that lives in the thread of an aiosqlite connection."""

    core: sa.Connection  # from ``dress`` on

    def __init__(self, raw: aiosqlite.Connection) -> None:
        self._raw = raw
        self._is_closed = False
        self.check_files: Callable[[], None] = lambda: None  # before each transaction

    async def in_thread(self, fn: Callable[..., T], *args: Any) -> T:
        """Run *fn* in the connection's thread, in one hop.

        ``Connection._execute`` is private to aiosqlite. Only this method uses it, and a test pins the
        version.
        """
        if self._is_closed:
            raise DatabaseUnavailable("the database is closed", None)
        result: T = await self._raw._execute(fn, *args)  # type: ignore[no-untyped-call]
        return result

    async def close(self) -> None:
        await self.in_thread(self.core.close)
        self._is_closed = True
        await self._raw.close()

    def dress(self, begin: str, now_ms: Callable[[], int], content: bytes | None) -> None:
        """Load *content*, set the pragmas and the clock, and begin transactions with *begin*.

        Runs in the connection's thread. ``isolation_level=None`` disables the driver's own transactions,
        which lose updates. A deferred BEGIN could fail at its first write.
        """
        driver = self._raw._conn
        if content is not None:
            driver.deserialize(content)
        for pragma in _PRAGMAS:
            driver.execute(pragma).close()
        set_clock(driver, now_ms)
        driver.text_factory = LOSSY
        _LOCAL.driver = driver
        self.core = _engine().connect().execution_options(begin=begin)

    def run_read(self, fn: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any]) -> T:
        """Run *fn* in one read-only snapshot. Runs in the connection's thread."""
        with translation(), self.core.begin():
            self._raw._conn.execute("PRAGMA query_only=on").close()
            try:
                return fn(self.core, *args, **kwargs)
            finally:
                self._raw._conn.execute("PRAGMA query_only=off").close()

    def save(self, files: SqliteFiles, copy: Path) -> bool:
        """Empty the log, and copy a file that lost its name. Runs in the connection's thread."""
        driver = self._raw._conn
        with translation():
            driver.execute("PRAGMA wal_checkpoint(truncate)").close()
            if files.is_lost:
                copy.touch(mode=0o600)
                with closing(sqlite3.connect(copy)) as target:
                    driver.backup(target)
        return files.is_lost

    def empty_log(self) -> bool:
        """Truncate the log, without a wait for readers. Runs in the connection's thread."""
        driver = self._raw._conn
        with translation():
            driver.execute("PRAGMA busy_timeout=0").close()
            try:
                (is_busy, _, _) = driver.execute("PRAGMA wal_checkpoint(truncate)").fetchone()
            finally:
                driver.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}").close()
        return not is_busy

    def run_batch(self, batch: Sequence[_Job]) -> None:
        """Complete or fail every job; completed jobs are on the disk. Runs in the connection's thread."""
        try:
            self.check_files()
            with self.core.begin():
                values = [job.fn(self.core, *job.args, **job.kwargs) for job in batch]
        except Exception as error:
            ours = translated(error)
            fails_all = isinstance(ours, StorageError) and ours.trouble in ("busy", "replaced")
            if len(batch) == 1 or fails_all:
                for job in batch:
                    job.fail(error)
            else:
                self._run_again(batch)
        else:
            for job, value in zip(batch, values, strict=True):
                job.succeed(value)

    def _run_again(self, batch: Sequence[_Job]) -> None:
        """Replay a batch in which a job raised: fail that job and write the others."""
        try:
            with self.core.begin():
                for job in batch:
                    self._run_in_savepoint(job)
        except Exception:  # the outer transaction failed: run each job separately
            for job in batch:
                self.run_batch([job])

    def _run_in_savepoint(self, job: _Job) -> None:
        try:
            with self.core.begin_nested():
                value = job.fn(self.core, *job.args, **job.kwargs)
        except Exception as error:
            if not self._raw.in_transaction:
                raise _TransactionLost from error  # the following jobs would run outside a transaction
            job.fail(error)
        else:
            job.succeed(value)


def _ours(error: Exception) -> Exception:
    ours = translated(error)
    if ours is not error:
        ours.__cause__ = error
    return ours


@asynccontextmanager
async def _sessions(
    source: Path | bytes, now_ms: Callable[[], int]
) -> AsyncIterator[tuple[_Session, _Session]]:
    """Open the writer's and the reader's session; a database in memory has one for both."""
    async with _session(source, "BEGIN IMMEDIATE", now_ms) as writer:
        if isinstance(source, bytes):
            yield writer, writer
        else:
            async with _session(source, "BEGIN", now_ms) as reader:
                yield writer, reader


@asynccontextmanager
async def _session(source: Path | bytes, begin: str, now_ms: Callable[[], int]) -> AsyncIterator[_Session]:
    path, content = (":memory:", source) if isinstance(source, bytes) else (source, None)
    try:
        raw = await aiosqlite.connect(path, isolation_level=None, cached_statements=256)
    except sqlite3.Error as error:
        raise DatabaseUnavailable(f"cannot open the database {path}: {error}") from error
    session = _Session(raw)
    try:
        await session.in_thread(session.dress, begin, now_ms, content)
        yield session
    finally:
        with anyio.CancelScope(shield=True):  # without a limit: closing waits for at most one statement
            await session.close()

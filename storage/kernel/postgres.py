"""PostgreSQL database: connections, time limits of statements, and retries of transactions.

A job is one READ COMMITTED transaction on one of a few connections; a read is a read-only snapshot. Every
wait is bounded: the server ends statements, lock waits and idle transactions after a time limit. This module
gives up when the server does not answer. A job is run again only where that is safe: it lost a race against
another transaction, or its connection was lost before the commit. A read has nothing to commit and can always
be repeated.
"""

import asyncio
import ssl
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Concatenate, NamedTuple, NoReturn, ParamSpec, TypeAlias, TypeVar

import anyio
import msgspec
import sqlalchemy as sa

from storage.kernel.address import fault_of, shown, without_pooler
from storage.kernel.columns import json_text
from storage.kernel.database import CAUSE, POOLED, Busy, DatabaseUnavailable, is_lone, sqlstate, translated
from storage.kernel.migrate import upgrade_tables
from storage.kernel.statements import KernelConnection

try:
    import asyncpg  # noqa: F401
    import greenlet  # noqa: F401
    from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg
    from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
except ImportError as error:
    raise DatabaseUnavailable(
        f"PostgreSQL needs {error.name}, of the extra 'cluster': pip install 'device-hub[cluster]'"
    ) from error

P = ParamSpec("P")
T = TypeVar("T")

CONNECTIONS = 8  # 50 hubs then use 400 connections of a server; more connections do not write faster
STATEMENT_MS, LOCK_MS = 5_000, 2_000
# within a transaction, as of a hub that freezes: its locks end before another hub has waited for them twice
IDLE_MS = 3_000
ANSWER_S = 10.0  # for one statement: twice the server's own limit
CONNECT_S = 5.0
LATE_S = 0.5  # if a limit is noticed this much later, this process was suspended meanwhile
JOB_S = 60.0  # a transaction with all its statements and attempts
# Delays before a job is run again. A server's restart takes longer: then the callers retry.
WAITS_S = (0.0, 0.05, 0.2)
MIGRATION_WAITS_S = (0.1, 0.2, 0.5, 1.0, 2.0, 4.0)  # likewise for a migration
STATEMENTS = 512  # prepared statements cached on each connection; the hub has fewer

_LOST_A_RACE = {"40001", "40P01"}  # serialization failure, deadlock: nothing of the job was written
# for a statement; the server also counts the time in which it waited for the rest of the statement
_TOO_LONG = "57014"
# Retried once: another transaction inserted the row the job did not find, or held its row for LOCK_MS.
_LOST_RACE = {"23505", "55P03"}
_IDLE = "25P03"  # the server waited too long for the next statement of the transaction, and rolled it back
_DISCONNECTED = ("08", _IDLE, "57P")  # the connection was ended, or the server shuts down
# Messages of asyncpg 0.32 when it refuses to send a COMMIT because the connection is closing.
_NOT_SENT = ("cannot switch to state", "cannot call Transaction.commit()")


class ServerTimeouts(NamedTuple):
    """Time limits of the server for a connection, and of the client for an answer."""

    statement_ms: int
    lock_ms: int
    idle_ms: int  # within a transaction
    answer_s: float


MIGRATION = ServerTimeouts(
    statement_ms=0, lock_ms=30_000, idle_ms=30_000, answer_s=600.0
)  # a table may be large


_Options: TypeAlias = Mapping[str, Any]  # of the connection of a job
_WRITING: _Options = {}
_READING: _Options = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
# for jobs that are one SELECT: BEGIN and COMMIT cost more than most of these
_ONCE: _Options = {"isolation_level": "AUTOCOMMIT"}
_Turns: TypeAlias = deque[asyncio.Future[None]]


class _JobSlots:
    """Places for jobs on the connections, given to waiting jobs in turn.

    Every other turn is the hub's own: claims, hellos and leases. The rest go to the causes, one job of each,
    so that no job waits for all files that executing runs have in progress.
    """

    def __init__(self, count: int) -> None:
        self._free = count
        self._of_hub: _Turns = deque()
        self._of_causes: dict[str, _Turns] = {}  # no queue is empty, and the first key has the next turn
        self._is_turn_of_hub = True

    async def acquire(self) -> None:
        if self._free:
            self._free -= 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        cause = CAUSE.get()
        turns = self._of_causes.setdefault(cause, deque()) if cause else self._of_hub
        turns.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():  # it got its place in the same moment
                self.give_back()
            raise

    def give_back(self) -> None:
        while self._of_hub or self._of_causes:
            turn = self._next()
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1

    def _next(self) -> asyncio.Future[None]:
        is_of_hub = bool(self._of_hub) and (self._is_turn_of_hub or not self._of_causes)
        self._is_turn_of_hub = not is_of_hub
        if is_of_hub:
            return self._of_hub.popleft()
        cause = next(iter(self._of_causes))
        turns = self._of_causes.pop(cause)
        turn = turns.popleft()
        if turns:
            self._of_causes[cause] = turns  # after the other causes
        return turn


class PostgresDatabase:
    """``Database`` on a server, created by ``open_postgres``."""

    is_shared = True

    def __init__(self, engine: AsyncEngine, *, is_pooled: bool = False) -> None:
        self._engine = engine
        # PgBouncer needs transactions, because each of them sets the time limits.
        self._reading_once = _READING if is_pooled else _ONCE
        self._places = _JobSlots(CONNECTIONS)
        self._is_closed = False

    async def read(
        self, fn: Callable[Concatenate[sa.Connection, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run *fn* in one snapshot; see ``Database.read``."""
        kind = self._reading_once if is_lone(fn) else _READING
        return await self._run(kind, lambda c: fn(c, *args, **kwargs))

    async def write(
        self, fn: Callable[Concatenate[sa.Connection, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run *fn* in one transaction; see ``Database.write``."""
        return await self._run(_WRITING, lambda c: fn(c, *args, **kwargs))

    async def close(self) -> None:
        """Refuse new jobs, wait for the running ones, then close every connection."""
        self._is_closed = True
        with anyio.move_on_after(JOB_S, shield=True):
            for _ in range(CONNECTIONS):
                await self._places.acquire()
            await self._engine.dispose()

    async def _run(self, kind: _Options, call: Callable[[sa.Connection], T]) -> T:
        self._check_open()
        await self._places.acquire()  # a caller that is cancelled while it waits has begun no transaction
        # Cancelling a statement costs its connection, and leaves the outcome unknown: the job goes on alone.
        outcome = await asyncio.shield(self._finish(kind, call))
        if isinstance(outcome, _FailedJob):
            raise outcome.error
        return outcome

    async def _finish(self, kind: _Options, call: Callable[[sa.Connection], T]) -> "T | _FailedJob":
        """Run a job in its place to its end, whatever becomes of its caller. Return its error, too."""
        try:
            self._check_open()
            with anyio.move_on_after(JOB_S, shield=True):
                return await _run_again(self._engine, kind, call)
            raise DatabaseUnavailable(
                f"the database took longer than {JOB_S:.0f} s; it may have taken effect"
            ).on_a_server()
        except Exception as error:  # the caller raises it
            return _FailedJob(error)
        finally:
            self._places.give_back()

    def _check_open(self) -> None:
        if self._is_closed:
            raise DatabaseUnavailable("the database is closed", None)


@asynccontextmanager
async def open_postgres(url: str, *, session: str = "hub") -> AsyncIterator[PostgresDatabase]:
    """Open the database at *url* and migrate it to this release's tables.

    Args:
        session: application name of its sessions on the server; see ``storage.kernel.database``.
        url: ``postgresql://user:password@host:port/name``, with libpq options as query:
            ``?sslmode=verify-full``, or ``?pgbouncer=true`` for PgBouncer in transaction mode. Errors and
            logs never contain the password.

    Raises:
        FromTheFuture: a newer hub wrote the database; nothing was written.
        Busy, Unavailable: the database cannot be reached or written, or the driver is not installed.
    """
    await _migrate(url)
    limits = ServerTimeouts(STATEMENT_MS, LOCK_MS, IDLE_MS, ANSWER_S)
    engine = _engine(url, limits, session=session, pool_size=CONNECTIONS, max_overflow=0)
    database = PostgresDatabase(engine, is_pooled=without_pooler(url)[1])
    try:
        yield database
    finally:
        await database.close()


class _FailedJob(NamedTuple):
    """Outcome of a job that raised *error*: returned, as a caller that was cancelled takes no exception."""

    error: Exception


class _Try:
    """Attempt at a job, with the phase that it reached."""

    def __init__(self, kind: _Options, call: Callable[[sa.Connection], Any]) -> None:
        self._kind = kind
        self._call = call
        self.is_begun = False
        self.is_committing = False
        self.stood_still = False

    def run(self, core: sa.Connection) -> Any:
        self.is_begun = True
        assert isinstance(core, _ServerConnection)
        try:
            with core.execution_options(**self._kind).begin():
                value = self._call(core)
                self.is_committing = True
        except sa.exc.DBAPIError as error:
            if sqlstate(error) == _TOO_LONG and not core.invalidated:
                elapsed_s = anyio.current_time() - core.executed_at
                self.stood_still = elapsed_s > STATEMENT_MS / 1000 + LATE_S
            raise
        return value


async def _run_again(engine: AsyncEngine, kind: _Options, call: Callable[[sa.Connection], T]) -> T:
    """Run a job. Retry it if nothing of it was written and a retry may succeed."""
    is_write = kind is _WRITING
    looked_again = False
    for wait_s in (*WAITS_S, None):
        job = _Try(kind, call)
        try:
            async with engine.connect() as connection:
                value: T = await connection.run_sync(job.run)
                return value
        except (sa.exc.DBAPIError, sa.exc.PendingRollbackError, OSError) as error:
            is_disconnected = _is_disconnected(error)
            if is_disconnected and is_write and job.is_committing and not _is_undone(error):
                raise DatabaseUnavailable(
                    "the connection was lost in the commit; it may have taken effect"
                ) from error
            lost_race = sqlstate(error) in _LOST_RACE and not looked_again
            looked_again = looked_again or lost_race
            has_lost = lost_race or job.stood_still or sqlstate(error) in _LOST_A_RACE
            may_go_better = is_disconnected or has_lost
            waited_enough = not job.is_begun and isinstance(error, TimeoutError)  # for a free connection
            if wait_s is None or waited_enough or not may_go_better:
                if (ours := _ours(error)) is error:
                    raise
                raise ours from error
        await anyio.sleep(wait_s)
    raise AssertionError("the last try returns or raises")


def _is_disconnected(error: Exception) -> bool:
    """Return True if the server or the network connection failed."""
    if isinstance(error, sa.exc.DBAPIError):
        return error.connection_invalidated or (sqlstate(error) or "").startswith(_DISCONNECTED)
    return True  # cannot connect, no answer in time, or the job continued after its connection was lost


def _is_undone(error: Exception) -> bool:
    """Return True if the connection was certainly lost before the COMMIT took effect."""
    if isinstance(error, sa.exc.PendingRollbackError):
        return True
    if isinstance(error, sa.exc.DBAPIError) and str(error.orig).startswith(_NOT_SENT):
        return True
    cause: BaseException | None = error
    while cause is not None and getattr(cause, "sqlstate", None) != _IDLE:
        cause = cause.__cause__
    return cause is not None


def _ours(error: Exception) -> Exception:
    if isinstance(error, sa.exc.PendingRollbackError):
        return DatabaseUnavailable("the connection to the database was lost").on_a_server()
    if isinstance(error, TimeoutError):
        return DatabaseUnavailable("the database did not answer in time").on_a_server()
    if isinstance(error, OSError):
        fault = error.strerror or type(error).__name__
        return DatabaseUnavailable(f"the database cannot be reached: {fault}").on_a_server()
    return translated(error)


async def run_once(url: str, fn: Callable[[sa.Connection], T], *, migrates: bool = False) -> T:
    """Run *fn* in one transaction on the database at *url*, with the time limits of a migration.

    Args:
        migrates: migrate the tables to this release before.

    Raises:
        Busy, Unavailable: see ``open_postgres``.
    """
    if migrates:
        await _migrate(url)
    return await _run_once(url, fn)


async def _migrate(url: str) -> None:
    """Migrate the tables; try again while hubs of an earlier release use them."""
    for wait_s in (*MIGRATION_WAITS_S, None):
        try:
            await _run_once(url, partial(upgrade_tables, where=shown(url)))
            return
        except Busy:
            if wait_s is None:
                raise
        await anyio.sleep(wait_s)


async def _connect(*args: Any, **options: Any) -> Any:
    """Connect with asyncpg. Retry once if this process was suspended during the time-out.

    Raises:
        Unavailable: the address asks for something that the server does not offer.
    """
    import asyncpg

    url = options["dsn"]
    if fault := fault_of(url, with_files=True):
        raise _cannot_open(url, fault)
    began = anyio.current_time()
    try:
        try:
            opened = await asyncpg.connect(*args, **options)
        except TimeoutError:
            if anyio.current_time() - began < options["timeout"] + LATE_S:
                raise
            opened = await asyncpg.connect(*args, **options)
        # Statements are short, starting workers takes longer. As a session's parameter, PgBouncer refuses it.
        await opened.execute("SET max_parallel_workers_per_gather = 0")
        return opened
    except (asyncpg.ClientConfigurationError, asyncpg.TargetServerAttributeNotMatched) as error:
        raise _cannot_open(url, str(error).partition("\n")[0]) from error
    except asyncpg.ProtocolViolationError as error:
        if "startup parameter" not in str(error):
            raise
        raise _cannot_open(url, f"{POOLED}: {error}") from error
    except ssl.SSLCertVerificationError as error:
        fault = f"the server's certificate is not trusted ({error.verify_message})"
        raise _cannot_open(url, f"{fault}; sslrootcert=FILE names the authority that signed it") from error
    except ConnectionError as error:
        if "rejected SSL" not in str(error):
            raise
        fault = "the server speaks no TLS, which the sslmode of the address demands"
        raise _cannot_open(url, f"{fault}; switch ssl on in postgresql.conf") from error


def _cannot_open(url: str, fault: str) -> DatabaseUnavailable:
    return DatabaseUnavailable(f"cannot open the database {shown(url)}: {fault}").on_a_server()


async def _run_once(url: str, fn: Callable[[sa.Connection], T]) -> T:
    """Run *fn* on a new connection, in one transaction with the time limits of a migration."""
    engine = _engine(url, MIGRATION, poolclass=sa.NullPool)
    try:
        async with engine.begin() as connection:
            return await connection.run_sync(fn)
    except (sa.exc.DBAPIError, OSError) as error:
        ours = _ours(error)
        if ours is error:
            raise
        if isinstance(ours, DatabaseUnavailable):
            ours = _cannot_open(url, str(ours))
        raise ours from error
    except ValueError:  # from None: its message contains the text in place of the port
        raise DatabaseUnavailable(
            f"the database {shown(url)!r} is no address of a PostgreSQL server"
        ) from None
    finally:
        await engine.dispose()


def _engine(url: str, limits: ServerTimeouts, *, session: str = "hub", **pool: Any) -> AsyncEngine:
    """Create an engine for *url*, which the driver parses like libpq.

    PgBouncer in transaction mode gives each transaction a connection to the server that others used before.
    So each transaction sets the time limits, by one more statement. And statements have no names, because a
    name is known on one connection only.
    """
    dsn, is_pooled = without_pooler(url)
    time_limits = {
        "statement_timeout": str(limits.statement_ms),
        "lock_timeout": str(limits.lock_ms),
        "idle_in_transaction_session_timeout": str(limits.idle_ms),
        "jit": "off",  # statements are short: compiling them takes longer than running them
    }
    engine = create_async_engine(
        "postgresql+asyncpg://",
        isolation_level="READ COMMITTED",
        hide_parameters=True,  # parameters are people's documents, and errors are logged
        json_serializer=json_text,
        json_deserializer=msgspec.json.decode,
        connect_args={
            "async_creator_fn": _connect,
            "dsn": dsn,
            "timeout": CONNECT_S,
            "command_timeout": limits.answer_s,
            "prepared_statement_cache_size": 0 if is_pooled else STATEMENTS,
            "prepared_statement_name_func": (lambda: "") if is_pooled else None,
            "server_settings": {"application_name": session}
            | ({} if is_pooled else _KEEPALIVES | time_limits),
            **({"statement_cache_size": 0} if is_pooled else {}),
        },
        **pool,
    )
    if is_pooled:
        limits_set = ", ".join(
            f"set_config('{name}', '{value}', true)" for name, value in time_limits.items()
        )
        engine.sync_engine.update_execution_options(begin=f"SELECT {limits_set}")
    engine.sync_engine._connection_cls = _ServerConnection
    return engine


class _ServerConnection(KernelConnection):
    """Connection to a server. *executed_at*: when it began with its last statement, on the loop's clock."""

    executed_at = 0.0
    _has_read = False

    dialect: PGDialect_asyncpg

    def _cursor(self, statement: Any) -> Any:
        self._note(statement)
        cursor = super()._cursor(statement)
        cursor._invalidate_schema_cache_asof = self.dialect._invalidate_schema_cache_asof
        return cursor

    def _execute_context(self, dialect: Any, constructor: Any, statement: Any, *rest: Any, **own: Any) -> Any:
        self._note(statement)
        return super()._execute_context(dialect, constructor, statement, *rest, **own)

    def _note(self, statement: Any) -> None:
        if self._execution_options.get("isolation_level") == _ONCE["isolation_level"]:
            if self._has_read or getattr(statement, "is_dml", False):
                raise AssertionError(f"a job marked as one SELECT executes more: {statement}")
            self._has_read = True
        self.executed_at = anyio.current_time()

    def _handle_dbapi_exception(self, e: BaseException, *about: Any, **more: Any) -> NoReturn:
        driver: Any = self.dialect.dbapi
        if isinstance(e, driver.InvalidCachedStatementError | driver.InternalServerError):
            # another hub migrated the tables
            self.dialect._invalidate_schema_cache()  # type: ignore[no-untyped-call]
        super()._handle_dbapi_exception(e, *about, **more)


# A machine that vanished is noticed within a minute, which releases its locks.
_KEEPALIVES = {"tcp_keepalives_idle": "20", "tcp_keepalives_interval": "10", "tcp_keepalives_count": "4"}

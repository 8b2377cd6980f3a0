"""Database of a simulation: SQLite in memory, in the event loop's own thread.

All hubs share a ``Disk``; each hub uses a ``Door``, a ``storage.kernel.database.Database``. Each transaction
is between two await points, so that the order of transactions is random. As with the real database, a
cancelled caller does not know whether its transaction was committed. A door closes when its process is
killed: later writes of a dead hub never return.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any, Concatenate, ParamSpec, TypeVar

import anyio
import sqlalchemy as sa

from storage.kernel.database import Busy, DatabaseUnavailable, translated
from storage.kernel.statements import KernelConnection
from storage.runs import units
from storage.schema import metadata
from tests.simulation.answers import POLLS, RENEWALS, Answers, name_of
from tests.simulation.dice import Dice
from tests.simulation.loop import Process

P = ParamSpec("P")
T = TypeVar("T")

# Tables whose changed rows are reported after each commit, with the key of a row.
WATCHED = {
    "runs": "id",
    "schedules": "id",
    "schedule_fires": "schedule_id",
    "agent_states": "agent_id",
    "leases": "name",
}
REPLAYED = 0.02  # of all jobs are run twice, as one of a batch is when another one fails
SLOW = 0.03  # of all transactions take a while
BUSY = 0.002  # of all writes are refused, as during a backup


class Touched:
    """Rows that one commit changed: ids by table, and the ids of deleted runs."""

    __slots__ = ("deleted_runs", "ids")

    def __init__(self, rows: list[tuple[str, str]]) -> None:
        self.ids: dict[str, list[str]] = {}
        self.deleted_runs: list[str] = []
        for table, key in rows:
            if table == "-runs":
                self.deleted_runs.append(key)
            else:
                self.ids.setdefault(table, []).append(key)


class Commit:
    """A committed job with its caller and its changes."""

    __slots__ = ("args", "by", "kwargs", "name", "touched", "value")

    def __init__(
        self, by: str, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], value: Any, touched: Touched
    ) -> None:
        self.by = by
        self.name = name
        self.args = args
        self.kwargs = kwargs
        self.value = value
        self.touched = touched


JUDGED = {units.has_settled_tree}  # jobs whose answer a law checks even if they wrote nothing


class Disk:
    """Database with its listeners; there is only one per process, see ``fresh_disk``."""

    def __init__(self, raw: sqlite3.Connection, core: sa.Connection) -> None:
        self.raw = raw
        self._core = core
        self.commits = 0
        self._answers = Answers(raw)
        self.on_commit: Callable[[Commit], None] = lambda commit: None

    def snapshot(self) -> sqlite3.Connection:
        """Return all rows."""
        copy = sqlite3.connect(":memory:")
        self.raw.backup(copy)
        return copy

    def put_back(self, snapshot: sqlite3.Connection) -> None:
        """Restore the rows of *snapshot*; no hub may have the database open."""
        if self.raw.in_transaction:
            self.raw.rollback()
        snapshot.backup(self.raw)
        self.raw.execute("DELETE FROM temp.touched")
        self._answers.clear()

    def set_clock(self, now_ms: Callable[[], int], *, has_others: bool = False) -> None:
        """Set the clock behind ``storage.kernel.columns.now_ms()``.

        Args:
            has_others: leases of several hubs expire; cached results do not outlive them.
        """
        self.raw.create_function("hub_now_ms", 0, now_ms)
        self._answers.lease_clock = now_ms if has_others else None

    def rows(self, sql: str, *values: Any) -> list[Any]:
        """Return the rows of a plain statement, outside of any transaction."""
        return self.raw.execute(sql, values).fetchall()

    def one(self, sql: str, *values: Any) -> Any:
        """Return the first row of a plain statement, or None."""
        return self.raw.execute(sql, values).fetchone()

    def read(self, fn: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any]) -> T:
        """Return the result of *fn*, cached until the next commit, because hubs repeat their queries."""
        answers = self._answers
        key = answers.key(fn, args, kwargs)
        if key is None:
            return self._ask(fn, args, kwargs)
        if key in answers and not answers.is_checked():
            known: T = answers[key]
            return known
        value = self._ask(fn, args, kwargs)
        answers.keep(key, value)
        return value

    def _ask(self, fn: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any]) -> T:
        before = self.raw.total_changes
        with _translating():
            value = fn(self._core, *args, **kwargs)
        if self.raw.total_changes != before:
            raise AssertionError(f"{name_of(fn)} wrote in a read")
        return value

    def write(
        self,
        fn: Callable[Concatenate[sa.Connection, P], T],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run a job for the world itself, without waiting."""
        return self.commit("world", fn, args, kwargs)

    def commit(
        self,
        by: str,
        fn: Callable[..., T],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        *,
        is_replayed: bool = False,
    ) -> T:
        """Run a job, commit it, and notify the listeners."""
        key = self._answers.key(fn, args, kwargs) if fn in POLLS else None
        if key in self._answers and not self._answers.is_checked():
            known: T = self._answers[key]
            return known
        holders = self._answers.lease_holders() if fn in RENEWALS else None
        before = self.raw.total_changes
        if is_replayed:
            with suppress(Exception), _Undone(self.raw):  # it fails again when it is run again
                fn(self._core, *args, **kwargs)
        with _translating(), _Transaction(self.raw):
            value = fn(self._core, *args, **kwargs)
        is_changed = self.raw.total_changes != before
        if is_changed:
            self.commits += 1
            if holders is None or holders != self._answers.lease_holders():
                self._answers.clear()
        elif key is not None:
            self._answers.keep(key, value)
        if is_changed or fn in JUDGED:
            touched = Touched(self.raw.execute("SELECT place, id FROM temp.touched").fetchall())
            self.raw.execute("DELETE FROM temp.touched")
            self.on_commit(Commit(by, name_of(fn), args, kwargs, value, touched))
        return value


class _Transaction:
    """Transaction that is committed at the end of the block, and rolled back on an exception.

    It uses the driver directly, because SQLAlchemy would need as much time for it as for a query.
    """

    def __init__(self, raw: sqlite3.Connection) -> None:
        self._raw = raw

    def __enter__(self) -> None:
        self._raw.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._raw.execute("COMMIT")
        elif self._raw.in_transaction:
            self._raw.execute("ROLLBACK")


class _Undone(_Transaction):
    """Transaction that is always rolled back."""

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._raw.in_transaction:
            self._raw.execute("ROLLBACK")


@contextmanager
def _translating() -> Iterator[None]:
    try:
        yield
    except sa.exc.DBAPIError as error:
        raise translated(error) from error


class Weather:
    """Behaviour of the transactions of one hub; faults change it."""

    def __init__(self) -> None:
        self.is_cut_off = False  # the database cannot be reached
        self.is_calm = False  # nothing is slow, nothing busy
        self.dies_in = 0  # writes until the hub dies of one; 0: never
        self.dies_before = True  # of the commit, or after it
        self.before: tuple[str, Callable[[], None]] | None = (
            None  # a job, and an action to run once before it
        )

    def calm(self) -> None:
        """Reset to fast transactions without errors and crashes."""
        self.is_calm = True
        self.dies_in = 0
        self.before = None


class Door:
    """``Database`` of a hub."""

    def __init__(
        self,
        disk: Disk,
        process: Process,
        dice: Dice,
        weather: Weather,
        *,
        is_shared: bool,
        on_death: Callable[[], None],
    ) -> None:
        self.is_shared = is_shared
        self._disk = disk
        self._process = process
        self._dice = dice
        self._weather = weather
        self._on_death = on_death

    async def read(
        self, fn: Callable[Concatenate[sa.Connection, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Implement ``Database.read``."""
        await self._reach()
        value = self._disk.read(fn, args, kwargs)
        await self._turn()
        return value

    async def write(
        self, fn: Callable[Concatenate[sa.Connection, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Implement ``Database.write``."""
        await self._reach()
        weather = self._weather
        if weather.before is not None and weather.before[0] == name_of(fn):
            _, strike = weather.before
            weather.before = None
            strike()
            await self._turn()  # a halted hub waits here, with the job on its way
        dies = False
        if weather.dies_in:
            weather.dies_in -= 1
            dies = weather.dies_in == 0
        if dies and weather.dies_before:
            await self._die()
        if not weather.is_calm and self._dice.says(BUSY):
            raise Busy("somebody makes a backup")
        is_replayed = self._dice.says(REPLAYED)
        value = self._disk.commit(self._process.name, fn, args, kwargs, is_replayed=is_replayed)
        if dies:
            await self._die()
        await self._turn()
        return value

    async def _reach(self) -> None:
        await asyncio.sleep(0)
        if not self._weather.is_calm and self._dice.says(SLOW):
            await anyio.sleep(self._dice.uniform(0.001, 0.5))
        await self._turn()
        if self._weather.is_cut_off:
            await anyio.sleep(0.2)
            raise DatabaseUnavailable("the database cannot be reached")

    async def _turn(self) -> None:
        await asyncio.sleep(0)
        if self._process.is_killed:
            await anyio.sleep_forever()

    async def _die(self) -> None:
        self._on_death()
        await anyio.sleep_forever()


def fresh_disk(*, guarded: bool = True) -> Disk:
    """Return an empty database. The disk of an earlier call becomes invalid.

    Args:
        guarded: create the constraints of the schema; tests that insert invalid rows omit them.
    """
    raw, core, empty = _engine(guarded)
    if raw.in_transaction:  # the last simulation ended in the middle of one
        raw.rollback()
    empty.backup(raw)
    raw.execute("DELETE FROM temp.touched")
    return Disk(raw, core)


@cache
def _engine(guarded: bool) -> tuple[sqlite3.Connection, sa.Connection, sqlite3.Connection]:
    """Return one connection for all simulations of the process: statements are compiled per engine."""
    raw = sqlite3.connect(":memory:", isolation_level=None, cached_statements=512)
    raw.execute("PRAGMA foreign_keys=on")
    engine = sa.create_engine(
        "sqlite://",
        creator=lambda: raw,
        poolclass=sa.StaticPool,
        isolation_level="AUTOCOMMIT",
        query_cache_size=5_000,
    )
    engine._connection_cls = KernelConnection  # as the databases of the hub
    core = engine.connect()
    (metadata if guarded else _unguarded()).create_all(core)
    empty = sqlite3.connect(":memory:")
    raw.backup(empty)
    raw.execute("CREATE TEMP TABLE touched (place TEXT, id TEXT, PRIMARY KEY (place, id)) WITHOUT ROWID")
    for table, key in WATCHED.items():
        for what in ("INSERT", "UPDATE"):
            _watch(raw, table, what, table, f"NEW.{key}")
    _watch(raw, "runs", "DELETE", "-runs", "OLD.id")
    raw.execute(
        "CREATE TEMP TRIGGER judged_items AFTER UPDATE OF verdict ON main.items"
        " BEGIN INSERT OR IGNORE INTO touched VALUES ('judged items', NEW.id); END"
    )
    return raw, core, empty


def _watch(raw: sqlite3.Connection, table: str, what: str, place: str, key: str) -> None:
    raw.execute(
        f"CREATE TEMP TRIGGER {what}_{table} AFTER {what} ON main.{table}"
        f" BEGIN INSERT OR IGNORE INTO touched VALUES ('{place}', {key}); END"
    )


def _unguarded() -> sa.MetaData:
    """Return the schema without the constraints that the laws are about."""
    bare = sa.MetaData()
    for table in metadata.sorted_tables:
        copy = table.to_metadata(bare)
        if table.name == "item_words":  # an index, written by its unique key
            continue
        for constraint in list(copy.constraints):
            if not isinstance(constraint, sa.PrimaryKeyConstraint):
                copy.constraints.remove(constraint)
        for index in list(copy.indexes):
            copy.indexes.remove(index)
    return bare

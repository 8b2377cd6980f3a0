"""Faults of the hub's database become conditions; a passing condition ends by itself."""

import json
import re
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path
from typing import Any, NamedTuple, get_args

import anyio
import pytest
import sqlalchemy as sa

from hub.base.web.problem import ProblemResponse
from hub.cli.errors import as_failure
from hub.health import database_watch
from hub.health.backups import FOLDER, SUFFIX, Backups
from hub.health.database_watch import FRESH_S, SILENT_S, VALID_S, DatabaseWatch
from protocol.errors import CATALOGUE
from storage.kernel import backup, database, identity
from storage.kernel.database import StorageError, Trouble, translated
from storage.kernel.sqlite import open_sqlite
from storage.schema import metadata
from storage.store import ObservedDatabase
from tests.support.clock import FakeClock
from tests.support.database import new_database, overwrite
from tests.support.families import each
from tests.support.services import running


class Bench(NamedTuple):
    file: Path
    store: ObservedDatabase
    watch: DatabaseWatch
    clock: FakeClock

    async def meet(self, fault: Callable[["Bench"], object]) -> None:
        """Cause the fault; one that is words is a PRAGMA of the writer's connection."""
        if isinstance(pragma := fault(self), str):
            session = self.store.database._session  # type: ignore[attr-defined]
            await session.in_thread(lambda: session._raw._conn.execute(f"PRAGMA {pragma}").close())

    async def look(self) -> str | None:
        """Check when everything is due; return the id of the condition."""
        self.clock.advance(60)
        await self.watch.check()
        found = self.watch.finding
        return None if found is None else found.id


def write(c: sa.Connection) -> None:
    """Change a page each time."""
    identity.ensure_hub_id(c, "hub-1")
    c.exec_driver_sql("UPDATE hub SET value = value || '.' WHERE key = 'hub_id'")


def made(folder: Path) -> Path:
    folder.mkdir()
    new_database(folder / "hub.db")
    return folder / "hub.db"


@asynccontextmanager
async def opened(folder: Path, on_change: Callable[[], None] = lambda: None) -> AsyncIterator[Bench]:
    file, clock = made(folder), FakeClock()
    async with open_sqlite(file) as database:
        store = ObservedDatabase(database, monotonic=clock.monotonic)
        backups = Backups(store, file.parent, file, clock=clock)
        watch = DatabaseWatch(store, write, clock=clock, backups=backups, on_change=on_change)
        bench = Bench(file, store, watch, clock)
        assert await bench.look() is None
        yield bench


def on_disk(file: Path) -> None:
    with closing(sqlite3.connect(file)) as other:
        other.execute("PRAGMA wal_checkpoint(truncate)")


def damage(page: int) -> Callable[[Bench], object]:
    def cause(bench: Bench) -> None:
        on_disk(bench.file)
        with bench.file.open("r+b") as out:
            out.seek((page - 1) * 4096)
            out.write(bytes(100))

    return cause


def cut(bench: Bench) -> None:
    on_disk(bench.file)
    with bench.file.open("r+b") as out:
        out.truncate(8 * 4096)


def older_copy(bench: Bench) -> None:
    on_disk(bench.file)
    content = bytearray(bench.file.read_bytes())
    content[24:28] = bytes(4)
    bench.file.write_bytes(content)


def rename_over(bench: Bench) -> None:
    other = bench.file.with_name("other")
    with closing(sqlite3.connect(bench.file)) as source:
        source.execute("VACUUM INTO ?", (str(other),))
    other.replace(bench.file)


LOCKS: list[sqlite3.Connection] = []


def lock(bench: Bench) -> str:
    LOCKS.append(sqlite3.connect(bench.file, isolation_level=None))
    LOCKS[-1].execute("BEGIN IMMEDIATE")
    return "busy_timeout=1"


CASES: dict[str, tuple[str, Callable[[Bench], object], Callable[[Bench], object] | None]] = {
    "a page without content": ("damaged", damage(12), None),
    "the page of the schema": ("damaged", damage(1), None),
    "the file is cut": ("damaged", cut, None),
    "an older copy": ("damaged", older_copy, None),
    "another file": ("replaced", rename_over, None),
    "no log": ("replaced", lambda bench: Path(f"{bench.file}-wal").unlink(), None),
    "no index": ("replaced", lambda bench: Path(f"{bench.file}-shm").unlink(), None),
    "moved, and moved back": (
        "replaced",
        lambda bench: bench.file.rename(bench.file.with_name("away")),
        lambda bench: bench.file.with_name("away").rename(bench.file),
    ),
    "read-only": (
        "read_only",
        lambda _: "query_only=on",
        lambda _: "query_only=off",
    ),
    "locked for long": ("busy", lock, lambda _: LOCKS.pop().close()),
}


async def test_each_database_file_fault_is_a_condition_until_undone(tmp_path: Path) -> None:
    seen: dict[str, tuple[str | None, bool, bool]] = {}
    for number, (name, (_, cause, undo)) in enumerate(CASES.items()):
        async with opened(tmp_path / str(number)) as bench:
            await bench.meet(cause)
            for _ in range(2):
                condition = await bench.look()
            assert (bench.watch.finding is not None) == (condition is not None)
            is_refused = False
            try:
                await bench.store.write(write)
            except StorageError:
                is_refused = True
            if undo is not None:
                await bench.meet(undo)
            seen[name] = (condition, is_refused, await bench.look() is None)
    assert seen == {
        name: (f"database.{trouble}", True, undo is not None) for name, (trouble, _, undo) in CASES.items()
    }


@pytest.mark.soak
async def test_a_damaged_page_of_any_table_is_found_and_the_table_is_named(tmp_path: Path) -> None:
    unnamed: list[str] = []
    for number, table in enumerate(metadata.tables):
        for place in (0, -1):  # the root, and the last leaf
            async with opened(tmp_path / f"{number}{place}") as bench:
                overwrite(table, place)(bench.file)
                await bench.look()
                found = bench.watch.finding
                if found is None or f"tables: {table}" not in found.explanation:
                    unnamed.append(f"{table} {place}: {found and found.explanation}")
    assert unnamed == []


async def test_replaced_database_is_saved_and_the_new_file_is_not_written(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path / "state") as bench:
        rename_over(bench)
        there = bench.file.read_bytes()
        with suppress(StorageError):
            await bench.store.write(write)
        await bench.look()
        assert bench.file.with_name("hub.db-wal").stat().st_size == 0
        (saved,) = bench.file.parent.glob(f"{FOLDER}/*{SUFFIX}")
        assert not list(bench.file.parent.glob("hub.db.saved-*"))
        assert saved.stat().st_mode & 0o777 == 0o600
        assert bench.watch.finding is not None
        assert str(saved) in bench.watch.finding.explanation
        assert f"hub restore {saved}" in bench.watch.finding.fix
    assert bench.file.read_bytes() == there
    with backup.unpacked(saved) as (manifest, _):
        assert manifest.hub_id == "hub-1."


async def test_file_deleted_just_before_the_hub_ends_is_saved(tmp_path: Path) -> None:
    async with opened(tmp_path / "state") as bench:
        async with running(bench.watch):
            bench.file.unlink()
        (saved,) = bench.file.parent.glob(f"{FOLDER}/*{SUFFIX}")
    assert backup.verify(saved).hub_id == "hub-1."


async def test_replaced_file_without_a_backup_is_saved_unchanged(tmp_path: Path) -> None:
    async with opened(tmp_path / "state") as bench:
        (bench.file.parent / FOLDER).touch()  # no folder, so no backup can be made
        rename_over(bench)
        await bench.look()
        (saved,) = bench.file.parent.glob("hub.db.saved-*")
        assert bench.watch.finding is not None
        assert str(saved) in bench.watch.finding.explanation
        assert f"mv {saved} {bench.file}" in bench.watch.finding.fix


async def test_database_condition_is_reported_at_begin_and_end(tmp_path: Path) -> None:
    changes: list[str | None] = []

    def changed() -> None:
        found = bench.watch.finding
        changes.append(None if found is None else found.id)

    async with opened(tmp_path / "state", on_change=changed) as bench:
        await bench.meet(lambda _: "query_only=on")
        await bench.look()
        await bench.look()
        await bench.meet(lambda _: "query_only=off")
        await bench.look()
    assert changes == [f"database.{'read_only'}", None]


@each(
    ("sqlstate", "trouble"),
    [
        ("53100", "full"),
        ("53300", "busy"),
        ("25006", "read_only"),
        ("58030", "failing"),
        ("57P01", "away"),
        ("XX001", "damaged"),
        ("XX002", "damaged"),
    ],
)
def test_sql_states_of_a_database_server_map_to_conditions(sqlstate: str, trouble: Trouble) -> None:
    class ServerError(Exception):
        pass

    cause = ServerError("words")
    cause.sqlstate = sqlstate  # type: ignore[attr-defined]
    ours = translated(sa.exc.DBAPIError("SELECT", None, cause))
    assert isinstance(ours, StorageError)
    assert ours.trouble is trouble


async def test_hanging_database_is_a_stopping_condition_after_the_answer_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(tmp_path / "s") as bench:
        asked = 0
        hangs, real = False, bench.store.database.write

        async def write(fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
            nonlocal asked
            asked += 1
            return await (anyio.sleep_forever() if hangs else real(fn, *args, **kwargs))

        monkeypatch.setattr(bench.store.database, "write", write)
        monkeypatch.setattr(database_watch, "ANSWER_S", 30.0)  # a busy machine takes its time
        bench.clock.advance(FRESH_S)
        for _ in range(100):  # callers without a token do not wear the disk out
            await bench.watch.probe()
        assert asked == 1
        monkeypatch.setattr(database_watch, "ANSWER_S", 0.01)
        hangs = True
        seen = []
        for after_s in (VALID_S, SILENT_S - 1, 1, VALID_S - SILENT_S - 1, 1):
            bench.clock.advance(after_s)
            with anyio.fail_after(10):
                await bench.watch.probe()
            found = bench.watch.finding
            seen.append(None if found is None else (found.id, found.is_stop))
        silent = "database.silent"
        assert seen == [None, None, (silent, False), (silent, False), (silent, True)]
        assert found is not None and found.since is not None
        assert (bench.clock.now() - found.since).total_seconds() == VALID_S
        hangs = False
        monkeypatch.setattr(database_watch, "ANSWER_S", 30.0)
        await bench.watch.probe()
        assert bench.watch.finding is None


def test_each_database_error_code_has_the_hint_of_the_condition() -> None:
    class Raised(Exception):
        sqlite_errorcode: int | None = None
        sqlstate: str | None = None

    hints: dict[tuple[Trouble, bool], set[str]] = {}
    codes: list[int | str] = [*database._CODES, *database._STATES]
    for code in codes:
        cause = Raised("words")
        cause.sqlite_errorcode = code if isinstance(code, int) else None
        cause.sqlstate = code if isinstance(code, str) else None
        ours = translated(sa.exc.DBAPIError("SELECT", None, cause))
        assert isinstance(ours, StorageError), code
        hint = json.loads(bytes(ProblemResponse.of(ours).body))["hint"]
        if ours.trouble is None:
            assert hint == CATALOGUE[ours.code].hint
            continue
        assert as_failure(ours).next_step == hint.removesuffix(database.CONTINUES)
        on_a_server = isinstance(code, str)
        hints.setdefault((ours.trouble, on_a_server), set()).add(hint)
    remedies = {False: database.REMEDIES, True: database.REMEDIES_ON_A_SERVER}
    assert hints == {(trouble, where): {remedies[where][trouble]} for trouble, where in hints}
    assert {trouble for trouble, _ in hints} == set(get_args(Trouble))
    for (trouble, on_a_server), (hint,) in hints.items():
        assert ("address" in hint) == (trouble == "away")
        assert not re.search(r"FILE|file|dmesg" if on_a_server else r"server|pg_", hint), hint

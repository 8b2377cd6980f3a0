"""A database is held against this release, and each difference has its name."""

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, nullcontext
from functools import partial
from pathlib import Path
from typing import Final

import anyio
import pytest
import sqlalchemy as sa

from protocol.keys import key_id
from storage.kernel.database import DatabaseUnavailable
from storage.kernel.migrate import BrokenRow, SearchPosition, broken_from, revisions
from storage.kernel.verify import Verified, read_once, schema_version_of, verify
from storage.schema import metadata
from storage.store import open_store
from tests.support.broken_rows import Fault, faults, plant, script_for_server
from tests.support.database import new_database
from tests.support.postgres import Postgres

URL = "sqlite:///hub.db"
Changed = Callable[..., Verified]  # statements of another program, and what is found then


@pytest.fixture(params=["file", pytest.param("server", marks=pytest.mark.slow)])
def changed(request: pytest.FixtureRequest, tmp_path: Path) -> Changed:
    """A database of this release, on each kind."""
    if request.param == "server":
        server: Postgres = request.getfixturevalue("postgres")
        url = request.getfixturevalue("migrated_url")

        def on_server(*statements: str) -> Verified:
            server.run(";".join(statements), url=url)
            return anyio.run(verify, url)

        return on_server

    new_database(tmp_path / "hub.db")

    def in_file(*statements: str) -> Verified:
        engine = sa.create_engine(f"sqlite:///{tmp_path}/hub.db", poolclass=sa.NullPool)
        with engine.begin() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)
        return anyio.run(verify, f"sqlite:///{tmp_path}/hub.db")

    return in_file


@pytest.fixture
def migrated_url(postgres: Postgres) -> Iterator[str]:
    """Address of a database that went through every migration, on a server."""
    with postgres.bare_database(tables=True) as url:
        yield url


def words(held: Verified) -> list[str]:
    """The beginnings: how each database spells a part is its own affair."""
    return [str(difference).partition(": ")[0] for difference in held.differences]


def test_each_changed_part_of_a_database_is_reported_by_name_and_no_other(changed: Changed) -> None:
    assert changed("SELECT 1") == Verified(revisions()[-1], ())
    told = {
        "DROP INDEX runs_ready": "index runs.runs_ready is missing",
        "DROP TABLE leases": "table leases is missing",
        "ALTER TABLE runs DROP COLUMN status_message": "column runs.status_message is missing",
        "CREATE INDEX my_index ON runs (reason)": "index runs.my_index is not of this release",
        "CREATE TABLE mine (x TEXT)": "table mine is not of this release",
        "ALTER TABLE users ADD COLUMN mine TEXT": "column users.mine is not of this release",
    }
    assert sorted(words(changed(*told))) == sorted(told.values())


@pytest.mark.parametrize("lost", [" NOT NULL", " DEFAULT 0"])
async def test_changed_column_of_a_file_is_reported_with_actual_and_expected_definition(
    tmp_path: Path, lost: str
) -> None:
    column = "priority INTEGER DEFAULT 0 NOT NULL"
    new_database(tmp_path / "hub.db")
    engine = sa.create_engine(f"sqlite:///{tmp_path}/hub.db", poolclass=sa.NullPool)
    with engine.begin() as connection:
        connection.exec_driver_sql("PRAGMA writable_schema = ON")
        connection.exec_driver_sql(
            "UPDATE sqlite_master SET sql = replace(sql, ?, ?) WHERE name = 'runs'",
            (column, column.replace(lost, "")),
        )
    (found,) = (await verify(URL, base=tmp_path)).differences
    _, _, spelled = column.partition(" ")
    now = spelled.replace(lost, "")
    assert str(found) == f"column runs.priority is {now}; this release has {spelled}"


def test_changed_constraint_default_and_index_of_a_server_are_reported(
    postgres: Postgres, migrated_url: str
) -> None:
    assert anyio.run(_opened_and_held, migrated_url).differences == ()
    postgres.run(
        "ALTER TABLE runs ALTER COLUMN priority SET DEFAULT 7;"
        "ALTER TABLE runs ALTER COLUMN reason TYPE varchar(10);"
        "ALTER TABLE runs DROP CONSTRAINT ck_runs_progress;"
        "ALTER TABLE runs ADD CONSTRAINT ck_runs_progress CHECK (progress < 7) NOT VALID;"
        "DROP INDEX runs_lease; CREATE INDEX runs_lease ON runs (lease_expires_at)",
        url=migrated_url,
    )
    assert list(map(str, anyio.run(verify, migrated_url).differences)) == [
        "column runs.priority is bigint NOT NULL DEFAULT 7; this release has bigint NOT NULL DEFAULT 0",
        "column runs.reason is character varying(10); this release has text",
        "constraint runs.ck_runs_progress is CHECK ((progress < (7)::double precision)) NOT VALID;"
        " this release has"
        " CHECK (((progress >= (0)::double precision) AND (progress <= (100)::double precision)))",
        "index runs.runs_lease is CREATE INDEX runs_lease ON runs USING btree (lease_expires_at);"
        " this release has CREATE INDEX runs_lease ON runs USING btree (lease_expires_at)"
        " WHERE (state = ANY (ARRAY['PREPARING'::text, 'RUNNING'::text]))",
    ]


async def _opened_and_held(url: str) -> Verified:
    """While the hub has it open."""
    async with open_store(url):
        return await verify(url)


async def test_verify_changes_nothing_while_a_hub_has_the_file_open(tmp_path: Path) -> None:
    async with open_store(URL, base=tmp_path):
        files = sorted(os.listdir(tmp_path))
        assert await verify(URL, base=tmp_path) == Verified(revisions()[-1], ())
        assert sorted(os.listdir(tmp_path)) == files


# Statements of a program that is killed behind them.
UNFINISHED: Final = {
    "a journal": ("PRAGMA cache_size = 1", "BEGIN", "INSERT INTO t SELECT zeroblob(9999) FROM t, t, t"),
    "a log": ("PRAGMA journal_mode = wal", "INSERT INTO t VALUES (1)"),
}


@pytest.mark.parametrize("name", UNFINISHED)
def test_file_of_a_killed_program_keeps_each_byte(name: str, tmp_path: Path) -> None:
    file = tmp_path / "hub.db"
    with closing(sqlite3.connect(file)) as db, db:
        db.execute("CREATE TABLE t (x)")
        db.executemany("INSERT INTO t VALUES (?)", [(number,) for number in range(8)])
    if not (child := os.fork()):
        program = sqlite3.connect(file, isolation_level=None)
        for statement in UNFINISHED[name]:
            program.execute(statement)
        os._exit(0)
    os.waitpid(child, 0)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if not path.name.endswith("-shm")}
    assert len(before) == 2
    count = partial(sa.Connection.scalar, statement=sa.text("SELECT count(*) FROM t"))
    refused = pytest.raises(DatabaseUnavailable, match=r"not read: .*\(journal hub\.db-journal\)")
    with refused if name == "a journal" else nullcontext():
        assert anyio.run(read_once, URL, count, tmp_path) == 9
    assert {name: (tmp_path / name).read_bytes() for name in before} == before


@pytest.mark.parametrize("name", ["hub.db", "hub.db-journal", "hub.db-wal"])
def test_named_pipe_in_the_place_of_a_file_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "hub.db").write_bytes(b"x" * 512)
    (tmp_path / name).unlink(missing_ok=True)
    os.mkfifo(tmp_path / name)
    with pytest.raises(DatabaseUnavailable, match=f"{name} is no file"):
        anyio.run(partial(schema_version_of, URL, base=tmp_path))


async def test_link_to_itself_is_refused(tmp_path: Path) -> None:
    (tmp_path / "hub.db").symlink_to("hub.db")
    with pytest.raises(DatabaseUnavailable, match="is a link to itself"):
        await schema_version_of(URL, base=tmp_path)


async def test_verify_of_a_missing_database_creates_no_file(tmp_path: Path) -> None:
    with pytest.raises(DatabaseUnavailable, match=r"there is no database .*hub\.db"):
        await verify(URL, base=tmp_path)
    assert os.listdir(tmp_path) == []


# --- the revision of a database ---


async def test_missing_database_lacks_all_revisions_and_is_not_created(tmp_path: Path) -> None:
    standing = await schema_version_of(URL, base=tmp_path)
    assert (standing.current, standing.missing) == (None, tuple(revisions()))
    assert os.listdir(tmp_path) == []


async def test_open_database_of_the_current_release_lacks_no_revision(tmp_path: Path) -> None:
    async with open_store(URL, base=tmp_path):
        standing = await schema_version_of(URL, base=tmp_path)
    assert (standing.current, standing.missing, standing.is_newer) == (revisions()[-1], (), False)


async def test_a_database_of_a_newer_hub_is_reported_as_newer(tmp_path: Path) -> None:
    async with open_store(URL, base=tmp_path):
        pass
    with closing(sqlite3.connect(tmp_path / "hub.db")) as opened:
        opened.execute("UPDATE alembic_version SET version_num = '9999'")
        opened.commit()
    assert (await schema_version_of(URL, base=tmp_path)).is_newer


async def test_schema_version_of_a_server_lists_missing_revisions(postgres: Postgres) -> None:
    with postgres.bare_database() as url:
        assert (await schema_version_of(url)).missing == tuple(revisions())
        async with open_store(url):
            pass
        assert (await schema_version_of(url)).missing == ()


WHOLE = "whole"


def unnamed(planted: list[Fault], broken: list[BrokenRow]) -> list[str]:
    """The faults that no broken row names, and the rows without a fault that are named nevertheless."""
    by_table: dict[str, list[BrokenRow]] = {}
    for row in broken:
        by_table.setdefault(row.table, []).append(row)
    missed = [
        fault.world
        for number, fault in enumerate(planted, start=1)
        if not any(
            row.key.startswith((fault.world, str(1_000 + number), key_id(fault.world.encode())))
            and fault.part in row.what
            for row in by_table.get(fault.table, ())
        )
    ]
    return missed + [str(row) for row in broken if row.key.startswith((WHOLE, "1000"))]


@pytest.fixture(scope="module")
def damaged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A file with every fault, and a world without."""
    path = tmp_path_factory.mktemp("damaged") / "hub.db"
    new_database(path)
    plant(path, faults(), whole=[WHOLE])
    yield path


@pytest.fixture(scope="module")
def verified(damaged: Path) -> Verified:
    return anyio.run(verify, f"sqlite:///{damaged}")


def test_faults_cover_each_kind_and_each_table() -> None:
    assert {fault.table for fault in faults()} == metadata.tables.keys()
    assert {fault.kind for fault in faults()} == {
        *("json", "shape", "element", "check", "reference", "null", "type", "text", "instant"),
    }


def test_every_fault_of_a_file_is_named(verified: Verified) -> None:
    assert (verified.differences, unnamed(list(faults()), list(verified.broken))) == ((), [])


def test_every_fault_of_a_server_without_constraints_is_named(postgres: Postgres) -> None:
    of_rows = ("shape", "element", "check", "reference", "instant")  # it refuses what is of another type
    of_files = {
        constraint.name
        for table in metadata.tables.values()
        for constraint in table.constraints
        if constraint.info.get("dialect") == "sqlite"
    }
    planted = [fault for fault in faults() if fault.kind in of_rows and fault.part not in of_files]
    with postgres.bare_database(tables=True) as url:
        postgres.run(script_for_server(planted, whole=[WHOLE]), url=url)
        found = anyio.run(verify, url)
    assert {difference.part.kind for difference in found.differences} == {"constraint"}
    assert unnamed(planted, list(found.broken)) == []


async def test_a_search_in_parts_finds_the_same_rows(damaged: Path, verified: Verified) -> None:
    found: list[BrokenRow] = []
    async with open_store(f"sqlite:///{damaged}") as store:
        place: SearchPosition | None = SearchPosition("activity_log")
        while place is not None:
            rows, place = await store.read(broken_from, place, most=100)
            found += rows
    assert set(verified.broken) <= set(found)
    assert len(found) == len(set(found))  # each part looks at its own rows

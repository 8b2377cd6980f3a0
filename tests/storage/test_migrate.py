"""The tables, as the migrations lead to them, on each kind of database."""

import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from functools import cache
from pathlib import Path

import anyio
import asyncpg
import pytest
import sqlalchemy as sa

import storage
from protocol.coordination import MetricType
from protocol.ids import AgentId, DeviceId
from storage.agents import measurements
from storage.agents.measurements import HOUR_MS, BucketRetention, SampleRow
from storage.kernel import backup, migrate
from storage.kernel.database import DatabaseUnavailable, FromTheFuture
from storage.kernel.migrate import Release, contracts, releases, revisions, upgrade
from storage.kernel.postgres import open_postgres, run_once
from storage.kernel.verify import Parts, SchemaPart, parts_in
from storage.runs import item_verdicts, items
from storage.schema import metadata
from storage.store import open_store
from tests.release.cut import digest_of, edited_since
from tests.support.blocking import blocking_engine
from tests.support.old_tables import (
    BEFORE_CONTRACT,
    EARLIER_HUB,
    FIRST,
    NEWEST,
    ROWS,
    make_old,
    make_old_tables,
)
from tests.support.postgres import Postgres


def parts_of(path: Path) -> Parts:
    engine = sa.create_engine(f"sqlite:///{path}", poolclass=sa.NullPool)
    with engine.connect() as connection:
        return parts_in(connection)


def tables_in(parts: Parts) -> set[str]:
    return {part.table for part in parts}


def revision_of(path: Path) -> str:
    connection = sqlite3.connect(path)
    (revision,) = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    connection.close()
    return str(revision)


def parts_on(server: Postgres, url: str) -> Parts:
    with blocking_engine(url, server.portal, poolclass=sa.NullPool).connect() as connection:
        return parts_in(connection)


def revision_on(server: Postgres, url: str) -> str:
    return str(server.sql("SELECT version_num FROM alembic_version", url=url)[0][0])


def upgradable() -> list[Release]:
    return [release for release in releases() if release.revision is not None]


@cache
def first_tables() -> bytes:
    """Return a file of the first revision, with an agent of a device in it."""
    engine = sa.create_engine("sqlite://")
    with engine.connect() as c:
        make_old(c)
        c.commit()
        file = c.connection.driver_connection
        assert isinstance(file, sqlite3.Connection)
        return file.serialize()


def older(path: Path, *statements: str) -> Path:
    """Write a file of the first revision."""
    path.write_bytes(first_tables())
    with closing(sqlite3.connect(path)) as opened, opened:
        for statement in statements:
            opened.execute(statement)
    return path


def test_revisions_lead_to_the_tables_of_a_new_file_and_keep_the_rows(tmp_path: Path) -> None:
    replayed = older(tmp_path / "replayed.db", *MEASURED)
    upgrade(replayed)
    upgrade(tmp_path / "new.db")
    new = parts_of(tmp_path / "new.db")
    assert (parts_of(replayed), revision_of(replayed)) == (new, NEWEST)
    assert indexes_of(replayed) == indexes_of(tmp_path / "new.db")
    assert columns_of_the_schema() <= names_of(new, "column")
    with sa.create_engine(f"sqlite:///{replayed}", poolclass=sa.NullPool).begin() as c:
        check_rows(c)


async def test_revisions_lead_to_the_tables_of_a_new_database_and_keep_the_rows(
    postgres: Postgres, bare: str
) -> None:
    await run_once(bare, make_old)
    postgres.run(";".join(MEASURED), url=bare)
    async with open_postgres(bare) as database:
        await database.write(check_rows)
        replayed = parts_on(postgres, bare)
        assert revision_on(postgres, bare) == revisions()[-1]
    with postgres.bare_database() as url:
        async with open_postgres(url):
            new = parts_on(postgres, url)
    assert replayed == new
    assert columns_of_the_schema() <= names_of(new, "column")


def indexes_of(path: Path) -> dict[str, list[str]]:
    """Indexes of each table in their order, which decides between two that are equally good."""
    found: dict[str, list[str]] = {}
    with closing(sqlite3.connect(path)) as opened:
        for table, name in opened.execute(
            "SELECT tbl_name, name FROM sqlite_master WHERE type = 'index' ORDER BY rowid"
        ):
            found.setdefault(table, []).append(name)
    return found


def columns_of_the_schema() -> set[str]:
    return {f"{table.name}.{column.name}" for table in metadata.sorted_tables for column in table.columns}


def names_of(parts: Parts, kind: str) -> set[str]:
    return {f"{part.table}.{part.name}" for part in parts if part.kind == kind}


def test_every_table_is_strict_and_every_constraint_has_a_name(tmp_path: Path) -> None:
    upgrade(tmp_path / "hub.db")
    made = parts_of(tmp_path / "hub.db")
    assert all("STRICT" in made[SchemaPart(name, "table", "")] for name in metadata.tables)
    assert [part for part in made if part.kind == "constraint" and not part.name.isidentifier()] == []


def test_an_up_to_date_database_is_left_alone(tmp_path: Path) -> None:
    upgrade(tmp_path / "hub.db")
    before = (tmp_path / "hub.db").read_bytes()
    upgrade(tmp_path / "hub.db")
    assert ((tmp_path / "hub.db").read_bytes(), revision_of(tmp_path / "hub.db")) == (before, revisions()[-1])


def test_migration_leaving_a_dangling_reference_is_undone(tmp_path: Path) -> None:
    older(tmp_path / "hub.db", "DELETE FROM users")
    with pytest.raises(DatabaseUnavailable, match="cannot be migrated: 2 rows refer to nothing"):
        upgrade(tmp_path / "hub.db")
    assert revision_of(tmp_path / "hub.db") == FIRST


# rows that a hub of 0.1.0 never wrote, and what the message says of each
IN_THE_WAY = {
    "UPDATE agents SET name = ''": "row agents a: violates ck_agents_name;",
    "INSERT INTO agent_state_history (agent_id, seq, axis, new_value, actor, at)"
    " VALUES ('a', 1, 'health', 'online', 'anna', 1)": (
        "row agent_state_history a, 1: violates ck_agent_state_history_new_value;"
    ),
    "INSERT INTO agent_state_history (agent_id, seq, axis, old_value, new_value, actor, at)"
    " VALUES ('a', 2, 'health', 'ill', 'ok', 'anna', 1)": (
        "row agent_state_history a, 2: violates ck_agent_state_history_old_value;"
    ),
}


def test_rows_breaking_a_new_constraint_are_named_and_the_file_is_unchanged(tmp_path: Path) -> None:
    path = older(tmp_path / "hub.db", *IN_THE_WAY)
    before = parts_of(path)
    with pytest.raises(
        DatabaseUnavailable, match=r"migrated: row .*; correct or delete these rows"
    ) as refused:
        upgrade(path)
    assert [named for named in IN_THE_WAY.values() if named not in str(refused.value)] == []
    assert (revision_of(path), parts_of(path)) == (FIRST, before)


async def test_rows_breaking_a_new_constraint_are_named_on_a_server(postgres: Postgres, bare: str) -> None:
    await run_once(bare, make_old)
    postgres.run(";".join(IN_THE_WAY), url=bare)
    with pytest.raises(
        DatabaseUnavailable, match=r"migrated: row .*; correct or delete these rows"
    ) as refused:
        async with open_postgres(bare):
            pass
    assert [named for named in IN_THE_WAY.values() if named not in str(refused.value)] == []
    assert revision_on(postgres, bare) == FIRST


MEASURED = (
    "INSERT INTO agents (id, user_id, name, executor, device_id, created_at, updated_at)"
    " VALUES ('b', 'u', 'mail', 'device', 'd', 1, 1)",
    "INSERT INTO metric_series (id, agent_id, name, metric_type, tags_key, tags, created_at, last_at) VALUES"
    " ('1', 'a', 'hub.runs', 'counter', '{\"outcome\":\"error\"}', '{\"outcome\":\"error\"}', 1, 9),"
    " ('2', 'b', 'hub.runs', 'counter', '{\"outcome\":\"error\"}', '{\"outcome\":\"error\"}', 1, 9),"
    " ('3', 'a', 'sent', 'counter', '', '{}', 1, 9)",
    "INSERT INTO agent_metrics (series_id, bucket_ms, bucket_at, n, sum, min, max, last, last_at) VALUES"
    " ('1', 3600000, 0, 2, 5, 1, 4, 4, 9), ('2', 3600000, 0, 2, 5, 1, 4, 4, 9),"
    " ('3', 3600000, 0, 2, 5, 1, 4, 4, 9)",
)


def check_rows(c: sa.Connection) -> None:
    """Check that rows of tables that were rebuilt stay, and the work of agents is that of the hub too."""
    devices = c.exec_driver_sql("SELECT id, device_id FROM agents ORDER BY id").all()
    assert devices == [("a", "d"), ("b", "d")]
    (series,) = measurements.list_series(c, None)
    (hour,) = measurements.list_buckets(c, [series.id], size_ms=HOUR_MS, since=0, until=1)
    assert (series.name, series.tags, hour.n, hour.sum) == ("hub.runs", {"outcome": "error"}, 4, 10)
    retention = BucketRetention(minutes_from=0, hours_from=0)
    more = SampleRow(
        agent_id=None, name="hub.runs", value=1, at=8, type=MetricType.COUNTER, tags={"outcome": "error"}
    )
    measurements.record(c, [more], at=9, retention=retention)
    (hour,) = measurements.list_buckets(c, [series.id], size_ms=HOUR_MS, since=0, until=1)
    assert hour.sum == 11, "the same series goes on"


@pytest.mark.parametrize("revision", [FIRST, BEFORE_CONTRACT])
def test_tables_of_a_state_between_releases_are_refused(tmp_path: Path, revision: str) -> None:
    upgrade(tmp_path / "hub.db")
    with closing(sqlite3.connect(tmp_path / "hub.db")) as opened, opened:
        opened.execute("UPDATE alembic_version SET version_num = ?", [revision])
    with pytest.raises(
        DatabaseUnavailable, match=r"a hub between two releases made its tables.*start with a new"
    ):
        upgrade(tmp_path / "hub.db")
    assert revision_of(tmp_path / "hub.db") == revision


@pytest.mark.parametrize(
    ("revision", "error", "told"),
    [
        ("0999", FromTheFuture, r"newer hub.*revision 0999"),
        ("0000", DatabaseUnavailable, r"revision 0000.*oldest.* is 0001: let .*hub.* upgrade it first"),
    ],
)
def test_a_database_of_a_newer_hub_or_older_than_all_releases_is_refused_with_a_way_out(
    tmp_path: Path, revision: str, error: type[Exception], told: str
) -> None:
    upgrade(tmp_path / "hub.db")
    with closing(sqlite3.connect(tmp_path / "hub.db")) as opened, opened:
        opened.execute("UPDATE alembic_version SET version_num = ?", [revision])
    with pytest.raises(error, match=told):
        upgrade(tmp_path / "hub.db")
    assert revision_of(tmp_path / "hub.db") == revision


def test_revisions_of_releases_exist_and_were_not_edited_since() -> None:
    """See ``hub/docs/release.md``: a change of released tables is a revision of its own."""
    assert edited_since(releases()) == []
    assert {release.revision for release in upgradable()} <= set(revisions())


def test_edited_revision_of_a_release_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    released = Release("9.0.0", commit=None, revision=revisions()[-1], digest=digest_of(revisions()[-1]))
    monkeypatch.setattr(migrate, "MIGRATIONS", shutil.copytree(migrate.MIGRATIONS, tmp_path / "migrations"))
    (first,) = (tmp_path / "migrations/versions").glob(f"{FIRST}_*.py")
    first.write_text(first.read_text("utf-8").replace("TEXT", "text", 1), "utf-8")
    assert edited_since([released]) == [f"revision {released.revision} or an earlier one of hub 9.0.0"]


@pytest.mark.parametrize("release", upgradable()[1:], ids=lambda release: release.version)
def test_tables_of_each_release_migrate_to_the_tables_of_a_new_file(tmp_path: Path, release: Release) -> None:
    assert release.revision is not None
    with sa.create_engine(f"sqlite:///{tmp_path}/old.db", poolclass=sa.NullPool).begin() as c:
        make_old_tables(c, release.revision)
    upgrade(tmp_path / "old.db")
    upgrade(tmp_path / "new.db")
    assert parts_of(tmp_path / "old.db") == parts_of(tmp_path / "new.db")


_ITEM = (
    "user_id, agent_id, device_id, unit_key, target_table, likeness, quote_hash, place_hash,"
    " config_fingerprint, run_id, created_at, updated_at) VALUES (",
    ", 'u', 'a', 'd', 'notes/a.md', 'tasks', 'l', 'q', 'p', 'f', 'r', 1, 1)",
)
_GIVEN = "INSERT INTO item_verdicts (id, item_id, user_id, device_id, seen_call, next_at, actor, created_at,"
VERDICTS = (  # of the last release: a rejection that is done, and an approval with values on its way
    f"INSERT INTO items (id, call_id, row_id, answered_at, verdict, verdict_at, {_ITEM[0]}"
    f"'i-1', 'c-1', 'row-1', 1, 'rejected', 2{_ITEM[1]}",
    f"INSERT INTO items (id, call_id, row_id, answered_at, {_ITEM[0]}'i-2', 'c-2', 'row-2', 1{_ITEM[1]}",
    f"{_GIVEN} verdict, state, settled_at, source)"
    " VALUES ('v-1', 'i-1', 'u', 'd', 'c-1', 1, 'anna', 1, 'reject', 'done', 2, '{\"path\": \"a.md\"}')",
    f"{_GIVEN} verdict, data)"
    " VALUES ('v-2', 'i-2', 'u', 'd', 'c-2', 1, 'anna', 1, 'approve', '{\"title\": \"x\"}')",
)


def check_verdicts(c: sa.Connection) -> None:
    """Check that a rejection teaches as before, and that an approval is sent as given."""
    given = item_verdicts.newest_verdicts(c, ["i-1", "i-2"])
    assert [(row.seen_row, row.led_by) for row in given.values()] == [(None, None)] * 2
    assert given["i-1"].source == {"path": "a.md"}
    assert items.get_item(c, "i-1")[0].same_as is None
    kinds = items.decided_kinds(c, AgentId("a"))
    assert kinds.units == {"notes/a.md"}
    (due,) = item_verdicts.due(c, DeviceId("d"), epoch=1, at=9, limit=9)
    assert (due.id, due.data) == ("v-2", {"title": "x"})


def make_verdicts(c: sa.Connection) -> None:
    """Create the tables of the last release with verdicts in them."""
    make_old_tables(c, upgradable()[-1].revision or "")
    for statement in (*ROWS, *VERDICTS):
        c.exec_driver_sql(statement)


async def test_verdicts_of_the_last_release_go_on_after_an_upgrade(
    tmp_path: Path, postgres: Postgres, bare: str
) -> None:
    await run_once(bare, make_verdicts)
    with sa.create_engine(f"sqlite:///{tmp_path}/hub.db", poolclass=sa.NullPool).begin() as c:
        make_verdicts(c)
    for url in (bare, f"sqlite:///{tmp_path}/hub.db"):
        async with open_store(url) as store:
            await store.write(check_verdicts)


async def test_snapshot_of_the_last_release_is_restored_and_goes_on(tmp_path: Path) -> None:
    older_state, state, snapshot = tmp_path / "older", tmp_path / "state", tmp_path / "hub.backup"
    for folder in (older_state, state):
        folder.mkdir(mode=0o700)
    with sa.create_engine(f"sqlite:///{older_state}/hub.db", poolclass=sa.NullPool).begin() as c:
        make_verdicts(c)
    backup.make(snapshot, database=older_state / "hub.db", others={}, at=1, version="0.2.0")
    async with open_store(f"sqlite:///{state}/hub.db"):
        pass
    backup.restore(snapshot, state=state, database=state / "hub.db", at=2)
    async with open_store(f"sqlite:///{state}/hub.db") as store:
        await store.write(check_verdicts)


async def test_a_server_of_a_newer_hub_is_refused_with_a_way_out(postgres: Postgres, bare: str) -> None:
    async with open_postgres(bare):
        pass
    postgres.sql("UPDATE alembic_version SET version_num = '0999'", url=bare)
    with pytest.raises(FromTheFuture, match=r"newer hub.*revision 0999"):
        async with open_postgres(bare):
            pass
    assert revision_on(postgres, bare) == "0999"


async def test_contract_migration_waits_until_a_hub_of_an_earlier_release_ends(
    postgres: Postgres, bare: str
) -> None:
    await run_once(bare, make_old)
    postgres.run(EARLIER_HUB, url=bare)
    for revision in ("NULL", f"'{BEFORE_CONTRACT}'"):
        async with open_postgres(bare):
            pass
        assert revision_on(postgres, bare) == BEFORE_CONTRACT
        postgres.run(f"UPDATE nodes SET revision = {revision}", url=bare)
    async with open_postgres(bare):
        pass
    assert revision_on(postgres, bare) == BEFORE_CONTRACT
    postgres.run("UPDATE devices SET connectivity = 'online'", url=bare)  # as that hub does
    postgres.run("UPDATE leases SET expires_at = 1", url=bare)
    async with open_postgres(bare):
        pass
    assert revision_on(postgres, bare) == NEWEST


MIGRATE = """
import sys
from pathlib import Path
from storage.kernel.migrate import upgrade

upgrade(Path(sys.argv[1]))
"""


MIGRATE_SERVER = """
import sys
import anyio
from storage.kernel.postgres import open_postgres, run_once

async def main():
    async with open_postgres(sys.argv[1]):
        pass

anyio.run(main)
"""


def twice_at_once(command: Sequence[str]) -> list[tuple[int, str]]:
    """The exit codes of two processes, and what they complained of."""
    processes = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    errors = [process.communicate()[1] for process in processes]
    return [(process.returncode, error) for process, error in zip(processes, errors, strict=True)]


@pytest.mark.slow
def test_two_processes_may_migrate_at_once(tmp_path: Path) -> None:
    assert twice_at_once([sys.executable, "-c", MIGRATE, str(tmp_path / "hub.db")]) == [(0, "")] * 2
    assert revision_of(tmp_path / "hub.db") == revisions()[-1]


@pytest.mark.soak
def test_two_hubs_may_migrate_a_server_at_once(postgres: Postgres, bare: str) -> None:
    assert twice_at_once([sys.executable, "-c", MIGRATE_SERVER, bare]) == [(0, "")] * 2
    assert revision_on(postgres, bare) == revisions()[-1]


KILLED = """
import os
import sqlalchemy as sa

@sa.event.listens_for(sa.engine.Engine, "after_cursor_execute")
def watch(connection, cursor, statement, *rest):
    if "CREATE TABLE runs" in statement:
        os.kill(os.getpid(), 9)
"""


def test_killed_migration_leaves_the_database_file_unchanged(tmp_path: Path) -> None:
    path = tmp_path / "hub.db"
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 7")  # which makes the file
    connection.close()
    before = path.read_bytes()
    assert subprocess.run([sys.executable, "-c", KILLED + MIGRATE, str(path)], check=False).returncode == -9
    assert tables_in(parts_of(path)) == set()
    assert path.read_bytes() == before
    upgrade(path)
    assert "runs" in tables_in(parts_of(path))


def test_database_of_another_program_gets_no_tables_of_a_hub(tmp_path: Path) -> None:
    path = tmp_path / "hub.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE mine (x TEXT)")
    connection.close()
    with pytest.raises(DatabaseUnavailable, match="of another program, with the table mine"):
        upgrade(path)
    assert tables_in(parts_of(path)) == {"mine"}


async def test_database_of_a_server_with_a_table_of_the_same_name_gets_no_tables_of_a_hub(
    postgres: Postgres, bare: str
) -> None:
    postgres.run("CREATE TABLE mine (x TEXT); CREATE TABLE users (x TEXT)", url=bare)
    with pytest.raises(DatabaseUnavailable, match="of another program, with the table users"):
        async with open_postgres(bare):
            pass
    assert await run_once(bare, lambda c: set(sa.inspect(c).get_table_names())) == {"mine", "users"}


@pytest.mark.soak
async def test_killed_migration_leaves_the_server_unchanged(postgres: Postgres, bare: str) -> None:
    command = [sys.executable, "-c", KILLED + MIGRATE_SERVER, bare]
    assert ((await anyio.run_process(command, check=False)).returncode, parts_on(postgres, bare)) == (-9, {})
    async with open_postgres(bare):
        assert revision_on(postgres, bare) == revisions()[-1]


def test_a_hub_whose_database_is_up_to_date_does_not_load_the_migration_tool(tmp_path: Path) -> None:
    upgrade(tmp_path / "hub.db")
    code = MIGRATE + "import storage.store\nassert 'alembic' not in sys.modules"
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "hub.db")], check=True)


def test_every_table_is_described() -> None:
    page = (Path(storage.__file__).parent / "SCHEMA.md").read_text()
    assert set(re.findall(r"^\| `(\w+)` \|", page, flags=re.MULTILINE)) == metadata.tables.keys()


def test_a_contract_is_followed_by_revisions_of_a_later_release_only() -> None:
    released = [release.revision for release in upgradable() if release.revision is not None]
    for contract in contracts():
        end = next((one for one in released if one >= contract), revisions()[-1])
        assert [one for one in revisions() if contract < one <= end and one not in contracts()] == []


async def test_migration_in_a_deadlock_with_a_job_completes_after_the_job(
    postgres: Postgres, bare: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.kernel.postgres.MIGRATION_WAITS_S", ())  # no second try
    await run_once(bare, make_old)
    job = await asyncpg.connect(bare)

    async def finish() -> None:
        await postgres.waits(bare)  # the migration has the agents, and waits for the runs
        with pytest.raises(asyncpg.DeadlockDetectedError):
            await job.execute("DELETE FROM agents WHERE false")
        await job.close()

    await job.execute("BEGIN; DELETE FROM runs WHERE false")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(finish)
        async with open_postgres(bare):
            pass
    assert revision_on(postgres, bare) == NEWEST

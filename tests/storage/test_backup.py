"""A backup is whole or not there, says when it is damaged, and becomes a hub's state again."""

import os
import sqlite3
import tarfile
from collections.abc import Callable, Iterator
from contextlib import closing
from io import BytesIO
from pathlib import Path

import anyio
import msgspec
import pytest
import sqlalchemy as sa

from hub.cli.errors import as_failure
from protocol.ids import BootId, NodeId, UserId
from storage import leases as stored_leases
from storage.database_copy import TABLES, Copied, NotEmpty, copy_database
from storage.devices import nodes, users
from storage.kernel import identity
from storage.kernel.backup import (
    DATABASE,
    MANIFEST,
    BackupManifest,
    BackupRefused,
    checked,
    make,
    restore,
    verify,
)
from storage.kernel.database import Busy, DatabaseUnavailable, held_alone
from storage.schema import hub, leases, metric_series
from storage.store import Store, open_store
from tests.storage.jobs import add as add_user
from tests.support.database import new_database
from tests.support.families import each
from tests.support.filling import fill
from tests.support.postgres import Postgres

AT = 1_767_600_000_000
ASIDE = "before-restore-20260105T080000Z"


@pytest.fixture
async def state(tmp_path: Path) -> Path:
    """The folder of a hub that knows Anna."""
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    new_database(state / "hub.db")
    async with open_store("sqlite:///hub.db", base=state) as store:
        await store.write(identity.ensure_hub_id, "hub-1")
        await store.write(users.ensure_user, UserId("anna"), "anna", AT)
    (state / "node_id").write_text("node-1\n")
    return state


def back_up(state: Path, name: str = "one") -> Path:
    target = state.parent / name
    others = {"node_id": (state / "node_id").read_bytes()}
    make(target, database=state / "hub.db", others=others, at=AT, version="0.1.0")
    return target


def people(database: Path) -> list[str]:
    with closing(sqlite3.connect(database)) as opened:
        return [name for (name,) in opened.execute("SELECT name FROM users ORDER BY name")]


async def add(state: Path, name: str) -> None:
    async with open_store("sqlite:///hub.db", base=state) as store:
        await store.write(users.ensure_user, UserId(name), name, AT)


@pytest.fixture
def file(state: Path) -> Path:
    """A backup of the hub's state."""
    return back_up(state)


async def test_backup_made_while_the_hub_writes_contains_the_committed_rows(state: Path) -> None:
    async with open_store("sqlite:///hub.db", base=state) as store:
        await store.write(users.ensure_user, UserId("bo"), "bo", AT)  # in the log, not in the file yet
        file = await anyio.to_thread.run_sync(back_up, state)
        await store.write(users.ensure_user, UserId("cy"), "cy", AT)
    manifest = verify(file)
    assert (manifest.hub_id, manifest.version, manifest.made_at) == ("hub-1", "0.1.0", AT)
    assert (set(manifest.files), file.stat().st_mode & 0o777) == ({DATABASE, "node_id"}, 0o600)
    with tarfile.open(file) as archive:
        archive.extract(DATABASE, state.parent, filter="data")
    assert people(state.parent / DATABASE) == ["anna", "bo"]


async def test_backup_to_an_existing_file_is_refused(state: Path) -> None:
    (state.parent / "one").write_text("holiday pictures")
    with pytest.raises(BackupRefused, match="is there already"):
        back_up(state)
    assert (state.parent / "one").read_text() == "holiday pictures"


async def test_a_damaged_database_is_not_backed_up(state: Path) -> None:
    database = state / "hub.db"
    with database.open("r+b") as file:
        file.seek(4096 * 3)
        file.write(os.urandom(4096 * 4))
    with pytest.raises((BackupRefused, DatabaseUnavailable)):
        back_up(state)
    assert os.listdir(state.parent) == ["state"], "nothing half-done is left"


BROKEN_ROWS = (
    "INSERT INTO devices (id, user_id, name, created_at) VALUES ('d', 'nobody', 'desk', 1)",
    "INSERT INTO agents (id, user_id, name, executor, created_at, updated_at)"
    " VALUES ('a', 'anna', 'x', 'odd', 1, 1)",
)


@pytest.mark.parametrize("statement", BROKEN_ROWS, ids=["reference", "check"])
async def test_a_database_with_a_broken_row_is_backed_up_and_restored(state: Path, statement: str) -> None:
    assert not verify(back_up(state, "whole")).has_broken_rows
    with closing(sqlite3.connect(state / "hub.db")) as opened, opened:
        opened.execute("PRAGMA ignore_check_constraints = on")
        opened.execute(statement)
    file = back_up(state)
    assert verify(file).has_broken_rows
    restore(file, state, database=state / "hub.db", at=AT)
    assert people(state / "hub.db") == ["anna"]


async def test_database_file_whose_index_lacks_a_row_is_not_backed_up(state: Path) -> None:
    with closing(sqlite3.connect(state / "hub.db")) as opened, opened:
        opened.execute("PRAGMA ignore_check_constraints = on")
        opened.execute(BROKEN_ROWS[1])
        opened.execute("CREATE INDEX i ON users (id)")
        opened.execute("PRAGMA writable_schema = on")
        opened.execute("UPDATE sqlite_master SET sql = 'CREATE INDEX i ON users (name, id)' WHERE name = 'i'")
    with pytest.raises(BackupRefused, match="the database is damaged"):
        checked(state / "hub.db")


def _cut_off(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def _flip_a_bit(file: Path) -> None:
    with file.open("r+b") as opened:
        opened.seek(file.stat().st_size // 2)
        (byte,) = opened.read(1)
        opened.seek(-1, os.SEEK_CUR)
        opened.write(bytes([byte ^ 1]))


def _take_the_database_out(file: Path) -> None:
    _repack(file, keep={MANIFEST, "node_id"})


def _name_a_file_elsewhere(file: Path) -> None:
    _repack(
        file,
        change=lambda told: msgspec.structs.replace(told, files=told.files | {"../x": told.files[DATABASE]}),
    )


def _come_from_the_future(file: Path) -> None:
    _repack(file, change=lambda told: msgspec.structs.replace(told, revision="9999"))


def _come_from_an_unsupported_release(file: Path) -> None:
    _repack(file, change=lambda told: msgspec.structs.replace(told, revision="0000"))


def _be_something_else(file: Path) -> None:
    file.write_bytes(b"a holiday picture" * 1_000)


def _repack(
    file: Path,
    *,
    keep: set[str] | None = None,
    change: Callable[[BackupManifest], BackupManifest] = lambda told: told,
) -> None:
    with tarfile.open(file) as archive:
        parts = {name: archive.extractfile(name) for name in archive.getnames()}
        texts = {name: part.read() for name, part in parts.items() if part is not None}
    texts[MANIFEST] = msgspec.json.encode(change(msgspec.json.decode(texts[MANIFEST], type=BackupManifest)))
    with tarfile.open(file, "w") as archive:
        for name, text in texts.items():
            if keep is None or name in keep:
                member = tarfile.TarInfo(name)
                member.size = len(text)
                archive.addfile(member, BytesIO(text))


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (_cut_off, "damaged|cut off"),
        (_flip_a_bit, "damaged: hub.db is not what was backed up"),
        (_take_the_database_out, "has no hub.db"),
        (_name_a_file_elsewhere, "names other files"),
        (_come_from_the_future, "by a newer hub: its tables are of revision 9999"),
        (_come_from_an_unsupported_release, "the oldest that this hub upgrades is 0001"),
        (_be_something_else, "no backup of a hub"),
    ],
)
async def test_damaged_backup_is_refused_and_restores_nothing(
    state: Path, file: Path, damage: Callable[[Path], None], told: str
) -> None:
    damage(file)
    with pytest.raises(BackupRefused, match=told):
        verify(file)
    await add(state, "bo")
    with pytest.raises(BackupRefused, match=told):
        restore(file, state, database=state / "hub.db", at=AT)
    assert people(state / "hub.db") == ["anna", "bo"]
    assert not (state / ASIDE).exists()


async def test_restore_replaces_the_state_and_sets_the_replaced_files_aside(state: Path, file: Path) -> None:
    await add(state, "bo")
    (state / "node_id").write_text("node-2\n")

    _, aside = restore(file, state, database=state / "hub.db", at=AT)

    assert (people(state / "hub.db"), (state / "node_id").read_text()) == (["anna"], "node-1\n")
    assert (aside, people(state / ASIDE / "hub.db")) == (state / ASIDE, ["anna", "bo"])
    assert (state / ASIDE / "node_id").read_text() == "node-2\n"
    async with open_store("sqlite:///hub.db", base=state) as store:
        assert await store.write(identity.ensure_hub_id, "another") == "hub-1"


async def test_a_restore_into_an_empty_folder_sets_nothing_aside(state: Path, tmp_path: Path) -> None:
    fresh = tmp_path / "fresh"
    _, aside = restore(back_up(state), fresh, database=fresh / "hub.db", at=AT)
    assert aside is None
    assert people(fresh / "hub.db") == ["anna"]


async def test_restored_files_are_readable_by_the_hub_user_alone(state: Path, tmp_path: Path) -> None:
    fresh = tmp_path / "fresh"
    restore(back_up(state), fresh, database=fresh / "hub.db", at=AT)
    assert [(fresh / name).stat().st_mode & 0o777 for name in ("hub.db", "node_id")] == [0o600, 0o600]


async def test_log_left_by_a_dead_hub_does_not_get_into_the_restored_database(
    state: Path, file: Path
) -> None:
    with closing(sqlite3.connect(state / "hub.db")) as open_still:
        open_still.execute("INSERT INTO users (id, name, created_at) SELECT 'x', 'x', created_at FROM users")
        open_still.commit()
        left = (state / "hub.db-wal").read_bytes()
        database = (state / "hub.db").read_bytes()
    (state / "hub.db").write_bytes(database)  # as if the machine had lost its power just then
    (state / "hub.db-wal").write_bytes(left)

    restore(file, state, database=state / "hub.db", at=AT)

    assert (people(state / "hub.db"), people(state / ASIDE / "hub.db")) == (["anna"], ["anna", "x"])


async def test_restore_is_refused_while_the_hub_runs(state: Path, file: Path) -> None:
    async with open_store("sqlite:///hub.db", base=state):
        with pytest.raises(Busy, match="stop it first"):
            restore(file, state, database=state / "hub.db", at=AT)
    assert not (state / ASIDE).exists()


async def test_backup_of_an_unreadable_database_names_the_database_in_the_error(state: Path) -> None:
    (state / f"{DATABASE}-wal").mkdir()  # as in a folder that cannot be written
    with pytest.raises(DatabaseUnavailable, match=r"^cannot read the database .*hub\.db: "):
        back_up(state)


def test_backup_of_a_missing_database_creates_no_file(tmp_path: Path) -> None:
    with pytest.raises(DatabaseUnavailable, match="no database"):
        make(tmp_path / "one", database=tmp_path / "hub.db", others={}, at=AT, version="0.1.0")
    assert os.listdir(tmp_path) == []


async def test_restored_hub_backed_up_while_running_counts_no_crash(state: Path) -> None:
    async with open_store("sqlite:///hub.db", base=state) as store:
        await store.write(nodes.begin_boot, NodeId("node-1"), BootId("one"), AT)
    restore(back_up(state), state, database=state / "hub.db", at=AT)
    async with open_store("sqlite:///hub.db", base=state) as store:
        boot = await store.write(nodes.begin_boot, NodeId("node-1"), BootId("two"), AT + 1)
    assert boot.boots_10min == 1


def test_file_replacing_an_open_database_is_not_backed_up(tmp_path: Path) -> None:
    database, other = tmp_path / "hub.db", tmp_path / "other.db"
    new_database(database)
    new_database(other)
    with held_alone(database):
        make(tmp_path / "before", database=database, others={}, at=1, version="0")
        other.replace(database)
        with pytest.raises(DatabaseUnavailable, match="was replaced by another file"):
            make(tmp_path / "meanwhile", database=database, others={}, at=1, version="0")
    make(tmp_path / "after", database=database, others={}, at=1, version="0")
    assert not (tmp_path / "meanwhile").exists()


ROWS = {table.name: 3 for table in TABLES}


@pytest.fixture
def server(postgres: Postgres) -> Iterator[str]:
    with postgres.bare_database() as url:
        yield url


@pytest.fixture
def file_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/hub.db"


async def _copy(source: str, target: str) -> list[Copied]:
    copied: list[Copied] = []
    await copy_database(source, target, on_table=copied.append)
    return copied


def _odd_values(c: sa.Connection) -> None:
    c.execute(sa.insert(hub), {"key": "odd", "value": "a\0b"})
    of_hub = {"id": "h", "agent_id": None, "name": "hub.runs", "tags_key": "", "created_at": 1, "last_at": 1}
    c.execute(sa.insert(metric_series), of_hub)


@pytest.mark.slow
async def test_database_copied_to_a_server_and_back_has_the_same_rows(
    file_url: str, server: str, tmp_path: Path
) -> None:
    async with open_store(file_url) as store:
        await store.write(fill, ROWS)
        await store.write(_odd_values)
    there = await _copy(file_url, server)
    assert there == (await _copy(server, f"sqlite:///{tmp_path}/back.db"))
    assert {one.table: one.rows for one in there} == ROWS | {"hub": 4, "metric_series": 4}


async def test_lease_of_a_dead_hub_does_not_live_on_in_the_copy(file_url: str, server: str) -> None:
    async with open_store(file_url) as store:
        await store.write(stored_leases.beat, NodeId("n"), BootId("died"), ttl_ms=stored_leases.ALONE_MS)
    await _copy(file_url, server)
    async with open_store(server) as store:
        assert await store.read(stored_leases.lives_until, NodeId("n")) is None
        assert await store.read(lambda c: c.execute(sa.select(leases.c.fence)).scalar_one()) > 0


async def test_copy_into_a_database_with_rows_is_refused(file_url: str, server: str) -> None:
    await _filled(file_url)
    await _filled(server)
    with pytest.raises(NotEmpty, match="is not empty: its table users has rows") as refused:
        await _copy(file_url, server)
    assert "name an empty database" in as_failure(refused.value).next_step


async def _filled(url: str) -> None:
    async with open_store(url) as store:
        await store.write(add_user, "anna")


async def test_database_copy_is_refused_while_a_hub_runs_on_the_database(
    file_url: str, server: str, tmp_path: Path
) -> None:
    async with open_store(file_url):
        with pytest.raises(Busy, match=r"stop it first$"):  # a folder of its own would be another hub's
            await _copy(file_url, server)
    async with open_store(server) as store:
        await _live(store)
        with pytest.raises(Busy, match=r"a hub is running on postgresql://.*: stop it first"):
            await _copy(server, f"sqlite:///{tmp_path}/back.db")


async def _live(store: Store) -> None:
    await store.write(stored_leases.beat, NodeId("n"), BootId("b"), ttl_ms=30_000)


async def test_database_copy_of_a_broken_row_names_the_table_and_writes_nothing(
    file_url: str, server: str
) -> None:
    def break_one(c: sa.Connection) -> None:
        c.exec_driver_sql("PRAGMA ignore_check_constraints=on")
        c.exec_driver_sql("UPDATE agents SET data_types = 'no JSON'")

    async with open_store(file_url) as store:
        await store.write(fill, ROWS)
        await store.write(break_one)
    with pytest.raises(
        DatabaseUnavailable, match="agents has a broken row, which 'hub migrate verify' names"
    ):
        await _copy(file_url, server)
    async with open_store(server) as store:
        assert await store.read(lambda c: c.execute(sa.select(hub)).all()) == []


@each(
    ("source", "target", "fault"),
    [
        ("sqlite:////a.db", "sqlite:////b.db", "use 'hub backup' for two files"),
        ("postgresql://a/a", "postgresql://b/b", "pg_dump for two servers"),
        ("sqlite:////missing.db", "postgresql://b/b", "there is no database /missing.db"),
        ("sqlite://", "postgresql://b/b", "in memory cannot be copied"),
    ],
)
async def test_impossible_database_copy_is_refused_with_a_reason(
    source: str, target: str, fault: str
) -> None:
    with pytest.raises(DatabaseUnavailable, match=fault):
        await _copy(source, target)

"""A hub starts on the database that its state folder belongs to, and on no other one without being told."""

import os
import shutil
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from datetime import timedelta
from itertools import product
from pathlib import Path
from typing import Final

import pytest

from hub.app.state_database import begin_anew, check_database, write_hub_id
from hub.base.clock import epoch_ms
from hub.health.backups import DAILY, FOLDER, SUFFIX, Backups, check_other_backups, sort_backups
from protocol.errors import CodedError, ErrorCode
from storage import audit
from storage.kernel import backup, identity
from storage.kernel.database import StorageError
from storage.store import open_store
from tests.support.clock import START, FakeClock
from tests.support.database import new_database
from tests.support.services import running
from tests.support.wire import until

URL: Final = "sqlite:///hub.db"
LATER: Final = START + timedelta(days=3)
Database = Callable[[Path], Awaitable[None]]
Beside = Callable[[Path, Path], Awaitable[None]]
Event = Callable[[Path, Path, FakeClock], Awaitable[None]]


def name_of(case: Callable[..., object]) -> str:
    return case.__name__


async def use(state: Path, hub_id: str, *, entries: int = 1) -> None:
    """Let a hub use the database, which it makes if it is missing."""
    if not (state / "hub.db").exists():
        new_database(state / "hub.db")
    async with open_store(URL, base=state) as store:
        await store.write(identity.ensure_hub_id, hub_id)
        for _ in range(entries):
            await store.write(audit.append, at=epoch_ms(START), actor="hub", event="hub.started")


def back_up(state: Path, name: str = "20260101T000000Z", to: Path | None = None) -> Path:
    folder = (to or state) / FOLDER
    folder.mkdir(exist_ok=True)
    file = folder / f"{name}{SUFFIX}"
    backup.make(file, database=state / "hub.db", others={}, at=epoch_ms(START), version="1")
    return file


async def as_it_was(state: Path) -> None:
    await use(state, "hub-a")


async def missing(state: Path) -> None:
    pass


async def empty(state: Path) -> None:
    (state / "hub.db").touch()


async def tables_without_a_hub(state: Path) -> None:
    new_database(state / "hub.db")


async def garbage(state: Path) -> None:
    (state / "hub.db").write_bytes(b"garbage" * 1_000)


async def of_another_hub(state: Path) -> None:
    await use(state, "hub-b")


async def of_another_program(state: Path) -> None:
    with closing(sqlite3.connect(state / "hub.db")) as opened:
        opened.execute("CREATE TABLE songs (title TEXT)")


async def a_folder(state: Path) -> None:
    (state / "hub.db").mkdir()


DATABASES: Final = (
    *(as_it_was, missing, empty, tables_without_a_hub),
    *(garbage, of_another_hub, of_another_program, a_folder),
)


async def nothing(state: Path, elsewhere: Path) -> None:
    (state / "node_id").write_text("node-1\n")  # of a first start that came no further


async def keys(state: Path, elsewhere: Path) -> None:
    (state / "keys").mkdir()
    (state / "keys" / "credentials.keys").touch()


async def backups(state: Path, elsewhere: Path) -> None:
    await use(elsewhere, "hub-a")
    back_up(elsewhere, to=state)


async def damaged_backups(state: Path, elsewhere: Path) -> None:
    (state / FOLDER).mkdir()
    (state / FOLDER / f"20260103T000000Z{SUFFIX}").write_bytes(bytes(1_000))


async def the_id(state: Path, elsewhere: Path) -> None:
    write_hub_id(URL, state, "hub-a")


async def backups_of_both(state: Path, elsewhere: Path) -> None:
    await use(elsewhere, "hub-b")
    back_up(elsewhere, "20260102T000000Z", to=state)
    os.remove(elsewhere / "hub.db")
    await backups(state, elsewhere)


async def all_of_it(state: Path, elsewhere: Path) -> None:
    for evidence in (backups_of_both, the_id, keys):
        await evidence(state, elsewhere)


BESIDE: Final = (nothing, keys, damaged_backups, backups, the_id, backups_of_both, all_of_it)

LOST: Final = "is missing or empty"
DAMAGED: Final = "file is not a database"
FOREIGN: Final = "is of another hub, hub-b"
# What is said at a start, by what is beside the database; "" is a start. Where nothing is, or keys or
# backups of a hub that nothing names, any hub's database may be there.
SAID: Final = {
    "as_it_was": ("",) * 7,
    "missing": ("", *(LOST,) * 6),
    "empty": ("", *(LOST,) * 6),
    "tables_without_a_hub": ("", *(LOST,) * 6),
    "garbage": ("", *(DAMAGED,) * 6),
    "of_another_hub": ("", "", "", FOREIGN, FOREIGN, "", FOREIGN),
    "of_another_program": ("", *(LOST,) * 6),
    "a_folder": ("unable to open",) * 7,
}
# Where no start is refused by what is beside it, the database itself is.
OPENED: Final = {"garbage": "damaged", "of_another_program": "another program, with the table songs"}


@pytest.mark.parametrize(("database", "beside"), [*product(DATABASES, BESIDE)], ids=name_of)
async def test_database_foreign_to_the_state_folder_is_refused_with_both_ways_on(
    tmp_path: Path, database: Database, beside: Beside
) -> None:
    state, elsewhere = tmp_path / "state", tmp_path / "elsewhere"
    state.mkdir()
    elsewhere.mkdir()
    await database(state)
    await beside(state, elsewhere)
    said = SAID[name_of(database)][BESIDE.index(beside)]
    before = sorted(state.rglob("*"))
    if not said:
        await check_database(URL, state)
    elif database is a_folder:
        with pytest.raises(StorageError, match=said):
            await check_database(URL, state)
    else:
        with pytest.raises(CodedError, match=said) as refused:
            await check_database(URL, state)
        assert refused.value.code == ErrorCode.BAD_SETTINGS  # 78, after which systemd does not try again
        newest = state / FOLDER / f"20260101T000000Z{SUFFIX}"
        if beside is backups_of_both:  # where nothing says whose the folder is
            newest = state / FOLDER / f"20260102T000000Z{SUFFIX}"
        way = f"hub restore {newest}" if newest.exists() else "hub restore FILE"
        assert way in refused.value.hint
        assert "hub restore --anew" in refused.value.hint
    assert sorted(state.rglob("*")) == before  # nothing was made or lost
    if not said and (words := OPENED.get(name_of(database))) is not None:
        with pytest.raises(StorageError, match=words):
            async with open_store(URL, base=state):
                pass


async def test_damaged_backup_is_not_suggested_for_restore(tmp_path: Path) -> None:
    await use(tmp_path, "hub-a")
    good = back_up(tmp_path)
    bad = back_up(tmp_path, "20260103T000000Z")
    bad.write_bytes(bad.read_bytes()[:-40_000])
    os.remove(tmp_path / "hub.db")
    with pytest.raises(CodedError) as refused:
        await check_database(URL, tmp_path)
    assert f"hub restore {good};" in refused.value.hint


async def test_restore_and_a_new_beginning_are_both_followed_by_a_start(tmp_path: Path) -> None:
    await use(tmp_path, "hub-a")
    file = back_up(tmp_path)
    (tmp_path / "hub.db").write_bytes(b"garbage")
    hub_id, aside = await begin_anew(URL, tmp_path, FakeClock())
    await check_database(URL, tmp_path)
    assert aside is not None
    assert ((aside / "hub.db").read_bytes(), hub_id != "hub-a") == (b"garbage", True)
    backup.restore(file, tmp_path, database=tmp_path / "hub.db", at=epoch_ms(LATER))
    await check_database(URL, tmp_path)
    assert (tmp_path / "hub_id").read_text() == "hub-a"


async def test_server_database_without_a_hub_is_refused_beside_a_known_hub_id(
    tmp_path: Path, bare: str
) -> None:
    await check_database(bare, tmp_path)
    write_hub_id(bare, tmp_path, "hub-a")
    with pytest.raises(CodedError, match=LOST) as refused:
        await check_database(bare, tmp_path)
    assert "pg_restore" in refused.value.hint
    hub_id, _ = await begin_anew(bare, tmp_path, FakeClock())
    await check_database(bare, tmp_path)
    write_hub_id(bare, tmp_path, "hub-a")
    with pytest.raises(CodedError, match=f"of another hub, {hub_id}"):
        await check_database(bare, tmp_path)


async def pass_days(state: Path, clock: FakeClock, days: int) -> None:
    """Run the daily backup for some days; each day something happens."""
    async with (
        open_store(URL, base=state) as store,
        running(Backups(store, state, state / "hub.db", clock=clock)),
    ):
        for _ in range(days):
            await until(lambda: clock.sleeping == 1)
            await store.write(audit.append, at=epoch_ms(clock.now()), actor="hub", event="hub.started")
            clock.advance(DAILY.total_seconds())
        await until(lambda: clock.sleeping == 1)


async def the_database_is_put_back(state: Path, kept: Path, clock: FakeClock) -> None:
    shutil.copyfile(kept, state / "hub.db")


async def the_hub_begins_anew(state: Path, kept: Path, clock: FakeClock) -> None:
    os.remove(state / "hub.db")
    await begin_anew(URL, state, clock)


async def the_oldest_backup_is_restored(state: Path, kept: Path, clock: FakeClock) -> None:
    oldest = min((state / FOLDER).iterdir())
    backup.restore(oldest, state, database=state / "hub.db", at=epoch_ms(clock.now()))


async def another_hub_takes_the_folder(state: Path, kept: Path, clock: FakeClock) -> None:
    os.remove(state / "hub.db")
    await use(state, "hub-b")


EVENTS: Final = (
    *(the_database_is_put_back, the_hub_begins_anew),
    *(the_oldest_backup_is_restored, another_hub_takes_the_folder),
)


@pytest.mark.slow
@pytest.mark.parametrize("event", EVENTS, ids=name_of)
async def test_backups_not_continued_by_the_database_are_named_and_kept_for_sixty_days(
    tmp_path: Path, event: Event
) -> None:
    clock = FakeClock()
    await use(tmp_path, "hub-a")
    shutil.copyfile(tmp_path / "hub.db", tmp_path / "kept.db")
    await pass_days(tmp_path, clock, 12)
    before = set((tmp_path / FOLDER).iterdir())
    await event(tmp_path, tmp_path / "kept.db", clock)
    async with open_store(URL, base=tmp_path) as store:
        own, others = await sort_backups(store, tmp_path / FOLDER)
    known = set(own)
    assert before - known == set(others)
    assert len(others) >= 6

    await pass_days(tmp_path, clock, 60)

    left = set((tmp_path / FOLDER).iterdir())
    assert set(others) <= left
    assert 8 <= len(left - set(others)) <= 11  # the newest of seven days and four weeks
    async with open_store(URL, base=tmp_path) as store:
        (found,) = await check_other_backups(store, tmp_path / FOLDER, clock.now())
    size_mb = sum(file.stat().st_size for file in others) / 1_000_000
    assert found.explanation.startswith(f"{len(others)} backups ({size_mb:,.1f} MB) in ")
    assert f"the newest is {max(others).name}" in found.explanation

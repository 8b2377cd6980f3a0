"""The hub backs itself up once a day, and keeps the newest of the last days and weeks."""

import os
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from hub.base.toml.limits import BackupSettings
from hub.health.backups import CHECK_EVERY_S, FIRST_AFTER_S, FOLDER, SUFFIX, Backups, superfluous
from storage import audit
from storage.kernel import backup, identity
from storage.kernel.backup import BackupRefused
from storage.store import Store, open_store
from tests.support.clock import START, FakeClock
from tests.support.database import new_database
from tests.support.services import running
from tests.support.wire import until

DAY_S = 86_400


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    new_database(tmp_path / "hub.db")
    async with open_store("sqlite:///hub.db", base=tmp_path) as opened:
        await opened.write(identity.ensure_hub_id, "hub-1")
        yield opened


def there(state: Path) -> list[str]:
    return sorted(os.listdir(state / FOLDER)) if (state / FOLDER).exists() else []


async def test_backup_of_a_running_hub_is_complete_and_audited(store: Store, tmp_path: Path) -> None:
    (tmp_path / "node_id").write_text("node-1\n")
    made = await Backups(store, tmp_path, tmp_path / "hub.db", clock=FakeClock()).make(actor="token:t")
    assert set(backup.verify(made.path).files) == {"hub.db", "node_id"}
    assert made.path.parent.stat().st_mode & 0o777 == 0o700
    (entry,) = await store.read(audit.list_entries, limit=5)
    assert (entry.event, entry.actor, entry.subject) == ("backup.made", "token:t", made.path.name)
    assert made.sha256 in entry.detail


async def test_a_backup_is_made_and_checked_by_relative_paths(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    made = await Backups(store, Path(), Path("hub.db"), clock=FakeClock()).make(actor="hub")
    with backup.unpacked(made.path, Path()) as (manifest, _):
        assert set(manifest.files) == {"hub.db"}


async def test_backups_are_made_once_a_day_and_not_right_after_start(store: Store, tmp_path: Path) -> None:
    clock = FakeClock()
    backups = Backups(store, tmp_path, tmp_path / "hub.db", clock=clock)
    async with running(backups):
        await until(lambda: clock.sleeping == 1)
        assert there(tmp_path) == []
        clock.advance(FIRST_AFTER_S)
        await until(lambda: len(there(tmp_path)) == 1 and clock.sleeping == 1)
        for _ in range(23):
            clock.advance(CHECK_EVERY_S)
            await until(lambda: clock.sleeping == 1)
        assert len(there(tmp_path)) == 1
        clock.advance(CHECK_EVERY_S)
        await until(lambda: len(there(tmp_path)) == 2 and clock.sleeping == 1)


@pytest.mark.parametrize(("is_daily", "has_file"), [(False, True), (True, False)])
async def test_no_backup_is_made_if_disabled_or_without_a_database_file(
    store: Store, tmp_path: Path, is_daily: bool, has_file: bool
) -> None:
    clock = FakeClock()
    database = tmp_path / "hub.db" if has_file else None
    backups = Backups(store, tmp_path, database, clock=clock, keep=BackupSettings(daily=is_daily))
    async with running(backups):
        await clock.pass_time(3 * DAY_S)
    assert there(tmp_path) == []


async def test_failed_backup_is_retried_at_the_next_check(store: Store, tmp_path: Path) -> None:
    clock = FakeClock()
    (tmp_path / FOLDER).write_text("in the way")
    backups = Backups(store, tmp_path, tmp_path / "hub.db", clock=clock)
    async with running(backups):
        await clock.pass_time(FIRST_AFTER_S)
        await until(lambda: clock.sleeping == 1)
        (tmp_path / FOLDER).unlink()
        clock.advance(CHECK_EVERY_S)
        await until(lambda: len(there(tmp_path)) == 1)


async def test_backup_of_a_server_database_is_refused_with_a_pg_dump_hint(
    store: Store, tmp_path: Path
) -> None:
    with pytest.raises(BackupRefused, match="pg_dump"):
        await Backups(store, tmp_path, None, clock=FakeClock()).make(actor="hub")


def named(at: datetime) -> Path:
    return Path(f"{at:%Y%m%dT%H%M%SZ}{SUFFIX}")


def test_backup_pruning_retains_the_newest_of_seven_days_and_four_weeks() -> None:
    made = [named(START - timedelta(hours=12 * n)) for n in range(120)]  # two a day, for sixty days
    kept = [file for file in made if file not in superfluous(made, keep=BackupSettings(), now=START)]
    days = [START - timedelta(days=n) for n in range(7)]
    sundays = [START - timedelta(days=1 + 7 * n) for n in (0, 1, 2)]  # START is a Monday
    expected = {named(START), *(named(day.replace(hour=21)) for day in (*days[1:], *sundays))}
    assert set(kept) == expected


def test_foreign_files_and_the_newest_backup_are_never_removed() -> None:
    files = [Path("holiday.tar"), named(START), named(START - timedelta(days=400))]
    keep = BackupSettings(keep_days=1, keep_weeks=1)
    assert superfluous(files, keep=keep, now=START) == {named(START - timedelta(days=400))}


async def test_backup_dated_in_the_future_is_removed_and_delays_no_new_backup(
    store: Store, tmp_path: Path
) -> None:
    clock, keep = FakeClock(), BackupSettings(keep_days=1, keep_weeks=1)
    backups = Backups(store, tmp_path, tmp_path / "hub.db", clock=clock, keep=keep)
    clock.set_wall(START + timedelta(days=21))
    ahead = (await backups.make(actor="hub")).path
    clock.set_wall(START)
    async with running(backups):
        await until(lambda: clock.sleeping == 1)
        clock.advance(FIRST_AFTER_S)
        await until(lambda: ahead.name not in there(tmp_path))
    (made,) = there(tmp_path)
    assert made < ahead.name

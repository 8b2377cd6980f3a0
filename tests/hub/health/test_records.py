"""Checks of what is kept, over a real store."""

from collections.abc import AsyncIterator
from datetime import timedelta
from functools import partial

import pytest
import sqlalchemy as sa

from hub.base.clock import epoch_ms
from hub.health import backups, integrity, records
from hub.health.issues import Check, Severity
from protocol.handshake import StoreMark
from protocol.ids import DeviceId, UserId
from storage import audit
from storage.devices import devices, users
from storage.runs import agreement
from storage.runs.agreement import Resent
from storage.store import Store, open_store
from tests.support.clock import START

DAY = timedelta(days=1)
D, U = DeviceId("d"), UserId("u")


@pytest.fixture
async def store() -> AsyncIterator[Store]:
    """A hub's, whose first user was made at the start."""
    async with open_store("sqlite://") as opened:
        await opened.write(users.ensure_user, UserId("u"), "owner", epoch_ms(START))
        yield opened


async def test_hub_without_a_backup_is_reported_after_eight_days(store: Store) -> None:
    look = partial(backups.check_backup, store)
    assert list(await look(START + 8 * DAY)) == []
    (found,) = await look(START + 9 * DAY)
    assert (found.id, found.severity, found.since) == ("backup.old", Severity.NOTICE, START + 8 * DAY)
    assert "there is no backup" in found.explanation


async def test_backup_older_than_eight_days_is_reported(store: Store) -> None:
    made_at = START + 20 * DAY
    await store.write(audit.append, at=epoch_ms(made_at), actor="operator:0", event="backup.made")
    look = partial(backups.check_backup, store)
    assert list(await look(made_at + 8 * DAY)) == []
    (found,) = await look(made_at + 9 * DAY)
    assert f"the last backup is of {made_at:%Y-%m-%d}" in found.explanation


async def test_a_changed_audit_log_is_found_within_a_day(store: Store) -> None:
    for _ in range(3):
        await store.write(audit.append, at=1, actor="operator:0", event="run.started")
    look = integrity.check_chain(store)
    assert list(await look(START)) == []

    def tamper(c: sa.Connection) -> None:
        c.execute(sa.text("UPDATE audit_log SET actor = 'hub' WHERE seq = 2"))

    await store.write(tamper)
    assert list(await look(START + DAY - timedelta(seconds=1))) == []
    for _ in range(2):
        (found,) = await look(START + DAY)
        assert (found.id, found.severity) == ("audit.broken", Severity.ERROR)
        assert "entry 2 was edited" in found.explanation


def _edit(c: sa.Connection, seq: int, actor: str) -> None:
    c.execute(sa.text("UPDATE audit_log SET actor = :actor WHERE seq = :seq"), {"actor": actor, "seq": seq})


async def test_a_large_audit_log_is_checked_in_parts_over_restarts_the_newest_entries_first(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(integrity, "CHAIN_PARTS", 2)
    monkeypatch.setattr(audit, "check_part", partial(audit.check_part, rows=2))

    def write(c: sa.Connection, count: int) -> None:
        for _ in range(count):
            audit.append(c, at=1, actor="operator:0", event="run.started")

    async def ended(look: Check) -> int:
        for count in range(20):
            assert list(await look(START)) == []
            if (await store.read(audit.find_checked)).place is None:
                return count
        raise AssertionError("the check did not come to the end of the log")

    await store.write(write, 10)
    assert await ended(integrity.check_chain(store)) > 2, "the log is read in one check"
    await store.write(write, 2)
    look = integrity.check_chain(store)  # of the next start
    assert list(await look(START)) == []
    checked = await store.read(audit.find_checked)
    assert checked.newest.seq == 12 and checked.place is not None
    again = integrity.check_chain(store)  # of a start during the pass
    assert list(await again(START)) == []
    assert (await store.read(audit.find_checked)).place != checked.place
    await ended(again)

    await store.write(_edit, 11, "hub")  # the pass of the next start comes to it
    look = integrity.check_chain(store)
    for _ in range(20):
        found = list(await look(START))
    assert "entry 11 was edited" in found[0].explanation
    found = list(await integrity.check_chain(store)(START))
    assert found, "a restart hides what was found"
    await store.write(_edit, 11, "operator:0")
    assert list(await look(START)) == []


async def test_broken_row_is_reported_within_an_hour_until_corrected(
    store: Store,
) -> None:
    look = integrity.check_rows(store)
    assert list(await look(START)) == []

    def change(c: sa.Connection, reply_tags: str) -> None:
        c.exec_driver_sql("PRAGMA ignore_check_constraints = on")
        c.exec_driver_sql("UPDATE devices SET grants = ?", (reply_tags,))

    await store.write(lambda c: devices.ensure_device(c, id=D, user_id=U, name="desk", at=1))
    await store.write(change, "no")
    assert list(await look(START + timedelta(minutes=59))) == []
    (found,) = await look(START + timedelta(hours=1))
    assert (found.id, found.severity) == ("row.broken", Severity.ERROR)
    assert "row devices d: grants is no JSON" in found.explanation
    await store.write(change, "[]")
    assert list(await look(START + timedelta(hours=1, minutes=1))) == []


async def test_database_log_growing_without_limit_is_reported(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    look = partial(records.check_wal, store)
    assert list(await look(START)) == []
    monkeypatch.setattr("hub.health.records.WAL_BYTES", 0)
    (found,) = await look(START)
    assert found.id == "database.wal"


@pytest.mark.parametrize(
    ("told", "agreed", "words"),
    [
        (StoreMark(id="s", counter=3), False, "is older than it was: it was restored. Its runs wait"),
        (StoreMark(id="other", counter=9), False, "has another file than before"),
        (StoreMark(id="s", counter=3), True, "Both agree again: 0 rows were sent again, 0 learnt of"),
    ],
)
async def test_restored_device_is_reported_until_a_day_after_the_agreement(
    store: Store, told: StoreMark, agreed: bool, words: str
) -> None:
    at = epoch_ms(START)
    desk = DeviceId("desk")
    await store.write(devices.ensure_device, id=desk, user_id=UserId("u"), name="desk", at=at)
    look = partial(records.check_agreements, store)
    first = StoreMark(id="s", counter=5)
    await store.write(agreement.greet, desk, first, at)
    assert list(await look(START)) == []
    await agreed_on(store, desk, first, at)
    assert list(await look(START)) == []
    await store.write(agreement.greet, desk, told, at)
    if agreed:
        lost = [Resent("i", None)]
        await store.write(agreement.note_resent, desk, lost, after=None, epoch=0, at=at)
        await agreed_on(store, desk, told, at)
        words = words.replace("0 rows", "1 rows")
    (found,) = await look(START)
    assert (found.id, found.subject, found.user_id) == ("device.past", "desk", "u")
    assert words in found.explanation
    assert bool(list(await look(START + DAY + timedelta(seconds=1)))) is not agreed


async def agreed_on(store: Store, device_id: DeviceId, mark: StoreMark, at: int) -> None:
    """Hub and device agree."""
    await store.write(agreement.take_rows, [], device_id=device_id, epoch=0, mark=mark, is_last=True, at=at)

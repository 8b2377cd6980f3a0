"""Erasure of users at a hub: interrupted, repeated after a restore, and beside other writers."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest
import sqlalchemy as sa

from hub.base.clock import epoch_ms
from hub.runs.housekeeping import ERASED_FILE, Erasures, note_erased
from protocol.ids import RunId
from storage import audit
from storage.devices import users
from storage.effects import user_data
from storage.kernel import backup
from storage.runs import run_pauses
from storage.schema import devices as device_rows
from storage.schema import items, metadata
from storage.store import Store, open_store
from tests.storage.rows import AT, ME
from tests.storage.test_user_data import ANNA, BOB, make_world
from tests.support.clock import FakeClock
from tests.support.postgres import Postgres
from tests.support.processes import HubProcess, closing

ITEMS = 600  # of the user who leaves


def both(c: sa.Connection) -> None:
    users.ensure_user(c, ME, "owner", AT)
    audit.begin_chain(c, at=AT, subject="hub")
    for user_id, name in ((BOB, "bob"), (ANNA, "anna")):
        agent_id = make_world(c, user_id, name)
        rows = [
            {
                "id": f"item-{name}-{number}",
                "user_id": user_id,
                "agent_id": agent_id,
                "data": {"title": f"call {name}"},
                "call_id": f"call-{name}-{number}",
                **dict.fromkeys(("unit_key", "target_table", "likeness", "quote_hash"), "a"),
                **dict.fromkeys(("place_hash", "config_fingerprint", "run_id"), "a"),
                "created_at": AT,
                "updated_at": AT,
            }
            for number in range(ITEMS if name == "anna" else 3)
        ]
        c.execute(sa.insert(items), rows)


def names_left(c: sa.Connection) -> set[str]:
    """Names of the tables in which a row tells of Anna."""
    return {
        table.name
        for table in metadata.sorted_tables
        if any("anna" in repr(row) for row in c.execute(sa.select(table)))
    }


def count(c: sa.Connection, table: sa.Table) -> int:
    return int(c.execute(sa.select(sa.func.count()).select_from(table)).scalar_one())


class Killed(Exception):
    """The end of the process in the middle of an erasure."""


class QuickClock(FakeClock):
    """A clock whose time passes as soon as it is waited for."""

    async def sleep(self, seconds: float) -> None:
        self.advance(seconds)
        await anyio.lowlevel.checkpoint()


@pytest.fixture
def clock() -> FakeClock:
    return QuickClock()


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with open_store("sqlite:///hub.db", base=tmp_path) as opened:
        await opened.write(both)
        yield opened


def erasures(store: Store, state: Path, clock: FakeClock) -> Erasures:
    async def cancel(run_id: RunId, *, actor: str, reason: str) -> None:
        await store.write(run_pauses.request_cancel, run_id, reason, epoch_ms(clock.now()), actor=actor)

    return Erasures(store, state, cancel=cancel, clock=clock)


async def begin(store: Store, actor: str = "operator:1000") -> None:
    await store.write(user_data.begin_erasing, "anna", at=AT, actor=actor)


async def test_erasure_deletes_all_names_of_the_user_and_is_audited(
    store: Store, tmp_path: Path, clock: FakeClock
) -> None:
    await begin(store)
    await erasures(store, tmp_path, clock).erase_all()
    assert await store.read(names_left) == set()
    assert await store.read(count, items) == 3
    (entry,) = await store.read(audit.list_entries, event=audit.USER_ERASED)
    assert (entry.at, entry.actor, entry.subject, entry.detail) == (AT, "operator:1000", ANNA, "{}")
    assert (await store.read(audit.check_part)).breaks == ()
    assert (tmp_path / ERASED_FILE).read_text() == f"{ANNA}\n"


@pytest.mark.soak
async def test_erasure_on_postgresql_deletes_all_names_of_the_user(
    postgres: Postgres, tmp_path: Path, clock: FakeClock
) -> None:
    with postgres.database() as url:
        async with open_store(url) as store:
            await store.write(both)
            await begin(store)
            await erasures(store, tmp_path, clock).erase_all()
            assert await store.read(names_left) == set()
            assert await store.read(count, items) == 3
            assert (await store.read(audit.check_part)).breaks == ()


@pytest.mark.slow
async def test_erasure_is_completed_by_the_next_start_of_a_killed_hub(tmp_path: Path) -> None:
    hub = HubProcess(tmp_path)
    async with open_store("sqlite:///hub.db", base=tmp_path) as store:
        await store.write(both)
    async with closing(hub):
        await hub.start()
        await hub.post("/v1/users/anna/erase")
        await hub.kill()
        async with open_store("sqlite:///hub.db", base=tmp_path) as store:
            assert await store.read(user_data.present_users, [ANNA]) == [ANNA]
        await hub.start()
        await hub.says('"user.erased"')
        assert (await hub.get("/v1/audit/verify"))["ok"]
    async with open_store("sqlite:///hub.db", base=tmp_path) as store:
        assert await store.read(names_left) == set()
        assert await store.read(count, items) == 3


async def test_killed_erasure_is_completed_by_the_next_round(
    store: Store, tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await begin(store)
    killed_after = iter(range(30))
    delete = user_data.delete_rows

    def killed(c: sa.Connection, batch: user_data.Batch) -> int:
        if next(killed_after, None) is None:
            raise Killed
        return delete(c, batch)

    monkeypatch.setattr(user_data, "EXAMINED", 400)
    for limit in (1, 2, 4):
        killed_after = iter(range(limit))
        monkeypatch.setattr(user_data, "delete_rows", killed)
        with pytest.raises(Killed):
            await erasures(store, tmp_path, clock).erase_all()
        assert await store.read(user_data.present_users, [ANNA]) == [ANNA]
    monkeypatch.setattr(user_data, "delete_rows", delete)
    await erasures(store, tmp_path, clock).erase_all()
    assert await store.read(names_left) == set()
    assert (await store.read(audit.check_part)).breaks == ()


async def test_an_erased_user_of_a_restored_backup_is_erased_again(tmp_path: Path, clock: FakeClock) -> None:
    state, old = tmp_path / "state", tmp_path / "old.backup"
    state.mkdir()
    async with open_store("sqlite:///hub.db", base=state) as store:
        await store.write(both)
    backup.make(old, database=state / "hub.db", others={}, at=AT, version="1")
    async with open_store("sqlite:///hub.db", base=state) as store:
        await begin(store)
        await erasures(store, state, clock).erase_all()
    backup.restore(old, state, database=state / "hub.db", at=AT)
    async with open_store("sqlite:///hub.db", base=state) as store:
        assert await store.read(count, items) == ITEMS + 3
        assert await note_erased(store, state, clock) == [ANNA]  # before anything is served
        anna = sa.select(device_rows.c.revoked_at).where(device_rows.c.user_id == ANNA)
        assert await store.read(lambda c: c.execute(anna).scalars().all()) != [None]
        await erasures(store, state, clock).erase_all()
        assert await store.read(names_left) == set()
        assert await store.read(count, items) == 3
        (entry,) = await store.read(audit.list_entries, event=audit.USER_ERASED)
        assert (entry.actor, entry.subject) == ("hub", ANNA)
        assert (await store.read(audit.check_part)).breaks == ()


async def test_an_erasure_of_another_node_is_recorded_in_the_state_folder(
    store: Store, tmp_path: Path, clock: FakeClock
) -> None:
    await begin(store)
    other = tmp_path / "other-node"
    other.mkdir()
    assert await note_erased(store, other, clock) == [ANNA]
    assert (other / ERASED_FILE).read_text() == f"{ANNA}\n"


async def test_no_transaction_of_an_erasure_has_many_rows(
    store: Store, tmp_path: Path, clock: FakeClock
) -> None:
    await begin(store)
    sizes: list[int] = []
    write: Any = store.write

    async def measured(fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        def job(c: sa.Connection) -> Any:
            before = c.execute(sa.text("SELECT total_changes()")).scalar_one()
            done = fn(c, *args, **kwargs)
            sizes.append(c.execute(sa.text("SELECT total_changes()")).scalar_one() - before)
            return done

        return await write(job)

    store.write = measured  # type: ignore[method-assign]
    await erasures(store, tmp_path, clock).erase_all()
    assert len(sizes) > 10 and max(sizes) <= 3 * user_data.ROWS  # each row of an item has a change of its own

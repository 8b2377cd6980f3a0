"""Deliveries go on at another hub, and after a restore: with the same ids, and at one hub at a time."""

import shutil
from pathlib import Path

import sqlalchemy as sa

from storage import leases as stored_leases
from storage.schema import leases
from tests.hub.notify.bench import opened
from tests.hub.notify.receivers import Receiver, receiving
from tests.support.clock import FakeClock
from tests.support.postgres import Postgres


def ids_of(receiver: Receiver) -> dict[str, list[str]]:
    """Ids of the posts about each question."""
    found: dict[str, list[str]] = {}
    for one in receiver.got:
        found.setdefault(one.event["data"]["question_id"], []).append(one.headers["webhook-id"])
    return found


async def test_delivery_missing_in_a_restored_backup_is_repeated_with_the_same_id(tmp_path: Path) -> None:
    file, copy, clock = tmp_path / "hub.db", tmp_path / "copy.db", FakeClock()
    async with receiving() as receiver:
        async with (
            opened(tmp_path, database=f"sqlite:///{file}", clock=clock) as bench,
            bench.serving(bench.target(receiver.url)),
        ):
            await bench.ask("q-0")
            await bench.until(lambda: len(receiver.got) == 1)
            receiver.answer = lambda got: 503
            await bench.ask("q-1", "q-2")
            await bench.until(lambda: len(receiver.got) == 2)
        shutil.copy(file, copy)
        receiver.answer = lambda got: 204
        async with opened(tmp_path, database=f"sqlite:///{file}", clock=clock, boot="boot-2") as bench:
            await bench.store.write(stored_leases.end_others, bench.notifier.boot_id)
            async with bench.serving(bench.target(receiver.url)):
                await bench.until(lambda: len(receiver.got) == 4)
        file.unlink()
        shutil.copy(copy, file)
        async with opened(tmp_path, database=f"sqlite:///{file}", clock=clock, boot="boot-3") as bench:
            await bench.store.write(stored_leases.end_others, bench.notifier.boot_id)
            async with bench.serving(bench.target(receiver.url)):
                await bench.until(lambda: len(receiver.got) == 6)
                await bench.clock.pass_time(60)
        ids = ids_of(receiver)
    assert {name: len(of) for name, of in ids.items()} == {"q-0": 1, "q-1": 3, "q-2": 2}
    assert [len(set(of)) for of in ids.values()] == [1, 1, 1]


async def test_target_is_served_by_a_single_hub_and_continued_by_another(
    tmp_path: Path, postgres: Postgres
) -> None:
    with postgres.database() as url:
        async with (
            receiving() as receiver,
            opened(tmp_path, database=url, boot="boot-1") as east,
            opened(tmp_path, database=url, boot="boot-2") as west,
            east.serving(east.target(receiver.url)),
            west.serving(west.target(receiver.url)),
        ):
            for number in range(3):
                await east.ask(f"q-{number}")
                await east.until(lambda number=number: len(receiver.got) > number)  # type: ignore[misc]
                await west.clock.pass_time(30)
            # As if east were frozen for longer than its lease: west takes it, and east notices.
            await east.store.write(lambda c: c.execute(sa.update(leases).values(expires_at=1)).rowcount)
            await west.clock.pass_time(30)
            for number in range(3, 6):
                await west.ask(f"q-{number}")
                await west.until(lambda number=number: len(receiver.got) > number)  # type: ignore[misc]
                await east.clock.pass_time(4)
            holders = sa.select(leases.c.holder_boot_id).where(leases.c.name == "notify ops")
            assert await west.store.read(lambda c: c.execute(holders).scalar_one()) == "boot-2"
        assert {name: len(of) for name, of in ids_of(receiver).items()} == {f"q-{n}": 1 for n in range(6)}

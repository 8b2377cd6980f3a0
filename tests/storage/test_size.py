"""How much room the database takes."""

from pathlib import Path

import pytest
import sqlalchemy as sa

from storage.devices import nodes
from storage.kernel import database
from storage.kernel.database import Unavailable
from storage.store import ObservedDatabase, open_store


def test_a_database_takes_room_wherever_it_is(c: sa.Connection) -> None:
    found = database.measure_size(c)
    assert found.data > 100_000
    assert 0 < database.measure_used(c) <= found.data
    assert found.log == 0, "in memory, and on a server, there is no log beside it"


async def test_what_was_written_lies_in_the_log_at_first(tmp_path: Path) -> None:
    async with open_store("sqlite:///hub.db", base=tmp_path) as store:
        before = await store.read(database.measure_size)
        await store.write(nodes.ensure_hub_id, "hub-1")
        after = await store.read(database.measure_size)
    assert after.log > before.log


async def test_each_write_is_timed_also_one_that_fails() -> None:
    took: list[float] = []
    ticks = iter(range(100))

    def fails(c: sa.Connection) -> None:
        raise Unavailable("on purpose")

    async with open_store("sqlite://") as store:
        measured = ObservedDatabase(
            store, lambda moves: None, on_write=took.append, monotonic=lambda: float(next(ticks))
        )
        await measured.write(nodes.touch)
        with pytest.raises(Unavailable):
            await measured.write(fails)
        await measured.read(nodes.touch)
    assert took == [1.0, 1.0]
    assert not measured.is_shared

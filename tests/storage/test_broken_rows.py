"""Each kind of broken row, in each column that can have it, is found and named by its table and key."""

from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from protocol.keys import key_id
from storage.kernel.migrate import BrokenRow, Place, broken_from
from storage.kernel.verify import Verified, verify
from storage.schema import metadata
from storage.store import open_store
from tests.support.broken_rows import Fault, faults, plant, script_for_server
from tests.support.database import new_database
from tests.support.postgres import Postgres

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


def test_there_is_a_fault_of_each_kind_and_in_each_table() -> None:
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
        place: Place | None = Place("activity_log")
        while place is not None:
            rows, place = await store.read(broken_from, place, most=100)
            found += rows
    assert set(verified.broken) <= set(found)
    assert len(found) == len(set(found))  # each part looks at its own rows

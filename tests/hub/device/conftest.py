"""A device's file in a temporary folder, on a clock that stands still."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from hub.clock import IdFactory
from hub.device.inserts import DeviceStore, open_device_store
from tests.support.clock import FakeClock, SeededChance


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def ids(clock: FakeClock) -> IdFactory:
    return IdFactory(clock, SeededChance())


@pytest.fixture
def db(tmp_path: Path) -> Path:
    return tmp_path / "state" / "device.db"


@pytest.fixture
def store(db: Path, clock: FakeClock, ids: IdFactory) -> Iterator[DeviceStore]:
    with open_device_store(db, clock=clock, ids=ids) as opened:
        yield opened


def to_version_5(older: sqlite3.Connection) -> None:
    """Take from a file what versions 6 and 7 added; the caller sets the version."""
    for statement in (
        "DROP TABLE owner_grants",
        "DROP INDEX calls_of_nobody",
        "DROP INDEX reviews_of_hub",
        "ALTER TABLE calls DROP COLUMN hub",
        "ALTER TABLE reviews DROP COLUMN hub",
        "DROP TABLE store",
        "DROP INDEX calls_counter",
        "DROP INDEX calls_row",
        "ALTER TABLE calls DROP COLUMN counter",
        "ALTER TABLE reviews DROP COLUMN revision",
    ):
        older.execute(statement)

"""A device's file in a temporary folder, on a clock that stands still."""

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

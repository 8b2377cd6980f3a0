"""A device's file in a temporary folder, on a clock that stands still."""

import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from hub.base.clock import IdFactory
from hub.base.system import folders
from hub.device.device_file import DeviceStore, open_device_store
from tests.support.clock import FakeClock, SeededChance
from tests.support.device import RunningDevice, open_device
from tests.support.scripted_hub import Guest, ScriptedHub


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def ids(clock: FakeClock) -> IdFactory:
    return IdFactory(clock, SeededChance())


@pytest.fixture
def db(tmp_path: Path) -> Path:
    return tmp_path / "state" / "device.db"


@pytest.fixture(params=[folders.DescriptorFolder, folders.PathFolder])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Open folders in each of the two ways; for ``usefixtures``."""
    if request.param is folders.DescriptorFolder and not folders.HAS_DESCRIPTORS:
        pytest.skip("this system has no descriptors of folders")
    monkeypatch.setattr(folders, "way", request.param)


@pytest.fixture
def store(db: Path, clock: FakeClock, ids: IdFactory) -> Iterator[DeviceStore]:
    with open_device_store(db, clock=clock, ids=ids) as opened:
        yield opened


@pytest.fixture
def owner(db: Path, store: DeviceStore) -> Iterator[sqlite3.Connection]:
    """The owner's own program, with the file open."""
    with closing(sqlite3.connect(db, isolation_level=None)) as opened:
        opened.row_factory = sqlite3.Row
        yield opened


@pytest.fixture
async def hub() -> AsyncIterator[ScriptedHub]:
    async with ScriptedHub().open() as opened:
        yield opened


@pytest.fixture
async def device(hub: ScriptedHub, tmp_path: Path, clock: FakeClock) -> AsyncIterator[RunningDevice]:
    """A device that connects to the hub."""
    async with open_device(hub.url, tmp_path, clock=clock) as opened:
        yield opened


@pytest.fixture
async def guest(hub: ScriptedHub, device: RunningDevice) -> Guest:
    """The connection of the device, which the hub has welcomed."""
    return await hub.welcomed()

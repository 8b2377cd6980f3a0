"""A place of each kind for the plays, and a device's file."""

from pathlib import Path

import pytest

from tests.hub.device.sinks.bench import SinkBench
from tests.hub.device.sinks.places import KINDS, FilePlace, Place


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return FilePlace(request.param, tmp_path)


@pytest.fixture
def bench(tmp_path: Path) -> SinkBench:
    return SinkBench(tmp_path)

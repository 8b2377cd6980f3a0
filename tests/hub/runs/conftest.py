"""The fixtures of tests of runs."""

from collections.abc import AsyncIterator

import pytest

from storage.store import open_store
from tests.support.runs import agent, bench, store
from tests.support.schedules import Desk

__all__ = ["agent", "bench", "store"]


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    async with open_store("sqlite://") as store:
        yield Desk(store)

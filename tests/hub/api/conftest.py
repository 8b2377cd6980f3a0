"""A hub and a client of its Unix socket, both in this process."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest

from tests.support.gateway import FakeGateway, fake_gateway
from tests.support.hub import ServedHub, answering, over_unix


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[ServedHub]:
    """The hub."""
    async with answering(tmp_path) as opened:
        yield opened


@pytest.fixture
async def gateway() -> AsyncIterator[FakeGateway]:
    async with fake_gateway("west") as opened:
        yield opened


@pytest.fixture
async def client(hub: ServedHub) -> AsyncIterator[httpx2.AsyncClient]:
    """A client with all rights."""
    async with over_unix(hub) as opened:
        yield opened

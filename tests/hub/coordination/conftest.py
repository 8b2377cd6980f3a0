"""Fixtures of these tests: a gateway, and hubs that are connected to it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from storage.store import Store
from tests.hub.coordination.leading import LeadingHub, open_leading
from tests.hub.coordination.post import PostBench, open_post
from tests.support.gateway import FakeGateway, fake_gateway
from tests.support.runs import store as store


@pytest.fixture
async def gateway() -> AsyncIterator[FakeGateway]:
    async with fake_gateway("west") as opened:
        yield opened


@pytest.fixture
async def bench(gateway: FakeGateway, tmp_path: Path) -> AsyncIterator[PostBench]:
    async with open_post(tmp_path, gateway) as opened:
        yield opened


@pytest.fixture
async def hub(store: Store, gateway: FakeGateway, tmp_path: Path) -> AsyncIterator[LeadingHub]:
    """Return a hub that makes leads of boards at the gateway."""
    async with open_leading(tmp_path, store, gateway) as opened:
        yield opened

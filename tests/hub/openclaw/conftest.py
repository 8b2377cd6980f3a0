"""Fixtures of these tests: a gateway, and a client that is connected to it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.gateway import FakeGateway, fake_gateway
from tests.support.gateway.visit import Visit, visiting


@pytest.fixture
async def gateway() -> AsyncIterator[FakeGateway]:
    async with fake_gateway() as opened:
        yield opened


@pytest.fixture
async def visit(gateway: FakeGateway, tmp_path: Path) -> AsyncIterator[Visit]:
    async with visiting(gateway, tmp_path) as opened:
        yield opened

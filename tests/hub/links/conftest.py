"""A device port, and a device that is connected to it."""

from collections.abc import AsyncIterator

import pytest

from tests.support.wire import Port, RawDevice, open_port


@pytest.fixture
async def port() -> AsyncIterator[Port]:
    """A port with the limits of every hub, on a clock that stands still."""
    async with open_port() as opened:
        yield opened


@pytest.fixture
async def device(port: Port) -> AsyncIterator[RawDevice]:
    """The laptop, which was welcomed."""
    async with port.device() as opened:
        yield opened


@pytest.fixture
async def stranger(port: Port) -> AsyncIterator[RawDevice]:
    """A connection on which nothing was said yet."""
    async with port.connect() as opened:
        yield opened

"""One browser for the tests of a package, of which each has a window of its own."""

from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser

from tests.support.dashboard import browsing


@pytest.fixture(scope="package")
async def browser() -> AsyncIterator[Browser]:
    """Open a browser, which takes two seconds of a processor."""
    async with browsing() as opened:
        yield opened

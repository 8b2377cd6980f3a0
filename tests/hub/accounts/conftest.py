"""Accounts of a fresh hub."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.hub.accounts.bench import Bench, bench


@pytest.fixture
async def b(tmp_path: Path) -> AsyncIterator[Bench]:
    """Accounts whose clock stands still until the test moves it."""
    async with bench(tmp_path) as opened:
        yield opened

"""A log of its own for each test."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.support.log import Opened, opened_log


@pytest.fixture
def opened() -> Iterator[Opened]:
    """A log at level debug that writes JSON."""
    with opened_log("debug") as opened:
        yield opened


@pytest.fixture
def fresh() -> Iterator[Callable[..., Opened]]:
    """Opens a log as the test wants it."""
    with ExitStack() as logs:
        yield lambda *args, **options: logs.enter_context(opened_log(*args, **options))

"""What the tests of extraction share: the oracle, and the hub's client pointed at it."""

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing

import anyio
import pytest

from hub.clock import SystemClock
from hub.extraction.endpoint import Endpoint
from tests.support.clock import SeededChance
from tests.support.oracle import MODEL_NAME, Oracle

ModelAt = Callable[..., Endpoint]


def model_at(base_url: str, **options: object) -> Endpoint:
    """The hub's own client; tests say only what they are about."""
    settings: dict[str, object] = {"clock": SystemClock(), "chance": SeededChance()} | options
    return Endpoint(base_url, str(settings.pop("name", MODEL_NAME)), "key", **settings)  # type: ignore[arg-type]


@pytest.fixture
async def oracle() -> AsyncIterator[Oracle]:
    """An oracle that is listening; its ``base_url`` says where."""
    server = Oracle()
    async with anyio.create_task_group() as tasks:
        await tasks.start(server.serve)
        yield server
        tasks.cancel_scope.cancel()


@pytest.fixture
async def model(oracle: Oracle) -> AsyncIterator[Endpoint]:
    """The hub's client of the oracle."""
    async with aclosing(model_at(oracle.base_url)) as opened:
        yield opened

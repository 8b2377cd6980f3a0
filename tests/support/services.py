"""Services of a test that run as long as its block."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio

from hub.base.supervisor import Service


@asynccontextmanager
async def running(*services: Service) -> AsyncIterator[None]:
    """Run the services in the block; each starts once the one before it has."""
    async with anyio.create_task_group() as tasks:
        for service in services:
            await tasks.start(service.serve)
        yield
        tasks.cancel_scope.cancel()

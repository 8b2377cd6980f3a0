"""Several hubs on one PostgreSQL database add to one audit log at the same time."""

from contextlib import AsyncExitStack

import anyio

from storage import audit
from storage.kernel.database import Database
from storage.kernel.postgres import open_postgres
from tests.support.postgres import Postgres

HUBS, EACH = 4, 15


async def test_entries_that_are_written_at_the_same_time_hang_in_one_chain(postgres: Postgres) -> None:
    with postgres.database() as url:
        async with AsyncExitStack() as opened:
            hubs = [await opened.enter_async_context(open_postgres(url)) for _ in range(HUBS)]

            async def work(hub: Database, name: str) -> None:
                for _ in range(EACH):
                    await hub.write(audit.append, at=1, actor=name, event="run.started")

            async with anyio.create_task_group() as workers:
                for number, hub in enumerate(hubs):
                    workers.start_soon(work, hub, f"operator:{number}")
            part = await hubs[0].read(audit.check_part)
    assert (part.entries, part.breaks, part.is_last) == (HUBS * EACH, (), True)

"""Opening the database: ``async with open_store(url) as store``.

``store.read`` and ``store.write`` run functions of the other modules::

    run = await store.read(runs.find_run, run_id)
    held = await store.write(runs.move, held, RunEvent.FAILED, at=now, actor="hub")

Each call is one transaction; see ``storage.kernel.database`` for its promises.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import TypeAlias

import anyio.to_thread
import sqlalchemy as sa

from protocol.ids import BootId
from storage.kernel.address import SERVER, file_of, held_alone, session_name
from storage.kernel.database import Database
from storage.kernel.migrate import upgrade
from storage.kernel.sqlite import empty_database, machine_now_ms, open_sqlite
from storage.schema import metadata

Store: TypeAlias = Database
Connection: TypeAlias = sa.Connection  # of a job that runs several functions of other modules


@asynccontextmanager
async def open_store(
    url: str,
    *,
    base: Path | None = None,
    boot_id: BootId | None = None,
    now_ms: Callable[[], int] | None = None,
) -> AsyncIterator[Store]:
    """Open the database at *url*, migrated to this release's tables; close it after the block.

    Args:
        url: ``sqlite:///hub.db`` (relative to *base*), ``sqlite:////var/lib/hub.db``, or ``sqlite://``: in
            memory, for tests; ``postgresql://user:password@host/name``: on a server, which several hubs may
            share.
        base: folder of a relative path; by default the working directory.
        boot_id: id of the hub process that opens it; names its sessions on a server, so that they can be
            ended.
        now_ms: clock of a SQLite database, for tests; by default the machine's. A server has its own clock.

    Raises:
        Busy: another hub has the file open.
        FromTheFuture: a newer hub wrote the database.
        Unavailable: the database cannot be opened, or the scheme is unknown.
    """
    if url.startswith(SERVER):
        # its driver is an optional extra, and slow to import
        from storage.kernel.postgres import open_postgres

        session = "hub" if boot_id is None else session_name(boot_id)
        async with open_postgres(url, session=session) as server:
            yield server
        return
    path = file_of(url, base)
    clock = now_ms or machine_now_ms
    if path is None:
        async with open_sqlite(_empty_database(), now_ms=clock) as database:
            yield database
    else:
        with held_alone(path):
            await anyio.to_thread.run_sync(upgrade, path)
            async with open_sqlite(path, now_ms=clock) as database:
                yield database


@cache
def _empty_database() -> bytes:
    """Return a serialized database of empty tables: creating 56 tables takes 80 ms, a copy 1 ms."""
    return empty_database(metadata)

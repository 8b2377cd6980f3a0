"""Opening of the database by URL, refusal of writes if it is damaged, seconds until a block is reported.

``store.read`` and ``store.write`` run functions of the other modules::

    run = await store.read(runs.find_run, run_id)
    held = await store.write(runs.move, held, RunEvent.FAILED, at=now, actor="hub")

Each call is one transaction; see ``storage.kernel.database`` for its promises.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import cache, partial
from pathlib import Path
from typing import Concatenate, Final, ParamSpec, TypeAlias, TypeVar

import anyio.to_thread
import sqlalchemy as sa

from protocol.agent_status import AgentMoved
from protocol.ids import BootId
from storage import audit
from storage.agents.state_moves import recorded_moves
from storage.database_health import DatabaseHealth
from storage.kernel.address import SERVER
from storage.kernel.database import (
    Database,
    StorageError,
    file_of,
    held_alone,
    session_name,
)
from storage.kernel.migrate import upgrade
from storage.kernel.sqlite import empty_database, machine_now_ms, open_sqlite

LONG_S: Final = 5.0  # for so long, other hubs may hold rows of a shared database; a file is waited for


P = ParamSpec("P")
T = TypeVar("T")
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
        with held_alone(path, otherwise=", or give this one a folder of its own with --state DIR"):
            await anyio.to_thread.run_sync(upgrade, path)
            async with open_sqlite(path, now_ms=clock) as database:
                yield database


@cache
def _empty_database() -> bytes:
    """Return a serialized database of empty tables: creating 56 tables takes 80 ms, a copy 1 ms."""
    return empty_database()


class ObservedDatabase:
    """Wrapper of *database* that reports state changes of agents, whichever function wrote them.

    The first change of a request is written with its entry in the audit log, see ``audit.Owed``.

    Args:
        on_moves: callback with the state changes of a committed write that made any. Not reported: writes
            whose caller was cancelled, and writes of other hubs. A reader that needs every change reads the
            history.
        on_write: callback with the seconds of each write, queueing included; also after a failed write.
        monotonic: clock of *on_write*, in seconds.
        health: notes which jobs work, and refuses writes to a damaged database.
    """

    def __init__(
        self,
        database: Database,
        on_moves: Callable[[Sequence[AgentMoved]], None] = lambda moves: None,
        *,
        on_write: Callable[[float], None] = lambda seconds: None,
        monotonic: Callable[[], float] = lambda: 0.0,
        health: DatabaseHealth | None = None,
    ) -> None:
        self.database = database
        self.health = health or DatabaseHealth(monotonic, long_s=LONG_S if database.is_shared else 0.0)
        self._on_moves = on_moves
        self._on_write = on_write
        self._monotonic = monotonic
        self._listeners: list[Callable[[], None]] = []

    @property
    def is_shared(self) -> bool:
        """True if other hubs may write to the database too."""
        return self.database.is_shared

    def listen(self, written: Callable[[], None]) -> None:
        """Call *written* after each job that may have changed the database, also after a failed one."""
        self._listeners.append(written)

    async def read(
        self, fn: Callable[Concatenate[sa.Connection, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run *fn* in one snapshot; see ``Database.read``."""
        try:
            value = await self.database.read(fn, *args, **kwargs)
        except StorageError as error:
            self.health.failed(error, is_write=False)
            raise
        self.health.worked(is_write=False)
        return value

    async def write(
        self, fn: Callable[Concatenate[sa.Connection, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run *fn* in one transaction, and report its state changes and time; see ``Database.write``."""
        moves: list[AgentMoved] = []
        owed = audit.OWED.get()
        owed = None if owed is None or owed.is_paid else owed

        def watched(c: sa.Connection) -> T:
            with recorded_moves(c) as made:
                job = partial(fn, c, *args, **kwargs)
                value = job() if owed is None else owed.run(c, job)
            moves[:] = made  # replaces those of an earlier attempt, which was rolled back
            return value

        self.health.check_writable()
        began = self._monotonic()
        try:
            value = await self.database.write(watched)
        except StorageError as error:
            self.health.failed(error, is_write=True)
            raise
        finally:
            self._on_write(self._monotonic() - began)
            for listener in self._listeners:
                listener()
        self.health.worked(is_write=True)
        if owed is not None:
            owed.settle()
        if moves:
            self._on_moves(moves)
        return value

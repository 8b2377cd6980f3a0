"""The door to everything that is kept: ``async with open_store(url) as store``.

Functions of the modules below are handed to ``store.read`` and ``store.write``::

    run = await store.read(runs.find_run, run_id)
    held = await store.write(runs.move, held, RunEvent.FAILED, at=now, actor="hub")

Each call is one transaction; see ``storage.database`` for what it promises.
"""

import fcntl
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TypeAlias

import anyio.to_thread

from protocol.ids import BootId
from storage import (
    activity,
    agent_states,
    agents,
    backfills,
    devices,
    fires,
    idempotency,
    identity,
    leases,
    outbox,
    retention,
    runs,
    schedules,
)
from storage.activity import Activity
from storage.address import SERVER, SQLITE, shown
from storage.agents import AgentRow, DeclaredAgent, NameTaken, Reconciled, UnknownAgent
from storage.backfills import BackfillPlan, BackfillSight
from storage.database import Busy, Conflict, Database, FromTheFuture, StorageError, Unavailable
from storage.devices import DeviceRow, TokenOwner, TokenRevoked, TokenRow, UnknownDevice
from storage.fires import Covered, Decided, FireDecision, FireRow, FreshRun
from storage.leases import LostLease, Term
from storage.migrate import upgrade
from storage.outbox import OpenCall, PlannedCall, StillOpen, UnitPlan, UnitRow
from storage.overlap import QueueLimits
from storage.runs import (
    AttemptsSpent,
    Gates,
    HeldRun,
    OpenWork,
    Recovered,
    RunError,
    RunMove,
    RunRow,
    RunWait,
    StaleRun,
    UnknownRun,
    Usage,
)
from storage.schedules import (
    Agenda,
    DeclaredSchedule,
    DueSchedule,
    NextFire,
    Passed,
    ScheduleRow,
    UnknownSchedule,
)
from storage.schema import metadata
from storage.sessions import session_name
from storage.sqlite import machine_now_ms, open_sqlite

__all__ = [
    "Activity",
    "Agenda",
    "AgentRow",
    "AttemptsSpent",
    "BackfillPlan",
    "BackfillSight",
    "Busy",
    "Conflict",
    "Covered",
    "Database",
    "Decided",
    "DeclaredAgent",
    "DeclaredSchedule",
    "DeviceRow",
    "DueSchedule",
    "FireDecision",
    "FireRow",
    "FreshRun",
    "FromTheFuture",
    "Gates",
    "HeldRun",
    "LostLease",
    "NameTaken",
    "NextFire",
    "OpenCall",
    "OpenWork",
    "Passed",
    "PlannedCall",
    "QueueLimits",
    "Reconciled",
    "Recovered",
    "RunError",
    "RunMove",
    "RunRow",
    "RunWait",
    "ScheduleRow",
    "StaleRun",
    "StillOpen",
    "StorageError",
    "Store",
    "Term",
    "TokenOwner",
    "TokenRevoked",
    "TokenRow",
    "Unavailable",
    "UnitPlan",
    "UnitRow",
    "UnknownAgent",
    "UnknownDevice",
    "UnknownRun",
    "UnknownSchedule",
    "Usage",
    "activity",
    "agent_states",
    "agents",
    "backfills",
    "devices",
    "fires",
    "idempotency",
    "identity",
    "leases",
    "open_store",
    "outbox",
    "retention",
    "runs",
    "schedules",
    "shown",
]

Store: TypeAlias = Database


@asynccontextmanager
async def open_store(
    url: str,
    *,
    base: Path | None = None,
    boot_id: BootId | None = None,
    now_ms: Callable[[], int] | None = None,
) -> AsyncIterator[Store]:
    """The database at *url*, brought to this release's tables; it is closed when the block is left.

    Args:
        url: ``sqlite:///hub.db`` (relative to *base*), ``sqlite:////var/lib/hub.db``, or
            ``sqlite://``: in memory, for tests; ``postgresql://user:password@host/name``: on a
            server, which several hubs may share.
        base: the folder that a relative file lies in; the working directory by default.
        boot_id: of the hub that opens it; by this name its sessions on a server can be ended.
        now_ms: the clock of a SQLite database, for tests; the machine's by default. A server
            has its own.

    Raises:
        Busy: another hub has the file open.
        FromTheFuture: a newer hub wrote it.
        Unavailable: it cannot be opened, or the scheme is not known.
    """
    if url.startswith(SERVER):
        from storage.postgres import open_postgres  # its driver is an extra, and takes a while to load

        session = "hub" if boot_id is None else session_name(boot_id)
        async with open_postgres(url, session=session) as server:
            yield server
        return
    path = _path_of(url, base)
    clock = now_ms or machine_now_ms
    if path is None:
        async with open_sqlite(None, now_ms=clock) as database:
            await database.write(metadata.create_all)
            yield database
    else:
        with _held_alone(path):
            await anyio.to_thread.run_sync(upgrade, path)
            async with open_sqlite(path, now_ms=clock) as database:
                yield database


def _path_of(url: str, base: Path | None) -> Path | None:
    """The file that *url* names, or ``None`` for a database in memory."""
    if not url.startswith(SQLITE):
        # Not repeated: what was meant as the address of a server may have a password in it.
        raise Unavailable(
            "the database is of a kind this hub does not know; write sqlite:///hub.db"
            " or postgresql://user@host/name"
        )
    name = url.removeprefix(SQLITE)
    if name in ("", "/:memory:"):
        return None
    if not name.startswith("/") or name == "/":
        raise Unavailable(f"the database {url!r} names no file; write sqlite:///hub.db")
    return ((base or Path.cwd()) / name[1:]).resolve()


@contextmanager
def _held_alone(path: Path) -> Iterator[None]:
    """Keep every other hub off the file, until the block is left or the process dies.

    A lock on a file beside it: SQLite's own locks come and go with transactions.
    """
    lock = path.with_name(path.name + ".lock")
    try:
        handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise Unavailable(f"cannot open the database {path}: {error.strerror} ({lock})") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        holder = os.read(handle, 32).decode("ascii", "replace").strip() or "unknown"
        os.close(handle)
        raise Busy(
            f"another hub (process {holder}) has the database {path} open; stop it first,"
            " or give this one a folder of its own with --state DIR"
        ) from None
    try:
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(handle)  # the lock goes with it; the file stays, so that nobody locks one that was removed

"""The door to everything that is kept: ``async with open_store(url) as store``.

Functions of the modules below are handed to ``store.read`` and ``store.write``::

    run = await store.read(runs.find_run, run_id)
    held = await store.write(runs.move, held, RunEvent.FAILED, at=now, actor="hub")

Each call is one transaction; see ``storage.database`` for what it promises.
"""

import fcntl
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TypeAlias

import anyio.to_thread

from storage import activity, agent_states, agents, devices, idempotency, identity, outbox, runs
from storage.activity import Activity
from storage.agents import AgentRow, DeclaredAgent, NameTaken, Reconciled, UnknownAgent
from storage.database import Busy, Conflict, Database, FromTheFuture, StorageError, Unavailable
from storage.devices import DeviceRow, TokenOwner, TokenRevoked, TokenRow, UnknownDevice
from storage.migrate import upgrade
from storage.outbox import OpenCall, PlannedCall, StillOpen, UnitPlan, UnitRow
from storage.runs import (
    AttemptsSpent,
    HeldRun,
    OpenWork,
    Recovered,
    RunError,
    RunMove,
    RunRow,
    StaleRun,
    UnknownRun,
    Usage,
)
from storage.schema import metadata
from storage.sqlite import open_sqlite

__all__ = [
    "Activity",
    "AgentRow",
    "AttemptsSpent",
    "Busy",
    "Conflict",
    "Database",
    "DeclaredAgent",
    "DeviceRow",
    "FromTheFuture",
    "HeldRun",
    "NameTaken",
    "OpenCall",
    "OpenWork",
    "PlannedCall",
    "Reconciled",
    "Recovered",
    "RunError",
    "RunMove",
    "RunRow",
    "StaleRun",
    "StillOpen",
    "StorageError",
    "Store",
    "TokenOwner",
    "TokenRevoked",
    "TokenRow",
    "Unavailable",
    "UnitPlan",
    "UnitRow",
    "UnknownAgent",
    "UnknownDevice",
    "UnknownRun",
    "Usage",
    "activity",
    "agent_states",
    "agents",
    "devices",
    "idempotency",
    "identity",
    "open_store",
    "outbox",
    "runs",
]

Store: TypeAlias = Database
SCHEME = "sqlite://"


@asynccontextmanager
async def open_store(url: str, *, base: Path | None = None) -> AsyncIterator[Store]:
    """The database at *url*, brought to this release's tables; its file is closed when the block is left.

    Args:
        url: ``sqlite:///hub.db`` (relative to *base*), ``sqlite:////var/lib/hub.db``, or
            ``sqlite://``: in memory, for tests.
        base: the folder that a relative file lies in; the working directory by default.

    Raises:
        Busy: another hub has it open.
        FromTheFuture: a newer hub wrote it.
        Unavailable: it cannot be opened, or the scheme is not known.
    """
    path = _path_of(url, base)
    if path is None:
        async with open_sqlite(None) as database:
            await database.write(metadata.create_all)
            yield database
    else:
        with _held_alone(path):
            await anyio.to_thread.run_sync(upgrade, path)
            async with open_sqlite(path) as database:
                yield database


def _path_of(url: str, base: Path | None) -> Path | None:
    """The file that *url* names, or ``None`` for a database in memory."""
    if not url.startswith(SCHEME):
        raise Unavailable(f"the database {url!r} is of a kind this hub does not know; write sqlite:///hub.db")
    name = url.removeprefix(SCHEME)
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

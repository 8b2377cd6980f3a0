"""The door to everything that is kept: ``async with open_store(url) as store``.

Functions of the modules below are handed to ``store.read`` and ``store.write``::

    run = await store.read(runs.find_run, run_id)
    held = await store.write(runs.move, held, RunEvent.FAILED, at=now, actor="hub")

Each call is one transaction; see ``storage.database`` for what it promises.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeAlias

import anyio.to_thread

from protocol.ids import BootId
from storage import (
    activity,
    agent_states,
    agents,
    audit,
    backfills,
    backup,
    declaring,
    device_keys,
    devices,
    fires,
    idempotency,
    identity,
    invitations,
    items,
    leases,
    model_answers,
    model_batches,
    model_calls,
    model_costs,
    model_retention,
    operator_tokens,
    outbox,
    owners,
    pairings,
    retention,
    revocations,
    runs,
    schedules,
    size,
    successors,
    users,
)
from storage.activity import Activity
from storage.address import SERVER, shown
from storage.agent_configs import ModelUse, Redacted
from storage.agents import AgentRow, DeclaredAgent, NameTaken, Reconciled, UnknownAgent
from storage.audit import AuditRow, Entry
from storage.backfills import BackfillPlan, BackfillSight
from storage.backup import BackupRefused, Manifest
from storage.database import Busy, Conflict, Database, FromTheFuture, StorageError, Unavailable
from storage.database_file import file_of, held_alone
from storage.device_keys import KeyOwner, KeyRevoked, KeyRow, RotatedTooSoon
from storage.devices import DeviceNameTaken, DeviceRow, TokenOwner, TokenRevoked, TokenRow, UnknownDevice
from storage.fires import Covered, Decided, FireDecision, FireRow, FreshRun
from storage.idempotency import KeptAnswer
from storage.invitations import BadInvitation, InvitationRow
from storage.items import (
    Decide,
    Decision,
    Finder,
    FoundItem,
    ItemRow,
    Known,
    KnownItem,
    PlannedCall,
    ReportedVerdict,
    Verdict,
)
from storage.leases import LostLease, Term
from storage.measured import MeasuredDatabase
from storage.migrate import upgrade
from storage.model_answers import JournaledAnswer
from storage.model_batches import BatchRow, BatchState
from storage.model_calls import ModelCall, Spent
from storage.model_costs import CostRow, Lately
from storage.operator_tokens import OperatorTokenRow
from storage.outbox import ItemCaps, OpenCall, StillOpen, UnitPlan, UnitRow
from storage.overlap import QueueLimits
from storage.pairings import (
    Asked,
    PairingAsk,
    PairingChanged,
    PairingRow,
    TooManyPairings,
    UnknownPairing,
)
from storage.restore import Restored, restore
from storage.revocations import Revocation
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
from storage.size import DatabaseSize
from storage.sqlite import machine_now_ms, open_sqlite
from storage.standing import Standing, standing_of
from storage.users import UnknownUser, UserOwnsThings, UserRow, UserTaken

__all__ = [
    "Activity",
    "Agenda",
    "AgentRow",
    "Asked",
    "AttemptsSpent",
    "AuditRow",
    "BackfillPlan",
    "BackfillSight",
    "BackupRefused",
    "BadInvitation",
    "BatchRow",
    "BatchState",
    "Busy",
    "Conflict",
    "CostRow",
    "Covered",
    "Database",
    "DatabaseSize",
    "Decide",
    "Decided",
    "Decision",
    "DeclaredAgent",
    "DeclaredSchedule",
    "DeviceNameTaken",
    "DeviceRow",
    "DueSchedule",
    "Entry",
    "Finder",
    "FireDecision",
    "FireRow",
    "FoundItem",
    "FreshRun",
    "FromTheFuture",
    "Gates",
    "HeldRun",
    "InvitationRow",
    "ItemCaps",
    "ItemRow",
    "JournaledAnswer",
    "KeptAnswer",
    "KeyOwner",
    "KeyRevoked",
    "KeyRow",
    "Known",
    "KnownItem",
    "Lately",
    "LostLease",
    "Manifest",
    "MeasuredDatabase",
    "ModelCall",
    "ModelUse",
    "NameTaken",
    "NextFire",
    "OpenCall",
    "OpenWork",
    "OperatorTokenRow",
    "PairingAsk",
    "PairingChanged",
    "PairingRow",
    "Passed",
    "PlannedCall",
    "QueueLimits",
    "Reconciled",
    "Recovered",
    "Redacted",
    "ReportedVerdict",
    "Restored",
    "Revocation",
    "RotatedTooSoon",
    "RunError",
    "RunMove",
    "RunRow",
    "RunWait",
    "ScheduleRow",
    "Spent",
    "StaleRun",
    "Standing",
    "StillOpen",
    "StorageError",
    "Store",
    "Term",
    "TokenOwner",
    "TokenRevoked",
    "TokenRow",
    "TooManyPairings",
    "Unavailable",
    "UnitPlan",
    "UnitRow",
    "UnknownAgent",
    "UnknownDevice",
    "UnknownPairing",
    "UnknownRun",
    "UnknownSchedule",
    "UnknownUser",
    "Usage",
    "UserOwnsThings",
    "UserRow",
    "UserTaken",
    "Verdict",
    "activity",
    "agent_states",
    "agents",
    "audit",
    "backfills",
    "backup",
    "declaring",
    "device_keys",
    "devices",
    "file_of",
    "fires",
    "held_alone",
    "idempotency",
    "identity",
    "invitations",
    "items",
    "leases",
    "model_answers",
    "model_batches",
    "model_calls",
    "model_costs",
    "model_retention",
    "open_store",
    "operator_tokens",
    "outbox",
    "owners",
    "pairings",
    "restore",
    "retention",
    "revocations",
    "runs",
    "schedules",
    "shown",
    "size",
    "standing_of",
    "successors",
    "users",
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
    path = file_of(url, base)
    clock = now_ms or machine_now_ms
    if path is None:
        async with open_sqlite(None, now_ms=clock) as database:
            await database.write(metadata.create_all)
            yield database
    else:
        with held_alone(path):
            await anyio.to_thread.run_sync(upgrade, path)
            async with open_sqlite(path, now_ms=clock) as database:
                yield database

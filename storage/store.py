"""The door to everything that is kept: ``async with open_store(url) as store``.

Functions of the modules below are handed to ``store.read`` and ``store.write``::

    run = await store.read(runs.find_run, run_id)
    held = await store.write(runs.move, held, RunEvent.FAILED, at=now, actor="hub")

Each call is one transaction; see ``storage.database`` for what it promises.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import TypeAlias

import anyio.to_thread

from protocol.ids import BootId
from storage import (
    activity,
    agent_ends,
    agent_facts,
    agent_states,
    agent_tokens,
    agent_writes,
    agents,
    agreement,
    audit,
    backfills,
    backup,
    board_members,
    board_memory,
    boards,
    broadcasts,
    capabilities,
    checkpoints,
    config_changes,
    configs,
    connector_cursors,
    connector_retention,
    connectors,
    coordination_retention,
    credentials,
    declaring,
    device_keys,
    device_names,
    devices,
    effective_configs,
    fires,
    gateway_agents,
    gateway_making,
    gateway_standings,
    gateways,
    grants,
    heartbeats,
    idempotency,
    identity,
    invitations,
    items,
    leases,
    left_units,
    locks,
    made_agents,
    measured_work,
    measurement_reads,
    measurements,
    memory_replies,
    message_orders,
    message_plans,
    messages,
    model_answers,
    model_batches,
    model_calls,
    model_costs,
    model_retention,
    operator_tokens,
    outbox,
    owners,
    pairings,
    posted,
    questions,
    retention,
    revocations,
    run_needs,
    runs,
    schedules,
    seen_messages,
    setups,
    sign_ins,
    size,
    soul_writes,
    souls,
    successors,
    template_changes,
    templates,
    users,
    wakes,
)
from storage.activity import Activity
from storage.address import SERVER, shown
from storage.agent_configs import Mailbox, ModelUse, Redacted
from storage.agent_facts import AgentFacts, Measured
from storage.agent_moves import AgentTerminated
from storage.agent_states import AgentMove, AgentState, Since
from storage.agent_tokens import AgentTokenRow, TooManyAgentTokens
from storage.agent_writes import BadWrite, StandingWrite, StateChanged, Word, Written
from storage.agents import AgentRow, DeclaredAgent, ExternalIdTaken, NameTaken, Reconciled, UnknownAgent
from storage.agreement import NoStore, Resent, StoreRow, ToldRow
from storage.audit import AuditRow, Entry
from storage.backfills import BackfillPlan, BackfillSight
from storage.backup import BackupRefused, Manifest
from storage.board_members import MemberRow, Place
from storage.board_memory import MemoryFilter, MemoryLimits, MemoryRow, NewMemory, UnknownMemory
from storage.boards import UNSET, BoardLimits, BoardRow, TooManyOfBoards, UnknownBoard, Unset
from storage.broadcasts import (
    Aim,
    BoardPlace,
    BoardResult,
    BroadcastRow,
    NewBroadcast,
    Refused,
    Tally,
    UnknownBroadcast,
)
from storage.capabilities import (
    Capability,
    CapabilityRow,
    DeclaredCapability,
    Registered,
    TooManyCapabilities,
    UnknownCapability,
)
from storage.checkpoints import (
    AGENT_SCOPE,
    Checkpoint,
    CheckpointRow,
    StaleCheckpoint,
    TooManyCheckpoints,
    UnknownCheckpoint,
)
from storage.config_changes import (
    ConfigLimitReached,
    ConfigLimits,
    ConfigOfFile,
    ConfigsChanged,
    NewConfig,
    StaleConfig,
)
from storage.configs import ConfigMove, ConfigRow, UnknownConfig
from storage.connectors import (
    ConnectorRow,
    DeclaredConnector,
    ReconciledConnectors,
    UnknownConnector,
)
from storage.credentials import CredentialRow, GrantAge, GrantSight
from storage.database import (
    Busy,
    Conflict,
    Database,
    DiskFull,
    FromTheFuture,
    StorageError,
    Unavailable,
    written_for,
)
from storage.database_file import file_of, held_alone
from storage.device_keys import KeyOwner, KeyRevoked, KeyRow, RotatedTooSoon
from storage.devices import (
    DeviceNameTaken,
    DeviceRow,
    Grant,
    NotGranted,
    TokenOwner,
    TokenRevoked,
    TokenRow,
    UnknownDevice,
)
from storage.effective_configs import EffectiveConfig
from storage.fires import Covered, Decided, FireDecision, FireRow, FreshRun
from storage.gateway_agents import GatewayAgentRow, RemoteIdTaken
from storage.gateway_making import Led, NoGateway, NoLead
from storage.gateway_standings import Exhaustion, Seen
from storage.gateways import DeclaredGateway, GatewayRow, ReconciledGateways, UnknownGateway
from storage.heartbeats import AgentReport, HeardDevice, SilentDevice, Stands
from storage.idempotency import KeptAnswer
from storage.invitations import BadInvitation, InvitationRow
from storage.items import (
    TAKEN,
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
    unknown_likeness,
)
from storage.leases import LostLease, Term
from storage.made_agents import (
    AgentLimits,
    AgentNameTaken,
    AgentOfFile,
    MainAgentStays,
    TooManyAgents,
    Writing,
)
from storage.measured import MeasuredDatabase
from storage.measurement_reads import BucketRow, SeriesRow
from storage.measurements import (
    HOUR_MS,
    MINUTE_MS,
    BelowZero,
    BucketsKept,
    ReportDiffers,
    SampleRow,
    SeriesLimits,
    TooManySeries,
    TypeDiffers,
)
from storage.memory_replies import Replied, ReplyIds
from storage.message_orders import MessageSettled
from storage.message_rows import MessageMove, MessageRow, MessageSight, UnknownMessage
from storage.messages import (
    BadMessage,
    MessageLimits,
    MessageTooLong,
    NewMessage,
    TooManyMessages,
)
from storage.migrate import upgrade, words_of
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
from storage.posted import TooManyPosted
from storage.questions import (
    NewAnswer,
    NewQuestion,
    QuestionRow,
    QuestionSettled,
    TooManyQuestions,
    UnknownQuestion,
)
from storage.restore import Restored, restore
from storage.revocations import Revocation
from storage.run_locks import LockInTheWay
from storage.run_needs import Offered
from storage.run_reports import MAX_MESSAGE_CHARS
from storage.runs import (
    AttemptsSpent,
    ContextTooLarge,
    Gates,
    HeldRun,
    LivesAtGateway,
    OpenWork,
    Recovered,
    Report,
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
from storage.setups import BadConfiguration, Setup
from storage.sign_ins import SignInRow
from storage.size import DatabaseSize
from storage.sketch import Sketch
from storage.soul_writes import NewSoulWrite, SoulBusy, SoulEnd, SoulOutcome, SoulWriteRow
from storage.souls import SoulPlace, SoulVersion, UnknownSoulVersion
from storage.sqlite import empty_database, machine_now_ms, open_sqlite
from storage.standing import Standing, standing_of
from storage.template_changes import (
    Broken,
    TemplateChanged,
    TemplateInUse,
    TemplateOfFile,
    TooManyTemplates,
    WouldBreak,
)
from storage.templates import TemplateRow, UnknownTemplate, WrittenTemplate
from storage.told import ToldDatabase
from storage.users import UnknownUser, UserOwnsThings, UserRow, UserTaken
from storage.verify import Difference, Verified, verify
from storage.wakes import WakeDecision, WakeEnd, WakeRow, WakeSight

__all__ = [
    "AGENT_SCOPE",
    "HOUR_MS",
    "MAX_MESSAGE_CHARS",
    "MINUTE_MS",
    "SERVER",
    "TAKEN",
    "UNSET",
    "Activity",
    "Agenda",
    "AgentFacts",
    "AgentLimits",
    "AgentMove",
    "AgentNameTaken",
    "AgentOfFile",
    "AgentReport",
    "AgentRow",
    "AgentState",
    "AgentTerminated",
    "AgentTokenRow",
    "Aim",
    "Asked",
    "AttemptsSpent",
    "AuditRow",
    "BackfillPlan",
    "BackfillSight",
    "BackupRefused",
    "BadConfiguration",
    "BadInvitation",
    "BadMessage",
    "BadWrite",
    "BatchRow",
    "BatchState",
    "BelowZero",
    "BoardLimits",
    "BoardPlace",
    "BoardResult",
    "BoardRow",
    "BroadcastRow",
    "Broken",
    "BucketRow",
    "BucketsKept",
    "Busy",
    "Capability",
    "CapabilityRow",
    "Checkpoint",
    "CheckpointRow",
    "ConfigLimitReached",
    "ConfigLimits",
    "ConfigMove",
    "ConfigOfFile",
    "ConfigRow",
    "ConfigsChanged",
    "Conflict",
    "ConnectorRow",
    "ContextTooLarge",
    "CostRow",
    "Covered",
    "CredentialRow",
    "Database",
    "DatabaseSize",
    "Decide",
    "Decided",
    "Decision",
    "DeclaredAgent",
    "DeclaredCapability",
    "DeclaredConnector",
    "DeclaredGateway",
    "DeclaredSchedule",
    "DeviceNameTaken",
    "DeviceRow",
    "Difference",
    "DiskFull",
    "DueSchedule",
    "EffectiveConfig",
    "Entry",
    "Exhaustion",
    "ExternalIdTaken",
    "Finder",
    "FireDecision",
    "FireRow",
    "FoundItem",
    "FreshRun",
    "FromTheFuture",
    "Gates",
    "GatewayAgentRow",
    "GatewayRow",
    "Grant",
    "GrantAge",
    "GrantSight",
    "HeardDevice",
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
    "Led",
    "LivesAtGateway",
    "LockInTheWay",
    "LostLease",
    "Mailbox",
    "MainAgentStays",
    "Manifest",
    "Measured",
    "MeasuredDatabase",
    "MemberRow",
    "MemoryFilter",
    "MemoryLimits",
    "MemoryRow",
    "MessageLimits",
    "MessageMove",
    "MessageRow",
    "MessageSettled",
    "MessageSight",
    "MessageTooLong",
    "ModelCall",
    "ModelUse",
    "NameTaken",
    "NewAnswer",
    "NewBroadcast",
    "NewConfig",
    "NewMemory",
    "NewMessage",
    "NewQuestion",
    "NewSoulWrite",
    "NextFire",
    "NoGateway",
    "NoLead",
    "NoStore",
    "NotGranted",
    "Offered",
    "OpenCall",
    "OpenWork",
    "OperatorTokenRow",
    "PairingAsk",
    "PairingChanged",
    "PairingRow",
    "Passed",
    "Place",
    "PlannedCall",
    "QuestionRow",
    "QuestionSettled",
    "QueueLimits",
    "Reconciled",
    "ReconciledConnectors",
    "ReconciledGateways",
    "Recovered",
    "Redacted",
    "Refused",
    "Registered",
    "RemoteIdTaken",
    "Replied",
    "ReplyIds",
    "Report",
    "ReportDiffers",
    "ReportedVerdict",
    "Resent",
    "Restored",
    "Revocation",
    "RotatedTooSoon",
    "RunError",
    "RunMove",
    "RunRow",
    "RunWait",
    "SampleRow",
    "ScheduleRow",
    "Seen",
    "SeriesLimits",
    "SeriesRow",
    "Setup",
    "SignInRow",
    "SilentDevice",
    "Since",
    "Sketch",
    "SoulBusy",
    "SoulEnd",
    "SoulOutcome",
    "SoulPlace",
    "SoulVersion",
    "SoulWriteRow",
    "Spent",
    "StaleCheckpoint",
    "StaleConfig",
    "StaleRun",
    "Standing",
    "StandingWrite",
    "Stands",
    "StateChanged",
    "StillOpen",
    "StorageError",
    "Store",
    "StoreRow",
    "Tally",
    "TemplateChanged",
    "TemplateInUse",
    "TemplateOfFile",
    "TemplateRow",
    "Term",
    "TokenOwner",
    "TokenRevoked",
    "TokenRow",
    "ToldDatabase",
    "ToldRow",
    "TooManyAgentTokens",
    "TooManyAgents",
    "TooManyCapabilities",
    "TooManyCheckpoints",
    "TooManyMessages",
    "TooManyOfBoards",
    "TooManyPairings",
    "TooManyPosted",
    "TooManyQuestions",
    "TooManySeries",
    "TooManyTemplates",
    "TypeDiffers",
    "Unavailable",
    "UnitPlan",
    "UnitRow",
    "UnknownAgent",
    "UnknownBoard",
    "UnknownBroadcast",
    "UnknownCapability",
    "UnknownCheckpoint",
    "UnknownConfig",
    "UnknownConnector",
    "UnknownDevice",
    "UnknownGateway",
    "UnknownMemory",
    "UnknownMessage",
    "UnknownPairing",
    "UnknownQuestion",
    "UnknownRun",
    "UnknownSchedule",
    "UnknownSoulVersion",
    "UnknownTemplate",
    "UnknownUser",
    "Unset",
    "Usage",
    "UserOwnsThings",
    "UserRow",
    "UserTaken",
    "Verdict",
    "Verified",
    "WakeDecision",
    "WakeEnd",
    "WakeRow",
    "WakeSight",
    "Word",
    "WouldBreak",
    "Writing",
    "Written",
    "WrittenTemplate",
    "activity",
    "agent_ends",
    "agent_facts",
    "agent_states",
    "agent_tokens",
    "agent_writes",
    "agents",
    "agreement",
    "audit",
    "backfills",
    "backup",
    "board_members",
    "board_memory",
    "boards",
    "broadcasts",
    "capabilities",
    "checkpoints",
    "config_changes",
    "configs",
    "connector_cursors",
    "connector_retention",
    "connectors",
    "coordination_retention",
    "credentials",
    "declaring",
    "device_keys",
    "device_names",
    "devices",
    "effective_configs",
    "file_of",
    "fires",
    "gateway_agents",
    "gateway_making",
    "gateway_standings",
    "gateways",
    "grants",
    "heartbeats",
    "held_alone",
    "idempotency",
    "identity",
    "invitations",
    "items",
    "leases",
    "left_units",
    "locks",
    "made_agents",
    "measured_work",
    "measurement_reads",
    "measurements",
    "memory_replies",
    "message_orders",
    "message_plans",
    "messages",
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
    "posted",
    "questions",
    "restore",
    "retention",
    "revocations",
    "run_needs",
    "runs",
    "schedules",
    "seen_messages",
    "setups",
    "shown",
    "sign_ins",
    "size",
    "soul_writes",
    "souls",
    "standing_of",
    "successors",
    "template_changes",
    "templates",
    "unknown_likeness",
    "users",
    "verify",
    "wakes",
    "words_of",
    "written_for",
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
        async with open_sqlite(_empty_database(), now_ms=clock) as database:
            yield database
    else:
        with held_alone(path):
            await anyio.to_thread.run_sync(upgrade, path)
            async with open_sqlite(path, now_ms=clock) as database:
                yield database


@cache
def _empty_database() -> bytes:
    """Serialized tables of this release: to create 56 of them takes 80 ms, a copy 1 ms."""
    return empty_database(metadata)

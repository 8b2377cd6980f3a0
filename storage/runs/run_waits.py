"""Requested runs, bounded by ``WaitingLimits``, and conditions that waiting runs depend on.

Conditions are only for display; ``run_claims`` alone decides which run may start.
"""

from collections.abc import Sequence
from typing import Any, Final, Literal

import msgspec
import sqlalchemy as sa

from protocol.errors import ErrorCode, HubError
from protocol.ids import RunId
from storage import schema
from storage.agents.agents import AgentRow
from storage.connectors.connectors import NOT_YET
from storage.kernel.columns import in_parts
from storage.kernel.rows import fill
from storage.runs.run_claims import AWAY, FOLLOWS
from storage.runs.run_locks import LockInTheWay, locks_in_the_way
from storage.runs.run_moves import RUN_BY_FIRE, create_run
from storage.runs.run_rows import RunRow
from storage.schema import agent_state_history, agent_states, agents, connectors, credentials, devices, runs


class RunWait(msgspec.Struct, frozen=True, kw_only=True):
    """Conditions of a waiting run. Instants are epoch milliseconds.

    Attributes:
        recovery_at: time of an exhausted agent's recovery or probe.
        is_online: the device is connected, to any node.
        is_revoked: the device was revoked.
        is_away: the device is connected, but the agent is offline; *away_since*, *away_reason*: details.
        last_seen_at: last contact of the device; ``None``: it never connected.
        follows: another run of the same schedule is under way, and the schedule allows no overlap.
        of_agent, on_device, on_hub: numbers of executing runs; on a device without those that read a
            connector.
        of_mailboxes: number of executing runs that read a connector.
        reads_mailbox: it reads a connector, and its device may be offline.
        connector: name of its connector; ``None``: no longer declared.
        connector_state, connector_detail: whether its runs may start, and the reason if not.
        connector_retry_at: end of its wait after a temporary error.
        is_granted: a person signs in to it; otherwise its secret is in hub.toml.
        lock: the first lock that it waits for.
    """

    run_id: RunId
    lifecycle: str
    availability: str
    exhaust_reason: str | None
    recovery_at: int | None
    health: str
    device_name: str | None
    is_online: bool
    is_revoked: bool
    is_away: bool = False
    away_since: int | None = None
    away_reason: str | None = None
    last_seen_at: int | None
    per_agent: int
    follows: bool
    of_agent: int
    on_device: int
    on_hub: int
    lock: LockInTheWay | None = None
    of_mailboxes: int = 0
    reads_mailbox: bool = False
    connector: str | None = None
    connector_state: Literal["ok", "sign_in", "blocked"] | None = None
    connector_detail: str | None = None
    connector_retry_at: int | None = None
    is_granted: bool = False


_other = runs.alias("other")
_executing = sa.select(sa.func.count()).where(sa.text("other." + schema.EXECUTING)).select_from(_other)
_reader = agents.alias("reader")
_by_mailboxes = sa.exists().where(_reader.c.id == _other.c.agent_id, _reader.c.executor == "connector")
_left = (
    sa.select(agent_state_history.c.at, agent_state_history.c.reason)
    .where(agent_state_history.c.agent_id == runs.c.agent_id, agent_state_history.c.axis == "connectivity")
    .order_by(agent_state_history.c.seq.desc())
    .limit(1)
)
WAITS = (
    sa.select(
        runs.c.id.label("run_id"),
        agent_states.c.lifecycle,
        agent_states.c.availability,
        agent_states.c.exhaust_reason,
        sa.func.coalesce(agent_states.c.recovery_at, agent_states.c.probe_at).label("recovery_at"),
        agent_states.c.health,
        devices.c.name.label("device_name"),
        (sa.func.coalesce(devices.c.connectivity, "offline") == "online").label("is_online"),
        devices.c.revoked_at.is_not(None).label("is_revoked"),
        AWAY.label("is_away"),
        _left.with_only_columns(agent_state_history.c.at).scalar_subquery().label("away_since"),
        _left.with_only_columns(agent_state_history.c.reason).scalar_subquery().label("away_reason"),
        devices.c.last_seen_at,
        agents.c.max_concurrent_runs.label("per_agent"),
        sa.and_(sa.func.coalesce(schema.schedules.c.overlap, "allow") != "allow", FOLLOWS).label("follows"),
        _executing.where(_other.c.agent_id == runs.c.agent_id).scalar_subquery().label("of_agent"),
        _executing.where(_other.c.device_id == runs.c.device_id, sa.not_(_by_mailboxes))
        .scalar_subquery()
        .label("on_device"),
        _executing.scalar_subquery().label("on_hub"),
        _executing.where(_by_mailboxes).scalar_subquery().label("of_mailboxes"),
        (agents.c.executor == "connector").label("reads_mailbox"),
        connectors.c.name.label("connector"),
        connectors.c.state.label("connector_state"),
        connectors.c.detail.label("connector_detail"),
        connectors.c.retry_at.label("connector_retry_at"),
        sa.or_(
            sa.func.coalesce(connectors.c.detail, "") == NOT_YET,
            sa.exists().where(credentials.c.connector_id == connectors.c.id),
        ).label("is_granted"),
    )
    .join_from(runs, agents)
    .join(agent_states, agent_states.c.agent_id == agents.c.id)
    .outerjoin(devices, devices.c.id == runs.c.device_id)
    .outerjoin(schema.schedules, schema.schedules.c.id == runs.c.schedule_id)
    .outerjoin(
        connectors, sa.and_(connectors.c.id == agents.c.connector_id, connectors.c.deleted_at.is_(None))
    )
    .where(runs.c.id.in_(sa.bindparam("runs", expanding=True)))
)


def waits_of(c: sa.Connection, run_ids: Sequence[RunId]) -> dict[RunId, RunWait]:
    """Return the conditions of these runs, by run."""
    locked = locks_in_the_way(c, run_ids)
    return {
        RunId(row.run_id): fill(
            RunWait,
            row,
            lock=locked.get(RunId(row.run_id)),
        )
        for part in in_parts(run_ids)
        for row in c.execute(WAITS, {"runs": part})
    }


ASKED_FOR: Final = ("manual", "rerun")  # triggers of requested runs


class WaitingLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Limits on waiting requested runs; a refusal names the limit."""

    waiting_manual_runs: int = 20  # of one agent
    waiting_manual_runs_per_device: int = 100


class TooManyWaiting(HubError):
    """Error: the maximum number of runs waits. *limit*: name of the limit."""

    code = ErrorCode.LIMIT_REACHED

    def __init__(self, message: str, *, limit: str) -> None:
        super().__init__(f"{message} ({limit}): wait until one has started, or cancel some")
        self.limit = limit


# Serializes counting and inserting. A SQLite database has only one writer anyway.
LOCK_AGENT = (
    sa.select(agent_states.c.agent_id)
    .where(agent_states.c.agent_id == sa.bindparam("agent"))
    .with_for_update()
)
_WAITING = sa.select(sa.func.count()).where(
    sa.text("runs.state = 'QUEUED'"), runs.c.trigger_kind.in_(ASKED_FOR)
)
WAITING_OF_AGENT = _WAITING.where(runs.c.agent_id == sa.bindparam("agent"))
WAITING_OF_DEVICE = _WAITING.where(runs.c.device_id == sa.bindparam("device"))
DEFAULT_LIMITS: Final = WaitingLimits()


def start_run(
    c: sa.Connection,
    /,
    *,
    agent: AgentRow,
    fire_key: str,
    limits: WaitingLimits = DEFAULT_LIMITS,
    **made: Any,
) -> RunRow:
    """Create a requested run within the limits; *made*: the other arguments of ``create_run``.

    Raises:
        TooManyWaiting: the agent or its device has too many waiting runs; nothing was written.
        UnknownAgent: the agent does not exist or was archived; nothing was written.
    """
    c.execute(LOCK_AGENT, {"agent": agent.id})
    is_there = c.execute(RUN_BY_FIRE, {"agent": agent.id, "fire": fire_key}).first() is not None
    if not is_there:
        _check_room(c, agent, limits)
    return create_run(c, agent=agent, fire_key=fire_key, **made)


def _check_room(c: sa.Connection, agent: AgentRow, limits: WaitingLimits) -> None:
    most = limits.waiting_manual_runs
    if c.execute(WAITING_OF_AGENT, {"agent": agent.id}).scalar_one() >= most:
        message = f"{most} runs of {agent.name!r} wait that somebody started"
        raise TooManyWaiting(message, limit="waiting_manual_runs")
    most = limits.waiting_manual_runs_per_device
    if c.execute(WAITING_OF_DEVICE, {"device": agent.device_id}).scalar_one() >= most:
        message = f"{most} runs of this device wait that somebody started"
        raise TooManyWaiting(message, limit="waiting_manual_runs_per_device")

"""Queries for issues: exhausted, failing, silent or unpaired agents, and stopped schedules.

They run every minute, so each returns only rows with a finding, at most MOST of them.
"""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

import msgspec
import sqlalchemy as sa

from protocol.ids import AgentId, DeviceId, UserId
from protocol.lifecycles import PauseReason, RunState
from storage.agents import agents as all_agents
from storage.agents.agents import AgentRow
from storage.agents.configs import UnreadableConfig, read_config
from storage.kernel.columns import Int, in_parts, listed, struct_from, structs_from
from storage.leases import is_online
from storage.schedules import schedule_rows
from storage.schedules.schedule_rows import ScheduleRow
from storage.schema import (
    LIVE,
    agent_configs,
    agent_states,
    agents,
    device_keys,
    device_tokens,
    devices,
    runs,
    schedules,
    unit_ledger,
)

MAX_FINDINGS = 200  # findings of one check

_CONNECTED: sa.BindParameter[list[str]] = sa.bindparam("connected")
_is_offline = sa.and_(
    agent_states.c.connectivity == "offline",
    agent_states.c.lifecycle.not_in(["paused", "terminated"]),
    agents.c.deleted_at.is_(None),
)
AGENTS_WITH_STATES = sa.select(agents.c.id).join_from(
    agents, agent_states, agent_states.c.agent_id == agents.c.id
)
# Literal texts, for the partial indexes.
EXHAUSTED = (
    sa.select(agent_states.c.agent_id).where(sa.text("availability = 'exhausted'")).limit(MAX_FINDINGS)
)
FAILING = sa.select(agent_states.c.agent_id).where(sa.text("health <> 'ok'")).limit(MAX_FINDINGS)
SILENT_ON_DEVICES = AGENTS_WITH_STATES.where(agents.c.device_id.in_(listed(_CONNECTED)), _is_offline).limit(
    MAX_FINDINGS
)
SILENT_ALONE = AGENTS_WITH_STATES.where(
    agents.c.device_id.is_(None),
    agents.c.executor == "device",
    agent_states.c.last_heartbeat_at.is_not(None),
    _is_offline,
).limit(MAX_FINDINGS)
_UNPAIRED = sa.or_(
    devices.c.revoked_at.is_not(None),
    sa.and_(
        devices.c.last_seen_at.is_(None),
        ~sa.exists().where(device_keys.c.device_id == devices.c.id),
        ~sa.exists().where(device_tokens.c.device_id == devices.c.id),
    ),
)
ON_UNPAIRED = (
    sa.select(agents.c.id)
    .join_from(devices, agents, agents.c.device_id == devices.c.id)
    .where(_UNPAIRED, agents.c.deleted_at.is_(None))
    .limit(MAX_FINDINGS)
)
_without_files = sa.and_(
    devices.c.revoked_at.is_(None), sa.cast(devices.c.grants, sa.Text).not_like('%"files"%')
)
READING_WITHOUT_GRANT = (
    sa.select(agents.c.id)
    .join_from(devices, agents, agents.c.device_id == devices.c.id)
    .where(_without_files, agents.c.executor == "device", agents.c.deleted_at.is_(None))
    .limit(MAX_FINDINGS)
)
PATHS = (
    sa.select(
        agents.c.id.label("agent_id"),
        agents.c.name.label("agent_name"),
        agents.c.user_id,
        agents.c.device_id,
        devices.c.name.label("device_name"),
        agent_configs.c.config_value,
    )
    .join_from(agents, agent_states, agent_states.c.agent_id == agents.c.id)
    .join(devices, devices.c.id == agents.c.device_id)
    .join(
        agent_configs,
        sa.and_(agent_configs.c.agent_id == agents.c.id, agent_configs.c.config_key == "paths"),
    )
    .where(
        agents.c.device_id.in_(listed(_CONNECTED)),
        agents.c.deleted_at.is_(None),
        agent_states.c.lifecycle != "terminated",
    )
)
_last_run_at = (
    sa.select(sa.func.max(runs.c.created_at)).where(runs.c.agent_id == schedules.c.agent_id).scalar_subquery()
)
# Those that the hub paused after failures, and those whose only time passed without a run.
STOPPED = (
    schedule_rows.SCHEDULES.where(
        sa.text("NOT schedules.enabled"),
        sa.or_(
            schedules.c.paused_reason.in_([schedule_rows.FAILURES, schedule_rows.BROKEN]),
            sa.and_(
                schedules.c.paused_reason == schedule_rows.FINISHED,
                sa.func.coalesce(_last_run_at, 0) < schedules.c.at_ms,
            ),
        ),
        agents.c.deleted_at.is_(None),
    )
    .order_by(agents.c.name, schedules.c.id)
    .limit(MAX_FINDINGS)
)
OVERDUE = (
    schedule_rows.SCHEDULES.where(
        sa.text("schedules.enabled AND schedules.due_at IS NOT NULL"),
        schedules.c.due_at <= sa.bindparam("by", type_=Int),
        agents.c.deleted_at.is_(None),
    )
    .order_by(schedules.c.due_at)
    .limit(MAX_FINDINGS)
)
# A device without a manifest announces no number of files: those that it sent count.
_found = (
    runs.c.units_total
    + runs.c.units_done
    + runs.c.units_failed
    + runs.c.units_skipped
    + runs.c.units_unchanged
)
_newest_listing = (
    sa.select(_found)
    .where(
        runs.c.agent_id == agents.c.id,
        sa.text("runs.completed_at IS NOT NULL"),
        runs.c.state == RunState.COMPLETED,
    )
    .order_by(runs.c.completed_at.desc())
    .limit(1)
)
_last_listing = _newest_listing.with_only_columns(runs.c.completed_at).where(_found > 0)
EMPTIED = (
    sa.select(
        agents.c.id,
        _last_listing.scalar_subquery().label("until"),
        _newest_listing.with_only_columns(runs.c.result).scalar_subquery().label("result"),
    )
    .join_from(agents, agent_states, agent_states.c.agent_id == agents.c.id)
    .where(
        agents.c.executor == "device",
        agents.c.deleted_at.is_(None),
        agent_states.c.lifecycle == "active",
        _newest_listing.scalar_subquery() == 0,
        sa.exists().where(unit_ledger.c.agent_id == agents.c.id),
    )
    .limit(MAX_FINDINGS)
)
# Without those of agents that read mailboxes, which need no device, and of agents that are paused. A device
# that was revoked is an issue of its own, at once.
ABSENT = (
    sa.select(
        *(devices.c.id, devices.c.name, devices.c.user_id, devices.c.last_seen_at),
        sa.func.count().label("runs"),
        sa.func.min(runs.c.created_at).label("waits_since"),
        sa.func.min(agents.c.name).label("agent_name"),
    )
    .join_from(runs, devices, devices.c.id == runs.c.device_id)
    .join(agents, agents.c.id == runs.c.agent_id)
    .join(agent_states, agent_states.c.agent_id == agents.c.id)
    .where(
        sa.text("runs." + LIVE),
        sa.or_(runs.c.state == RunState.QUEUED, runs.c.pause_reason == PauseReason.DEVICE_OFFLINE),
        agents.c.executor != "connector",
        agents.c.deleted_at.is_(None),
        agent_states.c.lifecycle == "active",
        ~is_online(),
        devices.c.revoked_at.is_(None),
        sa.func.coalesce(devices.c.last_seen_at, devices.c.created_at) <= sa.bindparam("by", type_=Int),
    )
    .group_by(devices.c.id)
    .having(sa.func.min(runs.c.created_at) <= sa.bindparam("by", type_=Int))
    .order_by(sa.func.coalesce(devices.c.last_seen_at, devices.c.created_at))
    .limit(MAX_FINDINGS)
)


class AbsentDevice(msgspec.Struct, frozen=True):
    """Device that is disconnected, and the runs that wait for it.

    Attributes:
        last_seen_at: epoch milliseconds; None if it never connected.
        waits_since: creation time of the oldest of these runs.
        agent_name: one of their agents.
    """

    id: DeviceId
    name: str
    user_id: UserId
    last_seen_at: int | None
    runs: int
    waits_since: int
    agent_name: str


class SharedPaths(msgspec.Struct, frozen=True):
    """Paths that an agent reads on its device."""

    agent_id: AgentId
    agent_name: str
    user_id: UserId
    device_id: DeviceId
    device_name: str
    paths: tuple[str, ...]


def rows_of(c: sa.Connection, ids: Iterable[str]) -> list[AgentRow]:
    """Return these agents by name, without archived ones."""
    found = [
        row
        for part in in_parts(sorted(set(ids)))
        for row in all_agents.list_agents(c, only=[agents.c.id.in_(part)])
    ]
    return sorted(found, key=lambda row: (row.name, row.id))


def exhausted_or_failing(c: sa.Connection) -> list[AgentRow]:
    """Return agents that are exhausted or report a fault."""
    return rows_of(c, [*c.execute(EXHAUSTED).scalars(), *c.execute(FAILING).scalars()])


def silent(c: sa.Connection, connected: Sequence[DeviceId]) -> list[AgentRow]:
    """Return agents that are offline though their device is connected, or that sent their own heartbeats."""
    ids = [*c.execute(SILENT_ON_DEVICES, {"connected": connected}).scalars()]
    return rows_of(c, [*ids, *c.execute(SILENT_ALONE).scalars()])


def on_unpaired_devices(c: sa.Connection) -> list[AgentRow]:
    """Return agents whose device has no credential and was never connected."""
    return rows_of(c, c.execute(ON_UNPAIRED).scalars())


def reading_without_grant(c: sa.Connection) -> list[AgentRow]:
    """Return agents that read files of devices without the grant for it."""
    return rows_of(c, c.execute(READING_WITHOUT_GRANT).scalars())


def emptied(c: sa.Connection) -> list[tuple[AgentRow, int | None]]:
    """Return agents that read files once and now find none, and the end of the last run that found some."""
    # Files that were left out unnamed are no units of the run.
    until = {row.id: row.until for row in c.execute(EMPTIED) if not (row.result or {}).get("unlisted")}
    return [(row, until[row.id]) for row in rows_of(c, until)]


def absent_devices(c: sa.Connection, by: int) -> list[AbsentDevice]:
    """Return devices that are away, and that runs wait for, since *by* (epoch ms) or longer."""
    return structs_from(AbsentDevice, c.execute(ABSENT, {"by": by}))


def paths_on(c: sa.Connection, connected: Sequence[DeviceId]) -> list[SharedPaths]:
    """Return the paths of the agents of these devices."""
    found: list[SharedPaths] = []
    for row in c.execute(PATHS, {"connected": connected}):
        with suppress(UnreadableConfig):  # an issue of its own
            found.append(struct_from(SharedPaths, row, paths=read_config("paths", row.config_value)))
    return found


def stopped_schedules(c: sa.Connection) -> list[tuple[ScheduleRow, UserId]]:
    """Return paused schedules and missed ones of a single time, with the users of their agents."""
    return _with_users(c, c.execute(STOPPED))


def overdue_schedules(c: sa.Connection, by: int) -> list[tuple[ScheduleRow, UserId]]:
    """Return schedules with a fire undecided since *by* (epoch ms), with the users of their agents."""
    return _with_users(c, c.execute(OVERDUE, {"by": by}))


def _with_users(c: sa.Connection, rows: Iterable[Any]) -> list[tuple[ScheduleRow, UserId]]:
    found = schedule_rows.schedules_in(rows)
    owners = sa.select(agents.c.id, agents.c.user_id).where(agents.c.id.in_({row.agent_id for row in found}))
    owner_of = {id: UserId(user_id) for id, user_id in c.execute(owners)}
    return [(row, owner_of[row.agent_id]) for row in found]

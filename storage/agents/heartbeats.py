"""Agent states reported by heartbeats, written only if they changed.

A heartbeat reports the device's view of an agent: whether it is online, on call, without quota, or in error.
It revokes only states that an earlier heartbeat set; states set by a person, a template or the hub stay. It
never ends an exhaustion, which ends at its time. Reports about archived and terminated agents are ignored,
and so are those on an outdated connection of a device.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec
import sqlalchemy as sa

from protocol.ids import AgentId, DeviceId
from protocol.standing import Availability, Axis, Connectivity, ExhaustReason, Health
from storage.agents import agent_moves
from storage.agents import agent_states as moves
from storage.kernel.columns import Doc, Int, in_parts
from storage.kernel.rows import columns_of, fill
from storage.schema import agent_state_history, agent_states, agents, devices

SAID: Final = "its device says so"
BACK: Final = "its device is heard again"


class AgentReport(msgspec.Struct, frozen=True, kw_only=True):
    """Report of a heartbeat about one agent. ``None``: no statement.

    Attributes:
        is_listed: the heartbeat lists the agent; otherwise only its device is known to be alive.
        recovery_at: epoch milliseconds, for an exhausted agent.
        error: reason of its error; ``None``: no error.
        usage: small JSON object of resource usage.
    """

    agent_id: AgentId
    is_listed: bool = True
    is_online: bool = True
    availability: Availability | None = None
    exhaust_reason: ExhaustReason = ExhaustReason.RATE_LIMIT
    recovery_at: int | None = None
    error: str | None = None
    usage: Mapping[str, Any] | None = None


class HeardDevice(msgspec.Struct, frozen=True):
    """Reports received on a connection of a device; *at*: time of receipt, epoch milliseconds."""

    device_id: DeviceId
    epoch: int
    at: int
    reports: tuple[AgentReport, ...]


class SilentDevice(msgspec.Struct, frozen=True):
    """Connection of a device whose heartbeats have stopped."""

    device_id: DeviceId
    epoch: int
    at: int
    reason: str


class Stands(msgspec.Struct, frozen=True):
    """State of an agent that a heartbeat may change. Instants are epoch milliseconds."""

    agent_id: AgentId
    device_id: DeviceId
    availability: Availability
    connectivity: Connectivity
    health: Health
    health_reason: str | None
    back_at: int | None  # for an exhausted agent: time of its recovery or next probe


class Wish(NamedTuple):
    """Move that a report requests."""

    axis: Axis
    to: str
    reason: str | None


_is_there = sa.and_(agents.c.deleted_at.is_(None), agent_states.c.lifecycle != "terminated")
_standing = (
    sa.select(
        *columns_of(
            Stands,
            agents,
            agent_states,
            agent_id=agents.c.id,
            back_at=sa.func.coalesce(agent_states.c.recovery_at, agent_states.c.probe_at),
        )
    )
    .join_from(agents, agent_states)
    .where(_is_there)
    .order_by(agents.c.id)
)
STANDING = _standing.where(agents.c.device_id.in_(sa.bindparam("devices", expanding=True)))
REPORTED = _standing.where(agents.c.id.in_(sa.bindparam("agents", expanding=True))).with_for_update(
    of=agent_states
)
CURRENT = sa.select(devices.c.id, devices.c.session_epoch).where(
    devices.c.id.in_(sa.bindparam("devices", expanding=True)), devices.c.connectivity == "online"
)
LAST_MOVE = (
    sa.select(agent_state_history.c.actor, agent_state_history.c.reason)
    .where(
        agent_state_history.c.agent_id == sa.bindparam("agent"),
        agent_state_history.c.axis == sa.bindparam("on_axis"),
    )
    .order_by(agent_state_history.c.seq.desc())
    .limit(1)
)
KEEP = (
    sa.update(agent_states)
    .where(agent_states.c.agent_id == sa.bindparam("agent"))
    .values(last_heartbeat_at=sa.bindparam("heard", type_=Int))
)
KEEP_USAGE = KEEP.values(resource_usage=sa.bindparam("usage", type_=Doc))
SAVE = (
    sa.update(agent_states)
    .where(
        agent_states.c.agent_id.in_(
            sa.select(agents.c.id).where(agents.c.device_id == sa.bindparam("device"))
        ),
        sa.func.coalesce(agent_states.c.last_heartbeat_at, 0) < sa.bindparam("heard", type_=Int),
    )
    .values(last_heartbeat_at=sa.bindparam("heard", type_=Int))
)


def standing_at(c: sa.Connection, device_ids: Sequence[DeviceId]) -> dict[DeviceId, list[Stands]]:
    """Return the agents that work on each of these devices, by id."""
    found: dict[DeviceId, list[Stands]] = {device_id: [] for device_id in device_ids}
    for part in in_parts(device_ids):
        for row in c.execute(STANDING, {"devices": part}):
            found[row.device_id].append(fill(Stands, row))
    return found


def wishes(stands: Stands, says: AgentReport) -> list[Wish]:
    """Return the moves that *says* requests; empty if it reports no change. Pure."""
    found = []
    if says.is_online != (stands.connectivity is Connectivity.ONLINE):
        to, why = (Connectivity.ONLINE, BACK) if says.is_online else (Connectivity.OFFLINE, SAID)
        found.append(Wish(Axis.CONNECTIVITY, to, why))
    if not says.is_listed:
        return found
    if (says.error is not None) != (stands.health is Health.ERROR):
        found.append(Wish(Axis.HEALTH, Health.OK if says.error is None else Health.ERROR, says.error or SAID))
    if says.availability is Availability.EXHAUSTED:
        is_news = stands.availability is not Availability.EXHAUSTED
        if is_news or (says.recovery_at or 0) > (stands.back_at or 0):
            found.append(Wish(Axis.AVAILABILITY, Availability.EXHAUSTED, None))
    elif says.availability is not None and stands.availability not in (
        says.availability,
        Availability.EXHAUSTED,
    ):
        found.append(Wish(Axis.AVAILABILITY, says.availability, SAID))
    return found


def record(
    c: sa.Connection,
    *,
    heard: Sequence[HeardDevice] = (),
    silent: Sequence[SilentDevice] = (),
    last: Mapping[DeviceId, int] | None = None,
) -> None:
    """Write all changes that these reports and silent connections imply. Writing them again changes nothing.

    Args:
        last: time of each device's last heartbeat, epoch milliseconds, for all of its agents.
    """
    ids = sorted({one.device_id for one in heard} | {one.device_id for one in silent})
    current = {
        (row.id, row.session_epoch) for part in in_parts(ids) for row in c.execute(CURRENT, {"devices": part})
    }
    heard = [one for one in heard if (one.device_id, one.epoch) in current]
    silent = [one for one in silent if (one.device_id, one.epoch) in current]
    for one, stands, report in _reported(c, heard):
        _take(c, stands, report, one.at)
    gone = {one.device_id: one for one in silent}
    left = [stands for there in standing_at(c, list(gone)).values() for stands in there]
    for stands in sorted(left, key=lambda one: one.agent_id):
        fallen = gone[stands.device_id]
        _move(c, stands, Wish(Axis.CONNECTIVITY, Connectivity.OFFLINE, fallen.reason), fallen.at, "hub")
    if last:
        c.execute(SAVE, [{"device": device_id, "heard": last[device_id]} for device_id in sorted(last)])


def _reported(
    c: sa.Connection, heard: Sequence[HeardDevice]
) -> Iterator[tuple[HeardDevice, Stands, AgentReport]]:
    """Return the reports about agents of the reporting device, with their states, ordered by agent.

    Locks the agents' states in the order in which all writers lock them.
    """
    says = {(one.device_id, report.agent_id): (one, report) for one in heard for report in one.reports}
    for part in in_parts(sorted({agent_id for _, agent_id in says})):
        for row in c.execute(REPORTED, {"agents": part}).all():
            if (said := says.get((row.device_id, row.agent_id))) is not None:
                yield said[0], fill(Stands, row), said[1]


def _take(c: sa.Connection, stands: Stands, says: AgentReport, at: int) -> None:
    actor = f"device:{stands.device_id}"
    for wish in wishes(stands, says):
        if wish.to == Availability.EXHAUSTED:
            moves.exhaust(
                c,
                says.agent_id,
                cause=says.exhaust_reason,
                recovery_at=says.recovery_at,
                at=at,
                actor=actor,
            )
        elif wish.to not in (Health.OK, Availability.AVAILABLE) or _said(c, stands, wish.axis):
            _move(c, stands, wish, at, actor)
    kept = {"agent": says.agent_id, "heard": at}
    if says.usage is None:
        c.execute(KEEP, kept)
    else:
        c.execute(KEEP_USAGE, kept | {"usage": dict(says.usage)})


def _move(c: sa.Connection, stands: Stands, wish: Wish, at: int, actor: str) -> None:
    agent_moves.move(c, stands.agent_id, wish.axis, wish.to, at=at, actor=actor, reason=wish.reason)


def _said(c: sa.Connection, stands: Stands, axis: Axis) -> bool:
    """Return True if a heartbeat of this device made the agent's last move on *axis*.

    Only then may a heartbeat revert it. An error with a different reason now, such as invalid settings, is
    not the device's.
    """
    last = c.execute(LAST_MOVE, {"agent": stands.agent_id, "on_axis": axis}).one_or_none()
    if last is None or last.actor != f"device:{stands.device_id}":
        return False
    return axis is not Axis.HEALTH or bool(last.reason == stands.health_reason)

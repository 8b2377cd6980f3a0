"""Status changes by heartbeats: which reports change a status, and which statuses they may undo.

A report is written only if it changes the state. It revokes only states that an earlier heartbeat set; states
set by a person, a template or the hub stay. It never ends an exhaustion, which ends at its time;
``hub.agents.heartbeats`` limits that time. Reports about archived and terminated agents are ignored, and so
are those on an outdated connection of a device.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec
import sqlalchemy as sa

from protocol.agent_status import Availability, Axis, Connectivity, ExhaustReason, Health
from protocol.coordination import AGENT, DEVICE
from protocol.ids import AgentId, DeviceId
from storage.agents import exhaustion, state_moves
from storage.kernel.columns import Doc, Int, columns_of, in_parts, isolating_broken_row, structs_from
from storage.schema import agent_state_history, agent_states, agents, devices

BY_REPORT: Final = "its heartbeat says so"
BACK: Final = "its heartbeats arrive again"
Sender = DeviceId | AgentId  # of heartbeats: the agent's device, or the agent itself if it has none
OWN: Final = 0  # in place of the number of a connection, which begins with 1


class AgentReport(msgspec.Struct, frozen=True, kw_only=True):
    """Report of a heartbeat about one agent. ``None``: no statement.

    Attributes:
        is_listed: the heartbeat lists the agent; otherwise only its device is known to be alive.
        recovery_at: epoch milliseconds, for an exhausted agent.
        error: reason of its error; ``None``: no error.
        usage: small JSON object of resource usage.
        turns: number of tasks that an agent without a device works on.
    """

    agent_id: AgentId
    is_listed: bool = True
    is_online: bool = True
    availability: Availability | None = None
    exhaust_reason: ExhaustReason = ExhaustReason.RATE_LIMIT
    recovery_at: int | None = None
    error: str | None = None
    usage: Mapping[str, Any] | None = None
    turns: int | None = None


class Reports(msgspec.Struct, frozen=True):
    """Reports received from a sender; *at*: time of receipt, epoch milliseconds.

    *epoch*: number of the device's connection; ``OWN`` for an agent that sends its own heartbeats.
    """

    sender: Sender
    epoch: int
    at: int
    reports: tuple[AgentReport, ...]


class Silence(msgspec.Struct, frozen=True):
    """Sender whose heartbeats have stopped.

    *since*: time of its last heartbeat that this hub knows, epoch milliseconds.
    """

    sender: Sender
    epoch: int
    at: int
    reason: str
    since: int = 0


class AgentProjection(msgspec.Struct, frozen=True):
    """State of an agent that a heartbeat may change. Instants are epoch milliseconds."""

    agent_id: AgentId
    sender: Sender
    availability: Availability
    connectivity: Connectivity  # as reported, also of an agent that a person keeps offline
    health: Health
    health_reason: str | None
    back_at: int | None  # for an exhausted agent: time of its recovery or next probe
    turns: int  # runs that execute; of an agent without a device: what it does outside of the hub
    last_heartbeat_at: int | None


class RequestedMove(NamedTuple):
    """Move that a report requests."""

    axis: Axis
    to: str
    reason: str | None


_sender = sa.func.coalesce(agents.c.device_id, agents.c.id)
_sends_its_own = sa.and_(agents.c.device_id.is_(None), agents.c.executor == "device")
_is_listed = sa.and_(agents.c.deleted_at.is_(None), agent_states.c.lifecycle != "terminated")
_connectivity = sa.func.coalesce(agent_states.c.reported_connectivity, agent_states.c.connectivity)
_sights = (
    sa.select(
        *columns_of(
            AgentProjection,
            agents,
            agent_states,
            agent_id=agents.c.id,
            sender=_sender,
            turns=agent_states.c.runs_executing,
            connectivity=_connectivity,
            back_at=sa.func.coalesce(agent_states.c.recovery_at, agent_states.c.probe_at),
        )
    )
    .join_from(agents, agent_states)
    .where(_is_listed)
    .order_by(agents.c.id)
)
CURRENT = sa.select(devices.c.id, devices.c.session_epoch).where(
    devices.c.id.in_(sa.bindparam("devices", expanding=True)), devices.c.boot_id.is_not(None)
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
            sa.select(agents.c.id).where(
                sa.or_(
                    agents.c.device_id == sa.bindparam("sender"),
                    sa.and_(agents.c.id == sa.bindparam("sender"), _sends_its_own),
                )
            )
        ),
        sa.func.coalesce(agent_states.c.last_heartbeat_at, 0) < sa.bindparam("heard", type_=Int),
    )
    .values(last_heartbeat_at=sa.bindparam("heard", type_=Int))
)


def statuses_of(c: sa.Connection, senders: Sequence[Sender]) -> dict[Sender, list[AgentProjection]]:
    """Return the agents that each of these senders reports on, by id."""
    found: dict[Sender, list[AgentProjection]] = {sender: [] for sender in senders}
    for part in in_parts(senders):
        is_sent = sa.or_(agents.c.device_id.in_(part), sa.and_(agents.c.id.in_(part), _sends_its_own))
        for row in c.execute(_sights.where(is_sent)):
            found[row.sender] += structs_from(AgentProjection, [row])
    return found


def online_senders(c: sa.Connection) -> list[AgentProjection]:
    """Return the agents that send their own heartbeats and are online, by id."""
    return structs_from(AgentProjection, c.execute(_sights.where(_sends_its_own, _connectivity == "online")))


def requested_moves(sight: AgentProjection, report: AgentReport) -> list[RequestedMove]:
    """Return the moves that *report* requests; empty if it reports no change. Pure."""
    found = []
    if report.is_online != (sight.connectivity is Connectivity.ONLINE):
        to, why = (Connectivity.ONLINE, BACK) if report.is_online else (Connectivity.OFFLINE, BY_REPORT)
        found.append(RequestedMove(Axis.CONNECTIVITY, to, why))
    if not report.is_listed:
        return found
    if (report.error is not None) != (sight.health is Health.ERROR):
        found.append(
            RequestedMove(
                Axis.HEALTH, Health.OK if report.error is None else Health.ERROR, report.error or BY_REPORT
            )
        )
    if report.availability is Availability.EXHAUSTED:
        is_news = sight.availability is not Availability.EXHAUSTED
        if is_news or (report.recovery_at or 0) > (sight.back_at or 0):
            found.append(RequestedMove(Axis.AVAILABILITY, Availability.EXHAUSTED, None))
    elif report.availability is not None and sight.availability not in (
        report.availability,
        Availability.EXHAUSTED,
    ):
        found.append(RequestedMove(Axis.AVAILABILITY, report.availability, BY_REPORT))
    return found


def is_news(sight: AgentProjection, report: AgentReport) -> bool:
    """Return True if *report* differs from the state of the agent."""
    return bool(requested_moves(sight, report)) or report.turns not in (None, sight.turns)


def record(
    c: sa.Connection,
    *,
    received: Sequence[Reports] = (),
    silent: Sequence[Silence] = (),
    last: Mapping[Sender, int] | None = None,
) -> None:
    """Write all changes that these reports and silences imply. Writing them again changes nothing.

    An agent is not silent if another hub has received a later heartbeat of it.

    Args:
        last: time of each sender's last heartbeat, epoch milliseconds, for all of its agents.
    """
    ids = sorted(
        {reports.sender for reports in received if reports.epoch != OWN}
        | {silence.sender for silence in silent if silence.epoch != OWN}
    )
    current = {
        (row.id, row.session_epoch) for part in in_parts(ids) for row in c.execute(CURRENT, {"devices": part})
    }
    received = [
        reports for reports in received if reports.epoch == OWN or (reports.sender, reports.epoch) in current
    ]
    silent = [
        silence for silence in silent if silence.epoch == OWN or (silence.sender, silence.epoch) in current
    ]
    for one, sight, report in _reported(c, received):
        with isolating_broken_row(c):
            _apply_report(c, sight, report, one.at)
    silenced = {silence.sender: silence for silence in silent}
    left = [sight for sights in statuses_of(c, list(silenced)).values() for sight in sights]
    for sight in sorted(left, key=lambda sight: sight.agent_id):
        with isolating_broken_row(c):
            _silence(c, sight, silenced[sight.sender])
    if last:
        c.execute(SAVE, [{"sender": sender, "heard": last[sender]} for sender in sorted(last)])


def _silence(c: sa.Connection, sight: AgentProjection, fallen: Silence) -> None:
    if fallen.epoch == OWN:
        if (sight.last_heartbeat_at or 0) > fallen.since:
            return
        _count_turns(c, sight, 0, fallen.reason, fallen.at)
    _move(c, sight, RequestedMove(Axis.CONNECTIVITY, Connectivity.OFFLINE, fallen.reason), fallen.at, "hub")


def _reported(
    c: sa.Connection, received: Sequence[Reports]
) -> Iterator[tuple[Reports, AgentProjection, AgentReport]]:
    """Return the reports about agents of their sender, with their states, ordered by agent.

    Locks the agents' states in the order in which all writers lock them.
    """
    by_agent = {
        (reports.sender, report.agent_id): (reports, report)
        for reports in received
        for report in reports.reports
    }
    for part in in_parts(sorted({agent_id for _, agent_id in by_agent})):
        for row in c.execute(_sights.where(agents.c.id.in_(part)).with_for_update(of=agent_states)).all():
            if (match := by_agent.get((row.sender, row.agent_id))) is not None:
                for sight in structs_from(AgentProjection, [row]):
                    yield match[0], sight, match[1]


def _apply_report(c: sa.Connection, sight: AgentProjection, report: AgentReport, at: int) -> None:
    actor = _actor(sight)
    if report.turns is not None:
        _count_turns(c, sight, report.turns, BY_REPORT, at)
    for requested in requested_moves(sight, report):
        if requested.to == Availability.EXHAUSTED:
            exhaustion.exhaust(
                c,
                report.agent_id,
                cause=report.exhaust_reason,
                recovery_at=report.recovery_at,
                at=at,
                actor=actor,
            )
        elif requested.to not in (Health.OK, Availability.AVAILABLE) or _was_set_by_heartbeat(
            c, sight, requested.axis
        ):
            _move(c, sight, requested, at, actor)
    beat = {"agent": report.agent_id, "heard": at}
    if report.usage is None:
        c.execute(KEEP, beat)
    else:
        c.execute(KEEP_USAGE, beat | {"usage": dict(report.usage)})


def _move(c: sa.Connection, sight: AgentProjection, requested: RequestedMove, at: int, actor: str) -> None:
    state_moves.move(
        c, sight.agent_id, requested.axis, requested.to, at=at, actor=actor, reason=requested.reason
    )


def _actor(sight: AgentProjection) -> str:
    return f"{AGENT if sight.sender == sight.agent_id else DEVICE}{sight.sender}"


def _count_turns(c: sa.Connection, sight: AgentProjection, turns: int, because: str, at: int) -> None:
    if sight.turns != turns:
        state_moves.count_turns(c, sight.agent_id, turns, because=because, at=at, actor=_actor(sight))


def _was_set_by_heartbeat(c: sa.Connection, sight: AgentProjection, axis: Axis) -> bool:
    """Return True if a heartbeat of this sender made the agent's last move on *axis*.

    Only then may a heartbeat revert it. An error with a different reason now, such as invalid settings, is
    not the device's.
    """
    last = c.execute(LAST_MOVE, {"agent": sight.agent_id, "on_axis": axis}).one_or_none()
    if last is None or last.actor != _actor(sight):
        return False
    return axis is not Axis.HEALTH or bool(last.reason == sight.health_reason)

"""Waiting runs and their open gates, as the dispatcher reads them."""

import msgspec
import sqlalchemy as sa

from protocol.ids import AgentId, BootId, DeviceId, RunId
from protocol.lifecycles import PauseReason, RunEvent, RunState
from storage import schema
from storage.agents import configs, exhaustion
from storage.devices.devices import DEAD_BOOTS
from storage.executing_runs import FencedRun
from storage.kernel.columns import in_parts
from storage.leases import is_online
from storage.runs.run_claims import QUEUED
from storage.runs.run_moves import EXECUTED, LEFT, STRAYED, executing_of, move
from storage.runs.runs import record_error
from storage.schema import EXECUTING, agent_configs, runs

SWEPT_AT_ONCE = 500  # runs given up in one transaction
TO_CANCEL = sa.select(runs.c.id, runs.c.cancel_reason).where(
    sa.text("runs." + EXECUTING),
    runs.c.lease_boot_id == sa.bindparam("boot"),
    runs.c.cancel_requested_at.is_not(None),
)


def runs_to_cancel(c: sa.Connection, boot_id: BootId) -> list[tuple[RunId, str | None]]:
    """Return the runs that this process executes and that should be cancelled, with the reasons."""
    return [(RunId(row.id), row.cancel_reason) for row in c.execute(TO_CANCEL, {"boot": boot_id})]


AWAITED_DEVICES = (
    sa.select(runs.c.device_id)
    .where(
        runs.c.state == sa.literal_column("'PAUSED'", runs.c.state.type),
        runs.c.pause_reason == PauseReason.DEVICE_OFFLINE,
        runs.c.device_id.is_not(None),
    )
    .distinct()
)


def awaited_devices(c: sa.Connection) -> set[DeviceId]:
    """Return the devices that paused runs wait for."""
    return set(c.execute(AWAITED_DEVICES).scalars())


_is_paused = runs.c.state == sa.literal_column("'PAUSED'", runs.c.state.type)
_state = schema.agent_states
# Agents with quota again, for any reason; also finds runs left by a lost resume.
RESTED = (
    sa.select(runs.c.agent_id)
    .join_from(runs, _state, _state.c.agent_id == runs.c.agent_id)
    .where(_is_paused, runs.c.pause_reason == PauseReason.EXHAUSTED, _state.c.availability != "exhausted")
    .distinct()
)
AWAITING_MODEL = (
    sa.select(runs.c.agent_id).where(_is_paused, runs.c.pause_reason == PauseReason.MODEL_AWAY).distinct()
)


def rested_agents(c: sa.Connection) -> set[AgentId]:
    """Return available agents with runs that are paused for exhaustion."""
    return {AgentId(agent_id) for agent_id in c.execute(RESTED).scalars()}


def awaiting_model(c: sa.Connection) -> dict[AgentId, bool]:
    """Return agents with runs that wait for an unavailable model; True if it may be a cloud model."""
    waiting = {AgentId(agent_id): True for agent_id in c.execute(AWAITING_MODEL).scalars()}
    for part in in_parts(sorted(waiting)):
        local_only = sa.select(agent_configs.c.agent_id, agent_configs.c.config_value).where(
            agent_configs.c.agent_id.in_(part), agent_configs.c.config_key == "model_use"
        )
        for row in c.execute(local_only):
            waiting[AgentId(row.agent_id)] = configs.read_config("model_use", row.config_value).allow_cloud
    return waiting


class ModelWaits(msgspec.Struct, frozen=True):
    """Runs that wait for an unavailable model.

    Attributes:
        count: number of waiting runs.
        since: time at which the longest waiting run was paused, in epoch milliseconds.
        allow_cloud: the model may be a cloud model.
    """

    count: int
    since: int
    allow_cloud: bool


def model_waits(c: sa.Connection) -> list[ModelWaits]:
    """Count the runs that wait for an unavailable model, with and without permission to use cloud models."""
    counted: dict[bool, ModelWaits] = {}
    models = awaiting_model(c)
    query = (
        sa.select(runs.c.agent_id, sa.func.count(), sa.func.min(runs.c.updated_at))
        .where(
            runs.c.state == sa.literal_column("'PAUSED'", runs.c.state.type),
            runs.c.pause_reason == PauseReason.MODEL_AWAY,
        )
        .group_by(runs.c.agent_id)
    )
    for agent_id, count, since in c.execute(query) if models else ():
        allow_cloud = models[AgentId(agent_id)]
        before = counted.get(allow_cloud, ModelWaits(0, since, allow_cloud))
        counted[allow_cloud] = ModelWaits(before.count + count, min(before.since, since), allow_cloud)
    return list(counted.values())


class Swept(msgspec.Struct, frozen=True):
    """Runs given up after waiting too long: for their start, in a pause, for their device."""

    not_started: tuple[RunId, ...] = ()
    forgotten: tuple[RunId, ...] = ()
    stranded: tuple[RunId, ...] = ()


LATE = (
    sa.select(runs.c.id, runs.c.state, runs.c.fence)
    .where(
        runs.c.state == sa.literal_column("'QUEUED'", runs.c.state.type),
        runs.c.started_at.is_(None),
        runs.c.start_deadline_at <= sa.bindparam("now"),
    )
    .limit(SWEPT_AT_ONCE)
)
FORGOTTEN = (
    sa.select(runs.c.id, runs.c.state, runs.c.fence)
    .where(
        runs.c.state == sa.literal_column("'PAUSED'", runs.c.state.type),
        runs.c.pause_reason != PauseReason.USER,
        runs.c.updated_at <= sa.bindparam("since"),
    )
    .limit(SWEPT_AT_ONCE)
)

STRANDED = (
    sa.select(runs.c.id, runs.c.state, runs.c.fence)
    .join_from(runs, schema.devices, schema.devices.c.id == runs.c.device_id)
    .where(
        runs.c.state == sa.literal_column("'QUEUED'", runs.c.state.type),
        runs.c.fence > 0,
        runs.c.updated_at <= sa.bindparam("since"),
        sa.not_(is_online()),
    )
    .limit(SWEPT_AT_ONCE)
)


def sweep(c: sa.Connection, at: int, *, paused_ms: int, actor: str = "hub") -> Swept:
    """Cancel runs that missed their start deadline, and fail runs that were paused for more than *paused_ms*.

    A run that began and whose device stays offline is cancelled too, because it blocks its schedule. A run
    that a person paused waits without limit.

    Args:
        paused_ms: maximum time that a run may be PAUSED, or wait for its device.
    """
    late = _to_sweep(c, LATE, {"now": at})
    for held in late:
        move(c, held, RunEvent.CANCELLED, at=at, actor=actor, reason="start_deadline")
    since = {"since": at - paused_ms}
    forgotten = _to_sweep(c, FORGOTTEN, since)
    for held in forgotten:
        message = f"what the run waited for did not come within {paused_ms // 86_400_000} days"
        record_error(c, held.id, None, "paused_too_long", message, at)
        move(c, held, RunEvent.FAILED, at=at, actor=actor, reason="paused_too_long")
    stranded = _to_sweep(c, STRANDED, since)
    for held in stranded:
        move(c, held, RunEvent.CANCELLED, at=at, actor=actor, reason="device_gone")
    return Swept(*(tuple(held.id for held in found) for found in (late, forgotten, stranded)))


def _to_sweep(
    c: sa.Connection, query: sa.Select[str, RunState, int], given: dict[str, int]
) -> list[FencedRun]:
    """Lock and return the runs to give up; other nodes sweep the same rows."""
    locked = query.with_for_update(of=runs, skip_locked=True)
    return [FencedRun(RunId(row.id), row.state, row.fence) for row in c.execute(locked, given)]


_queries = {
    "executing": EXECUTED,
    "awaited": AWAITED_DEVICES,
    "rested": RESTED,
    "awaiting_model": AWAITING_MODEL,
    "cancelled": TO_CANCEL,
    "late": LATE,
    "forgotten": FORGOTTEN,
    "stranded": STRANDED,
    "queued": sa.select(sa.literal(1)).where(QUEUED),
    "drained": sa.select(runs.c.id).where(_is_paused, runs.c.pause_reason == PauseReason.DRAIN),
    "left": LEFT,
    "strayed": STRAYED,
    "dead": DEAD_BOOTS,
}
# One statement, because hardly ever more than one of them finds anything.
SIGHT = sa.select(
    exhaustion.NEXT_BACK.scalar_subquery().label("recovery_at"),
    *(query.exists().label(name) for name, query in _queries.items()),
)


class GateSight(msgspec.Struct, frozen=True, kw_only=True):
    """Waits of all runs in one snapshot.

    Attributes:
        executing: runs that this process owns.
        awaited: devices that paused runs wait for.
        recovery_at: earliest recovery or probe of all exhausted agents, if any.
        rested: see ``rested_agents``.
        awaiting_model: see ``awaiting_model``.
        cancelled: see ``runs_to_cancel``.
        is_overdue: ``sweep`` has work.
        is_any_queued: some run is queued, whether its time has come or not.
        is_any_drained: some run is paused because its hub stopped.
        is_any_left: on a shared database, ``recover`` has work.
        is_any_dead: processes that live no more have connections of devices.
    """

    executing: set[RunId]
    awaited: set[DeviceId]
    recovery_at: int | None
    rested: set[AgentId]
    awaiting_model: dict[AgentId, bool]
    cancelled: list[tuple[RunId, str | None]]
    is_overdue: bool
    is_any_queued: bool
    is_any_drained: bool
    is_any_left: bool
    is_any_dead: bool


def read_gates(c: sa.Connection, *, boot_id: BootId, at: int, paused_ms: int) -> GateSight:
    """Return what the runs wait for. Only reads.

    Args:
        paused_ms: maximum time that a run may be PAUSED; see ``sweep``.
    """
    given = {"now": at, "since": at - paused_ms, "boot": boot_id, "alone": 0, "is_alone": 0, "dead": ()}
    is_any = c.execute(SIGHT, given).one()
    return GateSight(
        executing=executing_of(c, boot_id) if is_any.executing else set(),
        awaited=awaited_devices(c) if is_any.awaited else set(),
        recovery_at=is_any.recovery_at,
        rested=rested_agents(c) if is_any.rested else set(),
        awaiting_model=awaiting_model(c) if is_any.awaiting_model else {},
        cancelled=runs_to_cancel(c, boot_id) if is_any.cancelled else [],
        is_overdue=is_any.late or is_any.forgotten or is_any.stranded,
        is_any_queued=is_any.queued,
        is_any_drained=is_any.drained,
        is_any_left=is_any.left or is_any.strayed,
        is_any_dead=is_any.dead,
    )

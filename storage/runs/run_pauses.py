"""Runs stopped and continued from outside: cancelled, paused, resumed (spread), given up after long waits."""

from collections.abc import Collection

import msgspec
import sqlalchemy as sa

from protocol.errors import AtAnotherNode, ErrorCode, IllegalTransition
from protocol.ids import AgentId, BootId, DeviceId, RunId
from protocol.lifecycles import (
    EXECUTING_RUN_STATES,
    FINAL_RUN_STATES,
    RESUMED_BY,
    RUN,
    PauseReason,
    RunEvent,
    RunState,
)
from storage import schema
from storage.agents import agent_states, configs
from storage.agents.agents import roams
from storage.devices.devices import DEAD_BOOTS
from storage.held import HeldRun
from storage.kernel.columns import Int, in_parts, sparing
from storage.leases import is_online
from storage.runs.run_claims import QUEUED
from storage.runs.run_moves import EXECUTED, LEFT, STRAYED, executing_of, move, remember_moves
from storage.runs.runs import RunMove, RunRow, get_run, record_error
from storage.schema import EXECUTING, LIVE, agent_configs, run_calls, runs

# the first, for the index of live runs
_WAITING = sa.text(f"runs.{LIVE}"), sa.text("runs.state IN ('QUEUED', 'PAUSED')")
SPREAD_CAP_MS = 60_000
SWEPT_AT_ONCE = 500  # runs given up in one transaction


def request_cancel(
    c: sa.Connection, run_id: RunId, reason: str, at: int, *, actor: str = "operator"
) -> RunRow:
    """Request the end of a run: a waiting run is CANCELLED at once, an executing one is marked.

    Its holder sees the mark and moves it. An ended run is left unchanged. The first reason counts.

    Raises:
        CodedError (UNKNOWN_RUN): no run has the id.
    """
    run = _locked(c, run_id)
    if run.state in FINAL_RUN_STATES:
        return run
    c.execute(
        sa.update(runs)
        .where(runs.c.id == run_id)
        .values(
            cancel_requested_at=sa.func.coalesce(runs.c.cancel_requested_at, sa.literal(at, Int)),
            cancel_reason=sa.func.coalesce(runs.c.cancel_reason, sa.literal(reason, sa.Text)),
            updated_at=at,
        )
    )
    if run.state not in EXECUTING_RUN_STATES:
        move(c, run.held, RunEvent.CANCELLED, at=at, actor=actor, reason=reason)
    return get_run(c, run_id)


def _locked(c: sa.Connection, run_id: RunId) -> RunRow:
    """Lock the run until the transaction ends, against a concurrent claim, and return it."""
    c.execute(sa.select(runs.c.id).where(runs.c.id == run_id).with_for_update())
    return get_run(c, run_id)


def cancel_orphans(c: sa.Connection, reason: str, at: int, *, actor: str) -> list[RunId]:
    """Cancel waiting runs of archived agents, which would wait for ever. Return their ids."""
    query = (
        sa.select(runs.c.id)
        .join_from(runs, schema.agents)
        .where(schema.agents.c.deleted_at.is_not(None), *_WAITING)
    )
    orphans = [RunId(run_id) for run_id in c.execute(query).scalars()]
    for run_id in orphans:
        request_cancel(c, run_id, reason, at, actor=actor)
    return orphans


TO_CANCEL = sa.select(runs.c.id, runs.c.cancel_reason).where(
    sa.text("runs." + EXECUTING),
    runs.c.lease_boot_id == sa.bindparam("boot"),
    runs.c.cancel_requested_at.is_not(None),
)


def runs_to_cancel(c: sa.Connection, boot_id: BootId) -> list[tuple[RunId, str | None]]:
    """Return the runs that this process executes and that should be cancelled, with the reasons."""
    return [(RunId(row.id), row.cancel_reason) for row in c.execute(TO_CANCEL, {"boot": boot_id})]


def pause_run(c: sa.Connection, run_id: RunId, at: int, *, actor: str) -> RunRow:
    """Pause a waiting run until a person resumes it: PAUSED(user), whatever it waited for.

    Raises:
        CodedError (UNKNOWN_RUN): no run has the id.
        AtAnotherNode: only its holder can pause it; nothing was written.
        IllegalTransition: it has ended; nothing was written.
    """
    run = _locked(c, run_id)
    held = run.held
    if run.pause_reason is PauseReason.USER:
        return run
    if run.state in EXECUTING_RUN_STATES:
        assert run.lease_boot_id is not None, "a run executes in a process"
        message = f"run {run_id} executes at another node; ask there, or cancel it"
        raise AtAnotherNode(ErrorCode.ILLEGAL_TRANSITION, message, run.lease_boot_id)
    if run.pause_reason is not None:  # the earlier pause reason must not resume it
        held = move(c, held, RESUMED_BY[run.pause_reason], at=at, actor=actor, reason="user")
    move(c, held, RunEvent.USER_PAUSED, at=at, actor=actor)
    return get_run(c, run_id)


def pause_early(c: sa.Connection, held: HeldRun, at: int, *, actor: str, reason: str | None) -> HeldRun:
    """Pause a claimed run that has not started yet, by way of the queue; called by its holder.

    A run with a requested cancellation is CANCELLED.

    Raises:
        StaleRun, IllegalTransition: see ``move``; nothing was written.
    """
    waiting = move(c, held, RunEvent.SENT_BACK, at=at, actor=actor, reason=reason)
    if waiting.state is not RunState.QUEUED:
        return waiting
    return move(c, waiting, RunEvent.USER_PAUSED, at=at, actor=actor, reason=reason)


def resume_run(c: sa.Connection, run_id: RunId, at: int, *, actor: str) -> RunRow:
    """Resume a run that a person paused: QUEUED, to be claimed again.

    Raises:
        CodedError (UNKNOWN_RUN): no run has the id.
        IllegalTransition: no person paused it; nothing was written.
    """
    run = _locked(c, run_id)
    if run.pause_reason is not PauseReason.USER:
        state = f"it is {run.state}" + (f" ({run.pause_reason})" if run.pause_reason else "")
        raise IllegalTransition(f"run {run_id} was not paused by anybody: {state}")
    move(c, run.held, RunEvent.USER_RESUMED, at=at, actor=actor)
    return get_run(c, run_id)


AWAITED_DEVICES = (
    sa.select(runs.c.device_id)
    .where(
        runs.c.state == sa.literal_column("'PAUSED'", runs.c.state.type),
        runs.c.pause_reason == PauseReason.DEVICE_OFFLINE,
        runs.c.device_id.is_not(None),
    )
    .distinct()
)
PAUSED_RUNS = (
    sa.select(runs.c.id, runs.c.agent_id)
    .where(
        runs.c.state == sa.literal_column("'PAUSED'", runs.c.state.type),
        runs.c.pause_reason == sa.bindparam("pause"),
    )
    .with_for_update(skip_locked=True)  # unordered: to sort, SQLite would scan all runs
)
PAUSED_OF_DEVICES = PAUSED_RUNS.where(runs.c.device_id.in_(sa.bindparam("devices", expanding=True)))
PAUSED_OF_AGENTS = PAUSED_RUNS.where(runs.c.agent_id.in_(sa.bindparam("agents", expanding=True)))
RESUME = (
    sa.update(runs)
    .where(runs.c.id == sa.bindparam("run"))
    .values(
        state=RunState.QUEUED,
        pause_reason=None,
        reason=None,
        eligible_at=sa.bindparam("not_before"),
        state_seq=runs.c.state_seq + 1,
        updated_at=sa.bindparam("now"),
    )
)
MOVED = sa.select(runs.c.id, runs.c.agent_id, runs.c.state_seq, runs.c.attempt, runs.c.fence).where(
    runs.c.id.in_(sa.bindparam("runs", expanding=True))
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


def resume_runs(
    c: sa.Connection,
    paused: PauseReason,
    *,
    devices: Collection[DeviceId] | None = None,
    agents: Collection[AgentId] | None = None,
    at: int,
    spread_ms: int = 0,
    actor: str = "hub",
) -> list[RunId]:
    """Queue all runs again that were paused for this reason: ten thousand in one transaction.

    Args:
        devices, agents: only runs of these.
        spread_ms: time between the starts of two runs, so that they do not start at once; all start within
            ``SPREAD_CAP_MS``.
    """
    found: list[RunId] = []
    if devices is not None:
        for some_devices in in_parts(sorted(devices)):
            found += _paused(c, PAUSED_OF_DEVICES, {"pause": paused, "devices": some_devices})
    elif agents is not None:
        for some_agents in in_parts(sorted(agents)):
            found += _paused(c, PAUSED_OF_AGENTS, {"pause": paused, "agents": some_agents})
    else:
        found = _paused(c, PAUSED_RUNS, {"pause": paused})
    if not found:
        return []
    found.sort()
    spread_ms = min(spread_ms, SPREAD_CAP_MS // len(found))
    after = RUN.after(RunState.PAUSED, RESUMED_BY[paused])
    c.execute(
        RESUME,
        [
            {"run": run_id, "not_before": at + number * spread_ms, "now": at}
            for number, run_id in enumerate(found)
        ],
    )
    moved = [row for part in in_parts(found) for row in c.execute(MOVED, {"runs": part})]
    remember_moves(
        c,
        (
            (
                RunId(row.id),
                AgentId(row.agent_id),
                RunMove(row.state_seq, RunState.PAUSED, after, row.attempt, row.fence, None, actor, at),
            )
            for row in moved
        ),
    )
    return [RunId(row.id) for row in moved]


def _paused(c: sa.Connection, query: sa.Select[str, str], given: dict[str, object]) -> list[RunId]:
    return [RunId(row.id) for row in c.execute(query, given)]


def exhaust_run(
    c: sa.Connection,
    held: HeldRun,
    *,
    agent_id: AgentId,
    cause: str,
    retry_after_ms: int | None,
    at: int,
    reason: str | None = None,
    actor: str = "hub",
) -> HeldRun:
    """Pause a run whose model refused for lack of quota, and mark its agent as exhausted.

    Args:
        cause: ``rate_limit`` or ``billing``.
        retry_after_ms: delay that the provider named.

    Raises:
        StaleRun, IllegalTransition: see ``move``; nothing was written.
    """
    after = move(c, held, RunEvent.EXHAUSTED, at=at, actor=actor, reason=reason)
    agent_states.exhaust(c, agent_id, cause=cause, retry_after_ms=retry_after_ms, at=at, actor=actor)
    return after


def recover_agents(c: sa.Connection, at: int, *, spread_ms: int = 0, actor: str = "hub") -> list[AgentId]:
    """Make agents available whose recovery or probe is due, and resume their paused runs."""
    back = agent_states.recover_due(c, at, actor=actor)
    if back:
        resume_runs(c, PauseReason.EXHAUSTED, agents=back, at=at, spread_ms=spread_ms, actor=actor)
    return back


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


def _to_sweep(c: sa.Connection, query: sa.Select[str, RunState, int], given: dict[str, int]) -> list[HeldRun]:
    """Lock and return the runs to give up; other nodes sweep the same rows."""
    locked = query.with_for_update(of=runs, skip_locked=True)
    return [HeldRun(RunId(row.id), row.state, row.fence) for row in c.execute(locked, given)]


_moved = sa.and_(
    *_WAITING,
    runs.c.device_id.is_distinct_from(schema.agents.c.device_id),
    schema.agents.c.deleted_at.is_(None),
    sa.not_(roams(schema.agents)),
)


def follow_agents(c: sa.Connection, at: int, *, actor: str) -> list[RunId]:
    """Move waiting runs to the current device of their agent. Return their ids.

    A run that has sent items is cancelled instead: only its old device could say whether it has them.
    """
    left = c.execute(
        sa.select(
            runs.c.id,
            schema.agents.c.device_id,
            sa.exists()
            .where(run_calls.c.run_id == runs.c.id, sa.text("run_calls.state = 'SENT'"))
            .label("has_sent"),
        )
        .join_from(runs, schema.agents)
        .where(_moved)
    ).all()
    followed: list[RunId] = []
    for row in left:
        with sparing(c):
            if row.has_sent:
                request_cancel(c, RunId(row.id), "the agent works on another device now", at, actor=actor)
            else:
                c.execute(
                    sa.update(runs).where(runs.c.id == row.id).values(device_id=row.device_id, updated_at=at)
                )
            followed.append(RunId(row.id))
    return followed


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
    agent_states.NEXT_BACK.scalar_subquery().label("recovery_at"),
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

"""Runs claimed from the queue, and taken back from a hub that is gone."""

from collections.abc import Collection, Iterator, Sequence

import msgspec
import sqlalchemy as sa

from protocol.ids import BootId, DeviceId, RunId
from protocol.lifecycles import RunEvent, RunState
from storage import schema
from storage.run_moves import move, remember_move
from storage.run_progress import record_error
from storage.run_rows import HeldRun, RunMove, RunRow, get_run
from storage.schema import runs

CRASH_LIMIT = 3  # times that the hub may die under one run that gets no further
DEVICES_PER_QUERY = 500  # in one IN list: SQLite binds 32,766 values at most, and prepares each length anew

# A bound parameter could not use the index WHERE state = 'QUEUED'.
QUEUED = runs.c.state == sa.literal_column("'QUEUED'", runs.c.state.type)
_others = runs.alias("others")
_executing = sa.select(sa.func.count()).where(sa.text("others." + schema.EXECUTING)).select_from(_others)
OLDEST_READY = (
    sa.select(runs.c.eligible_at, runs.c.id)
    .join_from(runs, schema.agents)
    .join(schema.agent_states, schema.agent_states.c.agent_id == schema.agents.c.id)
    .where(
        QUEUED,
        runs.c.eligible_at <= sa.bindparam("now"),
        runs.c.device_id.in_(sa.bindparam("online", expanding=True)),
        schema.agents.c.deleted_at.is_(None),
        schema.agent_states.c.lifecycle == "active",
        schema.agent_states.c.availability != "exhausted",
        _executing.scalar_subquery() < sa.bindparam("total"),
        _executing.where(_others.c.device_id == runs.c.device_id).scalar_subquery()
        < sa.bindparam("per_device"),
        _executing.where(_others.c.agent_id == runs.c.agent_id).scalar_subquery()
        < schema.agents.c.max_concurrent_runs,
    )
    .order_by(runs.c.eligible_at, runs.c.id)
    .limit(1)
    .with_for_update(of=runs, skip_locked=True)
)
CLAIM = (
    sa.update(runs)
    .where(runs.c.id == sa.bindparam("run"), QUEUED)
    .values(
        state=RunState.PREPARING,
        reason=None,
        fence=runs.c.fence + 1,
        lease_boot_id=sa.bindparam("boot"),
        lease_expires_at=sa.bindparam("lease_until"),
        state_seq=runs.c.state_seq + 1,
        updated_at=sa.bindparam("now"),
    )
    .returning(runs.c.agent_id, runs.c.state_seq, runs.c.attempt, runs.c.fence)
)


def claim_run(
    c: sa.Connection,
    *,
    boot_id: BootId,
    online: Collection[DeviceId],
    per_device: int = 1,
    total: int = 32,
    lease_until: int,
    at: int,
    actor: str = "hub",
) -> RunRow | None:
    """Take the run that is ready the longest, so that nobody else does: QUEUED -> PREPARING, fence + 1.

    Ready is: its time has come, its device is among *online*, its agent is active
    and not exhausted, and neither *total*, nor *per_device*, nor the agent's own
    limit of executing runs is reached. Counted and claimed in one transaction.
    """
    gates = {"now": at, "total": total, "per_device": per_device}
    oldest = [
        found
        for devices in _in_parts(sorted(online), DEVICES_PER_QUERY)
        if (found := c.execute(OLDEST_READY, gates | {"online": devices}).one_or_none()) is not None
    ]
    if not oldest:
        return None
    run_id = RunId(min((found.eligible_at, found.id) for found in oldest)[1])
    claim = {"run": run_id, "boot": boot_id, "lease_until": lease_until, "now": at}
    taken = c.execute(CLAIM, claim).one_or_none()
    if taken is None:
        return None  # on PostgreSQL, between the look and the claim; the caller asks again
    made = RunMove(
        taken.state_seq,
        RunState.QUEUED,
        RunState.PREPARING,
        taken.attempt,
        taken.fence,
        None,
        actor,
        at,
    )
    remember_move(c, run_id, taken.agent_id, made)
    return get_run(c, run_id)


def _in_parts(values: Sequence[DeviceId], size: int) -> Iterator[Sequence[DeviceId]]:
    for start in range(0, len(values), size):
        yield values[start : start + size]


class Recovered(msgspec.Struct, frozen=True):
    """What became of the runs that a hub which is gone had held."""

    requeued: tuple[RunId, ...] = ()
    cancelled: tuple[RunId, ...] = ()
    failed: tuple[RunId, ...] = ()


LEFT_BEHIND = (
    sa.select(
        runs.c.id,
        runs.c.state,
        runs.c.fence,
        runs.c.cancel_requested_at,
        runs.c.cancel_reason,
        runs.c.deadline_at,
        runs.c.crash_count,
    )
    .where(sa.text("runs." + schema.EXECUTING), runs.c.lease_boot_id != sa.bindparam("boot"))
    .order_by(runs.c.id)
)
_own = runs.c.agent_id == schema.agent_states.c.agent_id
RECOUNT = sa.update(schema.agent_states).values(
    runs_waiting=sa.select(sa.func.count())
    .where(_own, sa.text("runs.state IN ('QUEUED', 'PAUSED')"))
    .scalar_subquery(),
    runs_executing=sa.select(sa.func.count())
    .where(_own, sa.text("runs." + schema.EXECUTING))
    .scalar_subquery(),
)


def recover(c: sa.Connection, *, boot_id: BootId, at: int, crash_limit: int = CRASH_LIMIT) -> Recovered:
    """Take back every run that another boot of the hub left executing. Before sockets open, once.

    A run whose end was asked for is CANCELLED; one past its deadline FAILED; one
    under which the hub died *crash_limit* times without getting any further
    FAILED (``crash_loop``); every other is QUEUED again. A run that gets further (a
    unit planned or settled, a call answered) has its crashes forgiven, so a long run
    survives any number of restarts. Counters are counted anew.
    """
    requeued: list[RunId] = []
    cancelled: list[RunId] = []
    failed: list[RunId] = []
    for row in c.execute(LEFT_BEHIND, {"boot": boot_id}).all():
        held = HeldRun(row.id, row.state, row.fence)
        if row.cancel_requested_at is not None:
            move(c, held, RunEvent.CANCELLED, at=at, actor="hub", reason=row.cancel_reason)
            cancelled.append(held.id)
        elif row.deadline_at is not None and row.deadline_at <= at:
            _fail(c, held, "deadline", "the run took longer than it may", at)
            failed.append(held.id)
        elif row.crash_count + 1 >= crash_limit:
            _fail(c, held, "crash_loop", f"the hub ended {crash_limit} times at the same place of it", at)
            failed.append(held.id)
        else:
            move(c, held, RunEvent.HUB_LOST, at=at, actor="hub", reason="hub_restart")
            requeued.append(held.id)
    c.execute(RECOUNT)
    return Recovered(tuple(requeued), tuple(cancelled), tuple(failed))


def _fail(c: sa.Connection, held: HeldRun, reason: str, message: str, at: int) -> None:
    record_error(c, held.id, None, reason, message, at)
    move(c, held, RunEvent.FAILED, at=at, actor="hub", reason=reason)

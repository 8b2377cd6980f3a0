"""Recovery of runs from a dead hub, and adoption of undelivered units by an agent's next run.

Runs over files need no adoption, because their files are read again. A mailbox message is never read again
after its items are planned, so they must be delivered whatever the end of their run.
"""

from collections.abc import Collection, Sequence
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from protocol.ids import AgentId, BootId, RunId
from protocol.lifecycles import FINAL_RUN_STATES, RUN, CallState, RunEvent, RunState, UnitState
from storage import schema
from storage.agents.agent_moves import recount
from storage.devices.leases import is_alive
from storage.kernel.address import end_sessions
from storage.kernel.columns import in_parts, now_ms, spelled
from storage.runs.calls import count_calls
from storage.runs.run_locks import let_go
from storage.runs.run_moves import move, remember_moves
from storage.runs.runs import HeldRun, RunMove, check_held, record_error
from storage.runs.units import ADD_UNIT, find_unit
from storage.schema import run_calls, run_units, runs

CRASH_LIMIT = 3  # crashes of the hub under a run that makes no progress
REQUEUED_FOR = "hub_restart"


class Recovered(msgspec.Struct, frozen=True):
    """Results of recovering the runs of a dead hub."""

    requeued: tuple[RunId, ...] = ()
    cancelled: tuple[RunId, ...] = ()
    failed: tuple[RunId, ...] = ()


# Runs whose holder is dead: on a private database any other process; on a shared one a process whose lease
# expired by the database's clock, or an earlier process of this node.
_is_over = sa.and_(runs.c.lease_expires_at <= now_ms(), ~is_alive(runs.c.lease_boot_id))
_LEFT = sa.and_(
    sa.text("runs." + schema.EXECUTING),
    runs.c.lease_boot_id != sa.bindparam("boot"),
    sa.or_(
        sa.bindparam("is_alone", type_=sa.Integer) == 1,
        _is_over,
        runs.c.lease_boot_id.in_(sa.bindparam("dead", expanding=True)),
    ),
)
EXPIRED = (
    sa.select(runs.c.lease_boot_id)
    .where(
        sa.text("runs." + schema.EXECUTING),
        runs.c.lease_boot_id != sa.bindparam("boot"),
        _is_over,
    )
    .distinct()
)
_what_is_left = (
    runs.c.id,
    runs.c.state,
    runs.c.fence,
    runs.c.crash_count,
    runs.c.cancel_requested_at,
    runs.c.cancel_reason,
)
LEFT_BEHIND = sa.select(*_what_is_left).where(_LEFT).order_by(runs.c.id).with_for_update(skip_locked=True)
REQUEUE = (
    sa.update(runs)
    .where(runs.c.id == sa.bindparam("run"))
    .values(
        state=RunState.QUEUED,
        reason=REQUEUED_FOR,
        crash_count=runs.c.crash_count + 1,
        lease_boot_id=None,
        lease_expires_at=None,
        deadline_at=None,
        state_seq=runs.c.state_seq + 1,
        updated_at=sa.bindparam("now"),
    )
)
REQUEUED = sa.select(runs.c.id, runs.c.agent_id, runs.c.state_seq, runs.c.attempt, runs.c.fence).where(
    runs.c.id.in_(sa.bindparam("runs", expanding=True))
)


def recover(
    c: sa.Connection,
    *,
    boot_id: BootId,
    at: int,
    is_alone: bool = True,
    dead: Collection[BootId] = (),
    crash_limit: int = CRASH_LIMIT,
) -> Recovered:
    """Recover every run whose holder is dead: at start-up, and regularly on a shared database.

    A run with a requested cancellation is CANCELLED. A run under which the hub crashed *crash_limit* times
    without progress is FAILED (``crash_loop``). Every other run is QUEUED again. Progress (a unit planned or
    settled, a call answered) resets the crash count, so a long run survives any number of restarts. The time
    without execution does not count: the deadline was that of the lost execution.

    Args:
        is_alone: no other hub uses the database, so runs of other processes are free.
        dead: earlier processes of this node, on a shared database.
    """
    if is_alone:
        recount(c, at=at, actor="hub")  # first, because a wrong counter would refuse the following moves
    else:
        end_sessions(c, c.execute(EXPIRED, {"boot": boot_id}).scalars().all())
    left = {"boot": boot_id, "is_alone": int(is_alone), "dead": sorted(dead)}
    return _settle(c, c.execute(LEFT_BEHIND, left).all(), at, crash_limit)


_IS_OURS = sa.and_(sa.text("runs." + schema.EXECUTING), runs.c.lease_boot_id == sa.bindparam("boot"))
OF_BOOT = sa.select(runs.c.id).where(_IS_OURS)
STRAYS = (
    sa.select(*_what_is_left)
    .where(_IS_OURS, runs.c.id.in_(sa.bindparam("runs", expanding=True)))
    .with_for_update(skip_locked=True)
)


def executing_of(c: sa.Connection, boot_id: BootId) -> set[RunId]:
    """Return the runs that this process executes according to their rows."""
    return {RunId(run_id) for run_id in c.execute(OF_BOOT, {"boot": boot_id}).scalars()}


def take_back(c: sa.Connection, boot_id: BootId, run_ids: Collection[RunId], at: int) -> Recovered:
    """Recover runs that this process holds but does not execute, after a lost commit response.

    They get the same result as in ``recover``.
    """
    strays = c.execute(STRAYS, {"boot": boot_id, "runs": sorted(run_ids)}).all()
    return _settle(c, strays, at, CRASH_LIMIT)


def _settle(c: sa.Connection, left: Sequence[Any], at: int, crash_limit: int) -> Recovered:
    cancelled: list[RunId] = []
    failed: list[RunId] = []
    requeued: dict[RunId, RunState] = {}
    for row in left:
        held = HeldRun(RunId(row.id), row.state, row.fence)
        if row.cancel_requested_at is not None:
            move(c, held, RunEvent.CANCELLED, at=at, actor="hub", reason=row.cancel_reason)
            cancelled.append(held.id)
        elif row.crash_count + 1 >= crash_limit:
            message = f"the hub ended {crash_limit} times at the same place of it"
            record_error(c, held.id, None, "crash_loop", message, at)
            move(c, held, RunEvent.FAILED, at=at, actor="hub", reason="crash_loop")
            failed.append(held.id)
        else:
            requeued[held.id] = row.state
    return Recovered(tuple(_requeue(c, requeued, at)), tuple(cancelled), tuple(failed))


def _requeue(c: sa.Connection, left: dict[RunId, RunState], at: int) -> list[RunId]:
    """Requeue runs in sets, not one by one: a hub may have died with ten thousand of them."""
    if not left:
        return []
    c.execute(REQUEUE, [{"run": run_id, "now": at} for run_id in left])
    ids = list(left)
    let_go(c, ids)
    moved = [row for part in in_parts(ids) for row in c.execute(REQUEUED, {"runs": part})]
    remember_moves(
        c,
        ((RunId(row.id), AgentId(row.agent_id), _requeued(left[RunId(row.id)], row, at)) for row in moved),
    )
    return ids


def _requeued(before: RunState, row: Any, at: int) -> RunMove:
    after = RUN.after(before, RunEvent.HUB_LOST)
    return RunMove(row.state_seq, before, after, row.attempt, row.fence, REQUEUED_FOR, "hub", at)


AT_ONCE: Final = 500  # units in one transaction
IS_LEFT: Final = sa.text(
    f"run_calls.state IN ({spelled((CallState.PLANNED, CallState.SENT, CallState.UNKNOWN))})"
)

LEFT = (
    sa.select(run_calls.c.run_id, run_calls.c.unit_key)
    .join_from(run_calls, runs, runs.c.id == run_calls.c.run_id)
    .where(
        runs.c.agent_id == sa.bindparam("agent"),
        sa.text(f"runs.state IN ({spelled(sorted(FINAL_RUN_STATES))})"),
        IS_LEFT,
    )
    .distinct()
    .limit(AT_ONCE)
)
_unit = (run_units.c.run_id == sa.bindparam("left_by"), run_units.c.unit_key == sa.bindparam("unit"))
LEFT_UNIT = sa.select(
    run_units.c.content_hash, run_units.c.size_bytes, run_units.c.read_at, run_units.c.planned_at
).where(*_unit)
TAKE_CALLS = (
    sa.update(run_calls)
    .where(
        run_calls.c.run_id == sa.bindparam("left_by"), run_calls.c.unit_key == sa.bindparam("unit"), IS_LEFT
    )
    .values(
        run_id=sa.bindparam("run"),
        # A call that was given up without an answer is sent again under its old id.
        state=sa.case((run_calls.c.state == CallState.UNKNOWN, CallState.PLANNED), else_=run_calls.c.state),
        sends=0,
        updated_at=sa.bindparam("now"),
    )
)
COUNT_PLAN = (
    sa.update(run_units)
    .where(run_units.c.run_id == sa.bindparam("run"), run_units.c.unit_key == sa.bindparam("unit"))
    .values(
        state=UnitState.EXTRACTED,
        calls_planned=sa.bindparam("planned"),
        calls_settled=sa.bindparam("answered"),
        updated_at=sa.bindparam("now"),
    )
)


def adopt_left(c: sa.Connection, held: HeldRun, agent_id: AgentId, at: int) -> int:
    """Adopt the open calls of the agent's ended runs, with their units; repeat until it returns 0.

    A unit keeps the time of its plan, which defines the order of delivery.

    Returns:
        The number of adopted units.

    Raises:
        StaleRun: the run has another fence, or has ended; nothing was written.
    """
    check_held(c, held)
    left = c.execute(LEFT, {"agent": agent_id}).all()
    for run_id, unit_key in left:
        here: dict[str, Any] = {"left_by": run_id, "unit": unit_key, "run": held.id, "now": at}
        unit = c.execute(LEFT_UNIT, here).one_or_none()
        if find_unit(c, held.id, unit_key) is None:
            row = {"run_id": held.id, "unit_key": unit_key, "state": UnitState.EXTRACTED, "updated_at": at}
            about = {"content_hash": ""} if unit is None else dict(unit._mapping)
            c.execute(ADD_UNIT, row | about)
        c.execute(TAKE_CALLS, here)
        total, still_open, _ = count_calls(c, held.id, unit_key)
        c.execute(COUNT_PLAN, here | {"planned": total, "answered": total - still_open})
    return len(left)

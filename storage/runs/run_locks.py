"""Locks of runs: acquired at the claim, released at the end, and waiting in the queue.

They are granted in the transaction that claims a run, and released in the transaction that ends or parks it.
A run holds locks only while it executes. A run whose turn has not come stays QUEUED and waits in the queues
of its locks, together with devices, in order of arrival. It joins the queues when everything else is ready.
Its turn grants it the locks for ``START_MS``, within which it must be claimed. Otherwise the next request
gets them, and the run joins the queues again.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from protocol.ids import AgentId, RunId, UserId
from storage import schema
from storage.agents.locks import (
    FREED,
    Holder,
    HoldsAlready,
    LockGrant,
    LockLimits,
    LockRequest,
    LockRow,
    TooManyLocks,
    acquire_or_wait,
    alone,
    database_now,
    hand_over,
    locks_named,
)
from storage.kernel.columns import execute_among
from storage.schema import (
    agent_locks,
    lock_waits,
    runs,
)

START_MS: Final = 10_000  # for the claim: five rounds of a dispatcher
GRACE_MS: Final = 600_000  # after a run's deadline, for its cancellation by this hub or another


class RunToLock(msgspec.Struct, frozen=True, kw_only=True):
    """Run to be claimed."""

    id: RunId
    agent_id: AgentId
    user_id: UserId
    locks: tuple[str, ...]
    timeout_ms: int


class LockInTheWay(msgspec.Struct, frozen=True, kw_only=True):
    """Lock that a run waits for. *ahead*: number of requests before it; *lock*: its current row."""

    lock: LockRow
    is_held: bool
    ahead: int


_run_ids: sa.BindParameter[str] = sa.bindparam("runs", expanding=True)
HELD_BY_RUNS = sa.select(agent_locks.c.user_id, agent_locks.c.resource, agent_locks.c.holder_id).where(
    agent_locks.c.holder_kind == "run", agent_locks.c.holder_id.in_(_run_ids)
)
WAITED_BY_RUNS = sa.select(lock_waits.c.user_id, lock_waits.c.resource, lock_waits.c.holder_id).where(
    lock_waits.c.holder_kind == "run", lock_waits.c.holder_id.in_(_run_ids)
)
FREE_OF_RUNS = (
    sa.update(agent_locks)
    .where(
        agent_locks.c.user_id == sa.bindparam("user"),
        agent_locks.c.holder_kind == "run",
        agent_locks.c.holder_id.in_(_run_ids),
    )
    .values(FREED)
    .returning(agent_locks.c.resource)
)
RUNS_LEAVE = (
    sa.delete(lock_waits)
    .where(
        lock_waits.c.user_id == sa.bindparam("user"),
        lock_waits.c.holder_kind == "run",
        lock_waits.c.holder_id.in_(_run_ids),
    )
    .returning(lock_waits.c.resource)
)
LOCKING_RUNS = (
    sa.select(runs.c.id, runs.c.locks, schema.agents.c.user_id)
    .join_from(runs, schema.agents)
    .where(runs.c.id.in_(_run_ids), sa.text("runs.state = 'QUEUED'"))
)
UNSTARTED = (
    sa.select(runs.c.id, runs.c.locks)
    .where(runs.c.id.in_(_run_ids), runs.c.fence == 0, sa.text("runs.state IN ('QUEUED', 'PAUSED')"))
    .order_by(runs.c.id)
    .with_for_update()  # prevents their claim until the transaction ends
)


def acquire_locks(c: sa.Connection, run: RunToLock, limits: LockLimits) -> bool:
    """Acquire all locks of a run that is claimed in this transaction. Return False if it must wait.

    They belong to the run until its deadline plus ``GRACE_MS``; a move frees them earlier.
    """
    request = LockRequest(
        request_id=f"run:{run.id}",
        user_id=run.user_id,
        names=run.locks,
        holder=Holder("run", run.id, run.agent_id),
        ttl_ms=run.timeout_ms + GRACE_MS,
        wait_ms=None,
        turn_ttl_ms=START_MS,
    )
    try:
        return acquire_or_wait(c, request, limits).grant is not None
    except (TooManyLocks, HoldsAlready):  # retried with the next claim
        return False


def release_locks(c: sa.Connection, run_ids: Collection[RunId]) -> list[LockGrant]:
    """Release the locks of these runs and withdraw their waits. Return the new grants."""
    users: defaultdict[UserId, list[RunId]] = defaultdict(list)
    for query in (HELD_BY_RUNS, WAITED_BY_RUNS):
        for row in execute_among(c, query, "runs", sorted(run_ids)):
            users[UserId(row.user_id)].append(RunId(row.holder_id))
    handed: list[LockGrant] = []
    for user_id, ids in sorted(users.items()):
        alone(c, user_id)
        names: set[str] = set()
        for change in (FREE_OF_RUNS, RUNS_LEAVE):
            names.update(execute_among(c, change, "runs", sorted(set(ids)), {"user": user_id}).scalars())
        handed += hand_over(c, user_id, sorted(names))
    return handed


def with_other_locks(c: sa.Connection, locks: Mapping[RunId, Sequence[str]]) -> list[RunId]:
    """Return those of these runs that never started and whose locks differ so far.

    Their rows are locked until the transaction ends.
    """
    return [
        RunId(row.id)
        for row in execute_among(c, UNSTARTED, "runs", sorted(locks))
        if sorted(row.locks) != sorted(locks[RunId(row.id)])
    ]


def locks_in_the_way(c: sa.Connection, run_ids: Sequence[RunId]) -> dict[RunId, LockInTheWay]:
    """Return, for those of these runs that wait for locks, the first lock by name."""
    waiting = [row for row in execute_among(c, LOCKING_RUNS, "runs", run_ids) if row.locks]
    now = database_now(c) if waiting else 0
    found = ((RunId(row.id), _in_the_way(c, row, now)) for row in waiting)
    return {run_id: lock for run_id, lock in found if lock is not None}


def _in_the_way(c: sa.Connection, run: Any, now: int) -> LockInTheWay | None:
    queues: defaultdict[str, list[bool]] = defaultdict(list)  # whether each in it is this run
    query = (
        sa.select(lock_waits.c.resource, lock_waits.c.holder_kind, lock_waits.c.holder_id)
        .where(lock_waits.c.user_id == run.user_id, lock_waits.c.resource.in_(run.locks))
        .order_by(lock_waits.c.resource, lock_waits.c.ticket)
    )
    for name, kind, holder_id in c.execute(query):
        queues[name].append(kind == "run" and holder_id == run.id)
    for lock in locks_named(c, run.user_id, run.locks):
        is_own = lock.holder is not None and (lock.holder.kind, lock.holder.id) == ("run", run.id)
        if is_own:
            continue
        queue = queues[lock.resource]
        ahead = queue.index(True) if True in queue else len(queue)
        if lock.is_held(now) or ahead:
            return LockInTheWay(lock=lock, is_held=lock.is_held(now), ahead=ahead)
    return None

"""Locks: named leases with fences. Acquired all or none, granted in order of arrival, expiring by time.

The rules:

* Each user has a separate namespace. The first request for a name creates the lock.
* Each grant has a greater fence than every grant before it. The protected data refuses lower fences
  (``check_fence``), so a holder that missed its own expiry does no harm.
* Several locks are acquired together or not at all. A request for several waits in the queue of each; it is
  granted when it is first in all of them and all are free. Later requests do not overtake it. Queues are
  joined in one transaction, so no two requests wait for each other.
* A release or expiry grants the lock to the next request in the same transaction; its time starts then. A
  holder that died while waiting costs only its own time.
* A holder that asks again gets the lock under a higher fence. So a lost response costs nothing, and writes
  under the lost fence are refused.
* An expired lock that was not granted again may be renewed: no other fence was issued.

Instants are the database's own. Changes of one user's locks are serialized. A free lock keeps its row and
thereby its fence. When a user has the maximum number, unused locks are deleted, and a new name starts above
every fence of the user.
"""

from collections.abc import Mapping, Sequence

import msgspec
import sqlalchemy as sa

from protocol.ids import UserId
from storage.agents.lock_turns import (
    DEFAULT_LIMITS,
    FREED,
    LEAVE,
    WAITS_OF_REQUEST,
    Grant,
    Holder,
    HoldsAlready,
    LockHeld,
    LockLimits,
    LockLost,
    LockRequest,
    LockRow,
    TooManyLocks,
    alone,
    database_now,
    give,
    grant_of,
    granted,
    hand_over,
    instant_text,
    join,
    locks_named,
)
from storage.kernel.columns import now_ms
from storage.schema import agent_locks, lock_waits


class Acquired(msgspec.Struct, frozen=True):
    """Result of a request for locks.

    Attributes:
        grant: ``None``: the request waits for its turn.
        handed: grants to other requests, because a lock had expired.
        in_the_way: the first lock, by name, that it waits for.
    """

    grant: Grant | None
    handed: tuple[Grant, ...] = ()
    in_the_way: LockRow | None = None


class PendingWork(msgspec.Struct, frozen=True):
    """Snapshot of pending work on locks.

    Attributes:
        users_due: users for whom ``sweep`` has work.
        next_due_ms: milliseconds until the next work may be due; ``None``: no request waits.
        granted: grants of the given requests, by request.
    """

    users_due: list[UserId]
    next_due_ms: int | None
    granted: dict[str, Grant]


_waited = sa.exists().where(
    lock_waits.c.user_id == agent_locks.c.user_id, lock_waits.c.resource == agent_locks.c.resource
)
_of_wait = sa.and_(
    agent_locks.c.user_id == lock_waits.c.user_id, agent_locks.c.resource == lock_waits.c.resource
)
# After the first of these instants a waiting request may be granted or expire.
_ends_at = sa.case((agent_locks.c.holder_id.is_not(None), agent_locks.c.expires_at))
NEXT_DUE = sa.select(sa.func.min(_ends_at), sa.func.min(lock_waits.c.deadline_at), now_ms()).join_from(
    lock_waits, agent_locks, _of_wait
)
DUE = (
    sa.select(lock_waits.c.user_id, lock_waits.c.resource)
    .join_from(lock_waits, agent_locks, _of_wait)
    .where(sa.or_(_ends_at <= now_ms(), lock_waits.c.deadline_at <= now_ms()))
    .distinct()
    .order_by(lock_waits.c.user_id, lock_waits.c.resource)
)


def acquire(c: sa.Connection, request: LockRequest, limits: LockLimits = DEFAULT_LIMITS) -> Acquired:
    """Acquire locks like ``take``, but idempotently: a granted or waiting request stays unchanged."""
    alone(c, request.user_id)
    locks = locks_named(c, request.user_id, request.names)
    now = database_now(c)
    if len(locks) == len(request.names) and all(
        lock.is_held(now) and lock.request_id == request.request_id for lock in locks
    ):
        return Acquired(grant_of(locks))
    if c.execute(WAITS_OF_REQUEST, {"request": request.request_id}).first() is not None:
        return Acquired(None, in_the_way=locks[0])
    return _take(c, request, limits, locks, now)


def take(c: sa.Connection, request: LockRequest, limits: LockLimits = DEFAULT_LIMITS) -> Acquired:
    """Acquire all locks, or wait for them in their queues.

    Raises:
        LockHeld: the request does not wait, and a lock is held or has other requests in its queue.
        HoldsAlready: the request would wait while its holder has some of the locks, which risks a deadlock.
        TooManyLocks: the user has too many locks, or a queue is full.
        In each case nothing was written.
    """
    alone(c, request.user_id)
    locks = locks_named(c, request.user_id, request.names)
    return _take(c, request, limits, locks, database_now(c))


def _take(
    c: sa.Connection, request: LockRequest, limits: LockLimits, locks: list[LockRow], now: int
) -> Acquired:
    if len(locks) < len(request.names):
        known = {lock.resource for lock in locks}
        _make(c, request, [name for name in request.names if name not in known], limits, now)
    handed: list[Grant] = []
    if any(lock.waiting and not lock.is_held(now) for lock in locks):
        handed = hand_over(c, request.user_id, request.names)
        locks = locks_named(c, request.user_id, request.names)
    own = [lock for lock in locks if lock.is_held(now) and lock.holder == request.holder]
    others = [lock for lock in locks if lock not in own and (lock.is_held(now) or lock.waiting)]
    if not others:
        return Acquired(give(c, request, now), tuple(handed))
    if request.wait_ms == 0:
        raise _held(others[0], now)
    if own:
        raise HoldsAlready(
            f"holds lock {own[0].resource!r} already, and would wait for {others[0].resource!r} with it: "
            "release it first, or ask for the others alone"
        )
    join(c, request, limits, now)
    return Acquired(None, tuple(handed), others[0])


def renew(
    c: sa.Connection, user_id: UserId, fences: Mapping[str, int], holder: Holder, *, ttl_ms: int
) -> int:
    """Extend the locks to *ttl_ms* from now. Return their expiry in epoch milliseconds.

    Raises:
        LockLost: another holder has one of them, or it was released; none was renewed.
    """
    alone(c, user_id)
    now = database_now(c)
    for name, fence in sorted(fences.items()):
        # an expired lock with waiting requests is not renewed
        renewable = _of_holder(user_id, name, fence, holder).where(
            sa.or_(agent_locks.c.expires_at > now, sa.not_(_waited))
        )
        if c.execute(renewable.values(ttl_ms=ttl_ms, expires_at=now + ttl_ms)).rowcount == 0:
            raise _lost(c, user_id, name, fence)
    return now + ttl_ms


def release(c: sa.Connection, user_id: UserId, fences: Mapping[str, int], holder: Holder) -> list[Grant]:
    """Release the locks. Return the grants to other requests. Releasing twice does no harm.

    Raises:
        LockLost: another holder has one of them; none was released.
    """
    alone(c, user_id)
    for name, fence in sorted(fences.items()):
        if c.execute(_of_holder(user_id, name, fence, holder).values(FREED)).rowcount == 0:
            found = locks_named(c, user_id, [name])
            if not found or found[0].fence != fence or found[0].holder is not None:
                raise _lost(c, user_id, name, fence)
    return hand_over(c, user_id, fences)


def force_release(
    c: sa.Connection, user_id: UserId, name: str, *, fence: int | None = None
) -> tuple[LockRow, list[Grant]] | None:
    """Release a lock by force. Return the previous holder's lock and the new grants.

    Returns ``None`` if the lock is free. Writes under the old fence are refused from now on.

    Args:
        fence: release only if the lock is still held under this fence.
    """
    alone(c, user_id)
    found = locks_named(c, user_id, [name])
    if not found or found[0].holder is None or fence not in (None, found[0].fence):
        return None
    lock = sa.update(agent_locks).where(agent_locks.c.user_id == user_id, agent_locks.c.resource == name)
    c.execute(lock.values(FREED))
    return found[0], hand_over(c, user_id, [name])


def check_fence(c: sa.Connection, user_id: UserId, name: str, fence: int) -> None:
    """Check that the lock is held under *fence*, and keep it so until the transaction ends.

    Called in the transaction that writes the protected data.

    Raises:
        LockLost: the lock is not held under this fence; nothing was written.
    """
    query = sa.select(agent_locks.c.fence).where(
        agent_locks.c.user_id == user_id,
        agent_locks.c.resource == name,
        agent_locks.c.fence == fence,
        agent_locks.c.expires_at > now_ms(),
    )
    if c.execute(query.with_for_update(read=True)).one_or_none() is None:
        raise _lost(c, user_id, name, fence)


def withdraw(c: sa.Connection, user_id: UserId, request_id: str) -> Acquired:
    """Withdraw a waiting request. If it was granted just before, *grant* has the locks, which stay held."""
    alone(c, user_id)
    if (known := granted(c, [request_id]).get(request_id)) is not None:
        return Acquired(known)
    left = list(c.execute(LEAVE, {"request": request_id}).scalars())
    return Acquired(None, tuple(hand_over(c, user_id, left)))


def forget_waits(c: sa.Connection) -> int:
    """Delete all waits of devices when a hub starts whose database no other hub uses."""
    return c.execute(sa.delete(lock_waits).where(lock_waits.c.holder_kind == "device")).rowcount


def next_due_ms(c: sa.Connection) -> int | None:
    """Return the milliseconds until a wait may end by expiry; ``None``: no request waits."""
    ends_at, deadline_at, now = c.execute(NEXT_DUE).one()
    due = [at for at in (ends_at, deadline_at) if at is not None]
    return max(0, min(due) - now) if due else None


def pending_work(c: sa.Connection, request_ids: Sequence[str]) -> PendingWork:
    """Return the pending work on locks and the grants of these requests."""
    return PendingWork(users_due(c), next_due_ms(c), granted(c, request_ids))


def users_due(c: sa.Connection) -> list[UserId]:
    """Return the users for whom ``sweep`` has work."""
    return sorted({UserId(row.user_id) for row in c.execute(DUE)})


def sweep(c: sa.Connection, user_id: UserId) -> list[Grant]:
    """Pass on a user's expired locks, and delete expired requests. Return the new grants."""
    alone(c, user_id)
    due = [row.resource for row in c.execute(DUE.where(lock_waits.c.user_id == user_id))]
    return hand_over(c, user_id, due)


def _make(c: sa.Connection, request: LockRequest, fresh: Sequence[str], limits: LockLimits, now: int) -> None:
    """Insert a lock for each new name, with the highest fence of the user's locks."""
    own = agent_locks.c.user_id == request.user_id
    count, highest = c.execute(sa.select(sa.func.count(), sa.func.max(agent_locks.c.fence)).where(own)).one()
    surplus = count + len(fresh) - limits.locks_per_user
    if surplus > 0:
        unused = (
            sa.select(agent_locks.c.resource)
            .where(
                own,
                sa.or_(agent_locks.c.holder_id.is_(None), agent_locks.c.expires_at <= now),
                agent_locks.c.resource.not_in(request.names),
                sa.not_(_waited),
            )
            .order_by(agent_locks.c.fence, agent_locks.c.resource)
            .limit(surplus)
        )
        resting = c.execute(unused).scalars().all()
        if len(resting) < surplus:
            raise TooManyLocks(f"this user has {count} locks that are in use", limit="locks_per_user")
        c.execute(sa.delete(agent_locks).where(own, agent_locks.c.resource.in_(resting)))
    rows = [{"user_id": request.user_id, "resource": name, "fence": highest or 0} for name in fresh]
    c.execute(sa.insert(agent_locks), rows)


def _of_holder(user_id: UserId, name: str, fence: int, holder: Holder) -> sa.Update:
    """Return an update of the lock, if *holder* has it under *fence*."""
    return sa.update(agent_locks).where(
        agent_locks.c.user_id == user_id,
        agent_locks.c.resource == name,
        agent_locks.c.fence == fence,
        agent_locks.c.holder_kind == holder.kind,
        agent_locks.c.holder_id == holder.id,
        sa.func.coalesce(agent_locks.c.agent_id, "") == (holder.agent_id or ""),
    )


def _held(lock: LockRow, now: int) -> LockHeld:
    if not lock.is_held(now):
        return LockHeld(f"lock {lock.resource!r} is free, but {lock.waiting} wait for it", retry_after_s=None)
    since, until = instant_text(lock.acquired_at or now), instant_text(lock.expires_at)
    return LockHeld(
        f"lock {lock.resource!r} is held by {lock.holder_text} since {since}, until {until} at most",
        retry_after_s=(lock.expires_at - now) / 1_000,
    )


def _lost(c: sa.Connection, user_id: UserId, name: str, fence: int) -> LockLost:
    found = locks_named(c, user_id, [name])
    if not found:
        return LockLost(f"there is no lock {name!r}")
    lock, now = found[0], database_now(c)
    if not lock.is_held(now):
        over = "was released" if lock.holder is None else f"was over at {instant_text(lock.expires_at)}"
        return LockLost(f"lock {name!r} is not held under fence {fence}: its last one, {lock.fence}, {over}")
    since = instant_text(lock.acquired_at or now)
    if lock.fence == fence:  # requested in the name of another holder
        return LockLost(
            f"lock {name!r} is another's: {lock.holder_text} has it under fence {fence} since {since}"
        )
    return LockLost(
        f"lock {name!r} is not held under fence {fence}: {lock.holder_text} has it under {lock.fence} "
        f"since {since}"
    )

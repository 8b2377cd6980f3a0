"""Locks: named leases with fences. Taken all or none, given in the order of arrival, over by themselves.

The rules:

* Each user has names of their own. A lock begins with the first who takes its name.
* Whoever gets a lock gets a fence that is greater than every one before it. What a lock
  protects refuses a lower one (``check_fence``), so a holder that slept through its own
  end does no harm.
* Several locks are taken together or not at all. Who waits for several waits in the queue
  of each; it has its turn when it is the first in all of them and all are free. Who comes
  later does not pass by it. Queues are joined in one transaction, so no two wait in a circle.
* Whoever lets a lock go, by release or by the end of its time, hands it over in the same
  transaction: the next in turn holds it, and its time begins. One who died waiting costs
  its own time and nobody's turn.
* Who holds a lock already and asks again gets it anew, under a higher fence: an answer
  that was lost on its way costs nothing, and what is done under the lost one is refused.
* One that is over and that nobody took may be renewed: no other fence was given out.

Instants are the database's own. What concerns the locks of one user happens one after the
other. A lock that is free keeps its row, and with it its fence; where a user has as many
as may be, some that rest make room, and a new name begins above every fence of the user's.
"""

from collections.abc import Mapping, Sequence

import msgspec
import sqlalchemy as sa

from protocol.ids import UserId
from storage.agents.lock_rows import (
    Grant,
    Holder,
    HolderKind,
    HoldsAlready,
    LockHeld,
    LockLost,
    LockRow,
    LockWait,
    TooManyLocks,
    database_now,
    find_locks_named,
    grant_of,
    granted,
    list_lock_waits,
    list_locks,
    locks_named,
    run_fences,
    told_instant,
)
from storage.agents.lock_turns import (
    DEFAULT_LIMITS,
    FREED,
    LEAVE,
    WAITS_OF_REQUEST,
    LockLimits,
    Wanted,
    alone,
    give,
    hand_over,
    join,
)
from storage.kernel.columns import now_ms
from storage.schema import agent_locks, lock_waits

__all__ = [
    "DEFAULT_LIMITS",
    "Acquired",
    "Grant",
    "Holder",
    "HolderKind",
    "HoldsAlready",
    "LockHeld",
    "LockLimits",
    "LockLost",
    "LockRow",
    "LockWait",
    "Look",
    "TooManyLocks",
    "Wanted",
    "acquire",
    "check_fence",
    "find_locks_named",
    "force_release",
    "forget_waits",
    "granted",
    "list_lock_waits",
    "list_locks",
    "locks_named",
    "look",
    "next_due_ms",
    "release",
    "renew",
    "run_fences",
    "sweep",
    "take",
    "told_instant",
    "users_due",
    "withdraw",
]


class Acquired(msgspec.Struct, frozen=True):
    """What became of a request.

    Attributes:
        grant: ``None``: it waits for its turn.
        handed: what others got meanwhile, because somebody's time was over.
        in_the_way: the first lock, by name, that it waits for.
    """

    grant: Grant | None
    handed: tuple[Grant, ...] = ()
    in_the_way: LockRow | None = None


class Look(msgspec.Struct, frozen=True):
    """How the locks stand.

    Attributes:
        users_due: for whom ``sweep`` has something to do.
        next_due_ms: in how many milliseconds it may have more to do; ``None``: nobody waits.
        granted: what those got that were asked about, by request.
    """

    users_due: list[UserId]
    next_due_ms: int | None
    granted: dict[str, Grant]


_user: sa.BindParameter[str] = sa.bindparam("user")
_name: sa.BindParameter[str] = sa.bindparam("name")
_is_named = (agent_locks.c.user_id == _user, agent_locks.c.resource == _name)
_is_holders = (
    *_is_named,
    agent_locks.c.fence == sa.bindparam("held"),
    agent_locks.c.holder_kind == sa.bindparam("kind"),
    agent_locks.c.holder_id == sa.bindparam("holder"),
    sa.func.coalesce(agent_locks.c.agent_id, "") == sa.bindparam("agent", type_=sa.Text),
)
_waited = sa.exists().where(
    lock_waits.c.user_id == agent_locks.c.user_id, lock_waits.c.resource == agent_locks.c.resource
)
RENEW = (  # one that is over, and that somebody waits for, is not renewed
    sa.update(agent_locks)
    .where(*_is_holders, sa.or_(agent_locks.c.expires_at > sa.bindparam("now"), sa.not_(_waited)))
    .values(ttl_ms=sa.bindparam("ttl"), expires_at=sa.bindparam("until"))
)
RELEASE = sa.update(agent_locks).where(*_is_holders).values(FREED)
FREE = sa.update(agent_locks).where(*_is_named).values(FREED)
CHECK = (
    sa.select(agent_locks.c.fence)
    .where(*_is_named, agent_locks.c.fence == sa.bindparam("held"), agent_locks.c.expires_at > now_ms())
    .with_for_update(read=True)
)
TALLY = sa.select(sa.func.count(), sa.func.max(agent_locks.c.fence)).where(agent_locks.c.user_id == _user)
MAKE = sa.insert(agent_locks)
RESTING = (
    sa.select(agent_locks.c.resource)
    .where(
        agent_locks.c.user_id == _user,
        sa.or_(agent_locks.c.holder_id.is_(None), agent_locks.c.expires_at <= sa.bindparam("now")),
        agent_locks.c.resource.not_in(sa.bindparam("names", expanding=True)),
        sa.not_(_waited),
    )
    .order_by(agent_locks.c.fence, agent_locks.c.resource)
    .limit(sa.bindparam("most", type_=sa.Integer))
)
FORGET = sa.delete(agent_locks).where(
    agent_locks.c.user_id == _user, agent_locks.c.resource.in_(sa.bindparam("names", expanding=True))
)
FORGET_WAITS = sa.delete(lock_waits).where(lock_waits.c.holder_kind == "device")
_of_wait = sa.and_(
    agent_locks.c.user_id == lock_waits.c.user_id, agent_locks.c.resource == lock_waits.c.resource
)
# Whoever waits is held up by nobody after the first of these instants.
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
DUE_OF_USER = DUE.where(lock_waits.c.user_id == _user)


def acquire(c: sa.Connection, wanted: Wanted, limits: LockLimits = DEFAULT_LIMITS) -> Acquired:
    """``take``, once for a request id: a request that was granted, or waits, stays as it is."""
    alone(c, wanted.user_id)
    locks = locks_named(c, wanted.user_id, wanted.names)
    now = database_now(c)
    if len(locks) == len(wanted.names) and all(
        lock.is_held(now) and lock.request_id == wanted.request_id for lock in locks
    ):
        return Acquired(grant_of(locks))
    if c.execute(WAITS_OF_REQUEST, {"request": wanted.request_id}).first() is not None:
        return Acquired(None, in_the_way=locks[0])
    return _take(c, wanted, limits, locks, now)


def take(c: sa.Connection, wanted: Wanted, limits: LockLimits = DEFAULT_LIMITS) -> Acquired:
    """Take the locks, all of them, or wait for them in their queues.

    Raises:
        LockHeld: it does not wait, and somebody has one of them, or is before it in its queue.
        HoldsAlready: it would wait, and holds some of them: two who do so could wait for each other.
        TooManyLocks: of the user, or in a queue.
        In each case nothing was written.
    """
    alone(c, wanted.user_id)
    locks = locks_named(c, wanted.user_id, wanted.names)
    return _take(c, wanted, limits, locks, database_now(c))


def _take(c: sa.Connection, wanted: Wanted, limits: LockLimits, locks: list[LockRow], now: int) -> Acquired:
    if len(locks) < len(wanted.names):
        known = {lock.resource for lock in locks}
        _make(c, wanted, [name for name in wanted.names if name not in known], limits, now)
    handed: list[Grant] = []
    if any(lock.waiting and not lock.is_held(now) for lock in locks):
        handed = hand_over(c, wanted.user_id, wanted.names)
        locks = locks_named(c, wanted.user_id, wanted.names)
    own = [lock for lock in locks if lock.is_held(now) and lock.holder == wanted.holder]
    others = [lock for lock in locks if lock not in own and (lock.is_held(now) or lock.waiting)]
    if not others:
        return Acquired(give(c, wanted, now), tuple(handed))
    if wanted.wait_ms == 0:
        raise _held(others[0], now)
    if own:
        raise HoldsAlready(
            f"holds lock {own[0].resource!r} already, and would wait for {others[0].resource!r} with it: "
            "release it first, or ask for the others alone"
        )
    join(c, wanted, limits, now)
    return Acquired(None, tuple(handed), others[0])


def renew(
    c: sa.Connection, user_id: UserId, fences: Mapping[str, int], holder: Holder, *, ttl_ms: int
) -> int:
    """The locks stay the holder's for *ttl_ms* from now; returns until when, in epoch milliseconds.

    Raises:
        LockLost: one of them is somebody else's by now, or was let go; none was renewed.
    """
    alone(c, user_id)
    now = database_now(c)
    for name, fence in sorted(fences.items()):
        given = _spelled(user_id, name, fence, holder) | {"ttl": ttl_ms, "now": now, "until": now + ttl_ms}
        if c.execute(RENEW, given).rowcount == 0:
            raise _lost(c, user_id, name, fence)
    return now + ttl_ms


def release(c: sa.Connection, user_id: UserId, fences: Mapping[str, int], holder: Holder) -> list[Grant]:
    """Let the locks go; what others get thereby. Released twice is released once.

    Raises:
        LockLost: one of them is somebody else's by now; none was let go.
    """
    alone(c, user_id)
    for name, fence in sorted(fences.items()):
        if c.execute(RELEASE, _spelled(user_id, name, fence, holder)).rowcount == 0:
            found = locks_named(c, user_id, [name])
            if not found or found[0].fence != fence or found[0].holder is not None:
                raise _lost(c, user_id, name, fence)
    return hand_over(c, user_id, fences)


def force_release(
    c: sa.Connection, user_id: UserId, name: str, *, fence: int | None = None
) -> tuple[LockRow, list[Grant]] | None:
    """Take a lock from whoever holds it; as it was held, and what others get. ``None``: nobody holds it.

    Its holder is not asked; what it writes under its fence is refused from now on.

    Args:
        fence: only where it is held under this one still.
    """
    alone(c, user_id)
    found = locks_named(c, user_id, [name])
    if not found or found[0].holder is None or fence not in (None, found[0].fence):
        return None
    c.execute(FREE, {"user": user_id, "name": name})
    return found[0], hand_over(c, user_id, [name])


def check_fence(c: sa.Connection, user_id: UserId, name: str, fence: int) -> None:
    """The lock is held under this fence, and nobody gets it before this transaction ends.

    For what a lock protects: called in the transaction that writes it.

    Raises:
        LockLost: it is not; nothing was written.
    """
    if c.execute(CHECK, {"user": user_id, "name": name, "held": fence}).one_or_none() is None:
        raise _lost(c, user_id, name, fence)


def withdraw(c: sa.Connection, user_id: UserId, request_id: str) -> Acquired:
    """A request waits no longer. What it got in the last moment is in *grant*, and stays its own."""
    alone(c, user_id)
    if (known := granted(c, [request_id]).get(request_id)) is not None:
        return Acquired(known)
    left = list(c.execute(LEAVE, {"request": request_id}).scalars())
    return Acquired(None, tuple(hand_over(c, user_id, left)))


def forget_waits(c: sa.Connection) -> int:
    """No device waits any more: for a hub that starts, and whose database no other hub uses."""
    return c.execute(FORGET_WAITS).rowcount


def next_due_ms(c: sa.Connection) -> int | None:
    """In how many milliseconds somebody's turn may come without anybody's doing; ``None``: nobody waits."""
    ends_at, deadline_at, now = c.execute(NEXT_DUE).one()
    due = [at for at in (ends_at, deadline_at) if at is not None]
    return max(0, min(due) - now) if due else None


def look(c: sa.Connection, request_ids: Sequence[str]) -> Look:
    """What a hub that answers for waiting devices has to know."""
    return Look(users_due(c), next_due_ms(c), granted(c, request_ids))


def users_due(c: sa.Connection) -> list[UserId]:
    """Users for whom ``sweep`` has something to do."""
    return sorted({UserId(row.user_id) for row in c.execute(DUE)})


def sweep(c: sa.Connection, user_id: UserId) -> list[Grant]:
    """Hand over what is over, and forget who waited in vain; what others get thereby."""
    alone(c, user_id)
    due = [row.resource for row in c.execute(DUE_OF_USER, {"user": user_id})]
    return hand_over(c, user_id, due)


def _make(c: sa.Connection, wanted: Wanted, fresh: Sequence[str], limits: LockLimits, now: int) -> None:
    """A row for each name that has none yet, its fence no lower than any of the user's locks."""
    count, highest = c.execute(TALLY, {"user": wanted.user_id}).one()
    surplus = count + len(fresh) - limits.locks_per_user
    if surplus > 0:
        given = {"user": wanted.user_id, "now": now, "names": wanted.names, "most": surplus}
        resting = list(c.execute(RESTING, given).scalars())
        if len(resting) < surplus:
            raise TooManyLocks(f"this user has {count} locks that are in use", limit="locks_per_user")
        c.execute(FORGET, {"user": wanted.user_id, "names": resting})
    rows = [{"user_id": wanted.user_id, "resource": name, "fence": highest or 0} for name in fresh]
    c.execute(MAKE, rows)


def _spelled(user_id: UserId, name: str, fence: int, holder: Holder) -> dict[str, str | int]:
    return {
        "user": user_id,
        "name": name,
        "held": fence,
        "kind": holder.kind,
        "holder": holder.id,
        "agent": holder.agent_id or "",
    }


def _held(lock: LockRow, now: int) -> LockHeld:
    if not lock.is_held(now):
        return LockHeld(f"lock {lock.resource!r} is free, but {lock.waiting} wait for it", retry_after_s=None)
    since, until = told_instant(lock.acquired_at or now), told_instant(lock.expires_at)
    return LockHeld(
        f"lock {lock.resource!r} is held by {lock.told_holder} since {since}, until {until} at most",
        retry_after_s=(lock.expires_at - now) / 1_000,
    )


def _lost(c: sa.Connection, user_id: UserId, name: str, fence: int) -> LockLost:
    found = locks_named(c, user_id, [name])
    if not found:
        return LockLost(f"there is no lock {name!r}")
    lock, now = found[0], database_now(c)
    if not lock.is_held(now):
        over = "was released" if lock.holder is None else f"was over at {told_instant(lock.expires_at)}"
        return LockLost(f"lock {name!r} is not held under fence {fence}: its last one, {lock.fence}, {over}")
    since = told_instant(lock.acquired_at or now)
    if lock.fence == fence:  # it was asked for in another's name
        return LockLost(
            f"lock {name!r} is another's: {lock.told_holder} has it under fence {fence} since {since}"
        )
    return LockLost(
        f"lock {name!r} is not held under fence {fence}: {lock.told_holder} has it under {lock.fence} "
        f"since {since}"
    )

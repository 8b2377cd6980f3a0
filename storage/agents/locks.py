"""Locks in the database: granting all or none, queue order, fences, renewal and expiry.

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

Locks and their queues: reading them, granting a free lock to the next request in turn, joining queues.

For ``storage.agents.locks`` and ``storage.runs.run_locks``, whose functions call ``alone`` first.
"""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, Literal

import msgspec
import sqlalchemy as sa

from protocol.errors import CodedError, ErrorCode, HubError, LimitReached
from protocol.ids import AgentId, UserId
from storage.kernel.columns import (
    Key,
    columns_of,
    execute_among,
    now_ms,
    paged,
    readable,
    readable_page,
    reader,
    struct_from,
)
from storage.schema import agent_locks, agents, devices, lock_waits, users

# Kinds of lock holders.
HolderKind = Literal[
    "run",  # while it executes
    "device",  # for one of its agents
    "agent",  # by itself, over REST
]


class Holder(msgspec.Struct, frozen=True):
    """Holder of a lock. Two agents of one device are two holders."""

    kind: HolderKind
    id: str
    agent_id: AgentId | None = None


class LockRow(msgspec.Struct, frozen=True, kw_only=True):
    """Lock. Instants are epoch milliseconds of the database's clock.

    Attributes:
        fence: grows with each grant, and stays when the lock is released.
        holder: ``None``: free. A holder whose *expires_at* is past no longer holds the lock.
        request_id: request that was granted.
        waiting: number of waiting requests.
    """

    user_id: UserId
    resource: str
    fence: int
    holder: Holder | None
    agent_name: str | None
    device_name: str | None
    ttl_ms: int
    acquired_at: int | None
    expires_at: int
    request_id: str | None
    user_name: str
    waiting: int = 0

    def is_held(self, now: int) -> bool:
        """Return True if the lock is held at *now*."""
        return self.holder is not None and self.expires_at > now

    @property
    def holder_text(self) -> str:
        """Holder of the lock, for a sentence."""
        if self.holder is None:
            return "nobody"
        of_agent = "" if self.agent_name is None else f" of agent {self.agent_name}"
        match self.holder.kind:
            case "run":
                return f"run {self.holder.id}{of_agent}"
            case "device":
                return f"device {self.device_name or self.holder.id}{of_agent and f' for{of_agent[3:]}'}"
            case "agent":
                return f"agent {self.agent_name or self.holder.id}"


class LockWait(msgspec.Struct, frozen=True, kw_only=True):
    """Waiting request for a lock. *ticket*: the lowest ticket of a lock has the next turn."""

    user_id: UserId
    resource: str
    ticket: int
    request_id: str
    holder: Holder
    agent_name: str | None
    device_name: str | None
    ttl_ms: int
    queued_at: int
    deadline_at: int | None


class LockGrant(msgspec.Struct, frozen=True, kw_only=True):
    """Locks granted to a request, all at once: fences by name, and the time of expiry."""

    request_id: str
    user_id: UserId
    holder: Holder
    fences: dict[str, int]
    expires_at: int


class LockLost(HubError):
    """Error: the lock is no longer held under that fence, or by that holder; nothing was written."""

    code = ErrorCode.LOCK_LOST


class HoldsAlready(HubError):
    """Error: a holder of one of several locks may not wait for the others; nothing was acquired."""

    code = ErrorCode.BAD_PARAMS


class TooManyLocks(LimitReached):
    """Error: too many locks, or waits for a lock; nothing was acquired. *limit*: name of the limit."""


_own_waits = sa.and_(
    lock_waits.c.user_id == agent_locks.c.user_id, lock_waits.c.resource == agent_locks.c.resource
)
LOCKS = (
    sa.select(
        *columns_of(
            LockRow,
            agent_locks,
            holder=None,
            agent_name=agents.c.name,
            device_name=devices.c.name,
            user_name=users.c.name,
            waiting=sa.select(sa.func.count()).where(_own_waits).scalar_subquery(),
        ),
        *columns_of(Holder, agent_locks, kind=agent_locks.c.holder_kind, id=agent_locks.c.holder_id),
    )
    .join_from(agent_locks, users)
    .outerjoin(agents, agents.c.id == agent_locks.c.agent_id)
    .outerjoin(
        devices, sa.and_(agent_locks.c.holder_kind == "device", devices.c.id == agent_locks.c.holder_id)
    )
    .order_by(agent_locks.c.user_id, agent_locks.c.resource)
)
LOCKS_NAMED = LOCKS.where(
    agent_locks.c.user_id == sa.bindparam("user"),
    agent_locks.c.resource.in_(sa.bindparam("names", expanding=True)),
)
LOCKS_OF_REQUESTS = LOCKS.where(
    agent_locks.c.request_id.in_(sa.bindparam("requests", expanding=True)),
    agent_locks.c.expires_at > now_ms(),
)
LOCKS_OF_HOLDER = LOCKS.where(
    agent_locks.c.holder_kind == sa.bindparam("kind"), agent_locks.c.holder_id == sa.bindparam("holder")
)
WAITS = (
    sa.select(
        *columns_of(LockWait, lock_waits, holder=None, agent_name=agents.c.name, device_name=devices.c.name),
        *columns_of(Holder, lock_waits, kind=lock_waits.c.holder_kind, id=lock_waits.c.holder_id),
    )
    .select_from(lock_waits)
    .outerjoin(agents, agents.c.id == lock_waits.c.agent_id)
    .outerjoin(devices, sa.and_(lock_waits.c.holder_kind == "device", devices.c.id == lock_waits.c.holder_id))
    .order_by(lock_waits.c.user_id, lock_waits.c.resource, lock_waits.c.ticket)
)


def database_now(c: sa.Connection) -> int:
    """Return the time of the database's clock, epoch milliseconds."""
    return c.execute(sa.select(now_ms())).scalar_one()


def list_locks(
    c: sa.Connection,
    *,
    user_id: UserId | None = None,
    agent_ids: Sequence[AgentId] | None = None,
    and_free: bool = False,
    limit: int | None = None,
    after: Key | None = None,
) -> list[LockRow]:
    """Return locks that are held or waited for, by user and name.

    Args:
        user_id: only locks of this user.
        agent_ids: only locks that these agents hold or wait for.
        and_free: also free locks without waiting requests.
    """
    query = paged(LOCKS.order_by(None), users.c.name, agent_locks.c.resource, limit=limit, after=after)
    if not and_free:
        held = sa.and_(agent_locks.c.holder_id.is_not(None), agent_locks.c.expires_at > now_ms())
        query = query.where(sa.or_(held, sa.exists().where(_own_waits)))
    if user_id is not None:
        query = query.where(agent_locks.c.user_id == user_id)
    if agent_ids is not None:
        waited = sa.exists().where(_own_waits, lock_waits.c.agent_id.in_(agent_ids))
        query = query.where(sa.or_(agent_locks.c.agent_id.in_(agent_ids), waited))
    return readable_page(c, lock_of, query, limit)


def find_locks_named(c: sa.Connection, name: str, *, user_id: UserId | None = None) -> list[LockRow]:
    """Return the locks with that name: at most one of each user."""
    query = LOCKS.where(agent_locks.c.resource == name)
    if user_id is not None:
        query = query.where(agent_locks.c.user_id == user_id)
    return readable(lock_of, c.execute(query))


def list_lock_waits(
    c: sa.Connection,
    *,
    resources: Sequence[str] | None = None,
) -> list[LockWait]:
    """Return waiting requests by user and lock, next turn first. *resources*: only for these locks."""
    query = WAITS if resources is None else WAITS.where(lock_waits.c.resource.in_(resources))
    return readable(lambda row: struct_from(LockWait, row, holder=struct_from(Holder, row)), c.execute(query))


def granted(c: sa.Connection, request_ids: Sequence[str]) -> dict[str, LockGrant]:
    """Return the grants of these requests, as far as they still hold their locks."""
    found: dict[str, list[LockRow]] = {}
    for row in execute_among(c, LOCKS_OF_REQUESTS, "requests", request_ids):
        found.setdefault(row.request_id, []).append(lock_of(row))
    return {request_id: grant_of(locks) for request_id, locks in found.items()}


def run_fences(c: sa.Connection, run_id: str) -> dict[str, int]:
    """Return the fences of the locks that a run holds, by name."""
    rows = c.execute(LOCKS_OF_HOLDER, {"kind": "run", "holder": run_id})
    return {row.resource: row.fence for row in rows}


def locks_named(c: sa.Connection, user_id: UserId, names: Sequence[str]) -> list[LockRow]:
    """Return the existing locks among *names*, by name."""
    return readable(lock_of, c.execute(LOCKS_NAMED, {"user": user_id, "names": list(names)}))


def grant_of(locks: Sequence[LockRow]) -> LockGrant:
    """Return the grant of *locks*, which one request holds."""
    first = locks[0]
    assert first.holder is not None and first.request_id is not None
    return LockGrant(
        request_id=first.request_id,
        user_id=first.user_id,
        holder=first.holder,
        fences={lock.resource: lock.fence for lock in locks},
        expires_at=min(lock.expires_at for lock in locks),
    )


def instant_text(at: int) -> str:
    """Format epoch milliseconds in UTC: ``2026-01-05T09:14:00Z``."""
    return f"{datetime.fromtimestamp(at // 1_000, UTC):%Y-%m-%dT%H:%M:%SZ}"


@reader
def lock_of(row: Any) -> LockRow:
    """Return the lock in a row of ``LOCKS``."""
    return struct_from(LockRow, row, holder=None if row.kind is None else struct_from(Holder, row))


# first key of PostgreSQL's advisory locks that serialize changes of one user's locks
TAKEN_ALONE: Final = 0x6875_6C6B


class LockLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Limits on locks; a refusal names the limit."""

    locks_per_user: int = 1_000  # names, held or free
    lock_waits: int = 100  # for one lock


DEFAULT_LIMITS: Final = LockLimits()


class LockRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Request for locks.

    Attributes:
        request_id: a repeated request with the same id gets the same result.
        names: normalized by ``protocol.coordination.lock_names``.
        ttl_ms: time until the locks expire without renewal, counted from the grant.
        wait_ms: maximum time in the queue; 0: no waiting; ``None``: no limit.
        turn_ttl_ms: *ttl_ms* of a grant after waiting; by default the same.
    """

    request_id: str
    user_id: UserId
    names: tuple[str, ...]
    holder: Holder
    ttl_ms: int
    wait_ms: int | None = 0
    turn_ttl_ms: int | None = None


_user: sa.BindParameter[str] = sa.bindparam("user")
_name: sa.BindParameter[str] = sa.bindparam("name")
_is_named = (agent_locks.c.user_id == _user, agent_locks.c.resource == _name)
FREED: Final[dict[str, Any]] = {
    "holder_kind": None,
    "holder_id": None,
    "agent_id": None,
    "acquired_at": None,
    "request_id": None,
    "expires_at": 0,
}
FREE_IF_OVER = (
    sa.update(agent_locks)
    .where(*_is_named, agent_locks.c.holder_id.is_not(None), agent_locks.c.expires_at <= sa.bindparam("now"))
    .values(FREED)
)
NEXT_IN_TURN = (
    sa.select(lock_waits)
    .where(lock_waits.c.user_id == _user, lock_waits.c.resource == _name)
    .order_by(lock_waits.c.ticket)
    .limit(1)
)
WAITS_OF_REQUEST = sa.select(lock_waits.c.resource).where(lock_waits.c.request_id == sa.bindparam("request"))
LEAVE = (
    sa.delete(lock_waits)
    .where(lock_waits.c.request_id == sa.bindparam("request"))
    .returning(lock_waits.c.resource)
)


def release_agent(c: sa.Connection, agent_id: AgentId) -> None:
    """Release the locks and waits of an ended agent and of devices for it, and grant the locks to others.

    Locks of its runs are released when the runs end.
    """
    of_agent = {
        table: sa.and_(table.c.agent_id == agent_id, table.c.holder_kind != "run")
        for table in (agent_locks, lock_waits)
    }
    users_of_agent = sa.union(*(sa.select(table.c.user_id).where(its) for table, its in of_agent.items()))
    for user_id in c.execute(users_of_agent).scalars().all():
        alone(c, user_id)
        freed = sa.update(agent_locks).where(agent_locks.c.user_id == user_id, of_agent[agent_locks])
        left = sa.delete(lock_waits).where(lock_waits.c.user_id == user_id, of_agent[lock_waits])
        names = {
            *c.execute(freed.values(FREED).returning(agent_locks.c.resource)).scalars(),
            *c.execute(left.returning(lock_waits.c.resource)).scalars(),
        }
        hand_over(c, user_id, sorted(names))


def alone(c: sa.Connection, user_id: UserId) -> None:
    """Serialize changes of this user's locks until the transaction ends.

    A SQLite database has only one writer anyway.
    """
    if c.dialect.name == "postgresql":
        c.execute(sa.select(sa.func.pg_advisory_xact_lock(TAKEN_ALONE, sa.func.hashtext(user_id))))


def hand_over(c: sa.Connection, user_id: UserId, names: Iterable[str]) -> list[LockGrant]:
    """Grant the free locks of *names* to the next requests in turn, and delete expired requests."""
    handed: list[LockGrant] = []
    now = 0  # read only if needed: mostly no request waits
    looked_at = deque(names)
    while looked_at:
        name = looked_at.popleft()
        head = c.execute(NEXT_IN_TURN, {"user": user_id, "name": name}).one_or_none()
        if head is None:
            continue
        now = now or database_now(c)
        if head.deadline_at is not None and head.deadline_at <= now:
            looked_at.extend(c.execute(LEAVE, {"request": head.request_id}).scalars())
        elif (given := _handed(c, user_id, head, now)) is not None:
            handed.append(given)
        else:  # frees the expired lock, so that it is not due again and again until the others are free
            c.execute(FREE_IF_OVER, {"user": user_id, "name": name, "now": now})
    return handed


def _handed(c: sa.Connection, user_id: UserId, head: Any, now: int) -> LockGrant | None:
    """Grant all locks of the request at the head of a queue, if it has its turn in every queue."""
    names = tuple(c.execute(WAITS_OF_REQUEST, {"request": head.request_id}).scalars())
    for name in names:
        first = c.execute(NEXT_IN_TURN, {"user": user_id, "name": name}).one()
        if first.request_id != head.request_id:
            return None
    if any(lock.is_held(now) for lock in locks_named(c, user_id, names)):
        return None
    c.execute(LEAVE, {"request": head.request_id})
    request = LockRequest(
        request_id=head.request_id,
        user_id=user_id,
        names=tuple(sorted(names)),
        holder=Holder(head.holder_kind, head.holder_id, head.agent_id),
        ttl_ms=head.ttl_ms,
    )
    return give(c, request, now)


def give(c: sa.Connection, request: LockRequest, now: int) -> LockGrant:
    """Grant all locks of the request, each under its next fence."""
    taken = (
        sa.update(agent_locks)
        .where(agent_locks.c.user_id == request.user_id)
        .values(
            fence=agent_locks.c.fence + 1,
            holder_kind=request.holder.kind,
            holder_id=request.holder.id,
            agent_id=request.holder.agent_id,
            request_id=request.request_id,
            ttl_ms=request.ttl_ms,
            acquired_at=now,
            expires_at=now + request.ttl_ms,
        )
        .returning(agent_locks.c.fence)
    )
    fences = {
        name: c.execute(taken.where(agent_locks.c.resource == name)).scalar_one() for name in request.names
    }
    return LockGrant(
        request_id=request.request_id,
        user_id=request.user_id,
        holder=request.holder,
        fences=fences,
        expires_at=now + request.ttl_ms,
    )


def join(c: sa.Connection, request: LockRequest, limits: LockLimits, now: int) -> None:
    """Append the request to the queue of each lock."""
    queues = (
        sa.select(lock_waits.c.resource, sa.func.count(), sa.func.max(lock_waits.c.ticket))
        .where(lock_waits.c.user_id == request.user_id, lock_waits.c.resource.in_(request.names))
        .group_by(lock_waits.c.resource)
    )
    tickets = dict.fromkeys(request.names, 0)
    for name, waiting, last in c.execute(queues):
        if waiting >= limits.lock_waits:
            raise TooManyLocks(f"{waiting} wait for lock {name!r} already", limit="lock_waits")
        tickets[name] = last
    row = {
        "user_id": request.user_id,
        "request_id": request.request_id,
        "holder_kind": request.holder.kind,
        "holder_id": request.holder.id,
        "agent_id": request.holder.agent_id,
        "ttl_ms": request.turn_ttl_ms or request.ttl_ms,
        "queued_at": now,
        "deadline_at": None if request.wait_ms is None else now + request.wait_ms,
    }
    c.execute(
        sa.insert(lock_waits),
        [row | {"resource": name, "ticket": last + 1} for name, last in tickets.items()],
    )


class Acquired(msgspec.Struct, frozen=True):
    """Result of a request for locks.

    Attributes:
        grant: ``None``: the request waits for its turn.
        handed: grants to other requests, because a lock had expired.
        in_the_way: the first lock, by name, that it waits for.
    """

    grant: LockGrant | None
    handed: tuple[LockGrant, ...] = ()
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
    granted: dict[str, LockGrant]


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
    """Acquire locks like ``acquire_or_wait``, but a granted or waiting request stays unchanged."""
    alone(c, request.user_id)
    locks = locks_named(c, request.user_id, request.names)
    now = database_now(c)
    if len(locks) == len(request.names) and all(
        lock.is_held(now) and lock.request_id == request.request_id for lock in locks
    ):
        return Acquired(grant_of(locks))
    if c.execute(WAITS_OF_REQUEST, {"request": request.request_id}).first() is not None:
        return Acquired(None, in_the_way=locks[0])
    return _acquire_locked(c, request, limits, locks, now)


def acquire_or_wait(c: sa.Connection, request: LockRequest, limits: LockLimits = DEFAULT_LIMITS) -> Acquired:
    """Acquire all locks, or wait for them in their queues.

    Raises:
        CodedError (LOCK_HELD): the request does not wait, and a lock is held or has a queue.
        HoldsAlready: the request would wait while its holder has some of the locks, which risks a deadlock.
        TooManyLocks: the user has too many locks, or a queue is full.
        In each case nothing was written.
    """
    alone(c, request.user_id)
    locks = locks_named(c, request.user_id, request.names)
    return _acquire_locked(c, request, limits, locks, database_now(c))


def _acquire_locked(
    c: sa.Connection, request: LockRequest, limits: LockLimits, locks: list[LockRow], now: int
) -> Acquired:
    if len(locks) < len(request.names):
        known = {lock.resource for lock in locks}
        _make(c, request, [name for name in request.names if name not in known], limits, now)
    handed: list[LockGrant] = []
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


def release(c: sa.Connection, user_id: UserId, fences: Mapping[str, int], holder: Holder) -> list[LockGrant]:
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
) -> tuple[LockRow, list[LockGrant]] | None:
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


def sweep(c: sa.Connection, user_id: UserId) -> list[LockGrant]:
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


def _held(lock: LockRow, now: int) -> CodedError:
    if not lock.is_held(now):
        message = f"lock {lock.resource!r} is free, but {lock.waiting} wait for it"
        return CodedError(ErrorCode.LOCK_HELD, message)
    since, until = instant_text(lock.acquired_at or now), instant_text(lock.expires_at)
    return CodedError(
        ErrorCode.LOCK_HELD,
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

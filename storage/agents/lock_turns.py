"""Queues of locks: granting a free lock to the next request in turn, and joining queues.

For ``storage.agents.locks`` and ``storage.runs.run_locks``, whose functions call ``alone`` first.
"""

from collections import deque
from collections.abc import Iterable
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from protocol.ids import AgentId, UserId
from storage.agents.lock_rows import Grant, Holder, HolderKind, TooManyLocks, database_now, locks_named
from storage.schema import agent_locks, lock_waits

# first key of PostgreSQL's advisory locks that serialize changes of one user's locks
TAKEN_ALONE: Final = 0x6875_6C6B


class LockLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Limits on locks; hub.toml has a key of the same name for each."""

    locks_per_user: int = 1_000  # names, held or free
    lock_waits: int = 100  # for one lock


DEFAULT_LIMITS: Final = LockLimits()


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Request for locks.

    Attributes:
        request_id: a repeated request with the same id gets the same result.
        names: normalized by ``protocol.locks.lock_names``.
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
TAKE = (
    sa.update(agent_locks)
    .where(*_is_named)
    .values(
        fence=agent_locks.c.fence + 1,
        holder_kind=sa.bindparam("kind"),
        holder_id=sa.bindparam("holder"),
        agent_id=sa.bindparam("agent"),
        request_id=sa.bindparam("request"),
        ttl_ms=sa.bindparam("ttl"),
        acquired_at=sa.bindparam("now"),
        expires_at=sa.bindparam("until"),
    )
    .returning(agent_locks.c.fence)
)
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
QUEUES = (
    sa.select(lock_waits.c.resource, sa.func.count().label("waiting"), sa.func.max(lock_waits.c.ticket))
    .where(lock_waits.c.user_id == _user, lock_waits.c.resource.in_(sa.bindparam("names", expanding=True)))
    .group_by(lock_waits.c.resource)
)
WAIT = sa.insert(lock_waits)
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


_of_agent: sa.BindParameter[str] = sa.bindparam("agent")
USERS_OF_AGENT = sa.union(
    sa.select(agent_locks.c.user_id).where(
        agent_locks.c.agent_id == _of_agent, agent_locks.c.holder_kind == HolderKind.DEVICE
    ),
    sa.select(lock_waits.c.user_id).where(
        lock_waits.c.agent_id == _of_agent, lock_waits.c.holder_kind == HolderKind.DEVICE
    ),
)
FREE_OF_AGENT = (
    sa.update(agent_locks)
    .where(
        agent_locks.c.user_id == _user,
        agent_locks.c.agent_id == _of_agent,
        agent_locks.c.holder_kind == HolderKind.DEVICE,
    )
    .values(FREED)
    .returning(agent_locks.c.resource)
)
AGENT_LEAVES = (
    sa.delete(lock_waits)
    .where(
        lock_waits.c.user_id == _user,
        lock_waits.c.agent_id == _of_agent,
        lock_waits.c.holder_kind == HolderKind.DEVICE,
    )
    .returning(lock_waits.c.resource)
)


def let_agent_go(c: sa.Connection, agent_id: AgentId) -> None:
    """Release the locks and waits that devices have for an ended agent, and grant the locks to others.

    Locks of its runs are released when the runs end.
    """
    for user_id in c.execute(USERS_OF_AGENT, {"agent": agent_id}).scalars().all():
        alone(c, user_id)
        names: set[str] = set()
        for change in (FREE_OF_AGENT, AGENT_LEAVES):
            names.update(c.execute(change, {"user": user_id, "agent": agent_id}).scalars())
        hand_over(c, user_id, sorted(names))


def alone(c: sa.Connection, user_id: UserId) -> None:
    """Serialize changes of this user's locks until the transaction ends.

    A SQLite database has only one writer anyway.
    """
    if c.dialect.name == "postgresql":
        c.execute(sa.select(sa.func.pg_advisory_xact_lock(TAKEN_ALONE, sa.func.hashtext(user_id))))


def hand_over(c: sa.Connection, user_id: UserId, names: Iterable[str]) -> list[Grant]:
    """Grant the free locks of *names* to the next requests in turn, and delete expired requests."""
    handed: list[Grant] = []
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


def _handed(c: sa.Connection, user_id: UserId, head: Any, now: int) -> Grant | None:
    """Grant all locks of the request at the head of a queue, if it has its turn in every queue."""
    names = tuple(c.execute(WAITS_OF_REQUEST, {"request": head.request_id}).scalars())
    for name in names:
        first = c.execute(NEXT_IN_TURN, {"user": user_id, "name": name}).one()
        if first.request_id != head.request_id:
            return None
    if any(lock.is_held(now) for lock in locks_named(c, user_id, names)):
        return None
    c.execute(LEAVE, {"request": head.request_id})
    holder = Holder(head.holder_kind, head.holder_id, head.agent_id)
    wanted = Wanted(
        request_id=head.request_id,
        user_id=user_id,
        names=tuple(sorted(names)),
        holder=holder,
        ttl_ms=head.ttl_ms,
    )
    return give(c, wanted, now)


def give(c: sa.Connection, wanted: Wanted, now: int) -> Grant:
    """Grant all locks of the request, each under its next fence."""
    given = {
        "user": wanted.user_id,
        "kind": wanted.holder.kind,
        "holder": wanted.holder.id,
        "agent": wanted.holder.agent_id,
        "request": wanted.request_id,
        "ttl": wanted.ttl_ms,
        "now": now,
        "until": now + wanted.ttl_ms,
    }
    fences = {name: c.execute(TAKE, given | {"name": name}).scalar_one() for name in wanted.names}
    return Grant(
        request_id=wanted.request_id,
        user_id=wanted.user_id,
        holder=wanted.holder,
        fences=fences,
        expires_at=now + wanted.ttl_ms,
    )


def join(c: sa.Connection, wanted: Wanted, limits: LockLimits, now: int) -> None:
    """Append the request to the queue of each lock."""
    asked = {"user": wanted.user_id, "names": wanted.names}
    tickets = dict.fromkeys(wanted.names, 0)
    for name, waiting, last in c.execute(QUEUES, asked):
        if waiting >= limits.lock_waits:
            raise TooManyLocks(f"{waiting} wait for lock {name!r} already", limit="lock_waits")
        tickets[name] = last
    row = {
        "user_id": wanted.user_id,
        "request_id": wanted.request_id,
        "holder_kind": wanted.holder.kind,
        "holder_id": wanted.holder.id,
        "agent_id": wanted.holder.agent_id,
        "ttl_ms": wanted.turn_ttl_ms or wanted.ttl_ms,
        "queued_at": now,
        "deadline_at": None if wanted.wait_ms is None else now + wanted.wait_ms,
    }
    c.execute(WAIT, [row | {"resource": name, "ticket": last + 1} for name, last in tickets.items()])

"""Reading locks and their queues. ``storage.agents.locks`` gives and releases them."""

from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import msgspec
import sqlalchemy as sa

from protocol.errors import ErrorCode, HubError
from protocol.ids import AgentId, UserId
from storage.kernel.columns import in_parts, now_ms
from storage.schema import agent_locks, agents, devices, lock_waits


class HolderKind(StrEnum):
    """What can hold a lock."""

    RUN = "run"  # while it executes
    DEVICE = "device"  # for one of its agents


class Holder(msgspec.Struct, frozen=True):
    """Who holds a lock. Two agents of one device are two holders."""

    kind: HolderKind
    id: str
    agent_id: AgentId | None = None


class LockRow(msgspec.Struct, frozen=True, kw_only=True):
    """A lock. Instants are epoch milliseconds of the database's clock.

    Attributes:
        fence: grows each time somebody gets the lock, and stays when it is free.
        holder: ``None``: it is free. One whose *expires_at* is past holds it no longer.
        request_id: the request by which the holder has it.
        waiting: how many wait for it.
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
    waiting: int = 0

    def is_held(self, now: int) -> bool:
        """Whether somebody holds it at *now*."""
        return self.holder is not None and self.expires_at > now

    @property
    def told_holder(self) -> str:
        """Who holds it, for a sentence."""
        if self.holder is None:
            return "nobody"
        of_agent = "" if self.agent_name is None else f" of agent {self.agent_name}"
        match self.holder.kind:
            case HolderKind.RUN:
                return f"run {self.holder.id}{of_agent}"
            case HolderKind.DEVICE:
                return f"device {self.device_name or self.holder.id}{of_agent and f' for{of_agent[3:]}'}"


class LockWait(msgspec.Struct, frozen=True, kw_only=True):
    """One who waits for a lock. *ticket*: the lowest of a lock is the next in turn."""

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


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """Locks that one request got, all of them at once: by name, under which fence, until when."""

    request_id: str
    user_id: UserId
    holder: Holder
    fences: dict[str, int]
    expires_at: int


class LockHeld(HubError):
    """Somebody else has a lock; nothing was taken. *retry_after_s*: until it ends by itself, if it does."""

    code = ErrorCode.LOCK_HELD
    retryable = True

    def __init__(self, message: str, *, retry_after_s: float | None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class LockLost(HubError):
    """A lock is held no longer under that fence, or by somebody else; nothing was written."""

    code = ErrorCode.LOCK_LOST


class HoldsAlready(HubError):
    """Who holds one of several locks does not wait for the others with it; nothing was taken."""

    code = ErrorCode.BAD_PARAMS


class TooManyLocks(HubError):
    """As many locks, or waits for one, as may be. *limit* is the name of the bound; nothing was taken."""

    code = ErrorCode.LIMIT_REACHED

    def __init__(self, message: str, *, limit: str) -> None:
        super().__init__(f"{message} ({limit})")
        self.limit = limit


_own_waits = sa.and_(
    lock_waits.c.user_id == agent_locks.c.user_id, lock_waits.c.resource == agent_locks.c.resource
)
_LOCK_COLUMNS = [
    agent_locks.c[name]
    for name in (
        "user_id",
        "resource",
        "fence",
        "holder_kind",
        "holder_id",
        "agent_id",
        "ttl_ms",
        "acquired_at",
        "expires_at",
        "request_id",
    )
]
LOCKS = (
    sa.select(
        *_LOCK_COLUMNS,
        agents.c.name.label("agent_name"),
        devices.c.name.label("device_name"),
        sa.select(sa.func.count()).where(_own_waits).scalar_subquery().label("waiting"),
    )
    .select_from(agent_locks)
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
    sa.select(*lock_waits.c, agents.c.name.label("agent_name"), devices.c.name.label("device_name"))
    .select_from(lock_waits)
    .outerjoin(agents, agents.c.id == lock_waits.c.agent_id)
    .outerjoin(devices, sa.and_(lock_waits.c.holder_kind == "device", devices.c.id == lock_waits.c.holder_id))
    .order_by(lock_waits.c.user_id, lock_waits.c.resource, lock_waits.c.ticket)
)
NOW = sa.select(now_ms())


def database_now(c: sa.Connection) -> int:
    """What the database's clock says."""
    return c.execute(NOW).scalar_one()


def list_locks(
    c: sa.Connection,
    *,
    user_id: UserId | None = None,
    agent_ids: Sequence[AgentId] | None = None,
    and_free: bool = False,
    limit: int | None = None,
    after: tuple[str, str] | None = None,
) -> list[LockRow]:
    """Locks that somebody holds or waits for, by user and name.

    Args:
        user_id, agent_ids: of these alone; an agent's are those that it holds or waits for.
        and_free: those too that nobody has or wants.
        after: the user and the name of the last one told; those that follow.
    """
    query = LOCKS
    if not and_free:
        held = sa.and_(agent_locks.c.holder_id.is_not(None), agent_locks.c.expires_at > now_ms())
        query = query.where(sa.or_(held, sa.exists().where(_own_waits)))
    if user_id is not None:
        query = query.where(agent_locks.c.user_id == user_id)
    if agent_ids is not None:
        waited = sa.exists().where(_own_waits, lock_waits.c.agent_id.in_(agent_ids))
        query = query.where(sa.or_(agent_locks.c.agent_id.in_(agent_ids), waited))
    if after is not None:
        query = query.where(sa.tuple_(agent_locks.c.user_id, agent_locks.c.resource) > after)
    return [lock_of(row) for row in c.execute(query.limit(limit))]


def find_locks_named(c: sa.Connection, name: str, *, user_id: UserId | None = None) -> list[LockRow]:
    """The locks of that name: one of each user who has one."""
    query = LOCKS.where(agent_locks.c.resource == name)
    if user_id is not None:
        query = query.where(agent_locks.c.user_id == user_id)
    return [lock_of(row) for row in c.execute(query)]


def list_lock_waits(
    c: sa.Connection, *, user_id: UserId | None = None, agent_ids: Sequence[AgentId] | None = None
) -> list[LockWait]:
    """Who waits, by user and lock, the next in turn first; of these agents alone."""
    query = WAITS
    if user_id is not None:
        query = query.where(lock_waits.c.user_id == user_id)
    if agent_ids is not None:
        query = query.where(lock_waits.c.agent_id.in_(agent_ids))
    return [_wait(row) for row in c.execute(query)]


def granted(c: sa.Connection, request_ids: Sequence[str]) -> dict[str, Grant]:
    """What these requests got, as far as they got it and have it still."""
    found: dict[str, list[LockRow]] = {}
    for part in in_parts(request_ids):
        for row in c.execute(LOCKS_OF_REQUESTS, {"requests": part}):
            lock = lock_of(row)
            found.setdefault(row.request_id, []).append(lock)
    return {request_id: grant_of(locks) for request_id, locks in found.items()}


def run_fences(c: sa.Connection, run_id: str) -> dict[str, int]:
    """The locks that a run holds, by name, with their fences."""
    rows = c.execute(LOCKS_OF_HOLDER, {"kind": HolderKind.RUN, "holder": run_id})
    return {row.resource: row.fence for row in rows}


def locks_named(c: sa.Connection, user_id: UserId, names: Sequence[str]) -> list[LockRow]:
    """Those of these locks that there are, by name."""
    return [lock_of(row) for row in c.execute(LOCKS_NAMED, {"user": user_id, "names": list(names)})]


def grant_of(locks: Sequence[LockRow]) -> Grant:
    """What somebody has of *locks*, all got by one request."""
    first = locks[0]
    assert first.holder is not None and first.request_id is not None
    return Grant(
        request_id=first.request_id,
        user_id=first.user_id,
        holder=first.holder,
        fences={lock.resource: lock.fence for lock in locks},
        expires_at=min(lock.expires_at for lock in locks),
    )


def told_instant(at: int) -> str:
    """Epoch milliseconds as people and programs read them: ``2026-01-05T09:14:00Z``."""
    return f"{datetime.fromtimestamp(at // 1_000, UTC):%Y-%m-%dT%H:%M:%SZ}"


def lock_of(row: Any) -> LockRow:
    """The lock in a row of ``LOCKS``."""
    fields = dict(row._mapping)
    holder = _holder(fields)
    return LockRow(**fields, holder=holder)


def _wait(row: Any) -> LockWait:
    fields = dict(row._mapping)
    holder = _holder(fields)
    assert holder is not None
    return LockWait(**fields, holder=holder)


def _holder(fields: dict[str, Any]) -> Holder | None:
    """The holder among *fields*, which lose it."""
    kind, id, agent_id = (fields.pop(name) for name in ("holder_kind", "holder_id", "agent_id"))
    return None if kind is None else Holder(HolderKind(kind), id, agent_id)

"""Users in the database: creation, listing, and removal, refused while they own anything active."""

from collections.abc import Iterable
from typing import Final

import msgspec
import sqlalchemy as sa

from protocol.errors import CodedError, ErrorCode
from protocol.ids import AgentId, DeviceId, UserId
from storage import audit
from storage.kernel.columns import Key, fetch_page, in_parts, paged, struct_or_none
from storage.schema import (
    agents,
    boards,
    broadcasts,
    devices,
    gateways,
    messages,
    operator_tokens,
    questions,
    runs,
    schedules,
    users,
)

OWNER: Final = "owner"  # user of everything that names no other user


class UserRow(msgspec.Struct, frozen=True):
    """User; *devices*: number of devices that are not revoked."""

    id: UserId
    name: str
    created_at: int
    devices: int


_mine = sa.select(sa.func.count()).where(devices.c.user_id == users.c.id, devices.c.revoked_at.is_(None))
USERS = sa.select(users.c.id, users.c.name, users.c.created_at, _mine.scalar_subquery().label("devices"))
# Counts of objects that prevent removal, by name. Revoked and archived objects are removed with the user.
OWNED = {
    "devices": _mine,
    "agents": sa.select(sa.func.count()).where(agents.c.user_id == users.c.id, agents.c.deleted_at.is_(None)),
    "gateways": sa.select(sa.func.count()).where(
        gateways.c.user_id == users.c.id, gateways.c.deleted_at.is_(None)
    ),
    "boards": sa.select(sa.func.count()).where(boards.c.user_id == users.c.id),
    "operators' tokens": sa.select(sa.func.count()).where(
        operator_tokens.c.user_id == users.c.id, operator_tokens.c.revoked_at.is_(None)
    ),
    "runs in the history": sa.select(sa.func.count())
    .select_from(runs.join(agents, runs.c.agent_id == agents.c.id))
    .where(agents.c.user_id == users.c.id),
}
OWNED_BY = sa.select(*(count.correlate(users).scalar_subquery() for count in OWNED.values())).where(
    users.c.id == sa.bindparam("user")
)
USER_NAMES = sa.select(users.c.id, users.c.name).where(users.c.id.in_(sa.bindparam("listed", expanding=True)))


def ensure_user(c: sa.Connection, id: UserId, name: str, at: int) -> UserId:
    """Return the user of that name, or create it with this id."""
    known = c.execute(sa.select(users.c.id).where(users.c.name == name)).scalar_one_or_none()
    if known is not None:
        return UserId(known)
    c.execute(sa.insert(users), {"id": id, "name": name, "created_at": at})
    return id


def not_made_yet(c: sa.Connection, names: Iterable[str]) -> list[str]:
    """Return those of *names* that no user has, without duplicates."""
    known = {row.name for row in list_users(c)}
    return [name for name in dict.fromkeys(names) if name not in known]


def create_user(c: sa.Connection, *, id: UserId, name: str, at: int, actor: str) -> UserRow:
    """Create a user.

    Raises:
        CodedError (NAME_TAKEN): a user has the name; nothing was written.
    """
    if find_user_by_name(c, name) is not None:
        raise CodedError(ErrorCode.NAME_TAKEN, f"there is a user {name!r} already")
    c.execute(sa.insert(users), {"id": id, "name": name, "created_at": at})
    audit.append(c, at=at, actor=actor, event="user.created", subject=id, detail={"name": name})
    return UserRow(id, name, at, 0)


def remove_user(c: sa.Connection, name: str, *, at: int, actor: str) -> UserRow:
    """Remove a user who owns nothing active, with their revoked and archived objects.

    Raises:
        CodedError (UNKNOWN_USER): no user has the name.
        CodedError (ILLEGAL_TRANSITION): the user still owns active objects; nothing was written.
    """
    user = find_user_by_name(c, name)
    if user is None:
        raise CodedError(ErrorCode.UNKNOWN_USER, f"there is no user {name!r}")
    counts = zip(OWNED, c.execute(OWNED_BY, {"user": user.id}).one(), strict=True)
    if owned := ", ".join(f"{what} ({count})" for what, count in counts if count):
        raise CodedError(ErrorCode.ILLEGAL_TRANSITION, f"user {name!r} still owns: {owned}")
    c.execute(sa.delete(users).where(users.c.id == user.id))
    audit.append(c, at=at, actor=actor, event="user.removed", subject=user.id, detail={"name": name})
    return user


def find_user_by_name(c: sa.Connection, name: str) -> UserRow | None:
    """Return the user of that name, if any."""
    return struct_or_none(UserRow, c.execute(USERS.where(users.c.name == name)).one_or_none())


def list_users(
    c: sa.Connection, *, user_id: UserId | None = None, limit: int | None = None, after: Key | None = None
) -> list[UserRow]:
    """Return the users, or one of them, by name."""
    query = paged(USERS, users.c.name, limit=limit, after=after)
    if user_id is not None:
        query = query.where(users.c.id == user_id)
    return fetch_page(c, UserRow, query, limit)


def user_names(c: sa.Connection, ids: Iterable[UserId]) -> dict[UserId, str]:
    """Return the names of these users, by id."""
    return {
        UserId(row.id): row.name
        for part in in_parts(sorted(set(ids)))
        for row in c.execute(USER_NAMES, {"listed": part})
    }


_thing: sa.BindParameter[str] = sa.bindparam("thing")
_OWNED: Final = {
    **{"agent_id": agents, "board_id": boards, "broadcast_id": broadcasts, "device_id": devices},
    **{"gateway_id": gateways, "message_id": messages, "question_id": questions},
}
_OWNERS: Final = {
    **{kind: sa.select(table.c.user_id).where(table.c.id == _thing) for kind, table in _OWNED.items()},
    "run_id": sa.select(agents.c.user_id).join_from(runs, agents).where(runs.c.id == _thing),
    "schedule_id": sa.select(agents.c.user_id).join_from(schedules, agents).where(schedules.c.id == _thing),
}
KINDS: Final = frozenset(_OWNERS)


def find_owner(c: sa.Connection, kind: str, id: str) -> UserId | None:
    """Return the owner of the object; ``None`` if it does not exist.

    Args:
        kind: one of KINDS, the names of event fields.
    """
    found = c.execute(_OWNERS[kind], {"thing": id}).scalar_one_or_none()
    return None if found is None else UserId(found)


_WORKERS: Final = {
    "agent_id": sa.select(agents.c.id, agents.c.device_id).where(agents.c.id == _thing),
    "run_id": (
        sa.select(agents.c.id, sa.func.coalesce(runs.c.device_id, agents.c.device_id).label("device_id"))
        .join_from(runs, agents)
        .where(runs.c.id == _thing)
    ),
}


def find_worker(c: sa.Connection, kind: str, id: str) -> tuple[AgentId, DeviceId | None] | None:
    """Return the agent that works on the object, and its device; ``None``: the object does not exist.

    Args:
        kind: ``agent_id`` or ``run_id``, the names of event fields.
    """
    row = c.execute(_WORKERS[kind], {"thing": id}).one_or_none()
    return None if row is None else (row.id, row.device_id)

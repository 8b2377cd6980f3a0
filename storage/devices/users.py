"""Users: the people who own devices and agents."""

from collections.abc import Iterable
from typing import Final

import msgspec
import sqlalchemy as sa

from protocol.errors import ErrorCode, HubError
from protocol.ids import UserId
from storage.audit import audit
from storage.schema import agents, boards, devices, gateways, operator_tokens, runs, users

OWNER: Final = "owner"  # whose is what nobody else was named for


class UnknownUser(HubError):
    """There is no such user."""

    code = ErrorCode.UNKNOWN_USER


class UserTaken(HubError):
    """A user of that name is there already."""

    code = ErrorCode.NAME_TAKEN


class UserOwnsThings(HubError):
    """The user cannot be removed: the message tells what would go too. Nothing was written."""

    code = ErrorCode.ILLEGAL_TRANSITION


class UserRow(msgspec.Struct, frozen=True):
    """A user; *devices* counts those that are not revoked."""

    id: UserId
    name: str
    created_at: int
    devices: int


_mine = sa.select(sa.func.count()).where(devices.c.user_id == users.c.id, devices.c.revoked_at.is_(None))
USERS = sa.select(users.c.id, users.c.name, users.c.created_at, _mine.scalar_subquery())
USER_NAMED = USERS.where(users.c.name == sa.bindparam("named"))
# What keeps a user: each names it in words, and counts it. Revoked and archived things go with their user.
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
USER_BY_NAME = sa.select(users.c.id).where(users.c.name == sa.bindparam("named"))


def ensure_user(c: sa.Connection, id: UserId, name: str, at: int) -> UserId:
    """The user of that name: the one there is, or a new one with this id."""
    known = c.execute(USER_BY_NAME, {"named": name}).scalar_one_or_none()
    if known is not None:
        return UserId(known)
    c.execute(sa.insert(users), {"id": id, "name": name, "created_at": at})
    return id


def not_made_yet(c: sa.Connection, names: Iterable[str]) -> list[str]:
    """Those of *names* that no user has, each once."""
    known = {row.name for row in list_users(c)}
    return [name for name in dict.fromkeys(names) if name not in known]


def create_user(c: sa.Connection, *, id: UserId, name: str, at: int, actor: str) -> UserRow:
    """A new user.

    Raises:
        UserTaken: the name is somebody's; nothing was written.
    """
    if find_user_by_name(c, name) is not None:
        raise UserTaken(f"there is a user {name!r} already")
    c.execute(sa.insert(users), {"id": id, "name": name, "created_at": at})
    audit.append(c, at=at, actor=actor, event="user.created", subject=id, detail={"name": name})
    return UserRow(id, name, at, 0)


def remove_user(c: sa.Connection, name: str, *, at: int, actor: str) -> UserRow:
    """Take a user away who owns nothing any more; what was revoked or archived of theirs goes too.

    Raises:
        UnknownUser: there is none of that name.
        UserOwnsThings: something of theirs is still there; nothing was written.
    """
    user = find_user_by_name(c, name)
    if user is None:
        raise UnknownUser(f"no user is named {name!r}")
    counts = zip(OWNED, c.execute(OWNED_BY, {"user": user.id}).one(), strict=True)
    if owned := ", ".join(f"{what} ({count})" for what, count in counts if count):
        raise UserOwnsThings(f"user {name!r} still owns: {owned}")
    c.execute(sa.delete(users).where(users.c.id == user.id))
    audit.append(c, at=at, actor=actor, event="user.removed", subject=user.id, detail={"name": name})
    return user


def find_user_by_name(c: sa.Connection, name: str) -> UserRow | None:
    """The user of that name, if there is one."""
    row = c.execute(USER_NAMED, {"named": name}).one_or_none()
    return None if row is None else UserRow(*row)


def list_users(c: sa.Connection) -> list[UserRow]:
    """Every user, by name."""
    return [UserRow(*row) for row in c.execute(USERS.order_by(users.c.name))]

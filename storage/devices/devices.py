"""Devices of users, and the hashes of the tokens that devices show."""

from collections.abc import Collection
from enum import StrEnum
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from protocol.errors import ErrorCode, HubError
from protocol.ids import DeviceId, NodeId, TokenId, UserId
from storage.agents import agent_states
from storage.audit import audit
from storage.schema import agents, device_tokens, devices

CAME: Final = "its device connected"
LEFT: Final = "its device left"
CUT: Final = "the hub started anew"
TOKENS_KEPT_MS: Final = 30 * 86_400_000  # after its end, so that who comes late is told why


class UnknownDevice(HubError):
    """There is no such device, or it was revoked."""

    code = ErrorCode.UNKNOWN_DEVICE


class DeviceNameTaken(HubError):
    """Another device of the same user bears the name."""

    code = ErrorCode.NAME_TAKEN


class NamedInFile(HubError):
    """Agents of hub.toml read from the device by its name, so it is not renamed under them."""

    code = ErrorCode.MANAGED_BY_FILE


class TokenRevoked(HubError):
    """The token was revoked: it opens nothing any more."""

    code = ErrorCode.REVOKED


class Grant(StrEnum):
    """What a device may do at its hub besides receiving what is found for it."""

    FILES = "files"  # its files are read by runs
    AGENTS = "agents"  # it makes, changes and starts agents
    CONNECTORS = "connectors"  # it makes and changes agents that read accounts of its user
    COORDINATION = "coordination"  # its agents reach others: boards, messages, questions, locks


class NotGranted(HubError):
    """The device is not granted what this needs; nothing was done."""

    code = ErrorCode.NOT_GRANTED

    def __init__(self, name: str, grant: Grant) -> None:
        super().__init__(f"the device {name!r} is not granted {grant.value!r} at this hub")
        self.hint = f"whoever runs the hub grants it: hub devices grant {name} +{grant.value}"


class DeviceRow(msgspec.Struct, frozen=True):
    """A device. *session_epoch* counts its accepted connections; *revoked_at* is set for good."""

    id: DeviceId
    user_id: UserId
    name: str
    platform: str | None
    connectivity: str  # "online" or "offline"
    session_epoch: int
    last_seen_at: int | None
    revoked_at: int | None
    created_at: int
    grants: list[str]


class TokenRow(msgspec.Struct, frozen=True):
    """A token as its owner sees it; the token itself is kept nowhere.

    *last4* are its last characters, *created_by* is the actor who made it; older tokens have neither.
    """

    id: TokenId
    device_id: DeviceId
    device_name: str
    user_id: UserId
    created_at: int
    expires_at: int | None
    last_used_at: int | None
    revoked_at: int | None
    last4: str | None
    created_by: str | None


class TokenOwner(msgspec.Struct, frozen=True):
    """Whose a token is, and all that may stand against letting it in."""

    token_id: TokenId
    device_id: DeviceId
    device_name: str
    user_id: UserId
    token_revoked_at: int | None
    device_revoked_at: int | None
    expires_at: int | None


DEVICES: sa.Select[Any] = sa.select(
    devices.c.id,
    devices.c.user_id,
    devices.c.name,
    devices.c.platform,
    devices.c.connectivity,
    devices.c.session_epoch,
    devices.c.last_seen_at,
    devices.c.revoked_at,
    devices.c.created_at,
    devices.c.grants,
)
DEVICE = DEVICES.where(devices.c.id == sa.bindparam("device"))
DEVICE_OF_USER = DEVICES.where(
    devices.c.user_id == sa.bindparam("user"),
    devices.c.name == sa.bindparam("named"),
    devices.c.revoked_at.is_(None),
)
DEVICE_BY_NAME = DEVICES.where(devices.c.name == sa.bindparam("named"), devices.c.revoked_at.is_(None))


def ensure_device(c: sa.Connection, *, id: DeviceId, user_id: UserId, name: str, at: int) -> DeviceRow:
    """The user's device of that name: the one there is, or a new one with this id.

    A revoked device does not hold its name: a new one may bear it.
    """
    row = c.execute(DEVICE_OF_USER, {"user": user_id, "named": name}).one_or_none()
    if row is not None:
        return DeviceRow(*row)
    c.execute(sa.insert(devices), {"id": id, "user_id": user_id, "name": name, "created_at": at})
    return get_device(c, id)


def get_device(c: sa.Connection, id: DeviceId) -> DeviceRow:
    """The device, revoked or not.

    Raises:
        UnknownDevice: there is none.
    """
    row = c.execute(DEVICE, {"device": id}).one_or_none()
    if row is None:
        raise UnknownDevice(f"there is no device {id}")
    return DeviceRow(*row)


def list_devices(c: sa.Connection, *, user_id: UserId | None = None) -> list[DeviceRow]:
    """Devices, revoked ones too, by name, then by age: everybody's, or one user's."""
    mine = sa.true() if user_id is None else devices.c.user_id == user_id
    ordered = DEVICES.where(mine).order_by(devices.c.name, devices.c.created_at, devices.c.id)
    return [DeviceRow(*row) for row in c.execute(ordered)]


def devices_called(c: sa.Connection, called: str, *, user_id: UserId | None = None) -> list[DeviceRow]:
    """The device of that id, revoked or not, else those of that name which are not revoked.

    Args:
        user_id: whose; ``None``: several users may each have one of the name.
    """
    found = [DeviceRow(*row) for row in c.execute(DEVICE, {"device": called})]
    found = found or [DeviceRow(*row) for row in c.execute(DEVICE_BY_NAME, {"named": called})]
    return [row for row in found if user_id in (None, row.user_id)]


AGENTS_OF_FILE = sa.select(agents.c.name).where(
    agents.c.device_id == sa.bindparam("device"),
    agents.c.source == "file",
    agents.c.deleted_at.is_(None),
)
GRANT = sa.update(devices).where(devices.c.id == sa.bindparam("device")).values(grants=sa.bindparam("to"))
LOCK_DEVICE = sa.select(devices.c.id).where(devices.c.id == sa.bindparam("device")).with_for_update()
RENAME_DEVICE = (
    sa.update(devices).where(devices.c.id == sa.bindparam("device")).values(name=sa.bindparam("to"))
)
REVOKE_DEVICE = (
    sa.update(devices)
    .where(devices.c.id == sa.bindparam("device"), devices.c.revoked_at.is_(None))
    .values(revoked_at=sa.bindparam("now"))
)


def rename_device(c: sa.Connection, id: DeviceId, name: str, *, at: int, actor: str) -> DeviceRow:
    """Give the device another name; twice is once.

    Raises:
        UnknownDevice: there is none, or it was revoked.
        DeviceNameTaken: another device of its user bears the name.
        NamedInFile: agents of hub.toml name it, and would be given a new device of the old name.
    """
    device = get_device(c, id)
    if device.revoked_at is not None:
        raise UnknownDevice(f"device {device.name!r} was revoked")
    if device.name == name:
        return device
    if readers := c.execute(AGENTS_OF_FILE.order_by(agents.c.name), {"device": id}).scalars().all():
        raise NamedInFile(f"hub.toml names {device.name!r} as the device of {', '.join(readers)}")
    if c.execute(DEVICE_OF_USER, {"user": device.user_id, "named": name}).first() is not None:
        raise DeviceNameTaken(f"there is a device {name!r} already")
    c.execute(RENAME_DEVICE, {"device": id, "to": name})
    detail = {"before": device.name, "after": name}
    audit.append(c, at=at, actor=actor, event="device.renamed", subject=id, detail=detail)
    return get_device(c, id)


def require_grant(c: sa.Connection, id: DeviceId, grant: Grant) -> None:
    """Raises NotGranted where the device lacks *grant*; one that is not there is refused by what it asks."""
    row = c.execute(DEVICE, {"device": id}).one_or_none()
    if row is not None and grant not in DeviceRow(*row).grants:
        raise NotGranted(row.name, grant)


def change_grants(
    c: sa.Connection, id: DeviceId, *, add: Collection[Grant], remove: Collection[Grant], at: int, actor: str
) -> DeviceRow:
    """Grant the device all of *add* and none of *remove*; twice is once.

    Raises:
        UnknownDevice: there is none, or it was revoked.
    """
    c.execute(LOCK_DEVICE, {"device": id})
    device = get_device(c, id)
    if device.revoked_at is not None:
        raise UnknownDevice(f"device {device.name!r} was revoked")
    after = [grant.value for grant in Grant if grant in {*device.grants, *add} - {*remove}]
    if after != device.grants:
        c.execute(GRANT, {"device": id, "to": after})
        detail = {"before": ", ".join(device.grants), "after": ", ".join(after)}
        audit.append(c, at=at, actor=actor, event="device.granted", subject=id, detail=detail)
    return get_device(c, id)


def revoke_device(c: sa.Connection, id: DeviceId, *, at: int, actor: str) -> bool:
    """Let nobody in as the device any more, by whatever token or key; whether it counted until now."""
    revoked = c.execute(REVOKE_DEVICE, {"device": id, "now": at}).rowcount > 0
    if revoked:
        audit.append(c, at=at, actor=actor, event="device.revoked", subject=id)
    return revoked


TOKENS = sa.select(
    device_tokens.c.id,
    device_tokens.c.device_id,
    devices.c.name,
    devices.c.user_id,
    device_tokens.c.created_at,
    device_tokens.c.expires_at,
    device_tokens.c.last_used_at,
    device_tokens.c.revoked_at,
    device_tokens.c.last4,
    device_tokens.c.created_by,
).join_from(device_tokens, devices)
TOKEN = TOKENS.where(device_tokens.c.id == sa.bindparam("token"))
OWNER_OF_TOKEN = (
    sa.select(
        device_tokens.c.id,
        devices.c.id,
        devices.c.name,
        devices.c.user_id,
        device_tokens.c.revoked_at,
        devices.c.revoked_at,
        device_tokens.c.expires_at,
    )
    .join_from(device_tokens, devices)
    .where(device_tokens.c.token_hash == sa.bindparam("hash"))
)
COUNT_TOKENS = sa.select(sa.func.count()).where(
    device_tokens.c.revoked_at.is_(None),
    sa.or_(device_tokens.c.expires_at.is_(None), device_tokens.c.expires_at > sa.bindparam("now")),
)
COUNT_TOKENS_OF_USER = COUNT_TOKENS.join_from(device_tokens, devices).where(
    devices.c.user_id == sa.bindparam("user")
)
PRUNE_TOKENS = sa.delete(device_tokens).where(
    sa.func.coalesce(device_tokens.c.revoked_at, device_tokens.c.expires_at) <= sa.bindparam("before")
)
REVOKE_TOKEN = (
    sa.update(device_tokens)
    .where(device_tokens.c.id == sa.bindparam("token"), device_tokens.c.revoked_at.is_(None))
    .values(revoked_at=sa.bindparam("now"))
)
USE_TOKEN = (
    sa.update(device_tokens)
    .where(device_tokens.c.id == sa.bindparam("token"), device_tokens.c.revoked_at.is_(None))
    .values(last_used_at=sa.bindparam("now"))
)


def create_token(
    c: sa.Connection,
    *,
    id: TokenId,
    device_id: DeviceId,
    token_hash: bytes,
    at: int,
    expires_at: int | None = None,
    last4: str | None = None,
    actor: str = "hub",
) -> TokenRow:
    """Let whoever shows the token with this SHA-256 in as the device. Those that ended a month ago go.

    Raises:
        Conflict: there is no such device, or the hash is known already.
    """
    c.execute(PRUNE_TOKENS, {"before": at - TOKENS_KEPT_MS})
    row = {"id": id, "device_id": device_id, "token_hash": token_hash, "last4": last4, "created_by": actor}
    c.execute(sa.insert(device_tokens), row | {"created_at": at, "expires_at": expires_at})
    made = _token(c.execute(TOKEN, {"token": id}).one())
    detail = {"device": made.device_name, "expires_at": expires_at}
    audit.append(c, at=at, actor=actor, event="token.created", subject=id, detail=detail)
    return made


def find_token(c: sa.Connection, token_hash: bytes) -> TokenOwner | None:
    """Whose token it is; whether it still counts is for the caller to judge."""
    row = c.execute(OWNER_OF_TOKEN, {"hash": token_hash}).one_or_none()
    return None if row is None else TokenOwner(*row)


def find_token_by_id(c: sa.Connection, id: TokenId) -> TokenRow | None:
    """The token of that id, revoked or not."""
    row = c.execute(TOKEN, {"token": id}).one_or_none()
    return None if row is None else _token(row)


def count_tokens(c: sa.Connection, at: int, *, user_id: UserId | None = None) -> int:
    """How many tokens of devices open something at this moment: of everybody's, or of one user's."""
    if user_id is None:
        return int(c.execute(COUNT_TOKENS, {"now": at}).scalar_one())
    return int(c.execute(COUNT_TOKENS_OF_USER, {"now": at, "user": user_id}).scalar_one())


def list_tokens(
    c: sa.Connection, *, user_id: UserId | None = None, device_id: DeviceId | None = None
) -> list[TokenRow]:
    """Tokens, revoked ones too, oldest first: of every device, of one user's, or of one device."""
    mine = sa.true() if user_id is None else devices.c.user_id == user_id
    its = sa.true() if device_id is None else devices.c.id == device_id
    ordered = TOKENS.where(mine, its).order_by(device_tokens.c.created_at, device_tokens.c.id)
    return [_token(row) for row in c.execute(ordered)]


def revoke_token(c: sa.Connection, id: TokenId, at: int, *, actor: str = "hub") -> bool:
    """Let nobody in by this token any more; whether it counted until now."""
    revoked = c.execute(REVOKE_TOKEN, {"token": id, "now": at}).rowcount > 0
    if revoked:
        audit.append(c, at=at, actor=actor, event="token.revoked", subject=id)
    return revoked


def _token(row: Any) -> TokenRow:
    return TokenRow(*row)


OPEN_SESSION = (
    sa.update(devices)
    .where(devices.c.id == sa.bindparam("device"), devices.c.revoked_at.is_(None))
    .values(
        session_epoch=devices.c.session_epoch + 1,
        connectivity="online",
        last_seen_at=sa.bindparam("now"),
        node_id=sa.bindparam("at_node"),
        platform=sa.func.coalesce(sa.bindparam("on", type_=sa.Text), devices.c.platform),
    )
    .returning(devices.c.session_epoch)
)
CLOSE_SESSION = (
    sa.update(devices)
    .where(
        devices.c.id == sa.bindparam("device"),
        devices.c.session_epoch == sa.bindparam("epoch"),
        devices.c.connectivity == "online",
    )
    .values(connectivity="offline", last_seen_at=sa.bindparam("now"))
)
ONLINE_DEVICES = sa.select(devices.c.id).where(devices.c.connectivity == "online").order_by(devices.c.id)
CLOSE_ALL = sa.update(devices).where(devices.c.connectivity == "online").values(connectivity="offline")


def open_session(
    c: sa.Connection,
    device_id: DeviceId,
    *,
    platform: str | None,
    at: int,
    token_id: TokenId | None = None,
    node_id: NodeId | None = None,
) -> int:
    """The device is online, and its agents with it; returns the epoch of the new connection.

    Raises:
        UnknownDevice: there is none, or it was revoked; nothing was written.
        TokenRevoked: since it was looked at; nothing was written.
    """
    if token_id is not None and c.execute(USE_TOKEN, {"token": token_id, "now": at}).rowcount == 0:
        raise TokenRevoked(f"token {token_id} was revoked")
    session = {"device": device_id, "on": platform, "at_node": node_id, "now": at}
    opened = c.execute(OPEN_SESSION, session).scalar_one_or_none()
    if opened is None:
        raise UnknownDevice(f"device {device_id} is unknown or revoked")
    actor = f"device:{device_id}"
    agent_states.connect_agents(c, device_id, online=True, at=at, actor=actor, reason=CAME)
    return int(opened)


def close_session(c: sa.Connection, device_id: DeviceId, epoch: int, at: int, *, reason: str = LEFT) -> bool:
    """The connection of this epoch ended; False if a newer one holds the device, or it was closed before.

    *reason*: in words, for the history of its agents.
    """
    closed = c.execute(CLOSE_SESSION, {"device": device_id, "epoch": epoch, "now": at}).rowcount > 0
    if closed:
        actor = f"device:{device_id}"
        agent_states.connect_agents(c, device_id, online=False, at=at, actor=actor, reason=reason)
    return closed


def close_all_sessions(c: sa.Connection, at: int, *, node_id: NodeId | None = None) -> int:
    """No device is connected, at this node or at all: it has just started. How many were thought to be."""
    here = sa.true() if node_id is None else devices.c.node_id == node_id
    online = c.execute(ONLINE_DEVICES.where(here)).scalars().all()
    for device_id in online:
        device = DeviceId(device_id)
        agent_states.connect_agents(c, device, online=False, at=at, actor="hub", reason=CUT)
    return c.execute(CLOSE_ALL.where(here)).rowcount if online else 0

"""Users, their devices, and the hashes of the tokens that devices show."""

import msgspec
import sqlalchemy as sa

from protocol.errors import ErrorCode, HubError
from protocol.ids import DeviceId, NodeId, TokenId, UserId
from storage import agent_states
from storage.schema import device_tokens, devices, users


class UnknownDevice(HubError):
    """There is no such device, or it was revoked."""

    code = ErrorCode.UNKNOWN_DEVICE


class TokenRevoked(HubError):
    """The token was revoked: it opens nothing any more."""

    code = ErrorCode.REVOKED


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


class TokenRow(msgspec.Struct, frozen=True):
    """A token as its owner sees it; the token itself is kept nowhere."""

    id: TokenId
    device_id: DeviceId
    device_name: str
    created_at: int
    expires_at: int | None
    last_used_at: int | None
    revoked_at: int | None


class TokenOwner(msgspec.Struct, frozen=True):
    """Whose a token is, and all that may stand against letting it in."""

    token_id: TokenId
    device_id: DeviceId
    device_name: str
    user_id: UserId
    token_revoked_at: int | None
    device_revoked_at: int | None
    expires_at: int | None


USER_BY_NAME = sa.select(users.c.id).where(users.c.name == sa.bindparam("name"))


def ensure_user(c: sa.Connection, id: UserId, name: str, at: int) -> UserId:
    """The user of that name: the one there is, or a new one with this id."""
    known = c.execute(USER_BY_NAME, {"name": name}).scalar_one_or_none()
    if known is not None:
        return UserId(known)
    c.execute(sa.insert(users), {"id": id, "name": name, "created_at": at})
    return id


DEVICES = sa.select(
    devices.c.id,
    devices.c.user_id,
    devices.c.name,
    devices.c.platform,
    devices.c.connectivity,
    devices.c.session_epoch,
    devices.c.last_seen_at,
    devices.c.revoked_at,
    devices.c.created_at,
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


def find_device_by_name(c: sa.Connection, name: str) -> DeviceRow | None:
    """The device of that name which is not revoked, if there is one; of several users, the oldest one's."""
    row = c.execute(DEVICE_BY_NAME.order_by(devices.c.created_at, devices.c.id), {"named": name}).first()
    return None if row is None else DeviceRow(*row)


def list_devices(c: sa.Connection) -> list[DeviceRow]:
    """Every device, revoked ones too, by name, then by age."""
    ordered = DEVICES.order_by(devices.c.name, devices.c.created_at, devices.c.id)
    return [DeviceRow(*row) for row in c.execute(ordered)]


TOKENS = sa.select(
    device_tokens.c.id,
    device_tokens.c.device_id,
    devices.c.name,
    device_tokens.c.created_at,
    device_tokens.c.expires_at,
    device_tokens.c.last_used_at,
    device_tokens.c.revoked_at,
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
) -> TokenRow:
    """Let whoever shows the token with this SHA-256 in as the device.

    Raises:
        Conflict: there is no such device, or the hash is known already.
    """
    row = {"id": id, "device_id": device_id, "token_hash": token_hash}
    c.execute(sa.insert(device_tokens), row | {"created_at": at, "expires_at": expires_at})
    return TokenRow(*c.execute(TOKEN, {"token": id}).one())


def find_token(c: sa.Connection, token_hash: bytes) -> TokenOwner | None:
    """Whose token it is; whether it still counts is for the caller to judge."""
    row = c.execute(OWNER_OF_TOKEN, {"hash": token_hash}).one_or_none()
    return None if row is None else TokenOwner(*row)


def list_tokens(c: sa.Connection) -> list[TokenRow]:
    """Every token, revoked ones too, oldest first."""
    ordered = TOKENS.order_by(device_tokens.c.created_at, device_tokens.c.id)
    return [TokenRow(*row) for row in c.execute(ordered)]


def revoke_token(c: sa.Connection, id: TokenId, at: int) -> bool:
    """Let nobody in by this token any more; whether it counted until now."""
    return c.execute(REVOKE_TOKEN, {"token": id, "now": at}).rowcount > 0


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
    agent_states.connect_agents(c, device_id, online=True, at=at, actor=f"device:{device_id}")
    return int(opened)


def close_session(c: sa.Connection, device_id: DeviceId, epoch: int, at: int) -> bool:
    """The connection of this epoch ended; False if a newer one holds the device, or it was closed before."""
    closed = c.execute(CLOSE_SESSION, {"device": device_id, "epoch": epoch, "now": at}).rowcount > 0
    if closed:
        agent_states.connect_agents(c, device_id, online=False, at=at, actor=f"device:{device_id}")
    return closed


def close_all_sessions(c: sa.Connection, at: int, *, node_id: NodeId | None = None) -> int:
    """No device is connected, at this node or at all: it has just started. How many were thought to be."""
    here = sa.true() if node_id is None else devices.c.node_id == node_id
    online = c.execute(ONLINE_DEVICES.where(here)).scalars().all()
    for device_id in online:
        agent_states.connect_agents(c, DeviceId(device_id), online=False, at=at, actor="hub")
    return c.execute(CLOSE_ALL.where(here)).rowcount if online else 0

"""Public keys of devices: their owners, and which of them are valid.

A key's id is derived from the key itself (``protocol.keys``), so a known id determines whose signature is
required. A revoked or replaced key stays on record, and is never accepted for a device again.
"""

import math
from collections.abc import Collection

import msgspec
import sqlalchemy as sa

from protocol import keys
from protocol.errors import CodedError, ErrorCode, HubError, connect_command
from protocol.ids import DeviceId, KeyId, UserId
from storage import audit
from storage.devices import devices
from storage.devices.devices import DeviceRow
from storage.kernel.columns import columns_of, fill_each, listed
from storage.schema import device_keys, device_tokens
from storage.schema import devices as device_table

FREE_NAMES = 100  # tried for a device that reports the name of another device


class KeyRevoked(HubError):
    """Error: the key was revoked or replaced; it is no longer valid."""

    code = ErrorCode.REVOKED


class RotatedTooSoon(HubError):
    """Error: the device replaced a key too recently; it may retry after *retry_after_s*."""

    code = ErrorCode.RATE_LIMITED

    def __init__(self, retry_after_s: float) -> None:
        message = f"the device has replaced its key just now; again in {math.ceil(retry_after_s)} s"
        super().__init__(f"{message} (key_rotation_wait_s)")
        self.retry_after_s = retry_after_s


class KeyRow(msgspec.Struct, frozen=True):
    """Key of a device. *rotated_to*: the key by which the device itself replaced it."""

    id: KeyId
    device_id: DeviceId
    public_key: bytes
    created_at: int
    last_used_at: int | None
    revoked_at: int | None
    rotated_to: KeyId | None


class KeyOwner(msgspec.Struct, frozen=True):
    """Owner of a key, with everything that may invalidate it."""

    key_id: KeyId
    device_id: DeviceId
    device_name: str
    user_id: UserId
    key_revoked_at: int | None
    rotated_to: KeyId | None
    device_revoked_at: int | None


KEYS = sa.select(*columns_of(KeyRow, device_keys))
KEY = KEYS.where(device_keys.c.id == sa.bindparam("key"))
REVOKE_KEY = (
    sa.update(device_keys)
    .where(device_keys.c.id == sa.bindparam("key"), device_keys.c.revoked_at.is_(None))
    .values(revoked_at=sa.bindparam("now"), rotated_to=sa.bindparam("next_key", type_=sa.Text))
    .returning(device_keys.c.device_id)
)


OWNERS = (
    sa.select(
        *columns_of(
            KeyOwner,
            device_keys,
            device_table,
            key_id=device_keys.c.id,
            device_name=device_table.c.name,
            key_revoked_at=device_keys.c.revoked_at,
            device_revoked_at=device_table.c.revoked_at,
        )
    )
    .join_from(device_keys, device_table)
    .where(device_keys.c.id.in_(listed(sa.bindparam("ids"))))
)


def find_keys(c: sa.Connection, ids: Collection[KeyId]) -> dict[KeyId, KeyOwner]:
    """Return the owners of those of the keys that exist, by key; the caller checks whether a key is valid."""
    return {row.key_id: row for row in fill_each(KeyOwner, c.execute(OWNERS, {"ids": sorted(ids)}))}


def find_key(c: sa.Connection, id: KeyId) -> KeyOwner | None:
    """Return the key's owner, if any; the caller checks whether the key is valid."""
    return find_keys(c, [id]).get(id)


def list_keys(c: sa.Connection, *, device_id: DeviceId | None = None) -> list[KeyRow]:
    """Return keys, also revoked ones, oldest first: of every device, or of one."""
    mine = sa.true() if device_id is None else device_keys.c.device_id == device_id
    ordered = KEYS.where(mine).order_by(device_keys.c.created_at, device_keys.c.id)
    return fill_each(KeyRow, c.execute(ordered))


def add_key(c: sa.Connection, *, id: KeyId, device_id: DeviceId, public_key: bytes, at: int) -> KeyRow:
    """Add a key by which the device can authenticate.

    Raises:
        Conflict: the device does not exist, or the key is on record already.
    """
    row = {"id": id, "device_id": device_id, "public_key": public_key, "created_at": at}
    c.execute(sa.insert(device_keys), row)
    return KeyRow(id, device_id, public_key, at, None, None, None)


def key_subject(id: KeyId) -> str:
    """Return the key's fingerprint for people and the audit log; a malformed id is returned unchanged."""
    try:
        return keys.shown(id)
    except ValueError:
        return id


def revoke_key(c: sa.Connection, id: KeyId, *, at: int, actor: str) -> bool:
    """Revoke the key. Return True if it was valid."""
    device_id = c.execute(REVOKE_KEY, {"key": id, "now": at, "next_key": None}).scalar_one_or_none()
    if device_id is not None:
        audit.append(
            c, at=at, actor=actor, event="key.revoked", subject=device_id, detail={"key": key_subject(id)}
        )
    return device_id is not None


def rotate_key(
    c: sa.Connection,
    device_id: DeviceId,
    *,
    old: KeyId,
    new: KeyId,
    public_key: bytes,
    at: int,
    wait_ms: int = 0,
) -> None:
    """Replace *old* by *new*, as the device requested; repeating it changes nothing.

    Args:
        wait_ms: minimum time between two replacements of the device's keys.

    Raises:
        KeyRevoked: *old* is not valid, or not the device's; nothing was written.
        RotatedTooSoon: the last replacement was less than *wait_ms* ago; nothing was written.
        Conflict: *new* is on record already; nothing was written.
    """
    before = c.execute(KEY, {"key": old}).one_or_none()
    if before is not None and before.device_id == device_id and before.rotated_to == new:
        return
    if before is None or before.device_id != device_id or before.revoked_at is not None:
        raise KeyRevoked("the old key does not count any more")
    last = c.execute(
        sa.select(sa.func.max(device_keys.c.revoked_at)).where(
            device_keys.c.device_id == device_id, device_keys.c.rotated_to.is_not(None)
        )
    ).scalar_one()
    if last is not None and 0 <= at - last < wait_ms:  # negative after a clock was set back: no wait
        raise RotatedTooSoon((last + wait_ms - at) / 1000)
    if c.execute(REVOKE_KEY, {"key": old, "now": at, "next_key": new}).one_or_none() is None:
        raise KeyRevoked("the old key was revoked meanwhile")
    add_key(c, id=new, device_id=device_id, public_key=public_key, at=at)
    c.execute(sa.update(device_table).where(device_table.c.id == device_id).values(copies=None))
    detail = {"old": key_subject(old), "new": key_subject(new)}
    audit.append(c, at=at, actor=f"device:{device_id}", event="key.rotated", subject=device_id, detail=detail)


def give_device(
    c: sa.Connection, *, fresh_id: DeviceId, user_id: UserId, name: str, is_chosen: bool, at: int, actor: str
) -> DeviceRow:
    """Return the user's device for a new key: the one of that name, let in again if revoked, or a new one.

    Args:
        is_chosen: a person chose the name, so an existing device is meant, even with valid credentials.
            Otherwise the device reported the name, and gets a device of that name only if that has no valid
            credentials.

    Raises:
        CodedError (NAME_TAKEN): the reported name belongs to a device with valid credentials.
    """
    device = devices.admit_device(c, id=fresh_id, user_id=user_id, name=name, at=at, actor=actor)
    if not is_chosen:
        check_free(c, device)
    return device


def check_free(c: sa.Connection, device: DeviceRow) -> None:
    """Check that no key or token of the device is valid; raise CodedError otherwise."""
    if has_way_in(c, device.id):
        raise CodedError(
            ErrorCode.NAME_TAKEN,
            f"another key or token is in use for the device {device.name!r} already",
            hint=f"an older key of the same machine is revoked by: hub devices revoke {device.name};"
            " else choose another name",
        )


def give_free_device(
    c: sa.Connection, *, fresh_id: DeviceId, user_id: UserId, name: str, at: int
) -> DeviceRow:
    """Return a device like ``give_device`` for a reported name; a number is appended to a taken name.

    Raises:
        CodedError (NAME_TAKEN): a device of that name was revoked, or no numbered name was free.
    """
    for number in range(1, FREE_NAMES + 1):
        free = name if number == 1 else f"{name}-{number}"
        device = devices.ensure_device(c, id=fresh_id, user_id=user_id, name=free, at=at)
        if device.revoked_at is not None:
            raise CodedError(
                ErrorCode.NAME_TAKEN,
                f"device {free!r} was revoked, and only an invitation of its name lets it in again",
                hint=f"at the hub: hub pair invite --device {free}; a new device needs another name:"
                f" {connect_command()}",
            )
        if not has_way_in(c, device.id):
            return device
    raise CodedError(ErrorCode.NAME_TAKEN, f"there are {FREE_NAMES} devices called {name!r} already")


def has_way_in(c: sa.Connection, device_id: DeviceId) -> bool:
    """Return True if the device has a key or token that was not revoked."""
    query = sa.union_all(
        sa.select(device_keys.c.id).where(
            device_keys.c.device_id == device_id, device_keys.c.revoked_at.is_(None)
        ),
        sa.select(device_tokens.c.id).where(
            device_tokens.c.device_id == device_id, device_tokens.c.revoked_at.is_(None)
        ),
    )
    return c.execute(query).first() is not None

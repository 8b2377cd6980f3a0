"""Public keys of devices in the database: adding, replacement, revocation.

The id of a key is derived from the key itself (``protocol.keys``), so a known id determines whose signature
is required. A revoked or replaced key stays on record, and is never accepted for a device again.
"""

import math
from collections.abc import Collection
from typing import Final

import msgspec
import sqlalchemy as sa

from protocol import keys
from protocol.errors import ErrorCode, HubError
from protocol.ids import DeviceId, KeyId, UserId
from storage import audit
from storage.kernel.columns import columns_of, listed, structs_from
from storage.schema import device_keys, devices

FRESH_MS: Final = 3_600_000  # for which the token of an assistant counts after its renewal


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
            devices,
            key_id=device_keys.c.id,
            device_name=devices.c.name,
            key_revoked_at=device_keys.c.revoked_at,
            device_revoked_at=devices.c.revoked_at,
        )
    )
    .join_from(device_keys, devices)
    .where(device_keys.c.id.in_(listed(sa.bindparam("ids"))))
)


def find_keys(c: sa.Connection, ids: Collection[KeyId]) -> dict[KeyId, KeyOwner]:
    """Return the owners of those of the keys that exist, by key; the caller checks whether a key is valid."""
    return {row.key_id: row for row in structs_from(KeyOwner, c.execute(OWNERS, {"ids": sorted(ids)}))}


def find_key(c: sa.Connection, id: KeyId) -> KeyOwner | None:
    """Return the key's owner, if any; the caller checks whether the key is valid."""
    return find_keys(c, [id]).get(id)


def list_keys(c: sa.Connection, *, device_id: DeviceId | None = None) -> list[KeyRow]:
    """Return keys, also revoked ones, oldest first: of every device, or of one."""
    mine = sa.true() if device_id is None else device_keys.c.device_id == device_id
    ordered = KEYS.where(mine).order_by(device_keys.c.created_at, device_keys.c.id)
    return structs_from(KeyRow, c.execute(ordered))


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
    c.execute(sa.update(devices).where(devices.c.id == device_id).values(copies=None))
    detail = {"old": key_subject(old), "new": key_subject(new)}
    audit.append(c, at=at, actor=f"device:{device_id}", event="key.rotated", subject=device_id, detail=detail)

"""Devices that are connected to a hub process that lives, without the rest of a connection."""

from collections.abc import Iterable
from typing import Final

import sqlalchemy as sa

from protocol.errors import HubError
from protocol.ids import BootId, DeviceId, KeyId, NodeId, TokenId
from storage import leases
from storage.effects import sessions
from storage.effects.sessions import Opening
from storage.schema import device_tokens, devices

BOOT: Final = BootId("boot-1")


def live(c: sa.Connection, boot: BootId = BOOT) -> None:
    """Let the hub process of *boot* live."""
    leases.beat(c, NodeId(f"node of {boot}"), boot, ttl_ms=leases.ALONE_MS)


def appear(c: sa.Connection, device_ids: Iterable[DeviceId], boot: BootId = BOOT) -> None:
    """Let the hub process of *boot* have the connections of these devices; it need not live."""
    seen_at = sa.func.coalesce(devices.c.last_seen_at, 1)
    values = {"boot_id": boot, "last_seen_at": seen_at}
    c.execute(sa.update(devices).where(devices.c.id.in_(list(device_ids))).values(values))


def never_connect(c: sa.Connection) -> None:
    """Let no device have been connected so far."""
    c.execute(sa.update(devices).values(last_seen_at=None))


def have_connected(c: sa.Connection) -> None:
    """Let every device have been connected once."""
    appear(c, c.execute(sa.select(devices.c.id)).scalars())


def open_session(
    c: sa.Connection,
    device_id: DeviceId,
    *,
    boot_id: BootId = BOOT,
    platform: str | None = None,
    at: int,
    token_id: TokenId | None = None,
    key_id: KeyId | None = None,
    is_shared: bool = False,
    per_user: int | None = None,
) -> int:
    """Open a connection of a device and return its epoch; by default with a token of that moment."""
    used = key_id or token_id or TokenId(f"of {device_id}")
    if not (key_id or token_id):
        made = {"id": used, "device_id": device_id, "token_hash": used.encode(), "created_at": at}
        c.execute(sa.insert(device_tokens), made)
    opening = Opening(device_id=device_id, credential=used, is_key=key_id is not None, platform=platform)
    (opened,) = sessions.open_sessions(
        c, [opening], boot_id=boot_id, at=at, is_shared=is_shared, per_user=per_user
    )
    if not (key_id or token_id):
        c.execute(sa.delete(device_tokens).where(device_tokens.c.id == used))
    if isinstance(opened, HubError):
        raise opened
    return opened.epoch

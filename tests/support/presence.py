"""Devices that are connected to a hub process that lives, without the rest of a connection."""

from collections.abc import Iterable
from typing import Final

import sqlalchemy as sa

from protocol.ids import BootId, DeviceId, NodeId
from storage.devices import nodes
from storage.devices.schema import devices

BOOT: Final = BootId("boot-1")


def live(c: sa.Connection, boot: BootId = BOOT) -> None:
    """Let the hub process of *boot* live."""
    nodes.beat(c, NodeId(f"node of {boot}"), boot, ttl_ms=nodes.ALONE_MS)


def appear(c: sa.Connection, device_ids: Iterable[DeviceId], boot: BootId = BOOT) -> None:
    """Let the hub process of *boot* have the connections of these devices; it need not live."""
    c.execute(sa.update(devices).where(devices.c.id.in_(list(device_ids))).values(boot_id=boot))

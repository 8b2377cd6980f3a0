"""Identity of this hub for the lifetime of its database, and its starts."""

import msgspec
import sqlalchemy as sa

from protocol.ids import BootId, NodeId
from storage.schema import hub, nodes

BOOTS_WINDOW_MS = 600_000  # starts that follow each other within this time are counted together


class Boot(msgspec.Struct, frozen=True):
    """Start of a node.

    *boots_10min*: number of consecutive starts within ten minutes of each other, each after a crash.
    *earlier*: the boot before this one.
    """

    node_id: NodeId
    boot_id: BootId
    started_at: int
    boots_10min: int
    earlier: BootId | None


HUB_ID = sa.select(hub.c.value).where(hub.c.key == "hub_id")
BOOT = sa.select(
    nodes.c.id, nodes.c.boot_id, nodes.c.started_at, nodes.c.boots_10min, nodes.c.stopped_at
).where(nodes.c.id == sa.bindparam("node"))
SECRET = sa.select(hub.c.value).where(hub.c.key == "extraction.secret")
KEY = sa.select(hub.c.value).where(hub.c.key == "identity.key")
TOUCH = sa.select(sa.literal(1))
BOOT_AGAIN = (
    sa.update(nodes)
    .where(nodes.c.id == sa.bindparam("node"))
    .values(
        boot_id=sa.bindparam("boot"),
        boots_10min=sa.bindparam("boots"),
        started_at=sa.bindparam("now"),
        seen_at=sa.bindparam("now"),
        stopped_at=None,
    )
)
STOP = (
    sa.update(nodes)
    .where(nodes.c.id == sa.bindparam("node"), nodes.c.boot_id == sa.bindparam("boot"))
    .values(stopped_at=sa.bindparam("now"), seen_at=sa.bindparam("now"))
)


def ensure_hub_id(c: sa.Connection, fresh_id: str) -> str:
    """Return the id by which devices know this hub; *fresh_id* becomes the id if none exists."""
    known = c.execute(HUB_ID).scalar_one_or_none()
    if known is not None:
        return str(known)
    c.execute(sa.insert(hub), {"key": "hub_id", "value": fresh_id})
    return fresh_id


def ensure_extraction_secret(c: sa.Connection, fresh: bytes) -> bytes:
    """Return the secret for the delimiters in this hub's prompts; *fresh* becomes the secret if none exists.

    It survives restarts and restores: otherwise every stored answer would be useless.
    """
    known = c.execute(SECRET).scalar_one_or_none()
    if known is not None:
        return bytes.fromhex(known)
    c.execute(sa.insert(hub), {"key": "extraction.secret", "value": fresh.hex()})
    return fresh


def ensure_key(c: sa.Connection, fresh: bytes) -> bytes:
    """Return the private key by which devices know this hub: 32 bytes; *fresh* if none exists.

    Equal on all nodes and after a restore: otherwise every device would refuse the hub.
    """
    known = c.execute(KEY).scalar_one_or_none()
    if known is not None:
        return bytes.fromhex(known)
    c.execute(sa.insert(hub), {"key": "identity.key", "value": fresh.hex()})
    return fresh


def begin_boot(
    c: sa.Connection, node_id: NodeId, boot_id: BootId, at: int, *, window_ms: int = BOOTS_WINDOW_MS
) -> Boot:
    """Record a start of the node. A start after an orderly stop resets the count."""
    last = c.execute(BOOT, {"node": node_id}).one_or_none()
    if last is None:
        c.execute(sa.insert(nodes), {"id": node_id, "boot_id": boot_id, "started_at": at, "seen_at": at})
        return Boot(node_id, boot_id, at, 1, None)
    crashed_just_now = last.stopped_at is None and at - last.started_at < window_ms
    boots = last.boots_10min + 1 if crashed_just_now else 1
    c.execute(BOOT_AGAIN, {"node": node_id, "boot": boot_id, "boots": boots, "now": at})
    return Boot(node_id, boot_id, at, boots, BootId(last.boot_id))


def end_boot(c: sa.Connection, node_id: NodeId, boot_id: BootId, at: int) -> None:
    """Record an orderly stop of the node."""
    c.execute(STOP, {"node": node_id, "boot": boot_id, "now": at})


def touch(c: sa.Connection) -> None:
    """Query the database without effect, to check whether it works."""
    c.execute(TOUCH)

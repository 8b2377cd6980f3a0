"""Id, key and secrets of the hub in its database."""

import sqlalchemy as sa

from storage.schema import hub

HUB_ID = sa.select(hub.c.value).where(hub.c.key == "hub_id")
SECRET = sa.select(hub.c.value).where(hub.c.key == "extraction.secret")
KEY = sa.select(hub.c.value).where(hub.c.key == "identity.key")


def find_hub_id(c: sa.Connection) -> str | None:
    """Return the id by which devices know this hub, or None before its first start."""
    return c.execute(HUB_ID).scalar_one_or_none()


def ensure_hub_id(c: sa.Connection, fresh_id: str) -> str:
    """Return the id by which devices know this hub; *fresh_id* becomes the id if none exists."""
    known = find_hub_id(c)
    if known is not None:
        return known
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

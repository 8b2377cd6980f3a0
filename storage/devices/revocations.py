"""Recent revocations, whose open connections must be closed on every node."""

import msgspec
import sqlalchemy as sa

from protocol.ids import DeviceId
from storage.schema import device_keys, device_tokens, devices


class Revocation(msgspec.Struct, frozen=True):
    """Revoked device, or one of its credentials: *credential* is ``token:ID`` or ``key:ID``."""

    device_id: DeviceId
    credential: str | None


# Keys that their device replaced are left out: the connection continues with the new key.
SINCE = sa.union_all(
    sa.select(devices.c.id, sa.null().cast(sa.Text)).where(devices.c.revoked_at >= sa.bindparam("since")),
    sa.select(device_tokens.c.device_id, sa.literal("token:") + device_tokens.c.id).where(
        device_tokens.c.revoked_at >= sa.bindparam("since")
    ),
    sa.select(device_keys.c.device_id, sa.literal("key:") + device_keys.c.id).where(
        device_keys.c.revoked_at >= sa.bindparam("since"), device_keys.c.rotated_to.is_(None)
    ),
)


def revoked_since(c: sa.Connection, since: int) -> list[Revocation]:
    """Return everything revoked at *since* (epoch milliseconds) or later."""
    return [Revocation(*row) for row in c.execute(SINCE, {"since": since})]

"""Invitations: a device that presents one is accepted with its own key, without a typed code.

Only the hash of an invitation is stored. A use and the key that it admits are written in one transaction: a
use is never lost, and never spent twice.
"""

import msgspec
import sqlalchemy as sa

from protocol.errors import ErrorCode, HubError
from protocol.ids import DeviceId, InvitationId, KeyId, UserId
from storage import audit
from storage.devices import device_keys
from storage.devices.device_keys import KeyOwner
from storage.kernel.rows import Key, columns_of, fill, paged
from storage.schema import invitations, users

KEPT_MS = 7 * 86_400_000  # after its end, so that late requests learn the reason


class BadInvitation(HubError):
    """Error: the invitation is not valid; the message says why."""

    code = ErrorCode.AUTH_FAILED


class InvitationRow(msgspec.Struct, frozen=True):
    """Invitation; the secret itself is not stored. *last4*: its last characters."""

    id: InvitationId
    user_id: UserId
    user_name: str
    device_name: str | None
    uses_left: int
    last4: str
    created_by: str
    created_at: int
    expires_at: int
    revoked_at: int | None


INVITATIONS = sa.select(*columns_of(InvitationRow, invitations, user_name=users.c.name)).join_from(
    invitations, users
)
INVITATION = INVITATIONS.where(invitations.c.id == sa.bindparam("invitation"))
BY_HASH = INVITATIONS.where(invitations.c.token_hash == sa.bindparam("hash"))
PRUNE = sa.delete(invitations).where(invitations.c.expires_at <= sa.bindparam("before"))
REVOKE = (
    sa.update(invitations)
    .where(invitations.c.id == sa.bindparam("invitation"), invitations.c.revoked_at.is_(None))
    .values(revoked_at=sa.bindparam("now"))
)
SPEND = (
    sa.update(invitations)
    .where(
        invitations.c.id == sa.bindparam("invitation"),
        invitations.c.uses_left > 0,
        invitations.c.revoked_at.is_(None),
        invitations.c.expires_at > sa.bindparam("now"),
    )
    .values(uses_left=invitations.c.uses_left - 1)
)


def create_invitation(
    c: sa.Connection,
    *,
    id: InvitationId,
    token_hash: bytes,
    user_id: UserId,
    device_name: str | None,
    uses: int,
    last4: str,
    actor: str,
    at: int,
    expires_at: int,
) -> InvitationRow:
    """Create an invitation for *uses* devices of the user, valid until *expires_at*.

    Invitations that ended a week ago are deleted.

    Args:
        device_name: name of the only device, known or new, that it admits; ``None``: each device uses the
            name that it reports.

    Raises:
        ValueError: a name for several devices.
        Conflict: the user does not exist, or the hash is known already.
    """
    if device_name is not None and uses != 1:
        raise ValueError("an invitation with a name is for one device")
    c.execute(PRUNE, {"before": at - KEPT_MS})
    row = {"id": id, "token_hash": token_hash, "user_id": user_id, "device_name": device_name}
    about = {"uses_left": uses, "last4": last4, "created_by": actor, "created_at": at}
    c.execute(sa.insert(invitations), row | about | {"expires_at": expires_at})
    detail = {"user": user_id, "device": device_name, "uses": uses, "expires_at": expires_at}
    audit.append(c, at=at, actor=actor, event="invitation.created", subject=id, detail=detail)
    return fill(InvitationRow, c.execute(INVITATION, {"invitation": id}).one())


def list_invitations(
    c: sa.Connection, *, user_id: UserId | None = None, limit: int | None = None, after: Key | None = None
) -> list[InvitationRow]:
    """Return invitations, also used and revoked ones, oldest first: of all users, or of one."""
    mine = sa.true() if user_id is None else invitations.c.user_id == user_id
    table = invitations.c
    query = paged(INVITATIONS.where(mine), table.created_at, table.id, limit=limit, after=after)
    return [fill(InvitationRow, row) for row in c.execute(query)]


def find_invitation(c: sa.Connection, id: InvitationId) -> InvitationRow | None:
    """Return the invitation with that id, in any state."""
    row = c.execute(INVITATION, {"invitation": id}).one_or_none()
    return None if row is None else fill(InvitationRow, row)


def revoke_invitation(c: sa.Connection, id: InvitationId, *, at: int, actor: str) -> bool:
    """Revoke the invitation. Return True if it was not revoked before."""
    revoked = c.execute(REVOKE, {"invitation": id, "now": at}).rowcount > 0
    if revoked:
        audit.append(c, at=at, actor=actor, event="invitation.revoked", subject=id)
    return revoked


def redeem(
    c: sa.Connection,
    token_hash: bytes,
    *,
    key_id: KeyId,
    public_key: bytes,
    fresh_id: DeviceId,
    label: str,
    at: int,
) -> KeyOwner:
    """Spend a use, and add the key to a device of the invited user.

    A key that is on record already spends nothing: the same device asked twice.

    Args:
        fresh_id: id for a new device.
        label: name that the device reports, for an invitation without a name.

    Raises:
        BadInvitation: the invitation is not valid; nothing was written.
        DeviceNameTaken: no name is free; nothing was written.
    """
    row = c.execute(BY_HASH, {"hash": token_hash}).one_or_none()
    if row is None:
        raise BadInvitation("nobody made this invitation")
    known = device_keys.find_key(c, key_id)
    if known is not None:
        return known
    invitation = fill(InvitationRow, row)
    if c.execute(SPEND, {"invitation": invitation.id, "now": at}).rowcount == 0:
        raise BadInvitation(_why_spent(invitation, at))
    if invitation.device_name is None:
        device = device_keys.give_free_device(
            c, fresh_id=fresh_id, user_id=invitation.user_id, name=label, at=at
        )
    else:
        device = device_keys.give_device(
            c,
            fresh_id=fresh_id,
            user_id=invitation.user_id,
            name=invitation.device_name,
            is_chosen=True,
            at=at,
        )
    device_keys.add_key(c, id=key_id, device_id=device.id, public_key=public_key, at=at)
    audit.append(
        c,
        at=at,
        actor=f"device:{device.id}",
        event="invitation.redeemed",
        subject=invitation.id,
        detail={"key": device_keys.told(key_id), "device": device.name, "user": invitation.user_id},
    )
    return KeyOwner(key_id, device.id, device.name, device.user_id, None, None, None)


def _why_spent(invitation: InvitationRow, at: int) -> str:
    if invitation.revoked_at is not None:
        return "the invitation was revoked"
    if invitation.expires_at <= at:
        return "the invitation has expired"
    return "the invitation was used as often as it may be"

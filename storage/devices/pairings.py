"""Pairings and invitations in the database: codes, expiry, approval, and misspelt device names.

A device that requests access shows a code, which its owner types. The person who types the code decides; only
its hash is stored. A pairing belongs to one key: its code admits no other key. The device's description is
fixed when the code is created: a device that changes it gets another code.

A device that presents an invitation is accepted without a typed code. Only the hash of an invitation is
stored. A use and the key that it admits are written in one transaction: a use is never lost, and never spent
twice.
"""

from bisect import bisect_left
from collections.abc import Collection, Iterable
from itertools import chain
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from protocol.errors import CodedError, ErrorCode, HubError
from protocol.ids import ConnectionId, DeviceId, KeyId, PairingId, UserId
from protocol.similar_names import nearest
from storage import audit
from storage.devices import keys, tokens
from storage.devices.devices import DeviceRow, UnknownDevice, devices_called, find_device, revoked_device
from storage.devices.keys import KeyOwner
from storage.devices.tokens import INVITATIONS, InvitationRow
from storage.kernel.columns import (
    Key,
    columns_of,
    fetch_page,
    paged,
    struct_from,
    struct_or_none,
    values_of,
    whole_id,
)
from storage.schema import device_keys as key_table
from storage.schema import device_tokens, devices, invitations, pairings

_LOCK = 0x50414952  # of PostgreSQL: concurrent requests would both see the last free slot


class TooManyPairings(HubError):
    """Error: the maximum number of devices waits.

    *limit*: name of the limit; *retry_at*: time of the next free slot (epoch milliseconds).
    """

    code = ErrorCode.TOO_MANY_PAIRINGS

    def __init__(self, message: str, *, limit: str, retry_at: int) -> None:
        super().__init__(message)
        self.limit = limit
        self.retry_at = retry_at


class PairingRow(msgspec.Struct, frozen=True):
    """Pairing request of a device.

    Attributes:
        label, platform: the device's own description, which is not verified.
        network: origin of the first request: an address, or the /64 of an IPv6 address; later requests from
            elsewhere still count for it.
        connection_id: connection of the last request.
        decision: "approved" or "denied"; ``None`` while it waits.
        device_id: device that it became.
    """

    id: PairingId
    key_id: KeyId
    label: str
    platform: str
    network: str
    connection_id: ConnectionId
    created_at: int
    expires_at: int
    decided_at: int | None
    decision: str | None
    actor: str | None
    device_id: DeviceId | None


class PairingAsk(msgspec.Struct, frozen=True, kw_only=True):
    """New request of a device with an unknown key. See ``PairingRow``.

    Attributes:
        id, code_hash: used if the key does not wait yet.
        known_code_hash: hash of the code that the key got before, if remembered.
    """

    id: PairingId
    code_hash: bytes
    known_code_hash: bytes | None
    key_id: KeyId
    public_key: bytes
    label: str
    platform: str
    network: str
    connection_id: ConnectionId


class PairingRequested(msgspec.Struct, frozen=True):
    """State of a device's request. *is_new_code*: the code of this request is the valid one."""

    pairing: PairingRow
    is_new_code: bool


PAIRINGS = sa.select(*columns_of(PairingRow, pairings))
_waits = pairings.c.decision.is_(None) & (pairings.c.expires_at > sa.bindparam("now"))
WAITING = PAIRINGS.where(_waits)
BY_CODE = WAITING.add_columns(pairings.c.public_key).where(pairings.c.code_hash == sa.bindparam("code"))
PLACES = sa.select(sa.func.count(), sa.func.min(pairings.c.expires_at)).where(_waits)
PLACES_OF_NETWORK = PLACES.where(pairings.c.network == sa.bindparam("from_network"))
DECIDE = (
    sa.update(pairings)
    .where(pairings.c.id == sa.bindparam("pairing"), _waits)
    .values(
        decided_at=sa.bindparam("now"),
        decision=sa.bindparam("as"),
        actor=sa.bindparam("by"),
        device_id=sa.bindparam("became", type_=sa.Text),
    )
)


def ask(
    c: sa.Connection, asking: PairingAsk, *, at: int, expires_at: int, most: int, most_per_network: int
) -> PairingRequested:
    """Record a key's request for access, or return its state. Expired requests are deleted.

    A waiting key keeps its row and its expiry, and its code if that is known. A device that changed its
    description starts again with another code, but keeps the expiry.

    Args:
        most, most_per_network: maximum numbers of waiting devices.

    Raises:
        TooManyPairings: no free slot for a new or restarted request; nothing was written.
    """
    if c.dialect.name == "postgresql":
        c.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
    c.execute(sa.delete(pairings).where(pairings.c.expires_at <= at))
    row = c.execute(
        PAIRINGS.add_columns(pairings.c.code_hash).where(pairings.c.key_id == asking.key_id)
    ).one_or_none()
    if row is not None and (end := _begins_anew(row, asking, expires_at)) is not None:
        c.execute(sa.delete(pairings).where(pairings.c.id == row.id))
        row, expires_at = None, end
    if row is None:
        _find_place(c, asking.network, at=at, most=most, most_per_network=most_per_network)
        return PairingRequested(_insert(c, asking, at=at, expires_at=expires_at), is_new_code=True)
    if row.decision is None:
        is_known = asking.known_code_hash is not None and asking.known_code_hash == bytes(row.code_hash)
        c.execute(
            sa.update(pairings)
            .where(pairings.c.id == row.id)
            .values(
                code_hash=asking.known_code_hash if is_known else asking.code_hash,
                connection_id=asking.connection_id,
            )
        )
        return PairingRequested(_pairing(c, row.id), is_new_code=not is_known)
    return PairingRequested(_pairing(c, row.id), is_new_code=False)


def count_pairings(c: sa.Connection, *, at: int) -> int:
    """Return the number of waiting devices."""
    return int(c.execute(PLACES, {"now": at}).one()[0])


def list_pairings(
    c: sa.Connection, *, at: int, limit: int | None = None, after: Key | None = None
) -> list[PairingRow]:
    """Return the waiting devices, oldest request first."""
    query = paged(WAITING, pairings.c.created_at, pairings.c.id, limit=limit, after=after)
    return fetch_page(c, PairingRow, query, limit, {"now": at})


def waiting_labels(c: sa.Connection) -> dict[str, int]:
    """Return when the request of each waiting device expires, by the name that the device reports."""
    query = sa.select(pairings.c.label, pairings.c.expires_at).where(pairings.c.decision.is_(None))
    return {row.label: row.expires_at for row in c.execute(query.order_by(pairings.c.expires_at))}


def find_pairing(c: sa.Connection, code_hash: bytes, *, at: int) -> PairingRow | None:
    """Return the device that waits under this code, if any."""
    return struct_or_none(PairingRow, c.execute(BY_CODE, {"code": code_hash, "now": at}).one_or_none())


def approve(
    c: sa.Connection,
    code_hash: bytes,
    *,
    pairing_id: PairingId | None = None,
    fresh_id: DeviceId,
    user_id: UserId,
    name: str | None,
    actor: str,
    at: int,
) -> DeviceRow:
    """Approve the device that waits under this code.

    Args:
        pairing_id: id of the pairing that was shown to the approver, if any.
        fresh_id: id for a new device.
        user_id: owner of the device.
        name: name of a known or new device, which is let in again if it was revoked; ``None``: the name that
            it reports, if that has no valid credentials.

    Raises:
        CodedError (UNKNOWN_PAIRING): no device waits under this code; nothing was written.
        CodedError (CHANGED_MEANWHILE): another pairing waits under it than was shown; nothing was written.
        CodedError (NAME_TAKEN): the reported name belongs to another device; nothing was written.
    """
    row = c.execute(BY_CODE, {"code": code_hash, "now": at}).one_or_none()
    if row is None:
        raise CodedError(ErrorCode.UNKNOWN_PAIRING, "no device waits under this code")
    if pairing_id not in (None, row.id):
        raise CodedError(
            ErrorCode.CHANGED_MEANWHILE, "another device waits under this code than the one that was shown"
        )
    device = tokens.give_device(
        c,
        fresh_id=fresh_id,
        user_id=user_id,
        name=name or row.label,
        is_chosen=name is not None,
        at=at,
        actor=actor,
    )
    decision = {"pairing": row.id, "now": at, "as": "approved", "by": actor, "became": device.id}
    if c.execute(DECIDE, decision).rowcount == 0:
        raise CodedError(ErrorCode.UNKNOWN_PAIRING, "no device waits under this code any more")
    keys.add_key(c, id=KeyId(row.key_id), device_id=device.id, public_key=bytes(row.public_key), at=at)
    shown = keys.key_subject(KeyId(row.key_id))
    detail = {"key": shown, "device": device.name, "user": user_id, "network": row.network}
    audit.append(c, at=at, actor=actor, event="pairing.approved", subject=device.id, detail=detail)
    return device


def deny(c: sa.Connection, id: PairingId, *, actor: str, at: int) -> PairingRow:
    """Refuse the waiting device; the same key may ask again after the pairing has expired.

    Raises:
        CodedError (UNKNOWN_PAIRING): the pairing does not wait; nothing was written.
    """
    id = PairingId(whole_id(c, pairings, id))
    decision = {"pairing": id, "now": at, "as": "denied", "by": actor, "became": None}
    if c.execute(DECIDE, decision).rowcount == 0:
        raise CodedError(ErrorCode.UNKNOWN_PAIRING, f"no device waits under the id {id!r}")
    denied = _pairing(c, id)
    detail = {"key": keys.key_subject(denied.key_id), "network": denied.network}
    audit.append(c, at=at, actor=actor, event="pairing.denied", subject=id, detail=detail)
    return denied


def _begins_anew(row: Any, asking: PairingAsk, expires_at: int) -> int | None:
    """Return the expiry of the pairing that replaces *row*; ``None``: *row* stays."""
    if row.decision == "approved" and row.device_id is None:
        return expires_at  # the device that it became was deleted
    if row.decision is None and (row.label, row.platform) != (asking.label, asking.platform):
        return int(row.expires_at)
    return None


def _find_place(c: sa.Connection, network: str, *, at: int, most: int, most_per_network: int) -> None:
    taken, next_end = c.execute(PLACES_OF_NETWORK, {"now": at, "from_network": network}).one()
    if taken >= most_per_network:
        message = f"{taken} devices of your network wait for a person to let them in"
        raise TooManyPairings(message, limit="pairings_per_network", retry_at=next_end)
    taken, next_end = c.execute(PLACES, {"now": at}).one()
    if taken >= most:
        message = f"{taken} devices wait for a person to let them in"
        raise TooManyPairings(message, limit="pairings", retry_at=next_end)


def _insert(c: sa.Connection, asking: PairingAsk, *, at: int, expires_at: int) -> PairingRow:
    c.execute(sa.insert(pairings), values_of(asking, pairings, created_at=at, expires_at=expires_at))
    return _pairing(c, asking.id)


def _pairing(c: sa.Connection, id: PairingId) -> PairingRow:
    return struct_from(PairingRow, c.execute(PAIRINGS.where(pairings.c.id == id)).one())


class BadInvitation(HubError):
    """Error: the invitation is not valid; the message says why."""

    code = ErrorCode.AUTH_FAILED


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
        CodedError (NAME_TAKEN): no name is free, or its device was revoked; nothing was written.
    """
    invitation = INVITATIONS.find(c, token_hash)
    if invitation is None:
        raise BadInvitation("there is no such invitation")
    known = keys.find_key(c, key_id)
    if known is not None:
        return known
    update = (
        sa.update(invitations)
        .where(
            invitations.c.id == invitation.id,
            invitations.c.uses_left > 0,
            invitations.c.revoked_at.is_(None),
            invitations.c.expires_at > at,
        )
        .values(uses_left=invitations.c.uses_left - 1)
    )
    if c.execute(update).rowcount == 0:
        raise BadInvitation(_why_spent(invitation, at))
    if invitation.device_name is None:
        device = tokens.give_free_device(c, fresh_id=fresh_id, user_id=invitation.user_id, name=label, at=at)
    else:
        before = find_device(c, invitation.device_name, user_id=invitation.user_id)
        if before is not None and (before.revoked_at or 0) >= invitation.created_at:
            raise BadInvitation(f"the device {before.name!r} was revoked after the invitation was made")
        device = tokens.give_device(
            c,
            fresh_id=fresh_id,
            user_id=invitation.user_id,
            name=invitation.device_name,
            is_chosen=True,
            at=at,
            actor=invitation.created_by,
        )
    keys.add_key(c, id=key_id, device_id=device.id, public_key=public_key, at=at)
    audit.append(
        c,
        at=at,
        actor=f"device:{device.id}",
        event="invitation.redeemed",
        subject=invitation.id,
        detail={"key": keys.key_subject(key_id), "device": device.name, "user": invitation.user_id},
    )
    return KeyOwner(key_id, device.id, device.name, device.user_id, None, None, None)


def _why_spent(invitation: InvitationRow, at: int) -> str:
    if invitation.revoked_at is not None:
        return "the invitation was revoked"
    if invitation.expires_at <= at:
        return "the invitation has expired"
    return "the invitation was used as often as it may be"


_MAX_NAMED: Final = 8
_MAX_COMPARED: Final = 20  # names of one list, where each may cost some milliseconds


class DeviceNames(msgspec.Struct, frozen=True):
    """Names of the known devices of each user, and of devices that wait for pairing, in order."""

    known: dict[UserId, list[str]]
    waiting: list[str]

    def hint(self, name: str, user_id: UserId | None, *, is_compared: bool = True) -> str:
        """Return a hint at the device that *name* may mean; empty if it is known or no hint is possible.

        Args:
            user_id: only devices of this user; None: of any user.
            is_compared: search the most similar name; without it the hint lists names, and costs little.
        """
        known = sorted({*chain(*self.known.values())}) if user_id is None else self.known.get(user_id, [])
        if name in self.waiting or not (known or self.waiting) or _has(known, name):
            return ""
        if is_compared and (near := nearest(name, [*known, *self.waiting])):
            waits = "" if _has(known, near) else ", which waits to be let in (hub pair)"
            return f"did you mean {near!r}{waits}?"
        named = [f"known: {_listed(known)}"] if known else []
        named += [f"waiting to be let in: {_listed(self.waiting)}"] if self.waiting else []
        return "; ".join(named)

    def hints(self, names: Iterable[tuple[str, UserId | None]]) -> list[str]:
        """Return the hint of each name; after the first 20 the names are no longer compared."""
        return [
            self.hint(name, user_id, is_compared=number < _MAX_COMPARED)
            for number, (name, user_id) in enumerate(names)
        ]


def list_names(c: sa.Connection, *, at: int) -> DeviceNames:
    """Return the names of known devices, and of those that wait for pairing."""
    # Devices with a credential or a past connection. A device that only agents of hub.toml name is not known.
    query = sa.select(devices.c.user_id, devices.c.name).where(
        devices.c.revoked_at.is_(None),
        sa.or_(
            devices.c.last_seen_at.is_not(None),
            sa.exists().where(key_table.c.device_id == devices.c.id),
            sa.exists().where(device_tokens.c.device_id == devices.c.id),
        ),
    )
    known: dict[UserId, list[str]] = {}
    for user_id, name in sorted((UserId(row.user_id), str(row.name)) for row in c.execute(query)):
        known.setdefault(user_id, []).append(name)
    return DeviceNames(known, sorted({row.label for row in list_pairings(c, at=at)}))


def unknown_device(c: sa.Connection, name: str, *, user_id: UserId | None, at: int) -> HubError:
    """Return the error for a missing or revoked device, with a hint at the device that may be meant."""
    if devices_called(c, name, user_id=user_id, is_revoked=True):
        return revoked_device(name)
    hint = list_names(c, at=at).hint(name, user_id)
    return UnknownDevice(f"there is no device {name!r}{hint and '; '}{hint}")


def device_named(
    c: sa.Connection, called: str, *, user_id: UserId | None, at: int, only: Collection[DeviceId] = ()
) -> DeviceRow:
    """Return the device with that id, else the active device of that name, else the revoked one.

    Args:
        only: if not empty, other devices do not exist for the caller.

    Raises:
        UnknownDevice: there is none; the message has a hint at the device that may be meant.
        CodedError (BAD_PARAMS): several users have one.
    """
    found = devices_called(c, called, user_id=user_id)
    found = found or devices_called(c, called, user_id=user_id, is_revoked=True)
    if only and not (found := [row for row in found if row.id in only]):
        raise UnknownDevice(f"there is no device {called!r}")  # a hint would name others
    if len(found) > 1:
        raise CodedError(
            ErrorCode.BAD_PARAMS, f"several users have a device {called!r}; say whose: ?user=NAME"
        )
    if not found:
        raise unknown_device(c, called, user_id=user_id, at=at)
    return found[0]


def _has(names: list[str], name: str) -> bool:
    place = bisect_left(names, name)
    return names[place : place + 1] == [name]


def _listed(names: list[str]) -> str:
    more = len(names) - _MAX_NAMED
    return ", ".join(names[:_MAX_NAMED]) + (f" and {more} more" if more > 0 else "")

"""Detection of two machines that use one device's credential, and which of them keeps it.

Each connection has an origin. Programs that differ, of which the older one still answered when the newer one
took its place, show that the credential is on two machines. A device that reconnects, or that was restarted,
answers at its older connection no more, or is the same program.
"""

from contextlib import suppress
from typing import Final

import msgspec
import sqlalchemy as sa

from protocol.errors import CodedError, ErrorCode
from protocol.ids import DeviceId
from storage import audit
from storage.devices.devices import DEVICES, DeviceRow
from storage.kernel.columns import structs_from
from storage.schema import devices

_MACHINE: Final = ("host", "store", "address")


class Origin(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Machine and program of a connection, as they name themselves; *at*: when it began, epoch milliseconds.

    *store*: id of the device's file; *instance*: of the program's process. *takes_sha256*: the program
    compares rows by SHA-256.
    """

    address: str = ""
    host: str = ""
    store: str = ""
    instance: str = ""
    at: int = 0
    takes_sha256: bool = False

    def __str__(self) -> str:
        return f"{self.host or 'a machine'} at {self.address} (file {self.store[-6:] or 'unknown'})"


class Copy(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Two machines with one credential; *is_newer_chosen*: the decision of a person, if made."""

    older: Origin
    newer: Origin
    is_newer_chosen: bool | None = None

    def refuses(self, origin: Origin) -> bool:
        """Return True if a person decided that the machine of *origin* is the one that does not keep it."""
        if self.is_newer_chosen is None:
            return False
        chosen, other = (self.newer, self.older) if self.is_newer_chosen else (self.older, self.newer)
        return all(getattr(origin, part) == getattr(other, part) for part in _differing(chosen, other))


def _differing(one: Origin, other: Origin) -> list[str]:
    return [part for part in _MACHINE if getattr(one, part) != getattr(other, part)]


def origin_of(c: sa.Connection, device_id: DeviceId) -> Origin:
    """Return the origin of the device's newest connection, without any parts if it is not known."""
    text = c.execute(sa.select(devices.c.origin).where(devices.c.id == device_id)).scalar_one_or_none()
    with suppress(msgspec.DecodeError):  # a broken row
        return msgspec.json.decode(text or "{}", type=Origin)
    return Origin()


def note_replaced(c: sa.Connection, device_id: DeviceId, older: Origin, *, at: int) -> Copy | None:
    """Note that *older* still answered when the device's present connection took its place.

    Return the two machines, or None if it was one program, or one machine with another program.
    """
    newer = origin_of(c, device_id)
    are_two = bool(older.store and newer.store) and older.store != newer.store
    if older.instance and newer.instance:
        are_two = older.instance != newer.instance and bool(_differing(older, newer))
    if not are_two:
        return None
    copy = Copy(older=older, newer=newer)
    _write(c, device_id, copy)
    detail = {"older": str(older), "newer": str(newer)}
    audit.append(c, at=at, actor="hub", event="device.copied", subject=device_id, detail=detail)
    return copy


def keep(c: sa.Connection, device_id: DeviceId, called: str, *, at: int, actor: str) -> tuple[Copy, Origin]:
    """Assign the device to the machine *called* by its host, address or the end of its file's id.

    Return the machines, and the origin of the present connection. Raises CodedError.
    """
    row = c.execute(sa.select(devices.c.copies, devices.c.origin).where(devices.c.id == device_id)).one()
    if row.copies is None:
        raise CodedError(ErrorCode.BAD_PARAMS, "no other machine has connected with the key of this device")
    copy = msgspec.json.decode(row.copies, type=Copy)
    are_called = [
        called in (origin.host, origin.address, origin.store[-6:]) for origin in (copy.older, copy.newer)
    ]
    if sum(are_called) != 1:
        raise CodedError(
            ErrorCode.BAD_PARAMS, f"{called!r} is not one of both: {copy.older}, or {copy.newer}"
        )
    copy = msgspec.structs.replace(copy, is_newer_chosen=are_called[1])
    _write(c, device_id, copy)
    chosen = copy.newer if copy.is_newer_chosen else copy.older
    audit.append(c, at=at, actor=actor, event="device.kept", subject=device_id, detail={"kept": str(chosen)})
    return copy, msgspec.json.decode(row.origin, type=Origin)


def list_copies(c: sa.Connection) -> list[tuple[DeviceRow, Copy]]:
    """Return the devices with a copied credential that no person has assigned."""
    query = sa.select(devices.c.id, devices.c.copies).where(
        devices.c.copies.is_not(None), devices.c.revoked_at.is_(None)
    )
    copies: dict[DeviceId, Copy] = {}
    for row in c.execute(query):
        with suppress(msgspec.DecodeError, TypeError):  # a broken row
            copies[row.id] = msgspec.json.decode(row.copies, type=Copy)
    rows = structs_from(DeviceRow, c.execute(DEVICES.where(devices.c.id.in_(copies))))
    return [(row, copies[row.id]) for row in rows if copies[row.id].is_newer_chosen is None]


def _write(c: sa.Connection, device_id: DeviceId, copy: Copy) -> None:
    text = msgspec.json.encode(copy).decode()
    c.execute(sa.update(devices).where(devices.c.id == device_id).values(copies=text))

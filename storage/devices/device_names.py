"""Hints for misspelt device names: comparison with the existing names."""

from difflib import get_close_matches
from typing import Final

import msgspec
import sqlalchemy as sa

from protocol.errors import ErrorCode, HubError
from protocol.ids import UserId
from storage.devices import pairings
from storage.devices.devices import DeviceRow, UnknownDevice, devices_called
from storage.schema import device_keys, device_tokens, devices

_MOST_NAMED: Final = 8

# Devices with a credential or a past connection. A device that only agents of hub.toml name is not known.
_KNOWN: Final = sa.select(devices.c.user_id, devices.c.name).where(
    devices.c.revoked_at.is_(None),
    sa.or_(
        devices.c.last_seen_at.is_not(None),
        sa.exists().where(device_keys.c.device_id == devices.c.id),
        sa.exists().where(device_tokens.c.device_id == devices.c.id),
    ),
)


class AmbiguousDevice(HubError):
    """A device name that is not unique, as several users have a device of that name."""

    code = ErrorCode.BAD_PARAMS


class DeviceNames(msgspec.Struct, frozen=True):
    """Names of known devices, with their users, and of devices that wait for pairing."""

    known: frozenset[tuple[UserId, str]]
    waiting: tuple[str, ...]

    def hint(self, name: str, user_id: UserId | None) -> str:
        """Return a hint at the device that *name* may mean; empty if it is known or no hint is possible.

        Args:
            user_id: only devices of this user; None: of any user.
        """
        known = sorted({one for whose, one in self.known if user_id in (None, whose)})
        if name in known or name in self.waiting or not (known or self.waiting):
            return ""
        if near := get_close_matches(name, [*known, *self.waiting], n=1):
            waits = "" if near[0] in known else ", which waits to be let in (hub pair)"
            return f"did you mean {near[0]!r}{waits}?"
        waiting = sorted(set(self.waiting))
        named = [f"known: {_listed(known)}"] if known else []
        named += [f"waiting to be let in: {_listed(waiting)}"] if waiting else []
        return "; ".join(named)


def list_names(c: sa.Connection, *, at: int) -> DeviceNames:
    """Return the names of known devices, and of those that wait for pairing."""
    known = frozenset((UserId(row.user_id), str(row.name)) for row in c.execute(_KNOWN))
    return DeviceNames(known, tuple(row.label for row in pairings.list_pairings(c, at=at)))


def unknown_device(c: sa.Connection, name: str, *, user_id: UserId | None, at: int) -> UnknownDevice:
    """Return the error for a missing device, with a hint at the device that may be meant."""
    hint = list_names(c, at=at).hint(name, user_id)
    return UnknownDevice(f"there is no device {name!r}{hint and '; '}{hint}")


def device_named(c: sa.Connection, called: str, *, user_id: UserId | None, at: int) -> DeviceRow:
    """Return the device with that id, revoked or not, else the active device of that name.

    Raises:
        UnknownDevice: there is none; the message has a hint at the device that may be meant.
        AmbiguousDevice: several users have one.
    """
    found = devices_called(c, called, user_id=user_id)
    if len(found) > 1:
        raise AmbiguousDevice(f"several users have a device {called!r}; say whose: --user NAME")
    if not found:
        raise unknown_device(c, called, user_id=user_id, at=at)
    return found[0]


def _listed(names: list[str]) -> str:
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")

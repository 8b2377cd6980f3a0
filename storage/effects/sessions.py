"""Device connections in the database: limit per user, takeover by a newer one, crash cleanup."""

from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from protocol.causes import LEFT, without_folders
from protocol.errors import ErrorCode, HubError
from protocol.handshake import StoreMark
from protocol.ids import BootId, DeviceId, KeyId, TokenId
from storage.agents import agent_states
from storage.devices import keys
from storage.devices.credential_copies import Copy, Origin
from storage.devices.devices import CLOSED_AT_ONCE, CUT, TokenRevoked, UnknownDevice, dead_boots
from storage.devices.keys import KeyOwner, KeyRevoked
from storage.devices.tokens import DEVICE_TOKENS, DeviceTokenRow
from storage.effects import first_runs
from storage.kernel.columns import Int, listed
from storage.kernel.database import lone
from storage.leases import is_online
from storage.runs import agreement, run_moves
from storage.schema import device_keys as key_table
from storage.schema import device_tokens, devices

CONNECTED: Final = "its device connected"
COPIED: Final = "another machine keeps this key; give this one a key or a token of its own"


class Opening(msgspec.Struct, frozen=True, kw_only=True):
    """Connection to open, of a device that showed a valid credential.

    Attributes:
        credential: of a token or key.
        platform: as the device reports it, if it does.
        mark: state of the device's store, if it reports one.
        origin: machine and program that connect.
        missing: folders of a device that shares nothing, because none of them is there.
    """

    device_id: DeviceId
    credential: TokenId | KeyId
    is_key: bool = False
    platform: str | None = None
    mark: StoreMark | None = None
    origin: Origin = Origin()
    missing: tuple[str, ...] = ()


class TooManyDevices(HubError):
    """Error: as many devices of the user are connected to the hubs of this database as may be."""

    code = ErrorCode.TOO_MANY_CONNECTIONS


class Opened(msgspec.Struct, frozen=True):
    """Open connection: its number among the device's connections.

    Attributes:
        store: state of the device's store that was known before.
        taken_from: hub process that had the device's connection, if it was another one.
        has_due: True if a schedule of a device that connected in the same moment waited for the connection.
    """

    epoch: int
    store: StoreMark | None = None
    taken_from: BootId | None = None
    has_due: bool = False


class Taken(msgspec.Struct, frozen=True):
    """Device that a hub process has no longer, with the epoch of its newest connection.

    *is_elsewhere*: another process has that connection; otherwise one closed it, or the device left.
    """

    device_id: DeviceId
    epoch: int
    is_elsewhere: bool


_ids: sa.BindParameter[Any] = sa.bindparam("ids")
USE_TOKENS, USE_KEYS = (
    sa.update(table)
    .where(table.c.id.in_(listed(_ids)), table.c.revoked_at.is_(None))
    .values(last_used_at=sa.bindparam("now"))
    .returning(table.c.id)
    for table in (device_tokens, key_table)
)
PRESENT = (
    sa.select(
        devices.c.id,
        devices.c.user_id,
        devices.c.session_epoch,
        devices.c.boot_id,
        devices.c.platform,
        devices.c.copies,
        is_online().label("is_online"),
    )
    .where(devices.c.id.in_(listed(_ids)), devices.c.revoked_at.is_(None))
    .order_by(devices.c.id)
    .with_for_update()
)
ONLINE_OF_USERS = (
    sa.select(devices.c.user_id, sa.func.count().label("devices"))
    .where(devices.c.user_id.in_(sa.bindparam("users", expanding=True)), is_online())
    .group_by(devices.c.user_id)
)
TAKE_OVER = (
    sa.update(devices)
    .where(devices.c.id == sa.bindparam("device"))
    .values(
        session_epoch=sa.bindparam("epoch"),
        boot_id=sa.bindparam("boot"),
        taken_from=sa.func.coalesce(sa.bindparam("before", type_=sa.Text), devices.c.taken_from),
        platform=sa.bindparam("runs_on"),
        origin=sa.bindparam("came_from"),
        last_seen_at=sa.bindparam("now"),
    )
)
LEAVE = (
    sa.update(devices)
    .where(
        devices.c.id == sa.bindparam("device"),
        devices.c.session_epoch == sa.bindparam("epoch"),
        devices.c.boot_id.is_not(None),
    )
    .values(boot_id=None, last_seen_at=sa.bindparam("now"))
    .returning(devices.c.id)
)
TAKEN = sa.select(devices.c.id, devices.c.session_epoch, devices.c.boot_id).where(
    devices.c.taken_from == sa.bindparam("boot")
)
_present = sa.select(devices.c.id, devices.c.session_epoch, devices.c.boot_id)
APART = sa.union_all(  # not one condition: each part has an index of its own
    _present.where(devices.c.id.in_(listed(_ids)), devices.c.boot_id.is_distinct_from(sa.bindparam("boot"))),
    _present.where(devices.c.boot_id == sa.bindparam("boot"), devices.c.id.not_in(listed(_ids))),
)
KNOWN = (
    sa.update(devices)
    .where(
        devices.c.id == sa.bindparam("device"),
        devices.c.session_epoch == sa.bindparam("epoch"),
        devices.c.taken_from == sa.bindparam("boot"),
    )
    .values(taken_from=None)
)
Owner = DeviceTokenRow | KeyOwner


def owners_of(
    c: sa.Connection, hashes: Collection[bytes], key_ids: Collection[KeyId]
) -> tuple[dict[bytes, DeviceTokenRow], dict[KeyId, KeyOwner]]:
    """Return the tokens by hash and the keys by id, as far as they exist; the caller checks them."""
    return DEVICE_TOKENS.find_all(c, hashes), keys.find_keys(c, key_ids)


def open_sessions(
    c: sa.Connection,
    openings: Sequence[Opening],
    *,
    boot_id: BootId,
    at: int,
    is_shared: bool = False,
    per_user: int | None = None,
) -> list[Opened | HubError]:
    """Open connections to the hub process *boot_id*, each of which takes its device over.

    Marks the devices' agents as online, and on a shared database queues runs of the devices again that other
    hub processes execute. The result has an error in place of each opening whose credential or
    device was revoked meanwhile: TokenRevoked, KeyRevoked or UnknownDevice. Nothing was written for it.

    Args:
        per_user: maximum number of connected devices of a user, at all hub processes that live. One that is
            connected already may always connect again; others get TooManyDevices. Hubs that count at the
            same moment may exceed it by their number.
    """
    valid = {
        is_key: _use(c, is_key, [opening.credential for opening in openings if opening.is_key is is_key], at)
        for is_key in (False, True)
    }
    asked = sorted({opening.device_id for opening in openings if opening.credential in valid[opening.is_key]})
    present = {row.id: row for row in c.execute(PRESENT, {"ids": asked})} if asked else {}
    marked = {
        opening.device_id for opening in openings if opening.mark is not None and opening.device_id in present
    }
    stores = agreement.find_stores(c, marked) if marked else {}
    online: Counter[str] = Counter()
    if per_user is not None and present:
        users = sorted({row.user_id for row in present.values()})
        online.update({row.user_id: row.devices for row in c.execute(ONLINE_OF_USERS, {"users": users})})
    connected = {row.id for row in present.values() if row.is_online}
    epochs = {device_id: row.session_epoch for device_id, row in present.items()}
    changes: list[dict[str, Any]] = []
    opened: list[Opened | HubError] = []
    for opening in openings:
        row = present.get(opening.device_id)
        if opening.credential not in valid[opening.is_key]:
            opened.append(_revoked(opening))
        elif row is None:
            opened.append(UnknownDevice(f"device {opening.device_id} is unknown or revoked"))
        elif row.copies is not None and msgspec.json.decode(row.copies, type=Copy).refuses(opening.origin):
            opened.append(KeyRevoked(COPIED))
        elif per_user is not None and row.id not in connected and online[row.user_id] >= per_user:
            message = f"{online[row.user_id]} devices of this user are connected, and no more may be"
            opened.append(TooManyDevices(message))
        else:
            if row.id not in connected:
                connected.add(row.id)
                online[row.user_id] += 1
            epoch = epochs[opening.device_id] = epochs[opening.device_id] + 1
            platform = row.platform if opening.platform is None else opening.platform
            before = None if row.boot_id == boot_id else row.boot_id
            changes.append(
                {
                    "device": opening.device_id,
                    "epoch": epoch,
                    "boot": boot_id,
                    "before": before,
                    "runs_on": platform,
                    "came_from": msgspec.json.encode(opening.origin).decode(),
                    "now": at,
                }
            )
            known = stores.get(opening.device_id)
            if opening.mark is not None and agreement.is_to_compare(known, opening.mark):
                agreement.greet(c, opening.device_id, opening.mark, at)
            mark = None if known is None else agreement.mark_of(known)
            opened.append(Opened(epoch, mark, before))
    if changes:
        c.execute(TAKE_OVER, changes)
        taken = sorted({change["device"] for change in changes})
        agent_states.connect_agents(c, taken, online=True, at=at, reason=CONNECTED)
        lacking = {opening.device_id: opening.missing for opening in openings if opening.missing}
        for device_id in sorted(lacking.keys() & set(taken)):
            why = without_folders(lacking[device_id])
            agent_states.connect_agents(c, [device_id], online=False, at=at, reason=why)
        if first_runs.note_connects(c, taken, at):
            opened = [
                msgspec.structs.replace(result, has_due=True) if isinstance(result, Opened) else result
                for result in opened
            ]
        if is_shared:
            run_moves.hand_over(c, taken, boot_id=boot_id, at=at)
    return opened


def _use(c: sa.Connection, is_key: bool, credentials: Sequence[str], at: int) -> set[str]:
    """Record the use of tokens or keys. Return those that are not revoked."""
    if not credentials:
        return set()
    statement = USE_KEYS if is_key else USE_TOKENS
    return set(c.execute(statement, {"ids": sorted(set(credentials)), "now": at}).scalars())


def _revoked(one: Opening) -> HubError:
    if one.is_key:
        return KeyRevoked("the key was revoked")
    return TokenRevoked(f"token {one.credential} was revoked")


def close_session(c: sa.Connection, device_id: DeviceId, epoch: int, at: int, *, reason: str = LEFT) -> bool:
    """Close the connection with this epoch. Return False if a newer one exists, or it was closed before.

    *reason*: text for the history of its agents.
    """
    closed = c.execute(LEAVE, {"device": device_id, "epoch": epoch, "now": at}).first() is not None
    if closed:
        agent_states.connect_agents(c, [device_id], online=False, at=at, reason=reason)
    return closed


@lone
def taken_from(c: sa.Connection, boot_id: BootId) -> list[Taken]:
    """Return devices that connected to another hub process than *boot_id*, or whose connection one closed."""
    found = c.execute(TAKEN, {"boot": boot_id})
    return [Taken(DeviceId(row.id), row.session_epoch, row.boot_id is not None) for row in found]


def apart(
    c: sa.Connection, boot_id: BootId, device_ids: Collection[DeviceId]
) -> tuple[list[Taken], list[tuple[DeviceId, int]]]:
    """Compare the devices that the hub process *boot_id* has with their rows.

    Returns:
        those that it has no longer by their rows, because the record for ``taken_from`` is lost if a third
        process took the device; and those that it has by their rows alone, with their epochs.
    """
    found = c.execute(APART, {"ids": sorted(device_ids), "boot": boot_id}).all()
    taken = [
        Taken(row.id, row.session_epoch, row.boot_id is not None) for row in found if row.boot_id != boot_id
    ]
    return taken, [(DeviceId(row.id), row.session_epoch) for row in found if row.boot_id == boot_id]


def note_taken(c: sa.Connection, boot_id: BootId, ended: Sequence[Taken]) -> None:
    """Record that the hub process has ended its connections to these devices."""
    c.execute(KNOWN, [{"device": taken.device_id, "epoch": taken.epoch, "boot": boot_id} for taken in ended])


LEFT_SESSIONS = (
    sa.select(devices.c.id)
    .where(devices.c.boot_id.in_(sa.bindparam("dead", expanding=True)))
    .limit(CLOSED_AT_ONCE)
    .with_for_update(skip_locked=True)  # several hubs share the work
)
CLOSE_LEFT = (
    sa.update(devices)
    .where(devices.c.id.in_(listed(sa.bindparam("ids"))))
    .values(
        boot_id=None,
        taken_from=sa.cast(devices.c.boot_id, sa.Text),
        last_seen_at=sa.bindparam("now", type_=Int),
    )
)


def close_left_sessions(c: sa.Connection, at: int, *, boot_id: BootId, is_alone: bool) -> int:
    """Close connections of dead hub processes. Return their number; call it again until it is 0.

    A process that was only frozen ends these connections when it goes on, as if they were taken over.
    """
    left: list[DeviceId] = []
    if dead := dead_boots(c, boot_id, is_alone=is_alone):
        left = [DeviceId(id) for id in c.execute(LEFT_SESSIONS, {"dead": dead}).scalars()]
    if left:
        c.execute(CLOSE_LEFT, {"ids": left, "now": at})
        agent_states.connect_agents(c, left, online=False, at=at, actor="hub", reason=CUT)
    return len(left)

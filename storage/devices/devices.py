"""Devices in the database: admission, listing, renaming, grants and revocation.

A revoked device that is admitted again keeps its id; its old keys and tokens stay refused.
"""

from collections.abc import Collection, Iterable
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from protocol.errors import CodedError, ErrorCode, HubError, connect_command
from protocol.grants import Grant
from protocol.ids import BootId, DeviceId, UserId
from storage import audit
from storage.kernel.columns import (
    Int,
    Key,
    columns_of,
    fetch_page,
    in_parts,
    paged,
    struct_from,
    struct_or_none,
    structs_from,
)
from storage.kernel.database import lone
from storage.leases import has_node, is_online
from storage.schema import (
    agents,
    browser_sessions,
    device_keys,
    device_tokens,
    devices,
    users,
)

CUT: Final = "its hub ended"
CLOSED_AT_ONCE: Final = 500  # connections of a dead hub, in one transaction


class UnknownDevice(HubError):
    """Error: the device does not exist, or was revoked."""

    code = ErrorCode.UNKNOWN_DEVICE


class TokenRevoked(HubError):
    """Error: the token was revoked."""

    code = ErrorCode.REVOKED


class NotGranted(HubError):
    """Error: the device lacks a required permission; nothing was done."""

    code = ErrorCode.NOT_GRANTED

    def __init__(self, name: str, grant: Grant) -> None:
        super().__init__(f"the device {name!r} is not granted {grant.value!r} at this hub")
        self.hint = f"whoever runs the hub grants it: hub devices grant {name} +{grant.value}"


class DeviceRow(msgspec.Struct, frozen=True):
    """Device.

    Attributes:
        connectivity: "online" while a hub process that lives has its connection, else "offline".
        session_epoch: number of its accepted connections.
        revoked_at: reset when the device is let in again.
    """

    id: DeviceId
    user_id: UserId
    name: str
    platform: str | None
    connectivity: str
    session_epoch: int
    last_seen_at: int | None
    revoked_at: int | None
    created_at: int
    grants: list[str]
    user_name: str


_connectivity = sa.case((is_online(), "online"), else_="offline")
DEVICES: sa.Select[Any] = sa.select(
    *columns_of(DeviceRow, devices, user_name=users.c.name, connectivity=_connectivity)
).join_from(devices, users)
DEVICE = DEVICES.where(devices.c.id == sa.bindparam("device"))
# The device that a name means to someone who lets a device in: the valid one, else the last revoked one.
BY_NAME = (
    DEVICES.where(devices.c.user_id == sa.bindparam("user"), devices.c.name == sa.bindparam("named"))
    .order_by(devices.c.revoked_at.is_not(None), devices.c.revoked_at.desc())
    .limit(1)
)
_boots = (
    sa.select(sa.func.min(devices.c.boot_id).label("id"))
    .where(devices.c.boot_id.is_not(None))
    .cte("boots", recursive=True)
)
# One step in the index for each process, however many devices it has.
_next_boot = (
    sa.select(sa.func.min(devices.c.boot_id)).where(devices.c.boot_id > _boots.c.id).scalar_subquery()
)
_all_boots = _boots.union_all(sa.select(_next_boot).where(_boots.c.id.is_not(None)))
DEAD_BOOTS = sa.select(_all_boots.c.id).where(
    _all_boots.c.id != sa.bindparam("boot", type_=sa.Text),
    sa.or_(sa.bindparam("alone", type_=sa.Integer) == 1, ~has_node(_all_boots.c.id)),
)
NAMES = sa.select(devices.c.id, devices.c.name).where(
    devices.c.id.in_(sa.bindparam("listed", expanding=True))
)


def find_device(c: sa.Connection, name: str, *, user_id: UserId) -> DeviceRow | None:
    """Return the user's device of that name, if any; a revoked one keeps its name until another takes it."""
    return struct_or_none(DeviceRow, c.execute(BY_NAME, {"user": user_id, "named": name}).one_or_none())


def ensure_device(c: sa.Connection, *, id: DeviceId, user_id: UserId, name: str, at: int) -> DeviceRow:
    """Return the user's device of that name, revoked or not, or create it with this id."""
    if (known := find_device(c, name, user_id=user_id)) is not None:
        return known
    c.execute(sa.insert(devices), {"id": id, "user_id": user_id, "name": name, "created_at": at})
    return get_device(c, id)


def admit_device(
    c: sa.Connection, *, id: DeviceId, user_id: UserId, name: str, at: int, actor: str
) -> DeviceRow:
    """Return the device of ``ensure_device`` for a new credential; a revoked one is let in again.

    It keeps its items, agents and grants. Its earlier keys, tokens and browser sessions stay refused.
    """
    device = ensure_device(c, id=id, user_id=user_id, name=name, at=at)
    again = sa.update(devices).where(devices.c.id == device.id, devices.c.revoked_at.is_not(None))
    if device.revoked_at is None or not c.execute(again.values(revoked_at=None, copies=None)).rowcount:
        return device
    for table in (device_keys, device_tokens, browser_sessions):
        valid = sa.update(table).where(table.c.device_id == device.id, table.c.revoked_at.is_(None))
        c.execute(valid.values(revoked_at=at))
    audit.append(
        c, at=at, actor=actor, event="device.reinstated", subject=device.id, detail={"device": device.name}
    )
    return get_device(c, device.id)


def get_device(c: sa.Connection, id: DeviceId) -> DeviceRow:
    """Return the device, revoked or not.

    Raises:
        UnknownDevice: no device has the id.
    """
    row = c.execute(DEVICE, {"device": id}).one_or_none()
    if row is None:
        raise UnknownDevice(f"there is no device {id}")
    return struct_from(DeviceRow, row)


_is_unended = sa.or_(
    device_tokens.c.expires_at.is_(None), device_tokens.c.expires_at > sa.bindparam("at", type_=Int)
)
COUNT = (
    sa.select(sa.func.count())
    .select_from(devices)
    .where(
        devices.c.revoked_at.is_(None),
        sa.or_(
            devices.c.boot_id.is_not(None),
            sa.exists().where(device_keys.c.device_id == devices.c.id, device_keys.c.revoked_at.is_(None)),
            sa.exists().where(
                device_tokens.c.device_id == devices.c.id, device_tokens.c.revoked_at.is_(None), _is_unended
            ),
        ),
    )
)


def count_devices(c: sa.Connection, *, at: int, user_id: UserId | None = None) -> int:
    """Return the number of devices that are connected or have a valid credential: of all users, or of one."""
    query = COUNT if user_id is None else COUNT.where(devices.c.user_id == user_id)
    return c.execute(query, {"at": at}).scalar_one()


def count_connected(c: sa.Connection, *, user_id: UserId | None = None) -> int:
    """Return the number of devices that are connected to a hub process that lives, of all users or of one."""
    mine = sa.true() if user_id is None else devices.c.user_id == user_id
    return c.execute(sa.select(sa.func.count()).where(is_online(), mine)).scalar_one()


def connected_of(c: sa.Connection, ids: Iterable[DeviceId]) -> set[DeviceId]:
    """Return those of the devices that are connected to a hub process that lives."""
    query = sa.select(devices.c.id).where(is_online())
    found = [c.execute(query.where(devices.c.id.in_(part))) for part in in_parts(sorted(set(ids)))]
    return {DeviceId(id) for rows in found for id in rows.scalars()}


def list_devices(
    c: sa.Connection,
    *,
    user_id: UserId | None = None,
    only: Collection[DeviceId] = (),
    limit: int | None = None,
    after: Key | None = None,
) -> list[DeviceRow]:
    """Return devices, also revoked ones, by name and id: of all users, or of one; *only* these, if any."""
    mine = [] if user_id is None else [devices.c.user_id == user_id]
    mine += [devices.c.id.in_(only)] if only else []
    query = paged(DEVICES.where(*mine), devices.c.name, devices.c.id, limit=limit, after=after)
    return fetch_page(c, DeviceRow, query, limit)


def devices_of(c: sa.Connection, ids: Iterable[DeviceId]) -> list[DeviceRow]:
    """Return these devices, also revoked ones, by id."""
    return [
        row
        for part in in_parts(sorted(set(ids)))
        for row in structs_from(
            DeviceRow, c.execute(DEVICES.where(devices.c.id.in_(part)).order_by(devices.c.id))
        )
    ]


def names_of_devices(c: sa.Connection, ids: Iterable[DeviceId]) -> dict[DeviceId, str]:
    """Return the names of these devices, by id."""
    return {
        DeviceId(row.id): row.name
        for part in in_parts(sorted(set(ids)))
        for row in c.execute(NAMES, {"listed": part})
    }


def devices_called(
    c: sa.Connection, called: str, *, user_id: UserId | None = None, is_revoked: bool = False
) -> list[DeviceRow]:
    """Return the device with that id, revoked or not, else the active or the revoked devices of that name.

    Args:
        user_id: only devices of this user; ``None``: several users may have a device of that name.
    """
    found = structs_from(DeviceRow, c.execute(DEVICE, {"device": called}))
    revoked_at = devices.c.revoked_at
    query = DEVICES.where(
        devices.c.name == called, revoked_at.is_not(None) if is_revoked else revoked_at.is_(None)
    )
    found = found or structs_from(DeviceRow, c.execute(query))
    return [row for row in found if user_id in (None, row.user_id)]


def revoked_device(name: str) -> CodedError:
    """Return the error for a change of a revoked device, with the command that lets it in again."""
    hint = f"let it in again: {connect_command(name, anew=True)}"
    return CodedError(ErrorCode.UNKNOWN_DEVICE, f"device {name!r} was revoked", hint=hint)


def rename_device(c: sa.Connection, id: DeviceId, name: str, *, at: int, actor: str) -> DeviceRow:
    """Rename the device; repeating it changes nothing.

    Raises:
        UnknownDevice, CodedError (UNKNOWN_DEVICE): the device does not exist, or was revoked.
        CodedError (NAME_TAKEN): another device of its user has the name.
        CodedError (MANAGED_BY_FILE): agents of hub.toml name it, and would get a new device of the old name.
    """
    device = get_device(c, id)
    if device.revoked_at is not None:
        raise revoked_device(device.name)
    if device.name == name:
        return device
    query = (
        sa.select(agents.c.name)
        .where(agents.c.device_id == id, agents.c.source == "file", agents.c.deleted_at.is_(None))
        .order_by(agents.c.name)
    )
    if readers := c.execute(query).scalars().all():
        raise CodedError(
            ErrorCode.MANAGED_BY_FILE, f"hub.toml names {device.name!r} as the device of {', '.join(readers)}"
        )
    if (named := find_device(c, name, user_id=device.user_id)) is not None and named.revoked_at is None:
        raise CodedError(ErrorCode.NAME_TAKEN, f"there is a device {name!r} already")
    c.execute(sa.update(devices).where(devices.c.id == id).values(name=name))
    detail = audit.changed({"name": device.name}, {"name": name})
    audit.append(c, at=at, actor=actor, event="device.renamed", subject=id, detail=detail)
    return get_device(c, id)


@lone
def require_grant(c: sa.Connection, id: DeviceId, grant: Grant) -> None:
    """Check that the device has *grant*; raise NotGranted otherwise. An unknown device passes here."""
    row = c.execute(DEVICE, {"device": id}).one_or_none()
    if row is not None and grant not in struct_from(DeviceRow, row).grants:
        raise NotGranted(row.name, grant)


def change_grants(
    c: sa.Connection, id: DeviceId, *, add: Collection[Grant], remove: Collection[Grant], at: int, actor: str
) -> DeviceRow:
    """Add and remove permissions of the device; repeating it changes nothing.

    Raises:
        UnknownDevice, CodedError (UNKNOWN_DEVICE): the device does not exist, or was revoked.
    """
    c.execute(sa.select(devices.c.id).where(devices.c.id == id).with_for_update())
    device = get_device(c, id)
    if device.revoked_at is not None:
        raise revoked_device(device.name)
    after = [grant.value for grant in Grant if grant in {*device.grants, *add} - {*remove}]
    if after != device.grants:
        c.execute(sa.update(devices).where(devices.c.id == id).values(grants=after))
        detail = audit.changed({"grants": ", ".join(device.grants)}, {"grants": ", ".join(after)})
        audit.append(c, at=at, actor=actor, event="device.granted", subject=id, detail=detail)
    return get_device(c, id)


def revoke_device(c: sa.Connection, id: DeviceId, *, at: int, actor: str) -> bool:
    """Revoke the device with all its credentials. Return True if it was not revoked before."""
    valid = sa.update(devices).where(devices.c.id == id, devices.c.revoked_at.is_(None))
    if revoked := c.execute(valid.values(revoked_at=at)).rowcount > 0:
        audit.append(c, at=at, actor=actor, event="device.revoked", subject=id)
    return revoked


def dead_boots(c: sa.Connection, boot_id: BootId, *, is_alone: bool = False) -> list[BootId]:
    """Return hub processes that have connections of devices but live no more; never *boot_id*.

    Args:
        is_alone: no other process has the database, so all connections are left from earlier ones.
    """
    return [BootId(id) for id in c.execute(DEAD_BOOTS, {"boot": boot_id, "alone": int(is_alone)}).scalars()]


_since = sa.bindparam("since", type_=Int)
# Keys that their device replaced are left out: the connection continues with the new key.
REVOKED = sa.union_all(
    sa.select(devices.c.id, sa.null().cast(sa.Text)).where(devices.c.revoked_at >= _since),
    sa.select(device_tokens.c.device_id, sa.literal("token:") + device_tokens.c.id).where(
        device_tokens.c.revoked_at >= _since
    ),
    sa.select(device_keys.c.device_id, sa.literal("key:") + device_keys.c.id).where(
        device_keys.c.revoked_at >= _since, device_keys.c.rotated_to.is_(None)
    ),
)


@lone
def revoked_since(c: sa.Connection, since: int) -> list[tuple[DeviceId, str | None]]:
    """Return devices that were revoked since *since*, or whose ``token:ID`` or ``key:ID`` was (epoch ms)."""
    return [(DeviceId(row[0]), row[1]) for row in c.execute(REVOKED, {"since": since})]

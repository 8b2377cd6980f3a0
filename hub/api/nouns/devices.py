"""Devices: who is known, who is connected; renamed, thrown out, sent away."""

from hub.api.deps import Actor, Hub, NounRouter
from hub.api.errors import refusals
from hub.api.etags import Match, tag_of
from hub.api.paging import Paging
from hub.api.views.identity import DeviceDetail, DeviceView
from hub.api.views.view import View
from hub.settings.values import Name
from protocol.errors import ErrorCode
from storage.devices.devices import Grant

router = NounRouter(
    prefix="/v1/devices",
    tags=["devices"],
    responses=refusals(
        ErrorCode.UNKNOWN_DEVICE,
        ErrorCode.NAME_TAKEN,
        ErrorCode.MANAGED_BY_FILE,
        ErrorCode.DEVICE_OFFLINE,
        ErrorCode.CALL_UNSUPPORTED,
    ),
)


class Devices(View):
    """Some devices in order; *next_cursor* leads to those after them."""

    devices: tuple[DeviceView, ...]
    next_cursor: str | None = None


class NewName(View):
    """What a device is to be called."""

    name: Name


class GrantChange(View):
    """What a device is granted, and what is taken from it; what is in both is taken."""

    add: tuple[Grant, ...] = ()
    remove: tuple[Grant, ...] = ()


@router.get("")
async def list_devices(hub: Hub, paging: Paging) -> Devices:
    """All devices that are known, revoked ones too, by name."""
    page = paging.cut(await hub.devices.all(), key=lambda device: (device.name, device.id))
    return Devices(devices=page.items, next_cursor=page.next_cursor)


@router.get("/{device_id}")
async def get_device(hub: Hub, device_id: str, match: Match) -> DeviceDetail:
    """One device, by id or name, with all that opens it, and the agents that read from it."""
    device = await hub.devices.get(device_id)
    match.tell(_tag_of(device))
    return device


@router.patch("/{device_id}")
async def rename_device(hub: Hub, actor: Actor, device_id: str, new: NewName, match: Match) -> DeviceView:
    """Give a device another name. One that hub.toml names keeps its name."""
    match.check(_tag_of(await hub.devices.get(device_id)))
    renamed = await hub.devices.rename(device_id, new.name, actor=actor)
    match.tell(_tag_of(renamed))
    return renamed


@router.post("/{device_id}/revoke")
async def revoke_device(hub: Hub, actor: Actor, device_id: str) -> DeviceView:
    """Let a device in no more, for good, and close its connection; doing it twice is no error."""
    return await hub.devices.revoke(device_id, actor=actor)


@router.post("/{device_id}/grant")
async def grant_to_device(hub: Hub, actor: Actor, device_id: str, change: GrantChange) -> DeviceView:
    """Change what a device may do here, from its next request and run on; doing it twice is no error."""
    return await hub.devices.grant(device_id, add=change.add, remove=change.remove, actor=actor)


@router.post("/{device_id}/kick")
async def kick_device(hub: Hub, actor: Actor, device_id: str) -> DeviceView:
    """Close the connection of a device; it may come back."""
    return await hub.devices.kick(device_id, actor=actor)


@router.post("/{device_id}/resync")
async def resync_device(hub: Hub, actor: Actor, device_id: str) -> DeviceView:
    """Compare a device's rows with the hub's when it comes back: what one of them lost is brought again."""
    return await hub.devices.resync(device_id, actor=actor)


def _tag_of(device: DeviceView) -> str:
    return tag_of(device.id, device.name, device.revoked_at, device.grants)

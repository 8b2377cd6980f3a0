"""Devices: who is known, who is connected."""

from fastapi import APIRouter

from hub.ops.api.deps import Hub
from hub.ops.views import DeviceView, View

router = APIRouter(prefix="/v1/devices", tags=["devices"])


class Devices(View):
    """All devices."""

    devices: tuple[DeviceView, ...]


@router.get("")
async def list_devices(hub: Hub) -> Devices:
    """All devices that are known, by name."""
    return Devices(devices=tuple(await hub.devices.all()))

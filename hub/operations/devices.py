"""Devices, as operators are told of them."""

from hub.clock import from_epoch_ms
from hub.links.roster import Roster
from hub.ops.views import DeviceView
from storage.store import DeviceRow, Store, devices


class DeviceOperations:
    """Implements ``ops.facade.DeviceFacade``."""

    def __init__(self, *, store: Store, roster: Roster) -> None:
        self._store = store
        self._roster = roster

    async def all(self) -> list[DeviceView]:
        """All devices, by name."""
        return [self._view(row) for row in await self._store.read(devices.list_devices)]

    def _view(self, row: DeviceRow) -> DeviceView:
        link = self._roster.find(row.id)
        return DeviceView(
            id=row.id,
            name=row.name,
            connected=link is not None,
            platform=row.platform,
            capabilities=() if link is None else tuple(sorted(link.capabilities)),
            created_at=from_epoch_ms(row.created_at),
            last_seen_at=None if row.last_seen_at is None else from_epoch_ms(row.last_seen_at),
        )

"""Watch for revoked or expired credentials, whose connections are then ended.

A revocation at this hub ends the connection directly. This watch covers connections at other hubs on the same
database, and connections that were being admitted at the same moment.
"""

from typing import Final

import anyio
from anyio.abc import TaskStatus

from hub.clock import Clock, epoch_ms
from hub.links.roster import Roster
from hub.log import Channel
from hub.turns import Turns
from storage.devices import devices
from storage.kernel.database import StorageError
from storage.store import Store

log = Channel(__name__)

EVERY_S: Final = 0.5  # a revocation or expiry takes effect within a second on any hub
OVERLAP_MS: Final = 60_000  # read again each time, because clocks of two hubs may differ by this much


class RevocationWatch:
    """Ends connections whose token, key or device is no longer valid; checks twice a second."""

    def __init__(self, store: Store, *, roster: Roster, clock: Clock) -> None:
        self._store = store
        self._roster = roster
        self._clock = clock
        self._polled_at = epoch_ms(clock.now())
        self.turns = Turns(clock)

    async def serve(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Watch until cancelled."""
        task_status.started()
        while True:
            self.turns.wait(EVERY_S)
            await self._clock.sleep(EVERY_S)
            self.turns.work()
            if not len(self._roster):
                self._polled_at = epoch_ms(self._clock.now())
                continue
            self.end_expired()
            try:
                await self.poll()
            except StorageError as exc:  # the next successful read includes the missed revocations
                log.warning("revocations.not_read", code=exc.code)

    def end_expired(self) -> None:
        """End every connection whose token has expired, without reading the database."""
        for device_id in self._roster.end_expired(epoch_ms(self._clock.now())):
            log.info("device.expired", device_id=device_id)

    async def poll(self) -> None:
        """Read recent revocations once, and end their connections.

        Raises:
            StorageError: the database is unavailable; the next call covers the same period.
        """
        at = epoch_ms(self._clock.now())
        for found in await self._store.read(devices.revoked_since, self._polled_at - OVERLAP_MS):
            if self._roster.end_revoked(found.device_id, found.credential):
                log.info("device.revoked", device_id=found.device_id)
        self._polled_at = at

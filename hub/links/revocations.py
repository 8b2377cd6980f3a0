"""Watches for what was revoked, here or by another hub, or has expired: its connections are ended.

Whoever revokes something ends the connection at this hub at once. This watch is for
connections at other hubs of the same database, and for one that was being let in at
that very moment.
"""

from typing import Final

import anyio
from anyio.abc import TaskStatus

from hub.clock import Clock, epoch_ms
from hub.links.roster import Roster
from hub.log import Channel
from hub.turns import Turns
from storage.devices import revocations
from storage.kernel.database import StorageError
from storage.store import Store

log = Channel(__name__)

EVERY_S: Final = 0.5  # a revocation or an end takes effect within a second, wherever the connection is
OVERLAP_MS: Final = 60_000  # looked at again each time: the clocks of two hubs may differ by so much


class RevocationWatch:
    """Looks twice a second, and ends what a token has opened, a key or a device that counts no more."""

    def __init__(self, store: Store, *, roster: Roster, clock: Clock) -> None:
        self._store = store
        self._roster = roster
        self._clock = clock
        self._looked_at = epoch_ms(clock.now())
        self.turns = Turns(clock)

    async def serve(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Watch until cancelled."""
        task_status.started()
        while True:
            self.turns.wait(EVERY_S)
            await self._clock.sleep(EVERY_S)
            self.turns.work()
            if not len(self._roster):
                self._looked_at = epoch_ms(self._clock.now())
                continue
            self.end_expired()
            try:
                await self.look()
            except StorageError as exc:  # what was missed is found once the database answers again
                log.warning("revocations.not_read", code=exc.code)

    def end_expired(self) -> None:
        """End every connection whose token has expired; the database is not asked."""
        for device_id in self._roster.end_expired(epoch_ms(self._clock.now())):
            log.info("device.expired", device_id=device_id)

    async def look(self) -> None:
        """Look once for what was revoked.

        Raises:
            StorageError: the database does not answer; the next look goes as far back as this one.
        """
        at = epoch_ms(self._clock.now())
        for found in await self._store.read(revocations.revoked_since, self._looked_at - OVERLAP_MS):
            if self._roster.end_revoked(found.device_id, found.credential):
                log.info("device.revoked", device_id=found.device_id)
        self._looked_at = at

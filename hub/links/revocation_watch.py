"""End of connections after a device was revoked or taken over at another node."""

import math
from collections.abc import Sequence
from typing import Final

import anyio.lowlevel
from anyio.abc import TaskStatus

from hub.base.clock import Clock, now_ms
from hub.base.log import Channel
from hub.base.periodic_loop import PeriodicLoop
from hub.links.roster import Roster
from protocol.errors import CloseCode
from protocol.handshake import Goodbye
from protocol.ids import BootId, DeviceId
from storage.devices import devices, nodes
from storage.effects import sessions
from storage.effects.sessions import Taken
from storage.store import ObservedDatabase, Store

log = Channel(__name__)

EVERY_S: Final = 0.5  # a revocation or expiry takes effect within a second on any hub

COMPARE_EVERY_S: Final = 10.0  # all connections with their rows, on a shared database

OVERLAP_MS: Final = 60_000  # read again each time, because clocks of two hubs may differ by this much

FROZEN: Final = Goodbye(
    reason="frozen",
    message="this hub was frozen for so long that others took it for dead; connect again",
    retry_after_ms=0,
)


class RevocationWatch:
    """Watch that ends connections for a reason that other hubs know; it looks at most twice a second.

    Their token, key or device was revoked, or their device has a newer connection at another hub. It also
    closes rows of devices that left while the database was away. A database that only this process writes is
    read after its writes, and after each welcome: the device may have been revoked since its hello.
    """

    def __init__(self, store: Store, *, roster: Roster, boot_id: BootId, clock: Clock) -> None:
        self._store = store
        self._roster = roster
        self._boot_id = boot_id
        self._clock = clock
        self._polled_at = now_ms(clock)
        self._compare_at = clock.monotonic() + COMPARE_EVERY_S
        self._ghosts: frozenset[tuple[DeviceId, int]] = frozenset()  # this hub has them by their rows alone
        self._changes = 1  # writes and welcomes so far, and those that the last read covers
        self._covered_changes = 0
        self.loop = PeriodicLoop(clock)
        self._sees_writes = isinstance(store, ObservedDatabase) and not store.is_shared
        if isinstance(store, ObservedDatabase):
            store.listen(self._note_change)
        roster.listen(self._note_change)

    async def serve(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Watch until cancelled."""
        task_status.started()
        await self.loop.serve(self._watch, of="revocations", every_s=EVERY_S, least_s=EVERY_S)

    async def _watch(self) -> float:
        """End connections that must not stay open. Return the seconds until the next look."""
        self.end_expired()
        changes = self._changes
        if not self._sees_writes or (len(self._roster) and changes != self._covered_changes):
            await self.poll()  # the next successful read includes what one that failed missed
            self._covered_changes = changes
        return math.inf if self._sees_writes and not self._roster.has_expiring else 0.0

    def _note_change(self) -> None:
        self._changes += 1
        self.loop.wake()

    def end_expired(self) -> None:
        """End every connection whose token has expired, without reading the database."""
        for device_id in self._roster.end_expired(now_ms(self._clock)):
            log.info("device.expired", device_id=device_id)

    async def poll(self) -> None:
        """Read recent revocations and newer connections once, and end their connections here.

        Raises:
            StorageError: the database is unavailable; the next call covers the same period.
        """
        at = now_ms(self._clock)
        revoked = await self._store.read(devices.revoked_since, min(at, self._polled_at) - OVERLAP_MS)
        for device_id, credential in revoked:
            if self._roster.end_revoked(device_id, credential):
                log.info("device.revoked", device_id=device_id)
        self._polled_at = at
        if not self._store.is_shared:
            return
        if taken := await self._store.read(sessions.taken_from, self._boot_id):
            self._end_taken(taken)
            await self._store.write(sessions.note_taken, self._boot_id, taken)
        if self._clock.monotonic() >= self._compare_at:
            await self._compare(at)
            self._compare_at = self._clock.monotonic() + COMPARE_EVERY_S

    def _end_taken(self, taken: Sequence[Taken]) -> None:
        for ended in taken:
            if not ended.is_elsewhere:
                self._roster.end(ended.device_id, FROZEN, CloseCode.RESTARTING, until=ended.epoch)
            self._roster.supersede(ended.device_id, ended.epoch)

    async def _compare(self, at: int) -> None:
        """End what a lost record or write has left between the connections of this hub and their rows.

        A row is closed only if it is found twice: a device is welcomed some time after its row is written.
        """
        here = [link.device_id for link in self._roster.local()]
        await self._roster.name_hubs(await self._store.read(nodes.addresses))
        taken, ghosts = await self._store.read(sessions.apart, self._boot_id, here)
        self._end_taken(taken)
        for device_id, epoch in ghosts:
            if (device_id, epoch) in self._ghosts:
                log.warning("device.not_there", device_id=device_id, epoch=epoch)
                await self._store.write(sessions.close_session, device_id, epoch, at)
        self._ghosts = frozenset(ghosts)

"""A lease held by one hub of several: acquired when free, renewed in time, released at the end."""

from typing import Final

import anyio

from hub.clock import Clock
from hub.log import Channel
from protocol.ids import BootId
from storage.devices import leases
from storage.devices.leases import LostLease, Term
from storage.kernel.database import StorageError
from storage.store import Store

log = Channel(__name__)

TTL_S, RENEW_S = 15.0, 5.0
ALONE_TTL_S, ALONE_RENEW_S = 3_600.0, 1_200.0  # no other hub waits for the lease, and an idle disk may sleep
RESIGN_S: Final = 2.0  # time limit; afterwards the lease expires by itself


class Leadership:
    """Leadership of this boot of the hub for a named task, based on a lease."""

    def __init__(self, store: Store, name: str, boot_id: BootId, *, clock: Clock) -> None:
        self._store = store
        self._name = name
        self._boot_id = boot_id
        self._clock = clock
        self._ttl_s, self._renew_s = (TTL_S, RENEW_S) if store.is_shared else (ALONE_TTL_S, ALONE_RENEW_S)
        self._term: Term | None = None
        self._renew_at = 0.0  # monotonic

    @property
    def renewed_in_s(self) -> float:
        """Seconds until ``keep`` must be called again."""
        return max(0.0, self._renew_at - self._clock.monotonic())

    async def take(self) -> Term:
        """Wait until this hub holds the lease.

        Raises:
            StorageError: the database is unavailable.
        """
        while self._term is None:
            began = self._clock.monotonic()
            if not self._store.is_shared:  # the previous holder is dead, because the database is not shared
                await self._store.write(leases.end_others, self._boot_id)
            self._term = await self._store.write(
                leases.acquire, self._name, self._boot_id, ttl_ms=int(self._ttl_s * 1000)
            )
            if self._term is None:
                await self._clock.sleep(RENEW_S)
            else:
                self._held_from(began)
                log.info("lease.taken", lease=self._name, fence=self._term.fence)
        return self._term

    async def keep(self) -> Term:
        """Return the current term, renewed if due. The lease is held when this returns.

        Raises:
            LostLease: another hub holds the lease; ``take`` waits for it again.
            StorageError: the database is unavailable.
        """
        if self._term is None:
            raise LostLease(f"the lease {self._name!r} is not held")
        while (began := self._clock.monotonic()) >= self._renew_at:
            if not await self._store.write(leases.renew, self._term, ttl_ms=int(self._ttl_s * 1000)):
                self.lose()
                raise LostLease(f"another hub has taken the lease {self._name!r}")
            self._held_from(began)
        return self._term

    def lose(self) -> None:
        """Forget the lease, because another hub has it or may get it."""
        self._term = None

    async def resign(self) -> None:
        """Release the lease, so that another hub can lead at once."""
        term, self._term = self._term, None
        if term is None:
            return
        with anyio.move_on_after(RESIGN_S, shield=True):
            try:
                await self._store.write(leases.resign, term)
            except StorageError as exc:
                log.warning("lease.not_resigned", lease=self._name, why=str(exc))

    def _held_from(self, began: float) -> None:
        """Set the time of the next renewal, counted from before the request: its answer may be late."""
        self._renew_at = began + self._renew_s

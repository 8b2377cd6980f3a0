"""Leader leases on a shared database: which node executes a task that needs only one node.

A leader counts its lease from the sending of the last confirmed renewal, by ``Clock.uptime_s``, which counts
suspensions.
"""

from typing import Final

import anyio
import anyio.to_thread

from hub.base.clock import Clock
from hub.base.log import Channel
from protocol.ids import BootId
from storage import leases as storage_leases
from storage.kernel.database import StorageError
from storage.leases import LostLease, Term
from storage.store import Store

log = Channel(__name__)

TTL_S, RENEW_S = 15.0, 5.0
ALONE_TTL_S, ALONE_RENEW_S = 3_600.0, 1_200.0  # no other hub waits for the lease, and an idle disk may sleep
RESIGN_S: Final = 2.0  # time limit; afterwards the lease expires by itself


class Leadership:
    """Leadership of this boot of the hub for a named task, based on a lease.

    Args:
        times_s: how long the lease is held without a renewal, and when it is renewed.
    """

    def __init__(
        self,
        store: Store,
        name: str,
        boot_id: BootId,
        *,
        clock: Clock,
        times_s: tuple[float, float] | None = None,
    ) -> None:
        self._store = store
        self._name = name
        self._boot_id = boot_id
        self._clock = clock
        by_default = (TTL_S, RENEW_S) if store.is_shared else (ALONE_TTL_S, ALONE_RENEW_S)
        ttl_s, self._renew_s = times_s or by_default
        self._ttl_ms = int(ttl_s * 1000)
        self._term: Term | None = None
        self._renew_at = 0.0  # uptime

    @property
    def renewed_in_s(self) -> float:
        """Seconds until ``keep`` must be called again."""
        return max(0.0, self._renew_at - self._clock.uptime_s())

    async def hold(self) -> Term:
        """Wait until this hub holds the lease.

        Raises:
            StorageError: the database is unavailable.
        """
        while self._term is None:
            if not self._store.is_shared:  # the previous holder is dead, because the database is not shared
                await self._store.write(storage_leases.end_others, self._boot_id)
            term = await self.acquire()
            if term is None:
                await self._clock.sleep(RENEW_S)
            else:
                log.info("lease.taken", lease=self._name, fence=term.fence)
        return self._term

    async def acquire(self) -> Term | None:
        """Take the lease unless another hub holds it."""
        # The next renewal is counted from before the request: its answer may be late.
        self._renew_at = self._clock.uptime_s() + self._renew_s
        self._term = await self._store.write(
            storage_leases.acquire_lease, self._name, self._boot_id, ttl_ms=self._ttl_ms
        )
        return self._term

    async def is_held(self) -> bool:
        """Return True if this hub holds the lease; renew it if due."""
        while self._term is not None and (began := self._clock.uptime_s()) >= self._renew_at:
            is_renewed = await self._store.write(storage_leases.renew_lease, self._term, ttl_ms=self._ttl_ms)
            self._renew_at = began + self._renew_s
            if not is_renewed or self.renewed_in_s == 0.0:  # a hub that is so slow leaves it to another one
                self.lose()
        return self._term is not None

    async def keep(self) -> Term:
        """Return the current term, renewed if due. The lease is held when this returns.

        Raises:
            LostLease: another hub holds the lease; ``take`` waits for it again.
            StorageError: the database is unavailable.
        """
        if self._term is None:
            raise LostLease(f"the lease {self._name!r} is not held")
        if not await self.is_held():
            raise LostLease(f"another hub has taken the lease {self._name!r}")
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
                await self._store.write(storage_leases.resign_lease, term)
            except StorageError as exc:
                log.warning("lease.not_resigned", lease=self._name, why=str(exc))

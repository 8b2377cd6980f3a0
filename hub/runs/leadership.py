"""A lease that one hub of several holds: taken when it is free, renewed in time, given up at the end."""

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

TTL_S, RENEW_S = 15.0, 5.0  # scheduling 3.10
ALONE_TTL_S, ALONE_RENEW_S = 3_600.0, 1_200.0  # nobody waits for the lease, and an idle disk may sleep
RESIGN_S: Final = 2.0  # at the end; afterwards the lease ends by itself


class Leadership:
    """The right of this start of the hub to do what one hub alone does."""

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
        """When ``keep`` has to be called again, in seconds from now."""
        return max(0.0, self._renew_at - self._clock.monotonic())

    async def take(self) -> Term:
        """Wait until the lease is this hub's.

        Raises:
            StorageError: the database does not work just now.
        """
        while self._term is None:
            began = self._clock.monotonic()
            if not self._store.is_shared:  # whoever held it is dead, for the database is ours alone
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
        """The term, renewed where it was time. It can be trusted when this returns.

        Raises:
            LostLease: another hub leads; ``take`` waits for the lease again.
            StorageError: the database does not work just now.
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
        """Another hub leads, or may do so."""
        self._term = None

    async def resign(self) -> None:
        """Let another hub lead at once."""
        term, self._term = self._term, None
        if term is None:
            return
        with anyio.move_on_after(RESIGN_S, shield=True):
            try:
                await self._store.write(leases.resign, term)
            except StorageError as exc:
                log.warning("lease.not_resigned", lease=self._name, why=str(exc))

    def _held_from(self, began: float) -> None:
        """Counted from before the database was asked: its answer may have been long on the way."""
        self._renew_at = began + self._renew_s

"""Rate limits: token buckets, and waits after failed attempts, per network and per proved key or token.

A token bucket allows a burst of limited size, and then a limited rate per second.

A success does not reset the count: the holder of one valid token could otherwise keep guessing. A waiting
party with a valid credential is still admitted, because the caller checks credentials first. So no device can
be locked out by the attempts of others. The records are bounded in time and number.
"""

import ipaddress
from collections.abc import Hashable, Iterator, Sequence
from typing import Final, Generic, TypeVar

from hub.clock import Clock, now_ms
from hub.log import Channel
from hub.together import Together
from storage.devices import attempts
from storage.devices.attempts import AttemptLimits, Failures
from storage.kernel.database import StorageError
from storage.store import Store

log = Channel(__name__)

Key = TypeVar("Key", bound=Hashable)

BUCKETS: Final = 10_000  # keys; the least recently used one is dropped for a new one
_NOTHING_S: Final = 1e-9  # tolerance for rounding errors


class Buckets(Generic[Key]):
    """Token buckets by key, full at first."""

    def __init__(self, *, remembered: int = BUCKETS) -> None:
        self._remembered = remembered
        self._full_at: dict[Key, float] = {}  # when each bucket is full again, least recently used first

    def __len__(self) -> int:
        return len(self._full_at)

    def take(self, key: Key, now: float, *, at_once: int, per_s: float) -> float:
        """Take a token from the bucket of *key*. Return 0.0, or the seconds until a token is available.

        Args:
            at_once: capacity of a bucket.
            per_s: tokens added per second.
        """
        full_at = max(self._full_at.pop(key, now), now)
        # With n tokens taken, a bucket is full again in n / per_s.
        missing_s = full_at - now - (at_once - 1) / per_s
        if missing_s > _NOTHING_S:
            self._full_at[key] = full_at
            return missing_s
        self._full_at[key] = full_at + 1 / per_s
        if len(self._full_at) > self._remembered:
            del self._full_at[next(iter(self._full_at))]
        return 0.0


REMEMBERED: Final = 10_000  # parties; the entry with the oldest failure is dropped for a new one
AT_ONCE: Final = 200  # attempts of one transaction
IPV6_NETWORK_BITS: Final = 64  # network size of one household


class FailedAttempts:
    """Counter of failures by party; a party is a network, token or key, given as a string.

    Each counted failure is written, so that all hubs on the database count together, and go on after a
    restart. A wait is kept in memory: during it nothing is written.

    Args:
        kind: of the attempts; those of different kinds are counted apart.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        *,
        kind: str,
        limits: AttemptLimits | None = None,
        remembered: int = REMEMBERED,
    ) -> None:
        self._store = store
        self._clock = clock
        self._kind = kind
        self.limits = limits or AttemptLimits()
        self._remembered = remembered
        self._failures: dict[str, Failures] = {}  # by row; the oldest failure first
        self._waits_until: dict[str, float] = {}  # monotonic, likewise
        self._dropped: list[str] = []  # rows to delete
        self._counting = Together[Sequence[str], float](self._count, most=AT_ONCE)

    def __len__(self) -> int:
        return len(self._failures)

    def wait_s(self, party: str) -> float:
        """Return the seconds that *party* has to wait, as far as this hub knows; 0 if it has not."""
        return max(0.0, self._waits_until.get(self._row(party), 0.0) - self._clock.monotonic())

    async def read_wait_s(self, party: str) -> float:
        """Return the seconds that *party* has to wait, whichever hub made it wait; 0 if it has not."""
        row = self._row(party)
        return (await self._store.read(attempts.wait_ms, row, limits=self.limits, at=self._at())) / 1000

    async def fail(self, *parties: str) -> float:
        """Count a failed attempt, of one or several parties.

        Returns:
            0.0, or the seconds that one of them has to wait since before: the attempt was not counted then.
        """
        return max(map(self.wait_s, parties)) or await self._counting.run([*map(self._row, parties)])

    def waiting(self) -> Iterator[tuple[str, float]]:
        """Yield each party that this hub lets wait, with the seconds that it has to wait."""
        for row in list(self._waits_until):
            party = row.removeprefix(self._row(""))
            if wait_s := self.wait_s(party):
                yield party, wait_s

    async def _count(self, failed: Sequence[Sequence[str]]) -> Sequence[float]:
        dropped, self._dropped = self._dropped, []
        try:
            counted = await self._store.write(
                attempts.count, failed, limits=self.limits, at=self._at(), dropped=dropped
            )
        except StorageError as exc:  # this hub alone counts meanwhile
            log.warning("attempts.not_written", code=exc.code)
            counted = attempts.add(self._failures, failed, at=now_ms(self._clock), limits=self.limits)
        now = self._clock.monotonic()
        for row, failures in counted.failures.items():
            for known in (self._failures, self._waits_until):
                known.pop(row, None)  # inserted again at the end
            self._failures[row] = failures
            if wait_ms := failures.wait_ms(counted.at, self.limits):
                self._waits_until[row] = now + wait_ms / 1000
        while len(self._failures) > self._remembered:
            oldest = next(iter(self._failures))
            self._dropped.append(oldest)
            del self._failures[oldest]
            self._waits_until.pop(oldest, None)
        return [wait_ms / 1000 for wait_ms in counted.waits]

    def _row(self, party: str) -> str:
        return f"{self._kind} {party}"

    def _at(self) -> int | None:
        return None if self._store.is_shared else now_ms(self._clock)


def network_of(address: str) -> str:
    """Return the network that belongs to one party: an IPv4 address, or 64 bits of an IPv6 address.

    Both notations of an IPv4 address give the same result. A string that is not an address, as for a Unix
    socket, is returned unchanged.
    """
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed, IPV6_NETWORK_BITS), strict=False))
    return str(parsed)

"""Rate limits: token buckets, and waits after failed attempts, per network and per proved key or token.

A token bucket allows a burst of limited size, and then a limited rate per second.

A success does not reset the count: the holder of one valid token could otherwise keep guessing. A waiting
party with a valid credential is still admitted, because the caller checks credentials first. So no device can
be locked out by the attempts of others. The records are bounded in time and number.
"""

import ipaddress
from collections import deque
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

from hub.clock import Clock
from hub.settings.limit_settings import DEFAULTS

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
IPV6_NETWORK_BITS: Final = 64  # network size of one household


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptLimits:
    """After *failures* in *window_s*, wait *wait_s*; doubled each time, up to *wait_most_s*."""

    failures: int = DEFAULTS.auth_failures
    window_s: float = 60.0
    wait_s: float = 300.0
    wait_most_s: float = 3_600.0


@dataclass(slots=True)
class _Record:
    """Failures of one party: recent times, end of its wait, and number of its waits."""

    failed_at: deque[float] = field(default_factory=deque)
    waits_until: float = 0.0
    waits: int = 0


class FailedAttempts:
    """Counter of failures by party; a party is a network, token or key, given as a string."""

    def __init__(
        self, clock: Clock, *, limits: AttemptLimits | None = None, remembered: int = REMEMBERED
    ) -> None:
        self._clock = clock
        self.limits = limits or AttemptLimits()
        self._remembered = remembered
        self._records: dict[str, _Record] = {}

    def __len__(self) -> int:
        return len(self._records)

    def wait_s(self, party: str) -> float:
        """Return the seconds that *party* has to wait before its next attempt; 0 if none."""
        record = self._records.get(party)
        return 0.0 if record is None else max(0.0, record.waits_until - self._clock.monotonic())

    def record(self, party: str) -> None:
        """Record a failure of *party*."""
        limits, now = self.limits, self._clock.monotonic()
        record = self._records.pop(party, None) or _Record()
        if record.waits and now - record.waits_until >= limits.wait_most_s:
            record = _Record()  # reset after a long time without failures
        record.failed_at.append(now)
        while record.failed_at[0] <= now - limits.window_s:
            record.failed_at.popleft()
        if len(record.failed_at) >= limits.failures:
            record.failed_at.clear()
            wait_s = limits.wait_s * 2.0 ** min(record.waits, 64)
            record.waits_until = now + min(limits.wait_most_s, wait_s)
            record.waits += 1
        self._records[party] = record  # reinserted at the end, so the first entry has the oldest failure
        if len(self._records) > self._remembered:
            del self._records[next(iter(self._records))]

    def waiting(self) -> Iterator[tuple[str, float]]:
        """Yield each waiting party with the seconds that it has to wait."""
        for party in list(self._records):
            if wait_s := self.wait_s(party):
                yield party, wait_s


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

"""Who has failed too often lately and has to wait: networks, and the keys and tokens they proved to have.

A success wipes nothing out: whoever has one good token could otherwise guess on
between two uses of it. Nor does a wait keep a good credential out: who asks here judges
it first, so that nobody is locked out by what others try. Bounded in time and in number.
"""

import ipaddress
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from hub.clock import Clock

REMEMBERED: Final = 10_000  # the one that failed longest ago is forgotten for a new one
IPV6_NETWORK_BITS: Final = 64  # what one household gets


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptLimits:
    """*failures* in *window_s*, then *wait_s*; twice as long each time after, at most *wait_most_s*."""

    failures: int = 10
    window_s: float = 60.0
    wait_s: float = 300.0
    wait_most_s: float = 3_600.0


@dataclass(slots=True)
class _Record:
    """The failures of one party: when the latest were, how long it waits, how often it had to."""

    failed_at: deque[float] = field(default_factory=deque)
    waits_until: float = 0.0
    waits: int = 0


class FailedAttempts:
    """Counts failures by party: a network, a token or a key, as its spelling tells apart."""

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
        """How long *party* has to wait before the next try; 0 when it need not."""
        record = self._records.get(party)
        return 0.0 if record is None else max(0.0, record.waits_until - self._clock.monotonic())

    def record(self, party: str) -> None:
        """One more failure of *party*."""
        limits, now = self.limits, self._clock.monotonic()
        record = self._records.pop(party, None) or _Record()
        if record.waits and now - record.waits_until >= limits.wait_most_s:
            record = _Record()  # it behaved for so long that it begins anew
        record.failed_at.append(now)
        while record.failed_at[0] <= now - limits.window_s:
            record.failed_at.popleft()
        if len(record.failed_at) >= limits.failures:
            record.failed_at.clear()
            record.waits_until = now + _doubled(limits.wait_s, record.waits, limits.wait_most_s)
            record.waits += 1
        self._records[party] = record  # at the end: the others failed longer ago
        if len(self._records) > self._remembered:
            del self._records[next(iter(self._records))]

    def waiting(self) -> Iterator[tuple[str, float]]:
        """Every party that has to wait, and how long."""
        for party in list(self._records):
            if wait_s := self.wait_s(party):
                yield party, wait_s


def network_of(address: str) -> str:
    """*address*, or the part of it that one party holds: of IPv6 the first 64 bits.

    An IPv4 address is the same in both of its spellings. What is no address, as over a
    Unix socket, is one party of its own.
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


def _doubled(wait_s: float, times: int, most_s: float) -> float:
    try:
        return min(most_s, wait_s * 2.0**times)
    except OverflowError:
        return most_s

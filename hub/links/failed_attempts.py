"""Waits after failed authentication, per network, key or token.

The length of a wait is decided in ``storage.devices.attempts``.

A success does not reset the count: the holder of one valid token could otherwise keep guessing. A waiting
party with a valid credential is still admitted, because the caller checks credentials first. So no device can
be locked out by the attempts of others. The records are bounded in time and number.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from hub.base.call_coalescer import CallCoalescer
from hub.base.clock import Clock, now_ms
from hub.base.log import Channel
from storage.devices import attempts
from storage.devices.attempts import AttemptLimits, AttemptRecord
from storage.kernel.database import StorageError
from storage.store import Store

log = Channel(__name__)

REMEMBERED: Final = 10_000  # parties; the entry with the oldest failure is dropped for a new one
AT_ONCE: Final = 200  # attempts of one transaction


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
        self._failures: dict[str, AttemptRecord] = {}  # by row; the oldest failure first
        self._waits_until: dict[str, float] = {}  # monotonic, likewise
        self._dropped: list[str] = []  # rows to delete
        self._counting = CallCoalescer[Sequence[str], float](self._count, max_items=AT_ONCE)

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

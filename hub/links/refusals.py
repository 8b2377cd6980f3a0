"""Sampling of refusals for the audit log: one per network, reason and minute, with a count.

Otherwise unauthorized peers could fill the disk. The first refusal is recorded at once. Later ones are
counted, and recorded with the first refusal after the minute.
"""

from typing import Final

from hub.clock import Clock
from protocol.errors import CATALOGUE, CloseCode, ErrorCode, HubError
from protocol.handshake import Error

EVERY_S: Final = 60.0
ENTRIES: Final = 100  # per minute, over all networks; above this, the network is recorded as "others"
REMEMBERED: Final = 10_000
OTHERS: Final = "others"


class RefusalSamples:
    """Selects the refusals to record, with the number of refusals that each represents."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._recorded_at: dict[tuple[str, str], float] = {}
        self._unrecorded: dict[tuple[str, str], int] = {}
        self._minute = 0.0
        self._in_minute = 0

    def take(self, network: str, reason: str) -> tuple[str, int] | None:
        """Count a refusal. Return the network and count to record, or None to record nothing now."""
        now = self._clock.monotonic()
        if now - self._minute >= EVERY_S:
            self._minute, self._in_minute = now, 0
        is_crowded = self._in_minute >= ENTRIES
        of = (OTHERS, reason) if is_crowded else (network, reason)
        count = self._unrecorded.pop(of, 0) + 1
        recorded_at = self._recorded_at.get(of)
        if recorded_at is not None and now - recorded_at < EVERY_S:
            self._unrecorded[of] = count
            return None
        self._recorded_at.pop(of, None)
        self._recorded_at[of] = now  # reinserted at the end, so the first entry is the oldest
        if len(self._recorded_at) > REMEMBERED:
            oldest = next(iter(self._recorded_at))
            del self._recorded_at[oldest]
            self._unrecorded.pop(oldest, None)
        self._in_minute += 1
        return of[0], count


class Refusal(HubError):
    """The hello is refused: send *error*, then close with *close*.

    Attributes:
        is_failure: True if it counts as a failed attempt of the network, and of *party* if set.
        party: the key or token of the device, once the device has proved to hold it.
    """

    def __init__(
        self, error: Error, close: CloseCode, *, is_failure: bool = True, party: str | None = None
    ) -> None:
        super().__init__(f"{error.code}: {error.message}")
        self.error = error
        self.close = close
        self.is_failure = is_failure
        self.party = party


def refuse(
    code: ErrorCode,
    message: str,
    close: CloseCode,
    *,
    is_failure: bool = True,
    party: str | None = None,
    pairing_code: str | None = None,
    retry_after_ms: int | None = None,
    hint: str | None = None,
) -> Refusal:
    """Return the refusal for *code*, with the catalogue's hint unless *hint* is given."""
    error = Error(
        code=code,
        message=message,
        hint=hint or CATALOGUE[code].hint,
        pairing_code=pairing_code,
        retry_after_ms=retry_after_ms,
    )
    return Refusal(error, close, is_failure=is_failure, party=party)

"""Delays before a retry: exponential, capped, with full jitter.

The jitter spreads the retries, so that ten thousand devices do not reconnect in the same second. The caller
passes the randomness as *draw*, in [0, 1). Devices follow these delays.
"""

from typing import Final

import msgspec

from protocol.errors import CloseCode

MAX_WAIT_S: Final = 86_400.0  # seconds that a peer may have another one wait; afterwards it is asked again
_MIN_SPREAD_S = 1.0  # seconds; spreads reconnects after a restart without retry_after_ms
_DO_NOT_RETURN = 4500  # lowest close code after which a device does not reconnect by itself


def requested_wait_s(retry_after_ms: int | None) -> float:
    """Return the seconds that a hub requested, at most MAX_WAIT_S."""
    return min((retry_after_ms or 0) / 1000, MAX_WAIT_S)


class Backoff(msgspec.Struct, frozen=True, kw_only=True):
    """Delays between attempts: at most *base_s* x *factor* ** attempt, and never above *cap_s*."""

    base_s: float = 0.5
    cap_s: float = 60.0
    factor: float = 2.0

    def delay(self, attempt: int, draw: float) -> float:
        """Return the seconds before attempt number *attempt*, counted from 0 since the last success."""
        try:
            longest = min(self.cap_s, self.base_s * self.factor**attempt)
        except OverflowError:  # a power beyond any float is above the cap
            longest = self.cap_s
        return longest * draw

    def after_close(
        self, code: int | None, away_s: float, draw: float, retry_after_ms: int | None = None
    ) -> float | None:
        """Return the seconds to wait after a connection ended, or ``None``: do not reconnect by itself.

        A wait is at most as long as the hub has been away, so a device is back after twice that time. After a
        restart (1012) it is spread over the *retry_after_ms* of the hub. While a person has to type this
        device's pairing code (4510 with *retry_after_ms*), it is one to two times that long. In other cases
        *retry_after_ms* is the minimum wait. It counts up to MAX_WAIT_S.

        Args:
            code: close code; ``None``: the connection broke without one.
            away_s: seconds since the last connection that lasted, or the last answer of a hub that restarts
                or waits for a pairing.
        """
        requested_s = requested_wait_s(retry_after_ms)
        if code == CloseCode.PAIRING_REQUIRED and requested_s:
            return requested_s * (1.0 + draw)
        if code is not None and code >= _DO_NOT_RETURN:
            return None
        if code == CloseCode.RESTARTING:
            return max(_MIN_SPREAD_S, requested_s) * draw
        return requested_s + min(self.cap_s, max(self.base_s, away_s)) * draw

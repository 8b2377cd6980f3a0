"""Delays before a retry. Pure, and part of the contract: devices follow it.

Exponential, capped, with full jitter, so that ten thousand devices do not reconnect in the same second. The
caller passes the randomness as *draw*, in [0, 1).
"""

from typing import Final

import msgspec

from protocol.errors import CloseCode

MOST_WAIT_S: Final = 86_400.0  # seconds that a peer may have another one wait; afterwards it is asked again
_LEAST_SPREAD_S = 1.0  # seconds; spreads reconnects after a restart without retry_after_ms
_DO_NOT_RETURN = 4500  # lowest close code after which a device does not reconnect by itself


def requested_wait_s(retry_after_ms: int | None) -> float:
    """Return the seconds that a hub requested, at most MOST_WAIT_S."""
    return min((retry_after_ms or 0) / 1000, MOST_WAIT_S)


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
        self, code: int | None, attempt: int, draw: float, retry_after_ms: int | None = None
    ) -> float | None:
        """Return the seconds to wait after a connection ended, or ``None``: do not reconnect by itself.

        A restarting hub (1012) is no failed attempt: the wait is spread over its *retry_after_ms*, and the
        caller keeps its count of attempts. The same holds while a person has to type this device's pairing
        code (4510 with *retry_after_ms*): the wait is one to two times that long. In other cases
        *retry_after_ms* is the minimum wait. It counts up to MOST_WAIT_S.

        Args:
            code: close code; ``None``: the connection broke without one.
        """
        requested_s = requested_wait_s(retry_after_ms)
        if code == CloseCode.PAIRING_REQUIRED and requested_s:
            return requested_s * (1.0 + draw)
        if code is not None and code >= _DO_NOT_RETURN:
            return None
        if code == CloseCode.RESTARTING:
            return max(_LEAST_SPREAD_S, requested_s) * draw
        return requested_s + self.delay(attempt, draw)

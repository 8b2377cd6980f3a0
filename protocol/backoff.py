"""Pure: how long to wait before the next try. Part of the contract: devices keep to it.

Exponential, capped, with full jitter, so that ten thousand devices do not come
back in the same second. Chance comes from the caller as *draw*, in [0, 1).
"""

import msgspec

from protocol.errors import CloseCode

_LEAST_SPREAD_S = 1.0  # after a restart without retry_after_ms: still not all at once
_DO_NOT_RETURN = 4500  # close codes from here on: do not come back by yourself


class Backoff(msgspec.Struct, frozen=True, kw_only=True):
    """Waiting times between tries: at most *base_s* x *factor* ** attempt, and never above *cap_s*."""

    base_s: float = 0.5
    cap_s: float = 60.0
    factor: float = 2.0

    def delay(self, attempt: int, draw: float) -> float:
        """Seconds before try number *attempt*, counted from 0 since the last success."""
        try:
            longest = min(self.cap_s, self.base_s * self.factor**attempt)
        except OverflowError:  # a power beyond any float is beyond the cap
            longest = self.cap_s
        return longest * draw

    def after_close(
        self, code: int | None, attempt: int, draw: float, retry_after_ms: int | None = None
    ) -> float | None:
        """Seconds to wait after a connection ended, or ``None``: do not come back by yourself.

        A hub that restarts (1012) is not a failed try: the wait is spread over its
        *retry_after_ms*, and the caller leaves its count of attempts alone. So is one
        that waits for a person to type this device's pairing code (4510 with
        *retry_after_ms*): the wait is once to twice as long. Elsewhere *retry_after_ms*
        is the least to wait.

        Args:
            code: the close code; ``None`` when the connection just broke.
        """
        told_s = (retry_after_ms or 0) / 1000
        if code == CloseCode.PAIRING_REQUIRED and told_s:
            return told_s * (1.0 + draw)
        if code is not None and code >= _DO_NOT_RETURN:
            return None
        if code == CloseCode.RESTARTING:
            return max(_LEAST_SPREAD_S, told_s) * draw
        return told_s + self.delay(attempt, draw)

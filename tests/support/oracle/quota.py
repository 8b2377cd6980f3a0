"""Requests and tokens per minute, as providers keep to them: buckets that refill all the time.

Whoever asks too soon is refused and told to the millisecond when there is room again.
"""

import math
from typing import NamedTuple

Headers = tuple[tuple[str, str], ...]


class Bucket:
    """*per_minute* units come in, of which at most *burst_s* seconds' worth are kept. Full at first."""

    def __init__(self, per_minute: int, burst_s: float, now: float) -> None:
        self.per_minute = per_minute
        self.capacity = per_minute * burst_s / 60
        self._rate = per_minute / 60
        self._level = self.capacity
        self._seen_at = now

    def wait_s(self, amount: float, now: float) -> float:
        """How long until *amount* can be taken; 0: now. More than fits waits until it is full."""
        self._level = min(self.capacity, self._level + (now - self._seen_at) * self._rate)
        self._seen_at = now
        return max(0.0, min(amount, self.capacity) - self._level) / self._rate

    def take(self, amount: float) -> None:
        """Take *amount*, even where that leaves less than nothing."""
        self._level -= amount

    def headers(self, kind: str) -> Headers:
        """What OpenAI tells in every answer."""
        return (
            (f"x-ratelimit-limit-{kind}", str(self.per_minute)),
            (f"x-ratelimit-remaining-{kind}", str(max(0, math.floor(self._level)))),
            (f"x-ratelimit-reset-{kind}", spelled((self.capacity - self._level) / self._rate)),
        )


class Admission(NamedTuple):
    """*wait_s* is 0 when the request is let in; *kind* is what there was too little of."""

    wait_s: float
    kind: str


class Quota:
    """Both limits of one account; either may be missing."""

    def __init__(
        self, requests_per_minute: int | None, tokens_per_minute: int | None, burst_s: float, now: float
    ) -> None:
        limits = {"requests": requests_per_minute, "tokens": tokens_per_minute}
        self._buckets = {kind: Bucket(limit, burst_s, now) for kind, limit in limits.items() if limit}

    def admit(self, tokens: int, now: float) -> Admission:
        """Take a request of so many *tokens*, or nothing at all."""
        wanted = {"requests": 1, "tokens": tokens}
        waits = [Admission(bucket.wait_s(wanted[kind], now), kind) for kind, bucket in self._buckets.items()]
        worst = max(waits, default=Admission(0.0, ""))
        if not worst.wait_s:
            for kind, bucket in self._buckets.items():
                bucket.take(wanted[kind])
        return worst

    def take_tokens(self, tokens: int) -> None:
        """Count tokens that were not known when the request was let in."""
        if "tokens" in self._buckets:
            self._buckets["tokens"].take(tokens)

    def headers(self) -> Headers:
        """Of every answer."""
        return tuple(pair for kind, bucket in self._buckets.items() for pair in bucket.headers(kind))


def spelled(seconds: float) -> str:
    """A time as OpenAI spells it: ``20ms``, ``1.5s``, ``6m0s``."""
    if seconds < 1:
        return f"{max(0, math.ceil(seconds * 1000))}ms"
    minutes, rest = divmod(seconds, 60)
    return f"{int(minutes)}m{rest:.3f}s" if minutes else f"{rest:.3f}s"

"""Rate limiter of a model endpoint: quotas, pace after refusals, fair queue of callers.

It obeys the limits of hub.toml (requests and tokens per minute), the limits in the headers of the endpoint,
and the requested waits. A refusal nonetheless reduces the pace by a factor, and each answer increases it by
a step: the pace scales the concurrency, and the used share of a quota's refill. Waiting here is not an
attempt, as nothing was sent. ``hub.app.model_chain`` decides the share of this node.

Rate limits are in headers, in OpenAI's format, which most compatible endpoints use:
``x-ratelimit-{limit,remaining,reset}-{requests,tokens}``, ``retry-after-ms``, ``retry-after``.

Usage of a quota is assumed to be refilled continuously, as at most endpoints; a quota that is refilled at
once at the end of a window is detected by its headers, and awaited. Times are monotonic.
"""

import re
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Final, Generic, Literal, TypeVar

import anyio
import msgspec

from hub.base.clock import Clock, wait_for_event
from hub.base.outbound.rules import finite_number

_PARTS: Final = re.compile(r"(?<!\d)(\d++(?>(?:\.\d++)?))(ms|h|m|s)")


_UNITS_S: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3_600.0}


class ReportedQuota(msgspec.Struct, frozen=True):
    """Quota reported by an endpoint.

    Attributes:
        limit: capacity when nothing is used, in requests or tokens.
        remaining: rest after the current question.
        reset_s: seconds until the full capacity is back; ``None`` if not reported.
    """

    limit: float
    remaining: float
    reset_s: float | None = None


def reported_quota(headers: Mapping[str, str], of: Literal["requests", "tokens"]) -> ReportedQuota | None:
    """Return the quota of requests or tokens; ``None`` if the headers have no plausible one."""
    limit = finite_number(headers.get(f"x-ratelimit-limit-{of}"))
    remaining = finite_number(headers.get(f"x-ratelimit-remaining-{of}"))
    # No endpoint has more than 1e12 requests or tokens.
    if limit is None or remaining is None or not 0 < limit <= 1e12 or remaining > limit:
        return None
    reset_s = duration_s(headers.get(f"x-ratelimit-reset-{of}", ""))
    # More than a day is an instant, such as epoch seconds, or of no use.
    if reset_s is not None and reset_s > 86_400.0:
        reset_s = None
    return ReportedQuota(limit, max(0.0, remaining), reset_s)


def duration_s(text: str) -> float | None:
    """Parse seconds from "6m0s", "1h2m", "1.5s", "20ms", or a bare number; ``None`` otherwise."""
    if (number := finite_number(text)) is not None:
        return max(0.0, number)
    parts = _PARTS.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text.strip():
        return None
    return sum(float(number) * _UNITS_S[unit] for number, unit in parts)


SHRINK: Final = 0.6  # of the pace after a refusal; a half would leave too much of a quota unused


GROWTH: Final = 0.05  # of the pace, with each answer


MIN_PACE: Final = 0.05


UNORDERED_S: Final = 0.5  # questions sent within this time may arrive in any order


T = TypeVar("T")


MINUTE_S: Final = 60.0


_PERIODS_S: Final = (MINUTE_S, 3_600.0, 86_400.0)  # some endpoints report a daily quota of requests


_SAME: Final = 0.02  # tolerance for a constant size in successive answers


class QuotaModel:
    """Store that is initially full, decreases with each question and is refilled.

    Attributes:
        limit: refill per period, which is a minute unless the endpoint reports another.
    """

    def __init__(self, limit: float, now: float) -> None:
        self.limit = self._whole = limit
        self._size = limit  # capacity; some endpoints do not permit to save up a whole minute
        self._level = limit  # negative after an overdraft
        self._at = now
        self._period_s = MINUTE_S
        self._full_at: float | None = None  # end of a window, before which nothing is refilled
        self._reported_size: float | None = None  # from the last answer
        self._taken = 0.0  # since the last answer

    def wait_s(self, amount: float, now: float, pace: float) -> float:
        """Return the seconds until *amount* is available; an amount above the capacity needs a full store.

        Args:
            pace: share of the refill to use, above 0 and at most 1.
        """
        self._refill(now, pace)
        missing = min(amount, self._size) - self._level
        if missing <= 1e-6:  # float rounding
            return 0.0
        if self._full_at is not None:
            return max(0.0, self._full_at - now)
        return missing / (self._rate * pace)

    def use_share(self, share: float, now: float, pace: float) -> None:
        """Use only this share of the limit and of the capacity from now on, above 0 and at most 1."""
        self._refill(now, pace)
        self.limit = self._size = share * self._whole
        self._level = min(self._level, self._size)

    def spend(self, amount: float) -> None:
        """Use *amount*, whether it is available or not."""
        amount = min(amount, self._size)
        self._level -= amount
        self._taken += amount

    def give_back(self, taken: float, used: float) -> None:
        """Correct a usage: of *taken*, only *used* was used, or more."""
        self._level = min(self._size, self._level + min(taken, self._size) - used)

    def apply_report(self, report: ReportedQuota, *, later: float, now: float) -> None:
        """Set the level by the endpoint's report.

        Args:
            later: amount used after the question of this report was sent, which is not counted in it.
        """
        # Refill during the answer's transport is ignored: an underestimate leaves a small reserve, an
        # overestimate causes a refusal.
        self.limit = report.limit
        self._level = report.remaining - later
        self._at, self._taken = now, 0.0
        used = report.limit - report.remaining
        # Of less than 2 % of the limit, the refill cannot be inferred.
        if report.reset_s is None or used < max(2.0, 0.02 * report.limit):
            return
        for period_s in _PERIODS_S:
            # Reported times are rounded to seconds, and levels truncated.
            if _is_near(report.reset_s * report.limit / period_s, used, 0.15):
                self._size, self._period_s, self._full_at = report.limit, period_s, None
                return
        size, before = report.remaining + report.reset_s * report.limit / MINUTE_S, self._reported_size
        self._reported_size = size
        self._size = min(size, report.limit)  # too small for a window, until the next answer
        if before is not None and size < report.limit and _is_near(size, before, _SAME):
            self._period_s, self._full_at = MINUTE_S, None
        else:
            self._full_at = now + report.reset_s

    def apply_refusal(self, amount: float, after_s: float, now: float, pace: float) -> None:
        """Set the level so that *amount* is available in *after_s* seconds, and not before."""
        self._refill(now, pace)
        self._level = min(self._level, min(amount, self._size) - after_s * self._rate * pace)

    @property
    def _rate(self) -> float:
        """Refill per second."""
        return self.limit / self._period_s

    def _refill(self, now: float, pace: float) -> None:
        if self._full_at is None:
            self._level = min(self._size, self._level + max(0.0, now - self._at) * self._rate * pace)
        elif now >= self._full_at:
            self._level, self._full_at = self._size - self._taken, None
        self._at = max(self._at, now)


def _is_near(number: float, other: float, share: float) -> bool:
    return abs(number - other) <= share * other


class SlidingWindow:
    """Count and sum of the amounts within the last *seconds*."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._seen: deque[tuple[float, float]] = deque()
        self._total = 0.0

    def add(self, amount: float, now: float) -> None:
        """Add an amount at time *now*."""
        self._forget(now)
        self._seen.append((now, amount))
        self._total += amount

    def count(self, now: float) -> int:
        """Return the number of amounts."""
        self._forget(now)
        return len(self._seen)

    def total(self, now: float) -> float:
        """Return the sum of the amounts."""
        self._forget(now)
        return self._total

    def _forget(self, now: float) -> None:
        while self._seen and now - self._seen[0][0] >= self._seconds:
            self._total -= self._seen.popleft()[1]


class FairQueue(Generic[T]):
    """Round-robin queue: a user with a hundred entries does not delay one with a single entry."""

    def __init__(self) -> None:
        # The next user first; users without entries are removed.
        self._users: OrderedDict[str, deque[T]] = OrderedDict()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    @property
    def head(self) -> T | None:
        """Next entry, or None."""
        return next(iter(self._users.values()))[0] if self._users else None

    def enqueue(self, user: str, entry: T, *, first: bool = False) -> None:
        """Queue *entry* behind the user's other entries, or before them if *first* (for a retry)."""
        own = self._users.setdefault(user, deque())
        if first:
            own.appendleft(entry)
        else:
            own.append(entry)
        self._count += 1

    def pop(self) -> T:
        """Remove and return the head; its user moves to the end. Raises LookupError if the queue is empty."""
        user, own = next(iter(self._users.items()), ("", deque[T]()))
        entry = own.popleft()
        self._users.move_to_end(user)
        self._close(user)
        return entry

    def remove(self, user: str, entry: T) -> None:
        """Remove *entry* from any position. Raises LookupError or ValueError if it is not queued."""
        self._users[user].remove(entry)
        self._close(user)

    def _close(self, user: str) -> None:
        self._count -= 1
        if not self._users[user]:
            del self._users[user]


class LimiterPermit:
    """Permission to send one request.

    Attributes:
        tokens: tokens reserved for the question and its answer.
        number: sequence number of all turns, in the order of their start.
        before: number of turns that the endpoint had certainly counted before this one.
        before_tokens: tokens reserved by those.
        is_alone: True if it started while no other turn was under way.
    """

    __slots__ = ("before", "before_tokens", "is_alone", "number", "tokens", "user", "woken")

    def __init__(self, user: str, tokens: float) -> None:
        self.user = user
        self.tokens = tokens
        self.number = 0  # 0: not started yet
        self.before = 0
        self.before_tokens = 0.0
        self.is_alone = False
        self.woken = anyio.Event()


class Limiter:
    """Limiter with fair turns among users, and first come, first served for each.

    Args:
        in_flight: concurrent questions.
        requests_per_min: limit in hub.toml; ``None``: not configured.
        tokens_per_min: likewise; of questions and answers together.

    Attributes:
        share: of these limits, which ``use_share`` sets.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        in_flight: int,
        requests_per_min: float | None = None,
        tokens_per_min: float | None = None,
    ) -> None:
        self.share = 1.0
        self._clock = clock
        self._in_flight = in_flight
        self._asking = 0
        self._opens_at = clock.monotonic()  # no turn starts before
        self._pace = 1.0
        self._numbers = 0
        self._shrunk_at = 0  # number of the last turn started before the pace was reduced
        self._newest_number = 0  # number of the turn with the newest headers
        self._newest_answered = 0  # the highest number of a turn with an answer
        self._numbers_at_answer = 0  # turns started before the last answer
        self._tokens = 0.0  # of all turns started
        self._unordered = SlidingWindow(UNORDERED_S)
        now = clock.monotonic()
        self._own_requests = None if requests_per_min is None else QuotaModel(requests_per_min, now)
        self._own_tokens = None if tokens_per_min is None else QuotaModel(tokens_per_min, now)
        self._reported_requests: QuotaModel | None = None
        self._reported_tokens: QuotaModel | None = None
        self._queue: FairQueue[LimiterPermit] = FairQueue()

    def __len__(self) -> int:
        """Return the number of waiting turns."""
        return len(self._queue)

    @property
    def has_limits(self) -> bool:
        """True if hub.toml limits the endpoint's questions or tokens."""
        return self._own_requests is not None or self._own_tokens is not None

    @property
    def demand(self) -> int:
        """Number of turns that wait or are under way."""
        return len(self._queue) + self._asking

    def use_share(self, share: float) -> None:
        """Use only this share of the limits in hub.toml: other hubs use the rest."""
        self.share = share
        for own in (self._own_requests, self._own_tokens):
            if own is not None:
                own.use_share(share, self._clock.monotonic(), self._pace)
        self._give()  # the head waits for another time now

    @asynccontextmanager
    async def turn(self, user: str, tokens: float, *, again: bool = False) -> AsyncIterator[LimiterPermit]:
        """Wait for a turn; inside the block, one request may be sent.

        Args:
            user: owner of the question.
            tokens: estimated maximum of the tokens of question and answer.
            again: True for a retry, which goes before the user's other questions.
        """
        turn = LimiterPermit(user, tokens)
        self._queue.enqueue(user, turn, first=again)
        try:
            await self._given(turn)
            yield turn
        finally:
            if turn.number:
                self._asking -= 1
            else:
                self._queue.remove(user, turn)
            self._give()

    def answered(self, turn: LimiterPermit, tokens: float | None, headers: Mapping[str, str]) -> None:
        """Record an answer of the endpoint.

        Args:
            tokens: actual tokens of question and answer; ``None`` if not reported.
        """
        if tokens is not None:
            self._give_back(turn, tokens)
        self._pace = min(1.0, self._pace + GROWTH)
        self._newest_answered = max(self._newest_answered, turn.number)
        self._numbers_at_answer = self._numbers
        self._apply_headers(turn, headers)

    def shut(self, after_s: float) -> None:
        """Start no turn for *after_s* seconds: a wait requested in one answer applies to all."""
        self._opens_at = max(self._opens_at, self._clock.monotonic() + after_s)

    def refused(self, turn: LimiterPermit, after_s: float, headers: Mapping[str, str]) -> None:
        """Record a refusal by a rate limit, and start no turn for *after_s* seconds."""
        self.shut(after_s)
        self._apply_headers(turn, headers)
        self._shrink(turn, self._pace * SHRINK)
        now = self._clock.monotonic()
        for own, amount in (
            (self._own_tokens, turn.tokens),
            (self._own_requests, 1.0),
        ):
            if own is not None:
                own.apply_refusal(amount, after_s, now, self._pace)
                break

    def slow_down(self, turn: LimiterPermit) -> bool:
        """Record an answer that did not come in time, because the endpoint may have too many questions.

        Return True if that is not the reason: it was the only question, or a later one was answered.
        """
        is_only = turn.is_alone and turn.number == self._numbers
        if is_only or self._newest_answered > turn.number:
            return True
        is_stalled = self._numbers_at_answer < turn.number  # then one question may block all others
        self._shrink(turn, 1 / self._in_flight if is_stalled else self._pace * SHRINK)
        return False

    def _shrink(self, turn: LimiterPermit, pace: float) -> None:
        if turn.number > self._shrunk_at:  # concurrent requests carry no new information
            self._pace = max(MIN_PACE, min(self._pace, pace))
            self._shrunk_at = self._numbers

    def failed(self, turn: LimiterPermit) -> None:
        """Record a missing or unusable answer: its tokens are returned to the quota of hub.toml."""
        self._give_back(turn, 0.0)

    def _give_back(self, turn: LimiterPermit, tokens: float) -> None:
        """Return the unused rest of a turn's reserved tokens."""
        if self._own_tokens is not None:
            self._own_tokens.give_back(turn.tokens, tokens)

    def _apply_headers(self, turn: LimiterPermit, headers: Mapping[str, str]) -> None:
        if turn.number < self._newest_number:
            return  # the headers of a delayed answer are outdated
        now = self._clock.monotonic()
        if (report := reported_quota(headers, "requests")) is not None:
            self._reported_requests = self._reported_requests or QuotaModel(report.limit, now)
            self._reported_requests.apply_report(report, later=self._numbers - turn.before - 1, now=now)
            self._newest_number = turn.number
        if (report := reported_quota(headers, "tokens")) is not None:
            self._reported_tokens = self._reported_tokens or QuotaModel(report.limit, now)
            self._reported_tokens.apply_report(
                report, later=self._tokens - turn.before_tokens - turn.tokens, now=now
            )
            self._newest_number = turn.number

    async def _given(self, turn: LimiterPermit) -> None:
        while True:
            wait_s = self._give()
            if turn.number:
                return
            turn.woken = anyio.Event()
            if turn is self._queue.head and wait_s is not None:
                # A wait of a millisecond at least, in spite of rounding errors.
                await wait_for_event(turn.woken, self._clock, max(wait_s, 0.001))
            else:
                await turn.woken.wait()

    def _give(self) -> float | None:
        """Start all possible turns. Return the wait of the head, or None if it waits for another turn's end.

        The new head is woken, because it manages the timer.
        """
        wait_s: float | None = None
        while (head := self._queue.head) is not None:
            wait_s = self._wait_s(head)
            if wait_s != 0.0:
                break
            self._start(self._queue.pop())
        if head is not None:
            head.woken.set()
        return wait_s

    def _wait_s(self, turn: LimiterPermit) -> float | None:
        if self._asking >= max(1, int(self._in_flight * self._pace)):
            return None
        now = self._clock.monotonic()
        stores = (quota.wait_s(amount, now, self._pace) for quota, amount in self._needs(turn))
        return max(0.0, self._opens_at - now, *stores)

    def _start(self, turn: LimiterPermit) -> None:
        now = self._clock.monotonic()
        turn.before = self._numbers - self._unordered.count(now)
        turn.before_tokens = self._tokens - self._unordered.total(now)
        self._unordered.add(turn.tokens, now)
        self._numbers += 1
        self._tokens += turn.tokens
        self._asking += 1
        turn.number = self._numbers
        turn.is_alone = self._asking == 1
        for quota, amount in self._needs(turn):
            quota.spend(amount)
        turn.woken.set()

    def _needs(self, turn: LimiterPermit) -> Iterator[tuple[QuotaModel, float]]:
        """Yield the quotas and amounts that *turn* uses."""
        for quota, amount in (
            (self._own_requests, 1.0),
            (self._reported_requests, 1.0),
            (self._own_tokens, turn.tokens),
            (self._reported_tokens, turn.tokens),
        ):
            if quota is not None:
                yield quota, amount

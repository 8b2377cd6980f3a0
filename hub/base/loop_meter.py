"""CPU time of the event loop by cause: a device, an operator's token, a network or a model.

All clients share one loop, so expensive work of one client delays all others. The CPU time of incoming work
is charged to its cause. While the loop is late, a cause above its share has to wait before more of its data
is read. It is refused once it has used so much time that waiting does not help.

A request has an account. The steps of its task are charged to it, and so are those of tasks that it starts.
The account is closed at the end of the request.
"""

import asyncio
import math
import time
from collections import defaultdict
from collections.abc import Callable, Coroutine, Generator, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from heapq import nlargest
from typing import Any, Final, TypeVar

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from hub.base.clock import SystemClock

T = TypeVar("T")

OVER_S: Final = 3.0  # over which shares are taken: what was spent counts 1/e after so long
SHARE: Final = 0.1  # of the loop, that one cause may take while others wait
LATE_S: Final = 0.05  # the loop came round so late: others wait
MAX_WAIT_S: Final = 5.0  # who had to wait longer is refused instead
EVERY: Final = 64  # of work that is cheap, one in so many is measured
MAX_TURN_S: Final = 0.0001  # of the loop's own work for a step: its poll, its timers, answers of threads
MAX_CAUSES: Final = 1_024  # remembered; beyond it the half that spent least is forgotten
MAX_REPORTED: Final = 5  # causes in a scrape
MIN_REPORTED: Final = 0.01  # minimum share of a reported cause


class LoopMeter(Collector):
    """Recent share of each cause in the loop's time.

    Attributes:
        lag_s: last delay of the loop that was caused by its own work, not by the machine.
        current: the cause whose work is measured now; empty for none.
        ended: CPU time of the loop's thread at the end of the last measurement.
        passed_over: number of cheap pieces of work to skip before the next measurement; random, on average
            EVERY - 1.
    """

    def __init__(self, monotonic: Callable[[], float] = SystemClock.monotonic) -> None:
        self._monotonic = monotonic
        self._spent: dict[str, tuple[float, float]] = {}  # seconds, decayed, and when
        self._seconds: defaultdict[str, float] = defaultdict(float)  # by kind of cause
        self._slowed: dict[str, tuple[float, float]] = {}  # the share it had, and when
        self.lag_s = 0.0
        self.current = ""
        self.passed_over = 0
        self.ended = 0.0

    def charge(self, cause: str, seconds: float) -> None:
        """Charge *seconds* of the loop's CPU time to *cause*."""
        now = self._monotonic()
        spent, at = self._spent.get(cause, (0.0, now))
        self._spent[cause] = (spent * math.exp((at - now) / OVER_S) + seconds, now)
        self._seconds[cause.partition(":")[0]] += seconds
        if len(self._spent) > MAX_CAUSES:
            longest = nlargest(MAX_CAUSES // 2, self._spent, key=self.share)
            self._spent = {cause: self._spent[cause] for cause in longest}

    def run(self, cause: str, work: Callable[[Any], None], value: Any, times: int = 1) -> float:
        """Call *work* with *value*, charge its time multiplied by *times*, and return ``wait_s``."""
        outer, self.current = self.current, cause
        began = time.thread_time_ns()
        try:
            work(value)
        finally:
            ended = time.thread_time_ns()
            self.charge(cause, (ended - began) * times / 1e9)
            self.ended = ended / 1e9
            self.passed_over = ended % (2 * EVERY - 1)  # the last digits are unpredictable
            self.current = outer
        return self.wait_s(cause)

    @contextmanager
    def charging(self, cause: str) -> Iterator[None]:
        """Charge the time of the block to *cause*."""
        outer, self.current = self.current, cause
        began = time.thread_time()
        try:
            yield
        finally:
            self.charge(cause, time.thread_time() - began)
            self.current = outer

    def share(self, cause: str) -> float:
        """Return the part of the loop's time that *cause* used over the last OVER_S, 0.0 to 1.0."""
        spent, at = self._spent.get(cause, (0.0, 0.0))
        return spent * math.exp((at - self._monotonic()) / OVER_S) / OVER_S if spent else 0.0

    def wait_s(self, cause: str) -> float:
        """Return how long nothing more of *cause* should be read; 0.0 while no other cause waits."""
        if self.lag_s < LATE_S or cause not in self._spent:
            return 0.0
        share = self.share(cause)
        if share <= SHARE:
            return 0.0
        self._slowed.pop(cause, None)
        self._slowed[cause] = (share, self._monotonic())
        if len(self._slowed) > MAX_REPORTED:
            del self._slowed[next(iter(self._slowed))]
        return OVER_S * math.log(share / SHARE)

    def top(self) -> list[tuple[str, float]]:
        """Return the causes with the largest recent shares, at most MAX_REPORTED."""
        shares = ((cause, self.share(cause)) for cause in self._spent)
        return nlargest(
            MAX_REPORTED, (share for share in shares if share[1] >= MIN_REPORTED), key=lambda share: share[1]
        )

    def slowed(self, within_s: float) -> list[tuple[str, float]]:
        """Return the causes that had to wait *within_s*, with their shares at that time."""
        since = self._monotonic() - within_s
        self._slowed = {cause: one for cause, one in self._slowed.items() if one[1] >= since}
        return [(cause, share) for cause, (share, _) in self._slowed.items()]

    def collect(self) -> Iterator[Metric]:
        seconds = CounterMetricFamily(
            "hub_loop_seconds", "CPU time of the event loop, by the kind of its cause.", labels=["kind"]
        )
        for kind, spent in self._seconds.items():
            seconds.add_metric([kind], spent)
        yield seconds
        shares = GaugeMetricFamily(
            "hub_loop_share",
            f"Part of the event loop's time over the last {OVER_S:g} s,"
            f" of the {MAX_REPORTED} that took most.",
            labels=["cause"],
        )
        for cause, share in self.top():
            shares.add_metric([cause], share)
        yield shares


class LoopAccount:
    """Account of a request, or of a session, which its work is charged to.

    Attributes:
        cause: who pays; replaced once the caller is known.
        is_open: False: tasks that were started for it, and still run, are charged no more.
    """

    __slots__ = ("cause", "is_open", "meter")

    def __init__(self, meter: LoopMeter, cause: str) -> None:
        self.meter, self.cause, self.is_open = meter, cause, True

    def run(self, step: Callable[..., T], *values: Any) -> T:
        """Run a step of a task, and charge its time."""
        meter = self.meter
        if not self.is_open or meter.current == self.cause:  # by a step around this one
            return step(*values)
        outer, meter.current = meter.current, self.cause
        began = time.thread_time()
        led_here = min(max(0.0, began - meter.ended), MAX_TURN_S)
        try:
            return step(*values)
        finally:
            meter.ended = time.thread_time()
            meter.charge(self.cause, meter.ended - began + led_here)
            meter.current = outer


ACCOUNT: Final[ContextVar[LoopAccount | None]] = ContextVar("account", default=None)


class ChargedCoroutine(Coroutine[Any, Any, T]):
    """Coroutine of a task whose steps are charged to an account."""

    def __init__(self, work: Coroutine[Any, Any, T], account: LoopAccount) -> None:
        self._work, self._account = work, account

    def __getattr__(self, name: str) -> Any:  # its state, and its name in a log
        return getattr(self._work, name)

    def __await__(self) -> Generator[Any, Any, T]:
        return self  # it has all methods of a generator that are used

    def __next__(self) -> Any:
        return self.send(None)

    def send(self, value: Any) -> Any:
        return self._account.run(self._work.send, value)

    def throw(self, *error: Any) -> Any:
        return self._account.run(self._work.throw, *error)

    def close(self) -> None:
        self._work.close()


def charge_tasks(loop: asyncio.AbstractEventLoop) -> None:
    """Charge the tasks that are started from now on to the account in their context."""

    def create(loop: asyncio.AbstractEventLoop, work: Any, **options: Any) -> asyncio.Task[Any]:
        context = options.get("context")
        account = ACCOUNT.get() if context is None else context.get(ACCOUNT)
        if account is not None:
            work = ChargedCoroutine(work, account)
        return asyncio.Task(work, loop=loop, **options)

    loop.set_task_factory(create)


async def charged(account: LoopAccount, work: Coroutine[Any, Any, T]) -> T:
    """Run the coroutine *work*, and charge each of its steps on the loop to an account.

    The account is closed at the end, and counts for the tasks that are started meanwhile.
    """
    token = ACCOUNT.set(account)
    try:
        return await ChargedCoroutine(work, account)
    finally:
        account.is_open = False
        ACCOUNT.reset(token)

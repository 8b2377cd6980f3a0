"""CPU time of the event loop by cause: a device, an operator's token, a network or a model.

All clients share one loop, so expensive work of one client delays all others. The CPU time of incoming work
is charged to its cause. While the loop is late, a cause above its share has to wait before more of its data
is read. It is refused once it has used so much time that waiting does not help.
"""

import math
import time
import types
from collections import defaultdict
from collections.abc import Callable, Coroutine, Generator, Iterator
from contextlib import contextmanager
from heapq import nlargest
from typing import Any, Final, TypeVar

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from hub.clock import SystemClock

T = TypeVar("T")

OVER_S: Final = 3.0  # over which shares are taken: what was spent counts 1/e after so long
SHARE: Final = 0.1  # of the loop, that one cause may take while others wait
LATE_S: Final = 0.05  # the loop came round so late: others wait
MOST_WAIT_S: Final = 5.0  # who had to wait longer is refused instead
EVERY: Final = 64  # of work that is cheap, one in so many is measured
MOST_CAUSES: Final = 1_024  # remembered; beyond it the half that spent least is forgotten
MOST_REPORTED: Final = 5  # causes in a scrape
LEAST_REPORTED: Final = 0.01  # minimum share of a reported cause


class LoopMeter(Collector):
    """Recent share of each cause in the loop's time.

    Attributes:
        lag_s: last delay of the loop that was caused by its own work, not by the machine.
        current: the cause whose work is measured now; empty for none.
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

    def charge(self, cause: str, seconds: float) -> None:
        """Charge *seconds* of the loop's CPU time to *cause*."""
        now = self._monotonic()
        spent, at = self._spent.get(cause, (0.0, now))
        self._spent[cause] = (spent * math.exp((at - now) / OVER_S) + seconds, now)
        self._seconds[cause.partition(":")[0]] += seconds
        if len(self._spent) > MOST_CAUSES:
            longest = nlargest(MOST_CAUSES // 2, self._spent, key=self.share)
            self._spent = {one: self._spent[one] for one in longest}

    def run(self, cause: str, work: Callable[[Any], None], value: Any, times: int = 1) -> float:
        """Call *work* with *value*, charge its time multiplied by *times*, and return ``wait_s``."""
        outer, self.current = self.current, cause
        began = time.thread_time_ns()
        try:
            work(value)
        finally:
            ended = time.thread_time_ns()
            self.charge(cause, (ended - began) * times / 1e9)
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
        if len(self._slowed) > MOST_REPORTED:
            del self._slowed[next(iter(self._slowed))]
        return OVER_S * math.log(share / SHARE)

    def top(self) -> list[tuple[str, float]]:
        """Return the causes with the largest recent shares, at most MOST_REPORTED."""
        shares = ((cause, self.share(cause)) for cause in self._spent)
        return nlargest(
            MOST_REPORTED, (one for one in shares if one[1] >= LEAST_REPORTED), key=lambda one: one[1]
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
            f" of the {MOST_REPORTED} that took most.",
            labels=["cause"],
        )
        for cause, share in self.top():
            shares.add_metric([cause], share)
        yield shares


@types.coroutine
def charged(meter: LoopMeter, cause: str, work: Coroutine[Any, Any, T]) -> Generator[Any, Any, T]:
    """Run the coroutine *work*, and charge each of its steps on the loop to *cause*."""
    step: Callable[[Any], Any] = work.send
    value: Any = None
    while True:
        outer, meter.current = meter.current, cause
        began = time.thread_time()
        try:
            waited_for = step(value)
        except StopIteration as done:
            result: T = done.value
            return result
        finally:
            meter.charge(cause, time.thread_time() - began)
            meter.current = outer
        try:
            step, value = work.send, (yield waited_for)
        except BaseException as error:  # a cancellation, too, goes where it is meant to
            step, value = work.throw, error

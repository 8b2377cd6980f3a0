"""Fires that lie behind us: which there were, and which of them deserve a run.

``walk`` lists them, ``plan_fires`` decides by the schedule's own rules. Neither looks at
runs: what an earlier run still under way means for a fire is decided later.
"""

from bisect import bisect_left
from collections import deque
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal

from hub.schedules.trigger import Trigger

MOST_WALKED: Final = 1_000
TICK_LATE_MS: Final = 60_000  # a tick sleeps for 30 s at most, another node takes over within 15 s

_DAY_MS: Final = 24 * 60 * 60 * 1_000


class Coalesce(StrEnum):
    """Which of several missed fires deserve a run."""

    LATEST = "latest"
    EARLIEST = "earliest"
    ALL = "all"


@dataclass(frozen=True)
class Missed:
    """The fires of a time that has passed, at least one. UTC epoch milliseconds.

    Attributes:
        fires: the newest of them, ascending, at most 1,000.
        earlier: empty, unless there were too many to walk through: then the first 1,000, and the last one
            before *fires*. What lies between those two was not looked at.
        next_at: the first fire after that time.
    """

    fires: tuple[int, ...]
    earlier: tuple[int, ...] = ()
    next_at: int | None = None

    @property
    def oldest(self) -> int:
        return self.earlier[0] if self.earlier else self.fires[0]

    @property
    def newest(self) -> int:
        return self.fires[-1]

    @property
    def count(self) -> int:
        """How many; at least so many if *is_capped*."""
        return len(self.earlier) + len(self.fires)

    @property
    def is_capped(self) -> bool:
        return bool(self.earlier)

    @property
    def has_hole(self) -> bool:
        """Whether some fires were not looked at."""
        return len(self.earlier) > MOST_WALKED


@dataclass(frozen=True)
class Covered:
    """Consecutive fires that get no run of their own, from *first_at* to *fire_at*.

    Attributes:
        count: how many; a lower bound where the walk was capped.
        decision: ``coalesced``: another fire's run stands for them; ``skipped_window``: too old.
        of: the fire whose run stands for them; None if none does.
    """

    first_at: int
    fire_at: int
    count: int
    decision: Literal["coalesced", "skipped_window"]
    of: int | None = None


@dataclass(frozen=True)
class FirePlan:
    """What becomes of missed fires. Every one of them is in *runs* or within one of *covered*.

    Attributes:
        runs: fires that deserve a run, ascending.
        covered: the others, ascending.
        is_catchup: whether a fire in *runs* was missed, and not merely seen a moment late.
    """

    runs: tuple[int, ...]
    covered: tuple[Covered, ...]
    is_catchup: bool


def walk(trigger: Trigger, after_ms: int, until_ms: int) -> Missed | None:
    """The fires later than *after_ms* and not later than *until_ms*; None if there is none.

    After 1,000 of them the walk starts again a day before the newest, so that a year of a
    job that fires every minute takes some thousand steps.
    """
    fires: list[int] = []
    at = trigger.next_after(after_ms)
    while at is not None and at <= until_ms:
        if len(fires) == MOST_WALKED:
            return _newest_day(trigger, tuple(fires), until_ms)
        fires.append(at)
        at = trigger.next_after(at)
    return Missed(tuple(fires), next_at=at) if fires else None


def plan_fires(
    missed: Missed,
    *,
    coalesce: Coalesce | str,
    window_ms: int | None,
    max_catchup: int,
    now_ms: int,
    tick_late_ms: int = TICK_LATE_MS,
) -> FirePlan:
    """Decide which fires deserve a run.

    Args:
        coalesce: which of several: ``latest``, ``earliest``, or ``all``, that is the newest *max_catchup*.
        window_ms: fires older than this deserve none. None: none is too old. 0: only what is seen in time.
        now_ms: the time they are looked at, less the schedule's offset.
        tick_late_ms: a fire no older than this was seen in time.
    """
    known = missed.earlier + missed.fires
    old = 0
    if window_ms is not None:
        old = bisect_left(known, now_ms - max(window_ms, tick_late_ms))
        if missed.has_hole and old == len(missed.earlier) - 1:
            old += 1  # the window begins in the hole: what was not looked at goes with what is too old
    worth = known[old:]
    match Coalesce(coalesce):
        case Coalesce.LATEST:
            runs = worth[-1:]
        case Coalesce.EARLIEST:
            runs = worth[:1]
        case Coalesce.ALL:
            runs = worth[max(0, len(worth) - max_catchup) :]
    covered = _covered(known[:old], "skipped_window", None)
    if runs:
        covered += _covered(tuple(at for at in worth if at < runs[0]), "coalesced", runs[0])
        covered += _covered(tuple(at for at in worth if at > runs[-1]), "coalesced", runs[-1])
    return FirePlan(runs, covered, bool(runs) and runs[0] < now_ms - tick_late_ms)


def _newest_day(trigger: Trigger, first: tuple[int, ...], until_ms: int) -> Missed:
    """The fires up to *until_ms*, *first* being the first of them."""
    newest = _last_fire(trigger, first[-1], until_ms)
    start = _last_fire(trigger, first[-1], max(first[-1], newest - _DAY_MS))
    fires: deque[int] = deque(maxlen=MOST_WALKED)
    before = start
    at = trigger.next_after(start)
    while at is not None and at <= until_ms:
        if len(fires) == MOST_WALKED:
            before = fires[0]
        fires.append(at)
        at = trigger.next_after(at)
    return Missed(tuple(fires), first if before == first[-1] else (*first, before), at)


def _last_fire(trigger: Trigger, fire_at: int, until_ms: int) -> int:
    """The last fire up to *until_ms*; *fire_at* is one of those. Some 40 steps, however many there are."""
    low, high = fire_at, until_ms  # a fire; nothing fires after this one and until then
    while low < high:
        middle = (low + high) // 2
        later = trigger.next_after(middle)
        if later is not None and later <= until_ms:
            low = later
        else:
            high = middle
    return low


def _covered(
    fires: tuple[int, ...], decision: Literal["coalesced", "skipped_window"], of: int | None
) -> tuple[Covered, ...]:
    return (Covered(fires[0], fires[-1], len(fires), decision, of),) if fires else ()

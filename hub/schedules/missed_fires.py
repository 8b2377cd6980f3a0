"""Missed fires of a schedule: which of them still get a run. Pure functions.

``walk`` lists the fires, and ``plan_fires`` applies the schedule's policies. Neither considers active runs:
``storage.schedules.fires`` applies the overlap policy.
"""

from bisect import bisect_left
from collections import deque
from dataclasses import dataclass
from typing import Final, Literal

from hub.base.fire_counts import MAX_WALKED
from hub.schedules.trigger import Trigger

# maximum age of a fire processed in time: a round waits 30 s at most, and another node takes over within 15 s
TICK_LATE_MS: Final = 60_000

_DAY_MS: Final = 24 * 60 * 60 * 1_000


# Policy for several missed fires: which of them get a run.
Coalesce = Literal["latest", "earliest", "all"]


@dataclass(frozen=True)
class MissedFires:
    """Fires within a past period, at least one. UTC epoch milliseconds.

    Attributes:
        fires: the newest fires, ascending, at most 1,000.
        earlier: empty unless the period had too many fires: then the first 1,000, and the last fire before
            *fires*. The fires between these two were not enumerated.
        next_at: the first fire after the period.
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
        """Number of fires; a lower bound if *is_capped*."""
        return len(self.earlier) + len(self.fires)

    @property
    def is_capped(self) -> bool:
        return bool(self.earlier)

    @property
    def has_hole(self) -> bool:
        """True if some fires were not enumerated."""
        return len(self.earlier) > MAX_WALKED


@dataclass(frozen=True)
class CoveredFires:
    """Consecutive fires without a run of their own, from *first_at* to *fire_at*.

    Attributes:
        count: number of fires; a lower bound if the walk was capped.
        decision: ``coalesced`` if another fire's run covers them, ``skipped_window`` if they are too old.
        of: the fire whose run covers them, or None.
    """

    first_at: int
    fire_at: int
    count: int
    decision: Literal["coalesced", "skipped_window"]
    of: int | None = None


@dataclass(frozen=True)
class FirePlan:
    """Decision on missed fires. Every fire is in *runs* or within *covered*.

    Attributes:
        runs: fires that get a run, ascending.
        covered: all other fires, ascending.
        is_catchup: True if a fire in *runs* was missed, not only processed a moment late.
    """

    runs: tuple[int, ...]
    covered: tuple[CoveredFires, ...]
    is_catchup: bool


def walk(trigger: Trigger, after_ms: int, until_ms: int) -> MissedFires | None:
    """Return the fires after *after_ms* and up to *until_ms*, or None if there is none.

    After 1,000 fires, the walk continues from a day before the newest. So a year of a job that fires every
    minute takes only some thousand steps.
    """
    fires: list[int] = []
    at = trigger.next_after(after_ms)
    while at is not None and at <= until_ms:
        if len(fires) == MAX_WALKED:
            return _newest_day(trigger, tuple(fires), until_ms)
        fires.append(at)
        at = trigger.next_after(at)
    return MissedFires(tuple(fires), next_at=at) if fires else None


def plan_fires(
    missed: MissedFires,
    *,
    coalesce: Coalesce,
    window_ms: int | None,
    max_catchup: int,
    now_ms: int,
) -> FirePlan:
    """Select the fires that get a run.

    Args:
        coalesce: policy for several fires: ``latest``, ``earliest``, or ``all``, limited to the newest
            *max_catchup*.
        window_ms: maximum age of a fire. None for no limit; 0 for fires processed in time only.
        now_ms: the current time minus the schedule's offset.
    """
    known = missed.earlier + missed.fires
    old = 0
    if window_ms is not None:
        old = bisect_left(known, now_ms - max(window_ms, TICK_LATE_MS))
        if missed.has_hole and old == len(missed.earlier) - 1:
            old += 1  # the window begins among the unenumerated fires, which count as too old
    worth = known[old:]
    match coalesce:
        case "latest":
            runs = worth[-1:]
        case "earliest":
            runs = worth[:1]
        case "all":
            runs = worth[max(0, len(worth) - max_catchup) :]
    covered = _covered(known[:old], "skipped_window", None)
    if runs:
        covered += _covered(tuple(at for at in worth if at < runs[0]), "coalesced", runs[0])
        covered += _covered(tuple(at for at in worth if at > runs[-1]), "coalesced", runs[-1])
    return FirePlan(runs, covered, bool(runs) and runs[0] < now_ms - TICK_LATE_MS)


def _newest_day(trigger: Trigger, first: tuple[int, ...], until_ms: int) -> MissedFires:
    """Return the newest fires up to *until_ms*, given the *first* fires of the period."""
    newest = _last_fire(trigger, first[-1], until_ms)
    start = _last_fire(trigger, first[-1], max(first[-1], newest - _DAY_MS))
    fires: deque[int] = deque(maxlen=MAX_WALKED)
    before = start
    at = trigger.next_after(start)
    while at is not None and at <= until_ms:
        if len(fires) == MAX_WALKED:
            before = fires[0]
        fires.append(at)
        at = trigger.next_after(at)
    return MissedFires(tuple(fires), first if before == first[-1] else (*first, before), at)


def _last_fire(trigger: Trigger, fire_at: int, until_ms: int) -> int:
    """Return the last fire up to *until_ms*, by bisection from the fire *fire_at*; about 40 steps."""
    low, high = fire_at, until_ms  # invariant: the last fire is at or after low, and not after high
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
) -> tuple[CoveredFires, ...]:
    return (CoveredFires(fires[0], fires[-1], len(fires), decision, of),) if fires else ()

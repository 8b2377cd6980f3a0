"""Overlap policies: the fate of a fire while earlier runs of its schedule are not over. Pure."""

from enum import Enum, auto
from typing import assert_never

import msgspec

from storage.schedules.schedule_rows import Overlap


class QueueLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Limits on waiting scheduled runs; fires beyond them are dropped, and recorded."""

    per_schedule: int = 100
    per_device: int = 1_000  # of all schedules together


class Fate(Enum):
    """Fate of a fire."""

    RUN = auto()  # queue a run
    MERGE = auto()  # the waiting run covers it
    SKIP = auto()  # the run under way suffices
    DROP = auto()  # too many runs wait already
    REPLACE = auto()  # cancel runs under way and waiting runs, then queue a run


def decide_overlap(policy: Overlap, *, is_under_way: bool, is_waiting: bool, queued: int, most: int) -> Fate:
    """Return the fate of a fire under *policy*.

    Args:
        is_under_way: a run of the schedule began and is not over; may be paused.
        is_waiting: a run of the schedule never started.
        queued: number of runs that never started.
        most: maximum of *queued*.
    """
    match policy:
        case "skip":
            if is_waiting:
                return Fate.MERGE
            return Fate.SKIP if is_under_way else Fate.RUN
        case "queue_one":
            return Fate.MERGE if is_waiting else Fate.RUN
        case "cancel_running":
            return Fate.REPLACE if is_under_way or is_waiting else Fate.RUN
        case "queue_all" | "allow":
            return Fate.DROP if queued >= most else Fate.RUN
        case never:
            assert_never(never)

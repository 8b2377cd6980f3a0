"""What becomes of a fire while earlier runs of its schedule are not over. Pure."""

from enum import Enum, auto
from typing import assert_never

import msgspec

from storage.schedules.schedule_rows import Overlap


class QueueLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How many fired runs may wait; a fire beyond is dropped, and said to be. Scheduling 3.11."""

    per_schedule: int = 100
    per_device: int = 1_000  # of all schedules together


class Fate(Enum):
    """What becomes of a fire."""

    RUN = auto()  # a run is queued
    MERGE = auto()  # the run that waits stands for it, too
    SKIP = auto()  # the run that is under way is enough
    DROP = auto()  # too many wait already
    REPLACE = auto()  # what is under way and what waits is cancelled, and a run is queued


def decide_overlap(policy: Overlap, *, is_under_way: bool, is_waiting: bool, queued: int, most: int) -> Fate:
    """What becomes of a fire under *policy*.

    Args:
        is_under_way: a run of the schedule has begun and is not over, paused ones too.
        is_waiting: a run of the schedule was never started.
        queued: how many of those there are.
        most: how many of them there may be.
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

"""The table of overlaps, whole."""

from itertools import product
from typing import get_args

from storage.schedules.fires import decide_overlap
from storage.schedules.schedule_rows import Overlap
from tests.support.families import each

# What becomes of a fire: while nothing is there, a run is under way, one waits, both.
TABLE = {
    "skip": ("run", "skip", "merge", "merge"),
    "queue_one": ("run", "run", "merge", "merge"),
    "queue_all": ("run", "run", "run", "run"),
    "cancel_running": ("run", "replace", "replace", "replace"),
    "allow": ("run", "run", "run", "run"),
}


@each("policy", get_args(Overlap))
def test_each_policy_decides_its_fires(policy: Overlap) -> None:
    found = tuple(
        decide_overlap(policy, is_under_way=under_way, is_waiting=waiting, queued=int(waiting), most=9)
        for waiting, under_way in product((False, True), repeat=2)
    )
    assert found == TABLE[policy]


@each("policy", ["queue_all", "allow"])
def test_no_more_runs_of_a_schedule_wait_than_may(policy: Overlap) -> None:
    fates = [
        decide_overlap(policy, is_under_way=True, is_waiting=True, queued=queued, most=9) for queued in (8, 9)
    ]
    assert fates == ["run", "drop"]

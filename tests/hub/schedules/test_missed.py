"""Which fires were missed, and which of them deserve a run."""

from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from hub.schedules.trigger import (
    AtTrigger,
    Coalesce,
    Covered,
    EveryTrigger,
    FirePlan,
    Missed,
    plan_fires,
    walk,
)
from tests.hub.schedules.instants import cron, ms
from tests.support.families import each

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS


HOURS = tuple(hour * HOUR_MS for hour in range(1, 6))
IN_TIME = FirePlan(HOURS[:1], (), is_catchup=False)
SKIPPED_ALL = (Covered(HOURS[0], HOURS[4], 5, "skipped_window"),)
# Arguments of a plan, and what is planned.
PLANS: dict[str, tuple[dict[str, Any], FirePlan]] = {
    "seen in time": ({"fires": HOURS[:1]}, IN_TIME),
    "seen in time, window of nothing": ({"fires": HOURS[:1], "window_ms": 0}, IN_TIME),
    "seen in time, window": ({"fires": HOURS[:1], "window_ms": HOUR_MS}, IN_TIME),
    "without a window the newest, however old": (
        {"late_ms": 400 * DAY_MS},
        FirePlan(HOURS[-1:], (Covered(HOURS[0], HOURS[3], 4, "coalesced", HOURS[4]),), is_catchup=True),
    ),
    "older than the window": (
        {"window_ms": 2 * HOUR_MS},
        FirePlan(
            HOURS[-1:],
            (
                Covered(HOURS[0], HOURS[2], 3, "skipped_window"),
                Covered(HOURS[3], HOURS[3], 1, "coalesced", HOURS[4]),
            ),
            is_catchup=False,
        ),
    ),
    "all older than the window": (
        {"window_ms": 2 * HOUR_MS, "late_ms": 3 * HOUR_MS},
        FirePlan((), SKIPPED_ALL, is_catchup=False),
    ),
    "window of nothing, seen in time": (
        {"window_ms": 0},
        FirePlan(HOURS[-1:], (Covered(HOURS[0], HOURS[3], 4, "skipped_window"),), is_catchup=False),
    ),
    "window of nothing, too late": (
        {"window_ms": 0, "late_ms": 2 * MINUTE_MS},
        FirePlan((), SKIPPED_ALL, is_catchup=False),
    ),
    "the earliest covers those after it": (
        {"coalesce": "earliest", "window_ms": 3 * HOUR_MS},
        FirePlan(
            (HOURS[2],),
            (
                Covered(HOURS[0], HOURS[1], 2, "skipped_window"),
                Covered(HOURS[3], HOURS[4], 2, "coalesced", HOURS[2]),
            ),
            is_catchup=True,
        ),
    ),
    "all": ({"coalesce": "all", "window_ms": DAY_MS}, FirePlan(HOURS, (), is_catchup=True)),
    "all up to the most": (
        {"coalesce": "all", "window_ms": DAY_MS, "max_catchup": 2},
        FirePlan(HOURS[3:], (Covered(HOURS[0], HOURS[2], 3, "coalesced", HOURS[3]),), is_catchup=True),
    ),
}


def test_nothing_was_missed_where_nothing_fired() -> None:
    assert walk(cron("0 7 * * *"), ms("2026-01-05T07:00"), ms("2026-01-06T06:59")) is None


def test_a_walk_takes_its_end_in_and_leaves_its_beginning_out() -> None:
    daily = cron("0 7 * * *")
    missed = walk(daily, ms("2026-01-05T07:00"), ms("2026-01-07T07:00"))
    assert missed == Missed((ms("2026-01-06T07:00"), ms("2026-01-07T07:00")), next_at=ms("2026-01-08T07:00"))
    assert (missed.oldest, missed.newest, missed.count) == (*missed.fires, 2)
    assert not missed.is_capped


def test_a_single_instant_is_missed_once_and_never_comes_again() -> None:
    assert (walk(AtTrigger(5), 0, 10), walk(AtTrigger(5), 5, 10)) == (Missed((5,), next_at=None), None)


def test_a_thousand_fires_are_walked_through_and_no_more() -> None:
    every_minute = cron("* * * * *")
    thousand = walk(every_minute, 0, 1_000 * MINUTE_MS)
    assert thousand is not None and thousand.count == 1_000 and not thousand.is_capped
    one_more = walk(every_minute, 0, 1_001 * MINUTE_MS)
    assert one_more is not None and one_more.is_capped
    assert (one_more.oldest, one_more.newest) == (MINUTE_MS, 1_001 * MINUTE_MS)


def test_a_year_of_every_minute_is_walked_from_its_last_day() -> None:
    until = ms("2026-11-20T06:30")
    missed = walk(cron("* * * * *", "Europe/Berlin"), until - 365 * DAY_MS, until)
    assert missed is not None and missed.is_capped and missed.has_hole
    assert missed.oldest == until - 365 * DAY_MS + MINUTE_MS
    assert missed.fires == tuple(range(until - 999 * MINUTE_MS, until + 1, MINUTE_MS))
    assert (missed.earlier[-1], missed.count) == (until - 1_000 * MINUTE_MS, 2_001)
    assert missed.next_at == until + MINUTE_MS


def test_the_newest_fire_is_found_however_long_ago_it_was() -> None:
    missed = walk(cron("* * 1 1 *"), ms("2024-01-01"), ms("2026-11-20T06:30"))
    assert missed is not None and missed.newest == ms("2026-01-01T23:59")
    assert missed.next_at == ms("2027-01-01")


@given(
    st.integers(5_000, 3_000_000), st.integers(0, 10_000), st.integers(0, 10**9), st.integers(1, 40 * DAY_MS)
)
def test_a_walk_knows_the_oldest_and_the_newest_fire_and_the_last_before_those_it_lists(
    every_ms: int, anchor_ms: int, after_ms: int, span_ms: int
) -> None:
    trigger = EveryTrigger(every_ms, anchor_ms)
    until_ms = after_ms + span_ms
    missed = walk(trigger, after_ms, until_ms)
    oldest = trigger.next_after(after_ms)
    assert oldest is not None
    if missed is None:
        assert oldest > until_ms
        return
    assert missed.oldest == oldest
    assert missed.newest == anchor_ms + (until_ms - anchor_ms) // every_ms * every_ms
    assert missed.next_at == missed.newest + every_ms
    assert len(missed.fires) <= 1_000
    assert all(trigger.next_after(earlier) == later for earlier, later in pairwise(missed.fires))
    if missed.is_capped:
        assert trigger.next_after(missed.earlier[-1]) == missed.fires[0]
    if not missed.has_hole:
        assert missed.count == (missed.newest - missed.oldest) // every_ms + 1


def test_fires_beyond_the_walk_are_skipped_with_those_outside_the_window() -> None:
    until = ms("2026-11-20T06:30")
    missed = walk(cron("* * * * *"), until - 30 * DAY_MS, until)
    assert missed is not None
    found = plan_fires(missed, coalesce="latest", window_ms=3 * DAY_MS, max_catchup=10, now_ms=until + 1_000)
    skipped, coalesced = found.covered
    assert (found.runs, skipped.first_at, skipped.decision) == ((until,), missed.oldest, "skipped_window")
    assert (skipped.fire_at + MINUTE_MS, coalesced.fire_at + MINUTE_MS) == (coalesced.first_at, until)


@each("case", PLANS)
def test_missed_fires_run_are_coalesced_or_skipped(case: str) -> None:
    given, expected = PLANS[case]
    fires = given.get("fires", HOURS)
    now_ms = fires[-1] + given.get("late_ms", 1_000)
    rules = {"coalesce": "latest", "window_ms": None, "max_catchup": 10} | given
    rules = {name: value for name, value in rules.items() if name not in ("fires", "late_ms")}
    assert plan_fires(Missed(fires), now_ms=now_ms, **rules) == expected


@given(
    st.integers(1, 3_000),
    st.sampled_from(["latest", "earliest", "all"]),
    st.none() | st.integers(0, 4_000 * MINUTE_MS),
    st.integers(1, 20),
    st.integers(0, 100 * MINUTE_MS),
)
def test_every_fire_runs_or_is_covered_exactly_once(
    count: int, coalesce: Coalesce, window_ms: int | None, max_catchup: int, late_ms: int
) -> None:
    until = ms("2026-11-20T06:30")
    missed = walk(EveryTrigger(MINUTE_MS, 0), until - count * MINUTE_MS, until)
    assert missed is not None
    found = plan_fires(
        missed, coalesce=coalesce, window_ms=window_ms, max_catchup=max_catchup, now_ms=until + late_ms
    )
    covered = [(group.first_at, group.fire_at) for group in found.covered]
    spans = sorted([*((fire, fire) for fire in found.runs), *covered])
    assert spans[0][0] == missed.oldest and spans[-1][1] == missed.newest
    assert all(later[0] == earlier[1] + MINUTE_MS for earlier, later in pairwise(spans))
    assert len(found.runs) + sum(group.count for group in found.covered) == missed.count
    assert all(group.of is None or group.of in found.runs for group in found.covered)

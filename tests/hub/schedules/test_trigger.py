"""When schedules fire, and what people are shown of it: cron in a time zone, intervals, single instants."""

from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.schedules.cron import BadSchedule, parse_cron
from hub.schedules.cron_comparison import check_reading
from hub.schedules.missed_fires import Coalesce, CoveredFires, FirePlan, MissedFires, plan_fires, walk
from hub.schedules.trigger import (
    AtTrigger,
    EveryTrigger,
    offset_ms,
    stretch_at,
    trigger_of,
    tzdata_digest,
    upcoming,
)
from tests.hub.schedules.instants import cron, ms, next_fires
from tests.support.families import each

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS


# A job, its zone, an instant, and the fires after it.
FIRES = {
    "skipped fixed time, at the change": (
        "30 2 * * *",
        "Europe/Berlin",
        "2026-03-28T12:00",
        "2026-03-29T01:00 2026-03-30T00:30",
    ),
    "several skipped times, once": (
        "0,20,40 2 * * *",
        "Europe/Berlin",
        "2026-03-28T12:00",
        "2026-03-29T01:00 2026-03-30T00:00",
    ),
    "fixed time that comes twice, the first time": (
        "30 2 * * *",
        "Europe/Berlin",
        "2026-10-24T12:00",
        "2026-10-25T00:30 2026-10-26T01:30",
    ),
    "asked at the first pass": ("30 2 * * *", "Europe/Berlin", "2026-10-25T00:30", "2026-10-26T01:30"),
    "asked at the change": ("30 2 * * *", "Europe/Berlin", "2026-10-25T01:00", "2026-10-26T01:30"),
    "asked before the second pass": ("30 2 * * *", "Europe/Berlin", "2026-10-25T01:29", "2026-10-26T01:30"),
    "asked after the second pass": ("30 2 * * *", "Europe/Berlin", "2026-10-25T01:59", "2026-10-26T01:30"),
    "wildcard job, skipped": ("*/30 2 * * *", "Europe/Berlin", "2026-03-28T12:00", "2026-03-30T00:00"),
    "wildcard job, repeated": (
        "*/30 2 * * *",
        "Europe/Berlin",
        "2026-10-24T12:00",
        "2026-10-25T00:00 2026-10-25T00:30 2026-10-25T01:00 2026-10-25T01:30 2026-10-26T01:00",
    ),
    "half an hour forward": (
        "15 2 * * *",
        "Australia/Lord_Howe",
        "2026-10-03T00:00",
        "2026-10-03T15:30 2026-10-04T15:15",
    ),
    "half an hour back": (
        "45 1 * * *",
        "Australia/Lord_Howe",
        "2026-04-04T00:00",
        "2026-04-04T14:45 2026-04-05T15:15",
    ),
    "midnight that does not exist, at one": (
        "0 0 * * *",
        "America/Havana",
        "2026-03-08T00:00",
        "2026-03-08T05:00 2026-03-09T04:00",
    ),
    "midnight that comes twice, one day": (
        "@daily",
        "America/Havana",
        "2026-10-31T12:00",
        "2026-11-01T04:00 2026-11-02T05:00",
    ),
    "change at one minute past midnight": (
        "30 */3 * * *",
        "America/St_Johns",
        "2010-11-07T00:47",
        "2010-11-07T04:00 2010-11-07T07:00 2010-11-07T10:00",
    ),
    "a day that is left out, at the first minute of the next": (
        "0 12 * * *",
        "Pacific/Apia",
        "2011-12-29T12:00",
        "2011-12-29T22:00 2011-12-30T10:00 2011-12-30T22:00",
    ),
    "back for Ramadan": (
        "30 2 * * *",
        "Africa/Casablanca",
        "2026-02-14T12:00",
        "2026-02-15T01:30 2026-02-16T02:30",
    ),
    "forward after it": (
        "30 2 * * *",
        "Africa/Casablanca",
        "2026-03-21T12:00",
        "2026-03-22T02:00 2026-03-23T01:30",
    ),
    # Pyongyang went from +09:00 to +08:30 in 2015 and back in 2018, both at midnight.
    "offset changed for good": (
        "45 23 * * *",
        "Asia/Pyongyang",
        "2015-08-14T12:00",
        "2015-08-14T14:45 2015-08-15T15:15",
    ),
    "and changed back": (
        "45 23 * * *",
        "Asia/Pyongyang",
        "2018-05-04T12:00",
        "2018-05-04T15:00 2018-05-05T14:45",
    ),
    "century without its leap day": ("0 0 29 2 *", "UTC", "2096-03-01", "2104-02-29T00:00"),
    "leap day on a Tuesday": ("0 0 29 2 +TUE", "UTC", "2028-02-29", "2056-02-29T00:00"),
}


@each("case", FIRES)
def test_fires_around_changes_of_clocks_and_rare_days(case: str) -> None:
    expression, tz, after, fires = FIRES[case]
    expected = [f"{fire}:00Z" for fire in fires.split()]
    assert next_fires(cron(expression, tz), after, len(expected)) == expected


def test_cron_trigger_has_no_fire_after_the_last_calendar_year() -> None:
    assert cron("* * * * *", "Europe/Berlin").next_after(ms("9998-12-31")) is None


def test_interval_trigger_counts_from_the_anchor_across_clock_changes() -> None:
    trigger = EveryTrigger(every_ms=90 * 60_000, anchor_ms=ms("2026-03-28T23:00"))
    assert next_fires(trigger, "2026-03-28T23:00", 3) == [
        "2026-03-29T00:30:00Z",
        "2026-03-29T02:00:00Z",
        "2026-03-29T03:30:00Z",
    ]
    asked = [ms("2026-03-28T23:00") - DAY_MS, ms("2026-03-29T00:30") - 1]
    assert list(map(trigger.next_after, asked)) == [ms("2026-03-28T23:00"), ms("2026-03-29T00:30")]


def test_an_interval_below_five_seconds_is_refused() -> None:
    with pytest.raises(BadSchedule, match="at least 5 seconds") as refused:
        EveryTrigger(every_ms=4_999, anchor_ms=0)
    assert refused.value.reason == "interval_too_short"
    assert EveryTrigger(every_ms=5_000, anchor_ms=0).next_after(0) == 5_000


def test_single_time_trigger_fires_once() -> None:
    trigger = AtTrigger(1_000)
    assert (trigger.next_after(999), trigger.next_after(1_000)) == (1_000, None)


@each(
    ("expression", "period_ms"),
    [
        ("* * * * *", 60_000),
        ("*/15 * * * *", 15 * 60_000),
        ("5-59/15 * * * *", 15 * 60_000),
        ("0,59 * * * *", 60_000),
        ("0 1,23 * * *", 2 * HOUR_MS),
        ("0 7 * * *", DAY_MS),
        ("0 7 * * 1,3", 2 * DAY_MS),
        ("0 7 * * MON", 7 * DAY_MS),
        ("0 7 1 * *", 28 * DAY_MS),
        ("0,30 7 * * MON", 30 * 60_000),
        ("0 0 29 2 *", 1_461 * DAY_MS),
    ],
)
def test_the_period_is_the_smallest_gap_between_two_fires(expression: str, period_ms: int) -> None:
    assert cron(expression, "Europe/Berlin").period_ms() == period_ms


def test_schedule_row_is_read_as_the_trigger_of_the_row_kind() -> None:
    every = trigger_of(kind="every", expr=None, every_ms=60_000, at_ms=None, tz="UTC", anchor_ms=7)
    once = trigger_of(kind="at", expr=None, every_ms=None, at_ms=5, tz="UTC", anchor_ms=7)
    assert (every, once) == (EveryTrigger(60_000, 7), AtTrigger(5))
    assert cron("0 7 * * *", "Europe/Berlin") is cron("0 7 * * *", "Europe/Berlin")


@each(
    ("kind", "expr", "tz", "reason"),
    [
        ("cron", "0 7 * * *", "Europe/Atlantis", "unknown_timezone"),
        ("cron", "0 7 * * *", "../etc/passwd", "unknown_timezone"),
        ("cron", "0 7 * *", "UTC", "field_count"),
        ("cron", None, "UTC", "bad_trigger"),
        ("at", None, "UTC", "bad_trigger"),
        ("every", "0 7 * * *", "UTC", "bad_trigger"),
        ("moon", "0 7 * * *", "UTC", "bad_trigger"),
    ],
)
def test_unreadable_schedule_row_is_refused(kind: str, expr: str | None, tz: str, reason: str) -> None:
    with pytest.raises(BadSchedule) as refused:
        trigger_of(kind=kind, expr=expr, every_ms=None, at_ms=None, tz=tz, anchor_ms=0)
    assert refused.value.reason == reason


def test_jitter_is_the_same_at_every_start_and_spreads_schedules_evenly() -> None:
    assert (offset_ms("schedule-1", 120_000), offset_ms("schedule-1", 0)) == (110_255, 0)
    offsets = [offset_ms(f"schedule-{number}", 9) for number in range(1_000)]
    assert all(70 < offsets.count(offset) < 130 for offset in range(10))


def test_a_change_of_the_clocks_is_found_to_the_minute() -> None:
    zone = ZoneInfo("Europe/Berlin")
    change = ms("2026-03-29T01:00") // 60_000
    before, after = stretch_at(zone, change - 1), stretch_at(zone, change)
    assert (before.ends_at, before.offset) == (change, 60)
    assert (after.starts_at, after.offset, after.jump) == (change, 120, 60)


def test_stretch_of_a_time_zone_starts_at_least_a_day_before() -> None:
    day = DAY_MS // 60_000
    for today in range(ms("2026-01-01") // 60_000, ms("2031-01-01") // 60_000, day):
        assert stretch_at(ZoneInfo("UTC"), today).starts_at <= today - day


def test_time_zone_digest_is_stable() -> None:
    assert (tzdata_digest(), len(tzdata_digest())) == (tzdata_digest(), 32)


def test_the_next_five_fires_are_shown_in_utc_and_where_the_agent_lives() -> None:
    found = upcoming(cron("0 7 * * *", "Europe/Berlin"), ms("2026-01-05T12:00"), tz="Europe/Berlin")
    assert (len(found), found[0].at.isoformat()) == (5, "2026-01-06T06:00:00+00:00")
    assert found[0].local.isoformat() == "2026-01-06T07:00:00+01:00"
    assert {fire.shift for fire in found} == {None}


def test_single_time_trigger_has_at_most_a_single_upcoming_fire() -> None:
    assert upcoming(AtTrigger(ms("2026-01-06")), ms("2026-01-07"), tz="UTC") == []
    (once,) = upcoming(AtTrigger(ms("2026-01-06")), ms("2026-01-05"), tz="UTC")
    assert once.at.isoformat() == "2026-01-06T00:00:00+00:00"


def test_an_interval_is_not_moved_by_clocks() -> None:
    every = EveryTrigger(30 * 60_000, ms("2026-10-25T00:00"))
    found = upcoming(every, ms("2026-10-25T00:00"), tz="Europe/Berlin")
    assert {later.at - earlier.at for earlier, later in pairwise(found)} == {timedelta(minutes=30)}
    assert {fire.shift for fire in found} == {None}


@each(
    ("expression", "tz", "after", "expected"),
    [
        (
            "30 2 * * *",
            "Europe/Berlin",
            "2026-03-28T12:00",
            [("03-29 03:00", "02:30 does not exist that night; fires at 03:00"), ("03-30 02:30", None)],
        ),
        (
            "10,20,30 2 * * *",
            "Europe/Berlin",
            "2026-03-28T12:00",
            [
                ("03-29 03:00", "02:10 to 02:30 do not exist that night; fires once, at 03:00"),
                ("03-30 02:10", None),
            ],
        ),
        (
            "0 0 * * *",
            "America/Havana",
            "2026-03-07T12:00",
            [("03-08 01:00", "00:00 does not exist that night; fires at 01:00"), ("03-09 00:00", None)],
        ),
        (
            "0 12 * * *",
            "Pacific/Apia",
            "2011-12-30T00:00",
            [("12-31 00:00", "12:00 does not exist on 2011-12-30; fires at 00:00"), ("12-31 12:00", None)],
        ),
        (
            "0 9 * * *",
            "Antarctica/Casey",
            "2016-10-21T12:00",
            [("10-22 09:00", None), ("10-23 09:00", None)],
        ),
        (
            "30 2 * * *",
            "Europe/Berlin",
            "2026-10-24T12:00",
            [("10-25 02:30", "clock goes back; first 02:30"), ("10-26 02:30", None)],
        ),
        (
            "*/30 2 * * *",
            "Europe/Berlin",
            "2026-10-25T00:00",
            [
                ("10-25 02:30", "clock goes back; first 02:30"),
                ("10-25 02:00", "clock goes back; second 02:00"),
            ],
        ),
        (
            "*/30 2 * * *",
            "Europe/Berlin",
            "2026-03-28T12:00",
            [("03-30 02:00", "02:00 to 02:30 do not exist on 2026-03-29; left out"), ("03-30 02:30", None)],
        ),
        (
            "*/15 * * * *",
            "Europe/Berlin",
            "2026-03-29T00:40",
            [("03-29 01:45", None), ("03-29 03:00", "02:00 to 02:45 do not exist that night; left out")],
        ),
        (
            "*/30 0 * * *",
            "Antarctica/Casey",
            "2016-10-21T14:00",
            [("10-23 00:00", "00:00 to 00:30 do not exist on 2016-10-22; left out"), ("10-23 00:30", None)],
        ),
        (
            "*/30 2 29 3 *",
            "Europe/Berlin",
            "2026-03-28T12:00",
            [("03-29 02:00", "02:00 to 02:30 do not exist on 2026-03-29; left out"), ("03-29 02:30", None)],
        ),
    ],
)
def test_a_sentence_describes_the_effect_of_a_clock_change_on_a_fire(
    expression: str, tz: str, after: str, expected: list[tuple[str, str | None]]
) -> None:
    found = upcoming(cron(expression, tz), ms(after), tz=tz, count=2)
    assert [(f"{fire.local:%m-%d %H:%M}", fire.shift) for fire in found] == expected


# --- which fires were missed, and which of them deserve a run ---


MINUTE_MS = 60_000


HOURS = tuple(hour * HOUR_MS for hour in range(1, 6))
IN_TIME = FirePlan(HOURS[:1], (), is_catchup=False)
SKIPPED_ALL = (CoveredFires(HOURS[0], HOURS[4], 5, "skipped_window"),)
# Arguments of a plan, and what is planned.
PLANS: dict[str, tuple[dict[str, Any], FirePlan]] = {
    "seen in time": ({"fires": HOURS[:1]}, IN_TIME),
    "seen in time, window of nothing": ({"fires": HOURS[:1], "window_ms": 0}, IN_TIME),
    "seen in time, window": ({"fires": HOURS[:1], "window_ms": HOUR_MS}, IN_TIME),
    "without a window the newest, however old": (
        {"late_ms": 400 * DAY_MS},
        FirePlan(HOURS[-1:], (CoveredFires(HOURS[0], HOURS[3], 4, "coalesced", HOURS[4]),), is_catchup=True),
    ),
    "older than the window": (
        {"window_ms": 2 * HOUR_MS},
        FirePlan(
            HOURS[-1:],
            (
                CoveredFires(HOURS[0], HOURS[2], 3, "skipped_window"),
                CoveredFires(HOURS[3], HOURS[3], 1, "coalesced", HOURS[4]),
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
        FirePlan(HOURS[-1:], (CoveredFires(HOURS[0], HOURS[3], 4, "skipped_window"),), is_catchup=False),
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
                CoveredFires(HOURS[0], HOURS[1], 2, "skipped_window"),
                CoveredFires(HOURS[3], HOURS[4], 2, "coalesced", HOURS[2]),
            ),
            is_catchup=True,
        ),
    ),
    "all": ({"coalesce": "all", "window_ms": DAY_MS}, FirePlan(HOURS, (), is_catchup=True)),
    "all up to the most": (
        {"coalesce": "all", "window_ms": DAY_MS, "max_catchup": 2},
        FirePlan(HOURS[3:], (CoveredFires(HOURS[0], HOURS[2], 3, "coalesced", HOURS[3]),), is_catchup=True),
    ),
}


def test_walk_without_a_fire_in_the_interval_is_none() -> None:
    assert walk(cron("0 7 * * *"), ms("2026-01-05T07:00"), ms("2026-01-06T06:59")) is None


def test_walk_of_missed_fires_includes_the_end_and_excludes_the_start() -> None:
    daily = cron("0 7 * * *")
    missed = walk(daily, ms("2026-01-05T07:00"), ms("2026-01-07T07:00"))
    assert missed == MissedFires(
        (ms("2026-01-06T07:00"), ms("2026-01-07T07:00")), next_at=ms("2026-01-08T07:00")
    )
    assert (missed.oldest, missed.newest, missed.count) == (*missed.fires, 2)
    assert not missed.is_capped


def test_walk_over_a_single_time_trigger_has_a_single_missed_fire() -> None:
    assert (walk(AtTrigger(5), 0, 10), walk(AtTrigger(5), 5, 10)) == (MissedFires((5,), next_at=None), None)


def test_walk_is_capped_beyond_a_thousand_fires() -> None:
    every_minute = cron("* * * * *")
    thousand = walk(every_minute, 0, 1_000 * MINUTE_MS)
    assert thousand is not None and thousand.count == 1_000 and not thousand.is_capped
    one_more = walk(every_minute, 0, 1_001 * MINUTE_MS)
    assert one_more is not None and one_more.is_capped
    assert (one_more.oldest, one_more.newest) == (MINUTE_MS, 1_001 * MINUTE_MS)


def test_walk_over_a_year_of_minutes_is_capped_to_the_newest_fires() -> None:
    until = ms("2026-11-20T06:30")
    missed = walk(cron("* * * * *", "Europe/Berlin"), until - 365 * DAY_MS, until)
    assert missed is not None and missed.is_capped and missed.has_hole
    assert missed.oldest == until - 365 * DAY_MS + MINUTE_MS
    assert missed.fires == tuple(range(until - 999 * MINUTE_MS, until + 1, MINUTE_MS))
    assert (missed.earlier[-1], missed.count) == (until - 1_000 * MINUTE_MS, 2_001)
    assert missed.next_at == until + MINUTE_MS


def test_walk_finds_the_newest_fire_in_a_distant_past() -> None:
    missed = walk(cron("* * 1 1 *"), ms("2024-01-01"), ms("2026-11-20T06:30"))
    assert missed is not None and missed.newest == ms("2026-01-01T23:59")
    assert missed.next_at == ms("2027-01-01")


@given(
    st.integers(5_000, 3_000_000), st.integers(0, 10_000), st.integers(0, 10**9), st.integers(1, 40 * DAY_MS)
)
def test_walk_reports_oldest_newest_and_the_fire_before_the_listed_fires(
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


def test_fires_beyond_a_capped_walk_are_covered_as_skipped_window() -> None:
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
    assert plan_fires(MissedFires(fires), now_ms=now_ms, **rules) == expected


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


# --- which days of a month an expression names, where counting is easily off by one ---


@each(
    ("days", "after", "expected"),
    [
        ("15W * *", "2026-02-01", ["2026-02-16", "2026-03-16", "2026-04-15"]),  # Sunday, Sunday, Wednesday
        ("1W 8 *", "2026-01-01", ["2026-08-03", "2027-08-02", "2028-08-01"]),  # Saturday: not in July
        ("31W 5 *", "2026-01-01", ["2026-05-29", "2027-05-31", "2028-05-31"]),  # Sunday: not in June
        ("31W 2,4 *", "2026-01-01", ["2026-02-27", "2026-04-30", "2027-02-26"]),  # no such day: the last
        ("L 2 *", "2026-01-01", ["2026-02-28", "2027-02-28", "2028-02-29"]),
        ("15,L 2 *", "2026-01-01", ["2026-02-15", "2026-02-28", "2027-02-15"]),
        ("* * 5#5", "2026-01-01", ["2026-01-30", "2026-05-29", "2026-07-31"]),
        ("* * 7#1", "2026-01-01", ["2026-01-04", "2026-02-01", "2026-03-01"]),
        ("* * 1L", "2026-01-01", ["2026-01-26", "2026-02-23", "2026-03-30"]),
        ("13 * +5", "2026-01-01", ["2026-02-13", "2026-03-13", "2026-11-13"]),
        ("30 2 0", "2026-01-01", ["2026-02-01", "2026-02-08", "2026-02-15"]),
        ("1-31/10 1 *", "2026-01-01", ["2026-01-11", "2026-01-21", "2026-01-31"]),
        ("* 12 1-7/3", "2026-12-01", ["2026-12-03", "2026-12-06", "2026-12-07"]),
        ("31 * *", "2026-03-31", ["2026-05-31", "2026-07-31", "2026-08-31"]),
        ("1 1 *", "2026-01-01", ["2027-01-01", "2028-01-01", "2029-01-01"]),
    ],
)
def test_days_of_a_cron_expression_have_calendar_numbers(days: str, after: str, expected: list[str]) -> None:
    assert next_fires(cron(f"0 0 {days}"), after, 3) == [f"{day}T00:00:00Z" for day in expected]


def test_the_last_minute_of_a_year_is_followed_by_the_first_of_the_next() -> None:
    assert next_fires(cron("59,0 23,0 * * *"), "2026-12-31T23:00", 3) == [
        "2026-12-31T23:59:00Z",
        "2027-01-01T00:00:00Z",
        "2027-01-01T00:59:00Z",
    ]


# --- two readers of one expression agree, or its author hears of it ---


ACCEPTED = (
    "0 9 * * 1-5",
    "*/15 * * * *",
    "0 0 L * *",
    "0 9 15W * *",
    "0 9 * * MON#1",
    "0 9 * * 5L",
    "0 0 29 2 *",
)


@each("text", [*ACCEPTED, "0 0 13 * 5", "0 0 13 * +5", "30 2 1,15 */3 *"])
def test_accepted_expressions_have_the_same_fires_in_both_readers(text: str) -> None:
    check_reading(parse_cron(text))


def test_an_expression_with_two_readings_is_refused_with_both() -> None:
    ours = replace(parse_cron("0 9 * * *"), text="0 10 * * *")
    with pytest.raises(
        BadSchedule, match="here it fires at 2026-01-01 09:00, elsewhere at 2026-01-01 10:00"
    ) as told:
        check_reading(ours)
    assert told.value.reason == "read_differently"


def test_expression_unknown_to_the_second_reader_is_refused() -> None:
    with pytest.raises(BadSchedule, match="croniter does not know it"):
        check_reading(replace(parse_cron("0 9 * * *"), text="0 9 * * 9"))

"""When schedules fire, and what people are shown of it: cron in a time zone, intervals, single instants."""

from datetime import timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from hub.schedules.cron import BadSchedule
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


def test_a_job_every_quarter_of_an_hour_keeps_its_pace_on_every_night() -> None:
    for zone in ("Europe/Berlin", "Australia/Lord_Howe", "Antarctica/Troll", "America/Havana"):
        for night in ("2026-03-08", "2026-03-29", "2026-04-04", "2026-10-03", "2026-10-25", "2026-11-01"):
            fires = [ms(fire) for fire in next_fires(cron("*/15 * * * *", zone), f"{night}T00:00", 100)]
            assert {later - earlier for earlier, later in pairwise(fires)} == {900_000}


def test_a_fire_is_strictly_later_than_the_instant_asked_for() -> None:
    job = cron("0 7 * * *")
    asked, following = ms("2026-01-05T07:00"), ms("2026-01-06T07:00")
    assert [job.next_after(asked + ms) for ms in (-1, 0, 1)] == [asked, following, following]


def test_after_the_last_year_of_the_calendar_nothing_fires() -> None:
    assert cron("* * * * *", "Europe/Berlin").next_after(ms("9998-12-31")) is None


def test_an_interval_is_counted_from_its_anchor_whatever_the_clocks_do() -> None:
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


def test_an_instant_fires_once() -> None:
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


def test_a_row_is_read_as_the_trigger_of_its_kind() -> None:
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
def test_a_row_that_cannot_be_read_is_refused(kind: str, expr: str | None, tz: str, reason: str) -> None:
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


def test_a_change_of_the_clocks_is_in_sight_for_a_day_wherever_it_falls() -> None:
    day = DAY_MS // 60_000
    for today in range(ms("2026-01-01") // 60_000, ms("2031-01-01") // 60_000, day):
        assert stretch_at(ZoneInfo("UTC"), today).starts_at <= today - day


def test_the_digest_of_the_time_zones_stays_while_they_do() -> None:
    assert (tzdata_digest(), len(tzdata_digest())) == (tzdata_digest(), 32)


def test_the_next_five_fires_are_shown_in_utc_and_where_the_agent_lives() -> None:
    found = upcoming(cron("0 7 * * *", "Europe/Berlin"), ms("2026-01-05T12:00"), tz="Europe/Berlin")
    assert (len(found), found[0].at.isoformat()) == (5, "2026-01-06T06:00:00+00:00")
    assert found[0].local.isoformat() == "2026-01-06T07:00:00+01:00"
    assert {fire.shift for fire in found} == {None}


def test_a_trigger_that_ends_has_fewer() -> None:
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

"""The resolver and a model of Debian's cron agree, whatever is done to clocks, wherever it is done.

The whole comparison is ``python -m tests.hub.schedules.fuzz``; here is a slice of it, and laws beside it.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import partial
from zoneinfo import ZoneInfo

import pytest
from croniter import croniter
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.schedules.cron import Cron, parse_cron
from hub.schedules.trigger import MINUTE_MS, CronTrigger
from tests.hub.schedules import fuzz
from tests.hub.schedules.brute_force import Job
from tests.hub.schedules.expressions import expression
from tests.support.calls import calls_of

MAX_CALLS = 100  # of a next fire: at most 71 measured
# One of each kind: whole and half hours, two and three hours, a whole day, at midnight and at one
# minute past, the month of Ramadan, summer time the wrong way round, changes of offset without it.
ZONES = (
    "Africa/Cairo",
    "Africa/Casablanca",
    "America/Argentina/San_Luis",
    "America/Caracas",
    "America/Havana",
    "America/New_York",
    "America/Nuuk",
    "America/St_Johns",
    "Antarctica/Casey",
    "Antarctica/Troll",
    "Asia/Beirut",
    "Asia/Gaza",
    "Asia/Pyongyang",
    "Asia/Tehran",
    "Australia/Lord_Howe",
    "Europe/Berlin",
    "Europe/Dublin",
    "Europe/Istanbul",
    "Pacific/Apia",
    "Pacific/Fakaofo",
)


@pytest.mark.slow
@pytest.mark.parametrize("cases", [200, pytest.param(1_200, marks=pytest.mark.soak)])
def test_the_resolver_agrees_with_the_model_around_every_kind_of_transition(cases: int) -> None:
    tally = fuzz.run(cases, 20, ZONES)
    assert [str(mismatch) for mismatch in tally.mismatches] == []
    assert {key for key, _ in tally.transitions} == set(ZONES)
    assert {-180, -120, -60, -30, 30, 60, 120, 180, 1_440} <= tally.jumps


@dataclass(frozen=True)
class FirstPassOnly:
    """A resolver that takes every reading for its first pass, and knows of no clock that was put back."""

    cron: Cron
    zone: ZoneInfo

    def next_after(self, after_ms: int) -> int | None:
        reading = datetime.fromtimestamp(after_ms / 1_000, self.zone).replace(tzinfo=None)
        found = self.cron.calendar.next_after((reading - datetime(1970, 1, 1)) // timedelta(minutes=1))  # noqa: DTZ001
        assert found is not None
        wall = datetime(1970, 1, 1, tzinfo=self.zone) + timedelta(minutes=found)
        return int(wall.timestamp()) * 1_000

    def period_ms(self) -> int:
        return MINUTE_MS


@dataclass(frozen=True)
class DeafToGaps:
    """A resolver that leaves out what clocks are put past, whatever the job."""

    inner: CronTrigger

    def next_after(self, after_ms: int) -> int | None:
        found = self.inner.next_after(after_ms)
        while found is not None and not self._is_named(found):
            found = self.inner.next_after(found)
        return found

    def period_ms(self) -> int:
        return MINUTE_MS

    def _is_named(self, fire_ms: int) -> bool:
        reading = _reading(fire_ms, self.inner.zone)
        return self.inner.cron.calendar.next_after(reading - 1) == reading


@pytest.mark.parametrize(
    "broken",
    [
        lambda text, zone: FirstPassOnly(parse_cron(text), zone),
        lambda text, zone: DeafToGaps(CronTrigger(parse_cron(text), zone)),
    ],
    ids=["first pass only", "deaf to gaps"],
)
def test_comparison_detects_a_wrong_resolver(broken: fuzz.Resolver) -> None:
    tally = fuzz.run(60, 1, ["Europe/Berlin"], broken)
    assert tally.mismatches
    assert "Europe/Berlin after" in str(tally.mismatches[0])


class Drawn:
    """A ``Draw`` that Hypothesis chooses, and shrinks."""

    def __init__(self, data: st.DataObject) -> None:
        self._data = data

    def integer(self, low: int, high: int) -> int:
        return self._data.draw(st.integers(low, high))


# From 1990 on, in milliseconds, so that there is a fraction of a minute as well.
instants = st.integers(int(datetime(1990, 1, 1, tzinfo=UTC).timestamp()) * 1_000, 2**42)


@settings(max_examples=50)
@given(st.data(), st.sampled_from(ZONES), instants)
def test_next_fire_matches_the_expression_or_ends_a_clock_gap(
    data: st.DataObject, key: str, after_ms: int
) -> None:
    zone = ZoneInfo(key)
    around = datetime.fromtimestamp(after_ms / 1_000, zone)
    text = expression(Drawn(data), around.replace(tzinfo=None))
    fire_ms = CronTrigger(parse_cron(text), zone).next_after(after_ms)
    assert fire_ms is not None and fire_ms > after_ms and fire_ms % MINUTE_MS == 0
    reading, minute_before = _reading(fire_ms, zone), _reading(fire_ms - MINUTE_MS, zone)
    job = Job(text)
    if not job.matches(reading):
        assert not job.is_wildcard
        assert any(job.matches(skipped) for skipped in range(minute_before + 1, reading))


@settings(max_examples=50)
@given(st.data(), st.sampled_from(ZONES), instants)
def test_cron_trigger_has_no_fire_between_an_instant_and_the_next_fire(
    data: st.DataObject, key: str, after_ms: int
) -> None:
    zone = ZoneInfo(key)
    text = expression(Drawn(data), datetime.fromtimestamp(after_ms / 1_000, zone).replace(tzinfo=None))
    trigger = CronTrigger(parse_cron(text), zone)
    fire_ms = trigger.next_after(after_ms)
    assert fire_ms is not None
    assert trigger.next_after(data.draw(st.integers(after_ms, fire_ms - 1))) == fire_ms


@settings(max_examples=50)
@given(st.data(), st.datetimes(datetime(2000, 1, 1), datetime(2060, 1, 1)))  # noqa: DTZ001
def test_fires_without_clock_changes_equal_the_fires_of_croniter(
    data: st.DataObject, start: datetime
) -> None:
    start = start.replace(second=0, microsecond=0)
    found = parse_cron(expression(Drawn(data), start))
    judge = croniter(
        found.text, start, day_or=found.day_or, implement_cron_bug=True, max_years_between_matches=50
    )
    at: int | None = _reading_of(start)
    for _ in range(5):
        at = found.calendar.next_after(at) if at is not None else None
        assert at == _reading_of(judge.get_next(datetime))


@settings(max_examples=50)
@given(st.data(), st.dates(date(2000, 1, 1), date(2100, 1, 1)))
def test_cron_calendar_matches_a_day_exactly_if_the_model_does(data: st.DataObject, day: date) -> None:
    text = expression(Drawn(data), datetime(day.year, day.month, day.day, 12))  # noqa: DTZ001
    start = (day - date(1970, 1, 1)).days * 24 * 60
    first = parse_cron(text).calendar.next_after(start - 1)
    assert first is not None
    assert (first < start + 24 * 60) == Job(text).fits_day(day)


def test_next_fire_is_found_with_few_calls_however_far_it_is() -> None:
    now = int(datetime(2026, 11, 20, 9, tzinfo=UTC).timestamp()) * 1_000
    for expr in ("* * * * *", "30 9 * * 1-5", "0 0 1 1 *", "0 0 29 2 *"):
        for name in ZONES:
            trigger = CronTrigger(parse_cron(expr), ZoneInfo(name))
            trigger.next_after(now)  # the days of a month and the clock changes of a year are remembered
            calls = calls_of(partial(trigger.next_after, now))
            assert calls <= MAX_CALLS, (expr, name, calls)


def _reading(at_ms: int, zone: ZoneInfo) -> int:
    """What the clock on the wall shows."""
    return _reading_of(datetime.fromtimestamp(at_ms / 1_000, zone).replace(tzinfo=None))


def _reading_of(moment: datetime) -> int:
    return (moment - datetime(1970, 1, 1)) // timedelta(minutes=1)  # noqa: DTZ001

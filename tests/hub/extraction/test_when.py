"""Words about time, decided by hand on the calendar: ``when_cases.json``.

A group has the zone and the date of its document, local unless it ends in Z. A case is what
the words mean: a day, a local time, or an instant (Z; "day" where it is a day's beginning), and
what the night of a change did to it; or nothing that could be told.
"""

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.extraction.when.resolve import MAX_CHARS, DateContext, days_in, resolve
from tests.support.families import each

GROUPS: list[dict[str, Any]] = json.loads(
    Path(__file__).with_name("when_cases.json").read_text(encoding="utf-8")
)
WEDNESDAY = datetime(2025, 5, 7, 10, tzinfo=UTC)
WORDS = [
    *(word for group in GROUPS for words in group["cases"] for word in words.split()),
    *("0", "31", "99", "9999", "29.2.", "12:60", "-", "/", ".", "24:00", "+14:00", "utc-12", "-99"),
]


def cases() -> Iterator[Any]:
    for group in GROUPS:
        for words, expected in group["cases"].items():
            name = f"{group['language']}-{str(group['anchor'])[:10]}-{words}"
            yield pytest.param(words, expected, group["anchor"], group["zone"], id=name)


def instant(text: str, zone: str) -> datetime:
    read = datetime.fromisoformat(text)
    return read if read.tzinfo else read.replace(tzinfo=ZoneInfo(zone))


@each(("words", "expected", "anchor", "zone"), list(cases()))
def test_date_words_resolve_to_the_expected_calendar_time(
    words: str, expected: str | None, anchor: str | None, zone: str
) -> None:
    moment = resolve(words, anchor=instant(anchor, zone) if anchor else None, timezone=zone)
    if expected is None:
        assert moment is None
        return
    told, *marks = expected.split()
    assert moment is not None
    assert (moment.at, moment.has_time) == (instant(told, zone), "T" in told and "day" not in marks)
    assert (moment.change, moment.words) == (next((mark for mark in marks if mark != "day"), None), words)


def test_date_cases_cover_six_languages_and_four_time_zones() -> None:
    languages = {group["language"]: 0 for group in GROUPS}
    for group in GROUPS:
        languages[group["language"]] += len(group["cases"])
    assert sum(languages.values()) >= 300
    assert {language for language, count in languages.items() if count >= 50} == {
        "en", "de", "fr", "es", "ru", "zh"
    }  # fmt: skip
    assert len({group["zone"] for group in GROUPS}) >= 4


def test_resolved_moment_has_a_time_only_if_the_words_name_a_clear_time() -> None:
    day = resolve("tomorrow", anchor=WEDNESDAY, timezone="Europe/Berlin")
    hour = resolve("tomorrow at 3pm", anchor=WEDNESDAY, timezone="Europe/Berlin")
    unsure = resolve("tomorrow at 3", anchor=WEDNESDAY, timezone="Europe/Berlin")
    assert [moment and moment.has_time for moment in (day, hour, unsure)] == [False, True, False]


def test_deadline_without_a_year_is_not_resolved_far_before_the_document() -> None:
    anchor = datetime(2025, 5, 7, 10, tzinfo=UTC)

    def year_of(words: str, *, is_due: bool) -> int | None:
        moment = resolve(words, anchor=anchor, timezone="UTC", is_due=is_due)
        return moment.at.year if moment else None

    assert (year_of("24 December", is_due=False), year_of("24 December", is_due=True)) == (2024, 2025)
    assert (year_of("by 24 December", is_due=False), year_of("3 May", is_due=True)) == (2025, 2025)


def test_words_differing_between_languages_are_not_resolved() -> None:
    # A Tuesday to the French and the Spanish, a day of March to the English.
    assert resolve("mar 13", anchor=WEDNESDAY, timezone="UTC") is None
    assert resolve("mardi 13", anchor=WEDNESDAY, timezone="UTC") is not None
    assert resolve("march 13", anchor=WEDNESDAY, timezone="UTC") is not None


def test_ist_after_a_time_is_a_german_word_and_no_time_zone() -> None:
    (moment,) = days_in("Freitag um 18:00 ist Probe", DateContext(WEDNESDAY, "Europe/Berlin"))
    assert moment.has_time


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "Asia/Shanghai", "Europe/Moscow"])
def test_date_resolves_to_local_midnight_in_every_time_zone(zone: str) -> None:
    for offset in range(0, 730, 13):
        day = date(2025, 1, 1) + timedelta(days=offset)
        spelled = f"{day.day} {day:%B} {day.year}"
        moment = resolve(spelled, anchor=None, timezone=zone)
        assert moment is not None
        assert moment.at == datetime.combine(day, time(), ZoneInfo(zone))


@given(
    words=st.one_of(
        st.text(max_size=MAX_CHARS + 10),
        st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join),
        st.lists(st.sampled_from(WORDS), max_size=12).map("".join),
    ),
    anchor=st.one_of(st.none(), st.datetimes(timezones=st.just(UTC))),
    zone=st.sampled_from(["Europe/Berlin", "America/New_York", "Asia/Shanghai", "Pacific/Apia"]),
)
@settings(max_examples=120)
def test_date_resolver_raises_no_error_for_any_words(words: str, anchor: datetime | None, zone: str) -> None:
    moment = resolve(words, anchor=anchor, timezone=zone)
    assert moment is None or (moment.words == words and moment.at.utcoffset() == timedelta(0))


@pytest.mark.parametrize(
    "piece", ["1", "1/", "1-", "- ", "between ", "du au ", "to ", "三", "third ", "3pm ", "."]
)
def test_overlong_text_is_not_resolved_as_a_date(piece: str) -> None:
    assert resolve(piece * (200_000 // len(piece)), anchor=WEDNESDAY, timezone="UTC") is None

"""What people are shown of a schedule before it fires."""

from datetime import timedelta
from itertools import pairwise

import pytest

from hub.schedules.forecast import upcoming
from hub.schedules.trigger import AtTrigger, EveryTrigger
from tests.hub.schedules.instants import cron, ms


def shown(expression: str, tz: str, after: str, count: int = 2) -> list[tuple[str, str | None]]:
    """The next fires: local time, and what the clocks do to it."""
    found = upcoming(cron(expression, tz), ms(after), tz=tz, count=count)
    return [(f"{fire.local:%m-%d %H:%M}", fire.shift) for fire in found]


def test_the_next_five_fires_are_shown_in_utc_and_where_the_agent_lives() -> None:
    found = upcoming(cron("0 7 * * *", "Europe/Berlin"), ms("2026-01-05T12:00"), tz="Europe/Berlin")
    assert len(found) == 5
    assert found[0].at.isoformat() == "2026-01-06T06:00:00+00:00"
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


@pytest.mark.parametrize(
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
def test_what_a_change_of_the_clocks_does_to_a_fire_is_said_in_a_sentence(
    expression: str, tz: str, after: str, expected: list[tuple[str, str | None]]
) -> None:
    assert shown(expression, tz, after) == expected

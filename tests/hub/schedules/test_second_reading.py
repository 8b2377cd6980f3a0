"""Two readers of one expression agree, or its author hears of it."""

from dataclasses import replace

import pytest

from hub.schedules.cron import BadSchedule, parse_cron
from hub.schedules.trigger import check_reading
from tests.support.families import each

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

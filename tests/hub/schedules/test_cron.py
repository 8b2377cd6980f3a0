"""Which cron expressions are taken, and what the others are refused for."""

import pytest

from hub.schedules.cron import BadSchedule, parse_cron
from tests.support.families import each


@each(
    ("text", "spelled"),
    [
        ("0 7 * * 1-5", "0 7 * * 1-5"),
        (" 0  0\t*  * * ", "0 0 * * *"),
        ("@daily", "0 0 * * *"),
        ("@yearly", "0 0 1 1 *"),
        ("*/15 8-18/2 * * mon,WED,5-7", "*/15 8-18/2 * * mon,WED,5-7"),
        ("0 0 29 2 *", "0 0 29 2 *"),
        ("0 0 31 */2 *", "0 0 31 */2 *"),
        ("0 0 L * *", "0 0 L * *"),
        ("0 9 15W * *", "0 9 15W * *"),
        ("0 9 * * MON#1", "0 9 * * 1#1"),
        ("0 9 * * 5L", "0 9 * * L5"),
        ("0 9 * * fri#L", "0 9 * * L5"),
        ("0 0 * * 7#2", "0 0 * * 0#2"),
        ("*/60 * * * *", "*/60 * * * *"),
        ("0 0 * * 0-7", "0 0 * * 0-7"),
        ("0 0 13 * +5", "0 0 13 * 5"),  # both must fit
        # What hints say to write instead.
        ("5-59/15 * * * *", "5-59/15 * * * *"),
        ("59 * * * *", "59 * * * *"),
        ("0 0 * * MON-6/2", "0 0 * * MON-6/2"),
        ("0 22-23,0-2 * * *", "0 22-23,0-2 * * *"),
        ("0 0 * * SAT,SUN", "0 0 * * SAT,SUN"),
    ],
)
def test_unambiguous_expression_is_parsed(text: str, spelled: str) -> None:
    found = parse_cron(text)
    assert (found.text, found.day_or, found.warning) == (spelled, "+" not in text, None)


@each("text", ["0 0 13 * 5", "0 0 31 2 0", "0 0 1-7 * MON", "0 0 1 * WED"])
def test_expression_with_two_day_fields_is_accepted_with_a_warning(text: str) -> None:
    assert "put + before the weekday" in (parse_cron(text).warning or "")


REFUSED = {
    "": ("field_count", "write minute hour day-of-month month weekday"),
    "* * * *": ("field_count", "write minute hour day-of-month month weekday"),
    "*/10 * * * * *": ("field_count", "there are no seconds, for those write schedule = { every_s = 10 }"),
    "0 0 1 1 * 0 2031": ("field_count", "there are no seconds"),
    "0\u00a00 * * *": ("field_count", "write minute hour"),
    "0 0 * * " + "0," * 130 + "0": ("too_long", "ranges and steps"),
    "@reboot": ("unsupported_macro", "known are @hourly, @daily"),
    "@every 5m": ("use_interval_trigger", "write schedule = { every_s = 300 }"),
    "@every 1h30m5s": ("use_interval_trigger", "write schedule = { every_s = 5405 }"),
    "@every now and then": ("use_interval_trigger", "write schedule = { every_s = 300 }"),
    "TZ=Europe/Berlin 0 0 * * *": ("use_timezone_setting", "set timezone"),
    "H * * * *": ("use_jitter", "write 17, say; the schedule's jitter spreads starts apart"),
    "R 0 * * *": ("use_jitter", "write 17, say"),
    "0 R * * *": ("use_jitter", "write 17, say"),
    "0 0 * R *": ("use_jitter", "write 6, say"),
    "5/15 * * * *": ("bare_start_step", "write 5-59/15"),
    "59/15 * * * *": ("bare_start_step", "write 59"),
    "0 0 * * SAT/2": ("bare_start_step", "write SAT"),
    "0 0 * * MON/2": ("bare_start_step", "write MON-6/2"),
    "0 0 * JAN-JAN *": ("equal_range", "write JAN"),
    "0 22-2 * * *": ("wrapping_range", "22-23,0-2"),
    "0 0 * * SAT-SUN": ("wrapping_range", "SAT,SUN"),
    "*/90 * * * *": ("step_too_large", "at most 60"),
    "*/0 * * * *": ("bad_field", "at least 1"),
    "60 * * * *": ("bad_field", "allowed is 0-59"),
    "* 24 * * *": ("bad_field", "allowed is 0-23"),
    "* * 0 * *": ("bad_field", "allowed is 1-31"),
    "* * * 13 *": ("bad_field", "allowed is 1-12 or jan-dec"),
    "* * * * 8": ("bad_field", "allowed is 0-7 or sun-sat"),
    "0 0 * * Monday": ("bad_field", "sun-sat"),
    "-1 * * * *": ("bad_field", "*, 5, 5-7 or */2"),
    ",1 * * * *": ("bad_field", "*, 5, 5-7 or */2"),
    "*-5 * * * *": ("bad_field", "*, 5, 5-7 or */2"),
    "? * * * *": ("bad_field", "*, 5, 5-7 or */2"),
    "\u0665 * * * *": ("bad_field", "*, 5, 5-7 or */2"),
    "0 9 * * 1#6": ("bad_field", "5#1 to 5#5"),
    "0 9 * * L5": ("bad_field", "write 5L"),
    "0 9 LW * *": ("bad_field", "allowed is 1-31"),
    "0 9 1,15W * *": ("bad_field", "write one day"),
    "0 9 * * MON,3#2": ("bad_field", "make two schedules of it"),
    "0 0 29 2 MON#5": ("ambiguous_day_fields", "put + before the weekday"),
    "0 0 */2 * MON": ("ambiguous_day_fields", "put + before the weekday"),
    "0 0 *,5 * MON": ("ambiguous_day_fields", "put + before the weekday"),
    "0 0 31 2 *": ("never_fires", "choose a day that the month has; L is its last day"),
    "0 0 31 4,6 *": ("never_fires", "L is its last day"),
    "0 0 29 2 +MON": ("never_fires", "L is its last day"),
}


@each("text", REFUSED)
def test_ambiguous_expression_is_refused_with_a_replacement(text: str) -> None:
    reason, hint = REFUSED[text]
    with pytest.raises(BadSchedule) as refused:
        parse_cron(text)
    assert (refused.value.reason, hint in refused.value.hint) == (reason, True), refused.value.hint


@each(
    ("text", "follows_wall"),
    [
        ("*/15 2 * * *", True),
        ("30 * * * *", True),
        ("30 0-23 * * *", False),
        ("0-59 0-23 * * *", False),
        ("30 2 */2 * *", False),
    ],
)
def test_cron_expression_with_a_star_field_follows_the_wall_clock(text: str, *, follows_wall: bool) -> None:
    assert parse_cron(text).follows_wall is follows_wall

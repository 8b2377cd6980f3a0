"""Which cron expressions are taken, and what the others are refused for."""

import pytest

from hub.ops.schedule_text import BadSchedule, parse_cron


@pytest.mark.parametrize(
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
    ],
)
def test_what_means_one_thing_is_taken(text: str, spelled: str) -> None:
    cron = parse_cron(text)
    assert (cron.text, cron.day_or, cron.warning) == (spelled, True, None)


@pytest.mark.parametrize("text", ["0 0 13 * 5", "0 0 31 2 0", "0 0 1-7 * MON", "0 0 1 * WED"])
def test_two_day_fields_are_taken_with_a_warning(text: str) -> None:
    assert "fits" in (parse_cron(text).warning or "")


def test_a_plus_before_the_weekday_means_both_must_fit() -> None:
    cron = parse_cron("0 0 13 * +5")
    assert (cron.text, cron.day_or, cron.warning) == ("0 0 13 * 5", False, None)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "field_count"),
        ("* * * *", "field_count"),
        ("*/10 * * * * *", "field_count"),
        ("0 0 1 1 * 0 2031", "field_count"),
        ("0\u00a00 * * *", "field_count"),
        ("0 0 * * * " + "0," * 130, "too_long"),
        ("@reboot", "unsupported_macro"),
        ("@every 5m", "use_interval_trigger"),
        ("TZ=Europe/Berlin 0 0 * * *", "use_timezone_setting"),
        ("H * * * *", "use_jitter"),
        ("R * * * *", "use_jitter"),
        ("5/15 * * * *", "bare_start_step"),
        ("0 0 * JAN-JAN *", "equal_range"),
        ("0 22-2 * * *", "wrapping_range"),
        ("0 0 * * SAT-SUN", "wrapping_range"),
        ("*/90 * * * *", "step_too_large"),
        ("*/0 * * * *", "bad_field"),
        ("60 * * * *", "bad_field"),
        ("* 24 * * *", "bad_field"),
        ("* * 0 * *", "bad_field"),
        ("* * * 13 *", "bad_field"),
        ("* * * * 8", "bad_field"),
        ("-1 * * * *", "bad_field"),
        (",1 * * * *", "bad_field"),
        ("*-5 * * * *", "bad_field"),
        ("? * * * *", "bad_field"),
        ("\u0665 * * * *", "bad_field"),
        ("0 0 * * Monday", "bad_field"),
        ("0 9 * * 1#6", "bad_field"),
        ("0 9 * * L5", "bad_field"),
        ("0 9 LW * *", "bad_field"),
        ("0 0 29 2 MON#5", "ambiguous_day_fields"),
        ("0 0 */2 * MON", "ambiguous_day_fields"),
        ("0 0 31 2 *", "never_fires"),
        ("0 0 31 4,6 *", "never_fires"),
    ],
)
def test_what_readers_would_read_differently_is_refused(text: str, reason: str) -> None:
    with pytest.raises(BadSchedule) as refused:
        parse_cron(text)
    assert refused.value.reason == reason


def test_a_refusal_says_what_to_write_instead() -> None:
    with pytest.raises(BadSchedule, match="write 5-59/15"):
        parse_cron("5/15 * * * *")
    with pytest.raises(BadSchedule, match="there are no seconds"):
        parse_cron("0 0 7 * * 1")

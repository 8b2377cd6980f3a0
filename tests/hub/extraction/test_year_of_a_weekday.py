"""Year of a day without one: a weekday beside it chooses among near days, and moves none."""

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.extraction.when.days import find_days
from hub.extraction.when.resolve import DateContext, dates_in, days_in, resolve
from tests.support.families import each

SEVEN_MONTHS = timedelta(days=214)
ELEVEN_MONTHS = timedelta(days=335)  # a deadline is at most a month in the past
WRITTEN = date(2026, 11, 28)  # 9 December is a Wednesday, in 2027 a Thursday

# Of ten languages, four of which are not read: weekdays from Monday on, months, and lines with both.
LANGUAGES = {
    "en": ("Mon Tue Wed Thu Fri Sat Sun", "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec"),
    "de": ("Mo Di Mi Do Fr Sa So", "Jan Feb Mrz Apr Mai Jun Jul Aug Sep Okt Nov Dez"),
    "fr": ("lun mar mer jeu ven sam dim", "janv févr mars avr mai juin juil août sept oct nov déc"),
    "es": ("lun mar mié jue vie sáb dom", "ene feb mar abr may jun jul ago sep oct nov dic"),
    "ru": ("пн вт ср чт пт сб вс", "янв фев мар апр мая июн июл авг сен окт ноя дек"),  # noqa: RUF001
    "zh": ("周一 周二 周三 周四 周五 周六 周日", "1月 2月 3月 4月 5月 6月 7月 8月 9月 10月 11月 12月"),
    "pl": ("pn wt śr czw pt so nd", "sty lut mar kwi maj cze lip sie wrz paź lis gru"),
    "it": ("lun mar mer gio ven sab dom", "gen feb mar apr mag giu lug ago set ott nov dic"),
    "pt": ("seg ter qua qui sex sáb dom", "jan fev mar abr mai jun jul ago set out nov dez"),
    "nl": ("ma di wo do vr za zo", "jan feb mrt apr mei jun jul aug sep okt nov dec"),
}
FORMS = (
    "{weekday} {day} {month}",
    "{weekday}, {day}. {month}",
    "{month} {day} {weekday}",
    "{month}{day}日{weekday}",
    "{weekday} {day}.{number}.",
    "{weekday}, {day}/{number}",
    "{weekday} {number}/{day}",
    "by {weekday} {day} {month}",
    "bis {weekday} {day}.{number}.",
    "до {weekday} {day}.{number}",
    "{weekday} {day} - {next} {day} {month}",
)


@st.composite
def words_and_context(draw: st.DrawFn) -> tuple[str, DateContext]:
    """Return words for a day, and how they are read: in their language, an unknown one, or in any."""
    code, both = draw(st.sampled_from([*LANGUAGES.items()]))
    weekdays, months = (names.split() for names in both)
    named = draw(st.dates(date(2028, 1, 1), date(2028, 12, 31)))  # 29 February, too
    weekday = draw(st.integers(0, 6))
    words = draw(st.sampled_from(FORMS)).format(
        weekday=weekdays[weekday],
        next=weekdays[(weekday + 1) % 7],
        day=named.day,
        month=months[named.month - 1],
        number=named.month,
    )
    anchor = draw(st.dates(date(2020, 1, 1), date(2032, 12, 31)))
    return words, DateContext(anchor, "UTC", language=draw(st.sampled_from([code, "", None])))


def reach(words: str, context: DateContext) -> timedelta:
    """Return how far the day of words may be: a weekday that is read chooses among seven months.

    The longest words count: "by mar 1" is a day of March, whatever "mar 1" is in other languages.
    """
    days = dates_in(words, language=context.language)
    longest = max((day.end - day.start for day in days), default=0)
    if any(day.parts.weekday is not None for day in days if day.end - day.start == longest):
        return SEVEN_MONTHS
    return timedelta.max if "29" in words else ELEVEN_MONTHS  # 29 February is not of each year


@given(words_and_context())
def test_day_with_a_weekday_is_within_seven_months_of_the_anchor(
    drawn: tuple[str, DateContext],
) -> None:
    words, context = drawn
    assert context.today
    moments = [resolve(words, *context, is_due=is_due) for is_due in (False, True)]
    moments += days_in(f"send it {words} to Ann", context)
    found = [(moment.at, moment.words) for moment in moments if moment]
    for text in (words, f"send it {words} to Ann"):
        found += [(day.at, day.words) for day in find_days(text, context) if day.at and not day.unclear_words]
    assert [row for row in found if abs(row[0].date() - context.today) > reach(row[1], context)] == []


@given(words_and_context())
def test_day_without_a_matching_weekday_is_unclear_and_the_nearest(drawn: tuple[str, DateContext]) -> None:
    words, context = drawn
    assert context.today
    for day in find_days(words, context):
        if day.at and day.is_unclear and "29" not in words:  # 29 February is not of each year
            assert abs(day.at.date() - context.today) <= timedelta(days=183)


@each(
    ("words", "expected"),
    [
        ("Wed 9 Dec", "2026-12-09"),
        ("Thu 9 Dec", ""),  # of 2027
        ("Do 9.12.", ""),
        ("jeu 9 déc", ""),
        ("jue 9 dic", ""),
        ("чт 9 дек", ""),
        ("12月9日周四", ""),
        ("Thu 9/12", ""),
        ("Sat 12/5", "2026-12-05"),
        ("Sun 29 Nov", "2026-11-29"),
        ("Mon 10 May", "2027-05-10"),
        ("Sun 10 May", "2026-05-10"),
        ("Mon 27 Apr", ""),  # of 2026: more than seven months ago
        ("Wed 9th - Thu 10th Dec", "2026-12-09"),
        ("Mittwoch, 9. - Donnerstag, 10. Dez", "2026-12-09"),
        ("Mon 9th - Tue 10th Dec", ""),  # no 9 November, which is a Monday
    ],
)
def test_weekday_chooses_among_the_days_of_seven_months(words: str, expected: str) -> None:
    moment = resolve(words, anchor=WRITTEN, timezone="UTC")
    assert (moment.at.date().isoformat() if moment else "") == expected


@pytest.mark.parametrize("words", ["Thu 9 Dec", "by Thu 9 Dec", "Do 9.12.", "до чт 9 дек"])
def test_nearest_day_is_unclear_if_its_weekday_is_another(words: str) -> None:
    (day,) = find_days(words, DateContext(WRITTEN, "UTC"))
    assert day.at is not None
    assert (day.at.date(), day.unclear_words) == (date(2026, 12, 9), words)


@pytest.mark.parametrize(
    "words", ["by mar 5 janv", "Finish the report by mar 5 janv", "until mar 5 avril", "viernes 2 avril"]
)
def test_date_cut_in_two_by_another_language_is_no_day(words: str) -> None:
    context = DateContext(WRITTEN, "UTC")
    assert (find_days(words, context), days_in(words, context)) == ([], [])


@each(
    ("line", "day"),
    [
        ("dentiste lun 7 déc", date(2026, 12, 7)),
        ("dentiste lun. 7 déc. 18h30", date(2026, 12, 7)),
        ("Vacances du lun 7 déc au ven 11 déc", date(2026, 12, 7)),
        ("Stage mar 18 mai au jeu 20 mai", date(2027, 5, 18)),
        ("Congreso lun 8 feb al vie 12 feb", date(2027, 2, 8)),
        ("dentista mar 2 feb 18 h", date(2027, 2, 2)),
        ("Dentist Saturday 3 April 4:30", date(2027, 4, 3)),
        ("Conference Saturday 3 April 4:30 - Sunday 4 April 6:00", date(2027, 4, 3)),
        ("Dentist Fri 4/12 18h", date(2026, 12, 4)),
        ("cena dom 6 may", date(2027, 5, 6)),
    ],
)
def test_date_cut_by_words_of_other_languages_is_kept_whole(line: str, day: date) -> None:
    assert [found.at and found.at.date() for found in find_days(line, DateContext(WRITTEN, "UTC"))] == [day]

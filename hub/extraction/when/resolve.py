"""Resolution of date and time expressions ("next Friday") to instants. Pure functions.

All languages in which the words may be written parse them, and must agree: "mar 4" is a Tuesday in one and a
day of March in another, so it is not resolved. Ambiguous words stay unresolved.

An hour from 1 to 7 is ambiguous without a part of the day ("at 3"): then only the day is resolved, without a
time. It is a 24-hour time if it is written so ("03:30"), or in a language without a 12-hour clock. Noon is
12:00. Midnight is no time, because it may be the start or the end of its day. A part of the day alone ("in
the morning") is no time, either.

An ISO 8601 date without an offset is local; a day without a time starts at midnight. At a change of the
clock, a local reading may not correspond to exactly one instant. A *skipped* reading (the clock goes forward
over it) is moved forward by the same amount. Of a *repeated* reading (the clock goes back), the first instant
is used. Python's ``fold=0`` does both (PEP 495).

Resolution of a parsed date on the calendar.

The rules hold in all languages. The *anchor* is the day of the document.

- Without a year: the year that puts the day nearest to the anchor; the later one at a tie. A deadline ("by 24
  December") is never more than a month in the past: then the next year applies.
- A weekday alone, or a "coming" one: the first such day after the anchor.
- "This Friday": the first on or after the anchor. "Last Friday": the last one before it.
- A weekday of a week ("Friday next week"): in that week; weeks begin on Monday (ISO 8601).
- A day of the month alone ("the 15th"): the first such day on or after the anchor.
- A weekday next to a date must match. It helps to determine a missing month, and a missing year among the
  days of seven months before and after the anchor. If none of these matches, the words are unclear.
- A span or an interval is its start ("in May", "next week", "3 to 5 May"). A current span such as "this week"
  is not a day, and neither is a past edge of it.
- Start, middle and end of a month are its first, its 15th and its last day (section 192 of the German civil
  code). Those of a week are Monday, Wednesday and Friday; on a Saturday, its end is the Sunday.
- Months and years are added on the calendar; if the month is too short, its last day applies.
- Days are counted on the calendar, hours and minutes on a clock without changes.
"""

import calendar
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from datetime import timezone as fixed_zone
from functools import cache, lru_cache
from typing import Final, Literal, NamedTuple
from zoneinfo import ZoneInfo

import msgspec

from hub.base.clock import epoch_ms
from hub.extraction.tokens import Tokens, fold
from hub.extraction.when.language import (
    Ambiguous,
    DateParts,
    Edge,
    Index,
    Language,
    NotationError,
    SayingMatch,
    Unit,
    day_of,
    has_latin,
    is_supported,
    together,
)
from hub.extraction.wording.languages import Lexicon, languages, languages_in, script_of
from hub.extraction.wording.recognition import unread_languages

Rule = Callable[[DateParts, date], date | None]
_DAY: Final = timedelta(days=1)
_LATE: Final = timedelta(days=31)  # a deadline may just have passed
_FAR: Final = timedelta(days=214)  # seven months, within which a weekday chooses the year


class NearDay(date):
    """Day near that of writing, which is unknown: the years of dates and the ends of months count from it."""


def find_day(parts: DateParts, anchor: date | None) -> date | None:
    """Return the day of the date *parts*; ``None`` if they contradict each other, or need an *anchor* day.

    Raises:
        Ambiguous: several days are possible.
        OverflowError, ValueError: the day is outside the years 1 to 9999.
    """
    names = parts.about_day
    if rule := _WITHOUT_ANCHOR.get(names):
        return rule(parts, date.min)
    if parts.figures and all(figures[0] is not None for figures in parts.figures):
        anchor = anchor or date.min  # figures with a year need no anchor
    rule = _WITH_ANCHOR.get(names)
    is_far = rule in (_day_of_month, _figures) or (rule is _span and parts.span != ("week", 0) and parts.edge)
    if anchor is None or rule is None or (isinstance(anchor, NearDay) and not is_far):
        return None
    return rule(parts, anchor)


def _date(parts: DateParts, _: date) -> date | None:
    return _fitting(parts, [_safe(parts.year or 0, parts.month or 0, parts.day or 0)])


def _part_of(parts: DateParts, year: int) -> date | None:
    """Return the month, quarter or n-th weekday of *year*, or an edge of the whole year."""
    if parts.quarter is not None:
        return _edge(date(year, 3 * parts.quarter - 2, 1), "quarter", parts.edge)
    if parts.month is None:
        return _edge(date(year, 1, 1), "year", parts.edge)
    month = date(year, parts.month, 1)
    return _nth(parts, month) if parts.nth else _edge(month, "month", parts.edge)


def _part_of_year(parts: DateParts, _: date) -> date | None:
    return _part_of(parts, parts.year or 0)


def _week_of_year(parts: DateParts, _: date) -> date | None:
    monday = date.fromisocalendar(parts.year or 0, parts.week or 0, 1)
    if parts.weekday is not None:
        return monday + parts.weekday * _DAY
    return _edge(monday, "week", parts.edge)


def _day_of_month(parts: DateParts, anchor: date) -> date | None:
    """Return the day in the year nearest to the anchor."""
    month, day = parts.month or 0, parts.day or 0
    days = [_safe(year, month, day) for year in _years_around(anchor, month, day)]
    return _nearest_year(parts, days, anchor)


def _years_around(anchor: date, month: int, day: int) -> range:
    """Return the years of which one has the nearest such day."""
    far = 8 if (month, day) == (2, 29) else 1  # at most, around 1900 and 2100
    return range(max(1, anchor.year - far), anchor.year + far + 1)


def _date_of_span(parts: DateParts, anchor: date) -> date | None:
    """Resolve "3 May next year", "the 15th of next month"."""
    start = _span_start(parts, anchor)
    match parts.span:
        case ("year", _) if parts.month:
            return _fitting(parts, [_safe(start.year, parts.month, parts.day or 0)])
        case ("month", _) if not parts.month:
            return _fitting(parts, [_safe(start.year, start.month, parts.day or 0)])
    return None


def _part_of_span(parts: DateParts, anchor: date) -> date | None:
    """Resolve "May next year"; not "May of next week"."""
    if parts.span is None or parts.span[0] != "year":
        return None
    return _part_of(parts, _span_start(parts, anchor).year)


def _figures(parts: DateParts, anchor: date) -> date | None:
    """Return the day if all readings of the figures agree."""
    ways = {_figured(parts, figures, anchor) for figures in parts.figures or ()} - {None}
    if len(ways) > 1:
        raise Ambiguous
    return next(iter(ways), None)


def _figured(parts: DateParts, figures: tuple[int | None, int, int], anchor: date) -> date | None:
    if figures[0] is not None:
        return _fitting(parts, [day_of(figures, 0)])
    days = [day_of(figures, year) for year in _years_around(anchor, *figures[1:])]
    return _nearest_year(parts, days, anchor)


def _day(parts: DateParts, anchor: date) -> date | None:
    """Return the first such day on or after the anchor; with a weekday, in one of the nearby months."""
    months = [_add_months(anchor.replace(day=1), steps) for steps in range(-1, 3)]
    days = _fitting_all(parts, [_safe(month.year, month.month, parts.day or 0) for month in months])
    if parts.weekday is not None:
        return _nearest(parts, days, anchor)
    return next((day for day in days if day >= anchor), None)


def _nearest_part(parts: DateParts, anchor: date) -> date | None:
    years = (anchor.year - 1, anchor.year, anchor.year + 1)
    return _nearest(parts, [_part_of(parts, year) for year in years], anchor)


def _week(parts: DateParts, anchor: date) -> date | None:
    year = anchor.isocalendar().year
    weeks = []
    for nearby in (year - 1, year, year + 1):
        try:
            weeks.append(_week_of_year(msgspec.structs.replace(parts, year=nearby), anchor))
        except ValueError:  # most years have no week 53
            continue
    return _nearest(parts, filter(None, weeks), anchor)


def _days(parts: DateParts, anchor: date) -> date | None:
    """Resolve "tomorrow", and check additional parts: its weekday, its date."""
    day = anchor + (parts.days or 0) * _DAY
    if parts.shift:
        return _shifted(day, parts.shift)
    is_consistent = (
        (parts.year in (None, day.year)) and parts.month in (None, day.month) and parts.day in (None, day.day)
    )
    return _fitting(parts, [day]) if is_consistent else None


def _weekday(parts: DateParts, anchor: date) -> date | None:
    weekday = parts.weekday or 0
    ahead = (weekday - anchor.weekday()) % 7
    match parts.pick:
        case "this":
            return anchor + ahead * _DAY
        case "last":
            return anchor - ((anchor.weekday() - weekday - 1) % 7 + 1) * _DAY
        case "weekend":
            return None if anchor.weekday() == 6 else anchor + ahead * _DAY
    coming = anchor + (ahead or 7) * _DAY
    if parts.pick == "second":
        coming += 7 * _DAY
    return _shifted(coming, parts.shift) if parts.shift else coming


def _weekday_of_span(parts: DateParts, anchor: date) -> date | None:
    start = _span_start(parts, anchor)
    if parts.span is None:
        return None
    if parts.nth:
        return _nth(parts, start) if parts.span[0] == "month" else None
    return start + (parts.weekday or 0) * _DAY if parts.span[0] == "week" else None


def _span(parts: DateParts, anchor: date) -> date | None:
    if parts.span is None:
        return None
    unit, steps = parts.span
    if steps == 0 and parts.edge is None:
        return None
    day = _edge(_span_start(parts, anchor), unit, parts.edge)
    if day is not None and (unit, steps, parts.edge) == ("week", 0, "end"):
        day += 2 * _DAY * (anchor == day + _DAY)  # on a Saturday, the Sunday
    return None if day is None or (steps == 0 and day < anchor) else day


def _shift(parts: DateParts, anchor: date) -> date | None:
    return _shifted(anchor, parts.shift) if parts.shift else None


def _today(parts: DateParts, anchor: date) -> date | None:
    return anchor if parts.hour is not None or parts.half == "close" else None


def _span_start(parts: DateParts, anchor: date) -> date:
    unit, steps = parts.span or ("day", 0)
    match unit:
        case "week":
            return anchor + (7 * steps - anchor.weekday()) * _DAY
        case "month":
            return _add_months(anchor.replace(day=1), steps)
        case "quarter":
            return _add_months(date(anchor.year, 3 * ((anchor.month - 1) // 3) + 1, 1), 3 * steps)
        case "year":
            return date(anchor.year + steps, 1, 1)
        case "day":
            return anchor + steps * _DAY
    raise ValueError("hours are not on a calendar")


def _edge(start: date, unit: Unit, edge: Edge | None) -> date | None:
    """Return a day of the span of *unit* that begins on *start*; the first if no edge is named."""
    match edge, unit:
        case None | "start", _:
            return start
        case "middle", "week":
            return start + 2 * _DAY
        case "end", "week":
            return start + 4 * _DAY
        case "middle", "month":
            return start.replace(day=15)
        case "end", "month":
            return start.replace(day=calendar.monthrange(start.year, start.month)[1])
        case "end", "quarter":
            return _edge(_add_months(start, 2), "month", "end")
        case "end", "year":
            return start.replace(month=12, day=31)
    return None  # the middle of a year is not a day


def _nth(parts: DateParts, month: date) -> date | None:
    """Return the n-th weekday of a month."""
    weekday, nth = parts.weekday or 0, parts.nth or 0
    first = month + ((weekday - month.weekday()) % 7) * _DAY
    days = [day for week in range(5) if (day := first + 7 * week * _DAY).month == month.month]
    if nth < 0:
        return days[-1]
    return days[nth - 1] if nth <= len(days) else None


def _shifted(day: date, shift: tuple[int, Unit]) -> date | None:
    count, unit = shift
    match unit:
        case "day":
            return day + count * _DAY
        case "week":
            return day + 7 * count * _DAY
        case "month":
            return _add_months(day, count)
        case "quarter":
            return _add_months(day, 3 * count)
        case "year":
            return _add_months(day, 12 * count)
    return None  # hours and minutes are not days


def _add_months(day: date, count: int) -> date:
    year, month = divmod(12 * day.year + day.month - 1 + count, 12)
    return date(year, month + 1, min(day.day, calendar.monthrange(year, month + 1)[1]))


def _safe(year: int, month: int, day: int) -> date | None:
    try:
        return date(year, month, day)
    except ValueError:  # no such day
        return None


def _fitting_all(parts: DateParts, days: Iterable[date | None]) -> list[date]:
    return [day for day in days if day and parts.weekday in (None, day.weekday())]


def _fitting(parts: DateParts, days: Iterable[date | None]) -> date | None:
    return next(iter(_fitting_all(parts, days)), None)


def _nearest_year(parts: DateParts, days: Iterable[date | None], anchor: date) -> date | None:
    """Return the day of the nearest year; a weekday beside it chooses among near days, and moves none."""
    if parts.weekday is not None:
        days = (day for day in days if day and abs(day - anchor) <= _FAR)
    return _nearest(parts, _fitting_all(parts, days), anchor)


def _nearest(parts: DateParts, days: Iterable[date | None], anchor: date) -> date | None:
    valid = [day for day in days if day and not (parts.is_due and anchor - day > _LATE)]
    return min(valid, key=lambda day: (abs(day - anchor), anchor - day), default=None)


def _table(rules: Mapping[Rule, Sequence[str]]) -> Mapping[frozenset[str], Rule]:
    return {frozenset(names.split()): rule for rule, sets in rules.items() for names in sets}


# The set of parts determines the rule; a set that is not listed is meaningless.
_WITHOUT_ANCHOR: Final = _table(
    {
        _date: ("year month day", "year month day weekday"),
        _part_of_year: (
            *("year month", "year month edge", "year month weekday nth"),
            *("year quarter", "year quarter edge", "year edge"),
        ),
        _week_of_year: ("year week", "year week weekday", "year week edge"),
    }
)
_WITH_ANCHOR: Final = _table(
    {
        _day_of_month: ("month day", "month day weekday"),
        _date_of_span: ("month day span", "month day span weekday", "day span", "day span weekday"),
        _part_of_span: (
            *("month span", "month span edge", "month span weekday nth"),
            *("quarter span", "quarter span edge"),
        ),
        _figures: ("figures", "figures weekday"),
        _day: ("day", "day weekday", "day pick"),
        _nearest_part: ("month", "month edge", "month weekday nth", "quarter", "quarter edge"),
        _week: ("week", "week weekday", "week edge"),
        _days: (
            *("days", "days shift", "days weekday", "days month day", "days month day weekday"),
            *("days year month day", "days year month day weekday"),
        ),
        _weekday: ("weekday", "weekday pick", "weekday shift"),
        _weekday_of_span: ("weekday span", "weekday span nth"),
        _span: ("span", "span edge"),
        _shift: ("shift",),
        _today: ("",),
    }
)


ClockChange = Literal["skipped", "repeated"]

_ISO: Final = re.compile(
    r"(\d{4})-(\d{2})-(\d{2})(?:[T ](\d{2}:\d{2}(?::\d{2}(?:\.\d{1,6})?)?) ?(Z|[+-]\d{2}:?\d{2})?)?",
    re.IGNORECASE | re.ASCII,
)


class ResolvedTime(msgspec.Struct, frozen=True, kw_only=True):
    """Resolved words about time.

    Attributes:
        at: aware UTC; for a day without a time, its start in the owner's time zone.
        has_time: True if the words have a time of day.
        words: the words that were parsed.
        change: kind of clock change that affects the reading, or None.
    """

    at: datetime
    has_time: bool
    words: str
    change: ClockChange | None = None

    @property
    def at_ms(self) -> int:
        """Moment in UTC epoch milliseconds; negative before 1970."""
        return epoch_ms(self.at)


def local_day(at: datetime, zone: ZoneInfo) -> date:
    """Return the local day of *at* in *zone*; the day in UTC if it is outside the calendar there."""
    try:
        return at.astimezone(zone).date()
    except OverflowError:  # the last hours of the year 9999
        return at.date()


def instant_of(reading: datetime, zone: ZoneInfo) -> tuple[datetime, ClockChange | None]:
    """Return the UTC instant of a naive *reading* in *zone*, and how a clock change affects it.

    Raises:
        OverflowError: outside the range of datetime.
    """
    first = reading.replace(tzinfo=zone, fold=0)
    second = first.replace(fold=1)
    at = first.astimezone(UTC)
    if first.utcoffset() == second.utcoffset():
        return at, None
    # Skipped readings do not survive the round trip.
    is_skipped = at.astimezone(zone).replace(tzinfo=None) != reading
    return at, "skipped" if is_skipped else "repeated"


def read_iso(text: str, timezone: str) -> ResolvedTime | None:
    """Parse *text* as a whole to a moment; return ``None`` if it is not ISO 8601."""
    match = _ISO.fullmatch(text.strip())
    if match is None:
        return None
    year, month, day, at, offset = match.groups()
    if offset and offset[0] == "-" and _DAWN < at < offset[1:] and match[0][len("2027-02-03")] == " ":
        return None  # "2027-02-03 14:00-15:30" is an interval
    try:
        reading = datetime.fromisoformat(f"{year}-{month}-{day}T{at or '00:00'}{(offset or '').upper()}")
        if reading.tzinfo:
            return ResolvedTime(at=reading.astimezone(UTC), has_time=True, words=text)
        instant, change = instant_of(reading, ZoneInfo(timezone))
    except (ValueError, OverflowError):  # no such day, or outside the range of datetime
        return None
    return ResolvedTime(at=instant, has_time=at is not None, words=text, change=change)


def read_date(text: str, timezone: str) -> datetime | None:
    """Parse *text* as a whole to an aware UTC datetime, or return ``None``."""
    read = read_iso(text, timezone)
    return read.at if read else None


def date_ms(text: str, timezone: str) -> int | None:
    """Parse a date to epoch milliseconds; ``None`` also for dates before 1970."""
    read = read_date(text, timezone)
    return epoch_ms(read) if read is not None and read.year >= 1970 else None


_DAWN: Final = "06:00"  # times of an interval by day, which might be a time and its offset
Anchor = datetime | date  # aware; a plain date is a day in the reader's time zone
MAX_CHARS: Final = 120  # longer than any informal date; bounds the cost of hostile text
MAX_SENTENCE_CHARS: Final = 400
# "room 3 until 14 december", and no "from 3 to 14 december"
_NUMBERED: Final = re.compile(
    r"(?<![^\W_])(?P<noun>[^\W\d_]+) (?P<number>\d{1,4})"
    r"(?= (?:(?P<until>until|till|bis zum|hasta(?: el)?|jusqu'au|до)|to(?: the)?|bis|au|al|по)"
    r" (?P<end>\d{1,2})\b"
    r"(?! ?(?:uhr|h\b|heures?|horas|час|[ap] ?m\b|[:.]\d\d)))"
)
_NO_DIGITS: Final = dict.fromkeys(map(ord, "0123456789"), "#")
_FEW: Final = 2  # letters of words before days
_OPTIONAL_PARTS: Final = frozenset({"weekday", "is_to"})  # of a date that several languages have
_ENDS: Final = ",;.!?()"  # of a clause
_BEFORE_TITLES: Final = ".:;!?(-*"
_SUFFICIENT: Final = frozenset({"weekday", "days", "shift", "figures"})
_SHORT: Final = 3  # "in the sun", "el mar": such short names of days have other meanings
_SECONDS: Final[Mapping[str, int]] = {"hour": 3600, "minute": 60}

_MAX_UNSURE_HOUR: Final = 7
_NOON: Final = 12
# Possible hours of the 12-hour clock in a part of the day, and the number to add.
_HALVES: Final[Mapping[str, tuple[range, int]]] = {
    "am": (range(1, 12), 0),
    "pm": (range(1, 12), 12),
    "morning": (range(1, 12), 0),
    "afternoon": (range(1, 8), 12),
    "evening": (range(4, 12), 12),
    "night": (range(8, 12), 12),
    "noon": (range(1, 3), 12),
}
_OFFSET: Final = re.compile(r"(?:utc|gmt)? ?([+-]) ?(\d{1,2}):?(\d\d)?")
# Common names of a place's time, in summer or winter.
ZONES: Final[Mapping[str, str]] = {
    **dict.fromkeys(("utc", "gmt", "z"), "UTC"),
    **dict.fromkeys(("cet", "cest", "mez", "mesz"), "Europe/Berlin"),
    **dict.fromkeys(("et", "est", "edt"), "America/New_York"),
    **dict.fromkeys(("pt", "pst", "pdt"), "America/Los_Angeles"),
    **dict.fromkeys(("mst", "mdt"), "America/Denver"),
    "cdt": "America/Chicago",
    "bst": "Europe/London",
    **dict.fromkeys(("msk", "мск"), "Europe/Moscow"),
    "jst": "Asia/Tokyo",
    "北京时间": "Asia/Shanghai",
}


class DateContext(NamedTuple):
    """Time from which words for a day count, and how words of the same text are read.

    Attributes:
        anchor: time of writing: an aware moment, or a local day, from which hours cannot be counted; without
            it, only words with a year are resolved.
        timezone: IANA name, for words without a time zone.
        is_day_first: order of a date with slashes that has two readings; without it, none counts.
        language: code of the text's, of which alone short names of days count; empty: it is not known; None:
            those of all languages count.
    """

    anchor: Anchor | None
    timezone: str
    is_day_first: bool | None = None
    language: str | None = None

    @property
    def zone(self) -> ZoneInfo:
        """The time zone. Raises ZoneInfoNotFoundError if it is unknown."""
        return ZoneInfo(self.timezone)

    @property
    def today(self) -> date | None:
        """Local day of writing, if it is known."""
        return local_day(self.anchor, self.zone) if isinstance(self.anchor, datetime) else self.anchor


class DateWords(NamedTuple):
    """Words of a text for a day.

    Attributes:
        start: place in the text; likewise *end*.
        words: the text there.
        parts: parsed words.
        is_full: True if they contain year, month and day.
        is_word: they are one word, which may be another one in a text of another language.
        language: the language that has these words.
    """

    start: int
    end: int
    words: str
    parts: DateParts
    is_full: bool
    is_word: bool
    language: Language


@lru_cache(maxsize=4_096, typed=True)  # rows of a list often have the same day
def resolve(
    words: str,
    anchor: Anchor | None,
    timezone: str,
    is_day_first: bool | None = None,
    language: str | None = None,
    *,
    is_due: bool = False,
    is_checked: bool = True,
) -> ResolvedTime | None:
    """Resolve *words* to a moment; return ``None`` if they are ambiguous.

    The arguments behind the words are those of a ``DateContext``.

    Supports ISO 8601 and English, German, French, Spanish, Russian and Chinese. Words around a date ("by",
    "bis") are ignored, an interval is its start, and a day without a time starts at midnight in *timezone*.
    The rules of the calendar are in ``hub.extraction.when.resolve``, those of the clock in
    ``hub.extraction.when.resolve``.

    Args:
        is_due: True if the words are a deadline, even without a word such as "by".
        is_checked: False: a weekday next to a date without a year need not match; the nearest day counts.

    Raises:
        zoneinfo.ZoneInfoNotFoundError: the time zone is unknown.
    """
    if len(words) > MAX_CHARS:
        return None
    if moment := read_iso(words, timezone):
        return moment
    text, context = fold(words), DateContext(anchor, timezone, is_day_first, language)
    orders = (None, is_day_first) if is_day_first is not None and "/" in text else (None, True, False)
    try:
        read = [
            _read(each, text, words, context, is_due, is_checked)
            for each in _languages_of(text, language)
            if each.is_day_first in orders
        ]
    except NotationError:  # a ValueError, too; a faulty file would silence all languages
        raise
    # OverflowError, ValueError: outside the range of the calendar.
    except (Ambiguous, OverflowError, ValueError):
        return None
    moments = {moment.at_ms: moment for moment in read if moment}
    return next(iter(moments.values())) if len(moments) == 1 else None


def days_in(text: str, context: DateContext, *, is_due: bool = False) -> list[ResolvedTime]:
    """Return the unambiguous moments in *text*, a sentence or two; each day once.

    Stricter than ``resolve``: "the second draft" and "sat down" are no days, so a day needs a name, a number
    with a month, or a distance.
    """
    found: dict[date, ResolvedTime] = {}
    for day_words in dates_in(text, language=context.language):
        if moment := resolve(day_words.words, *context, is_due=is_due):
            found.setdefault(local_day(moment.at, context.zone), moment)
    return list(found.values())


def _is_numbered(match: re.Match[str]) -> bool:
    """Return True for a number of a noun before words for an end, and not the begin of an interval."""
    noun, lexicons = match["noun"], languages_in(script_of(match[0]))
    is_few = len(noun) <= _FEW and not match["until"]
    if is_few or any(noun in lexicon.time.words_of_days for lexicon in lexicons):
        return False
    if match["until"] or int(match["number"]) >= int(match["end"]):
        return True
    above = match.string[: match.start()].rstrip()
    is_title = not above or above[-1] in _BEFORE_TITLES
    return not (is_title or any(lexicon.has("events", noun) for lexicon in lexicons))


def dates_in(text: str, *, has_spans: bool = False, language: str | None = None) -> list[DateWords]:
    """Return the words for days in *text*, a line or some sentences, in any of its languages.

    Numbers that are versions, prices, telephones and the like are none, and neither is a number without a
    word that supports it.

    Args:
        has_spans: also return words for the next week or month.
        language: code of the text's, as of a ``DateContext``.
    """
    tokens = Tokens(text[:MAX_SENTENCE_CHARS])
    found: dict[tuple[int, int], tuple[DateParts, Sequence[SayingMatch]]] = {}
    line = _NUMBERED.sub(
        lambda match: match[0].translate(_NO_DIGITS) if _is_numbered(match) else match[0], tokens.line
    )
    for start, end, run, parts in _phrases_in(line, language):
        is_day = _denotes_day(parts, run) or _ends_with_day(parts, run, text[tokens.place(start, end)[1] :])
        is_day = is_day and not tokens.line.startswith("'s", end)  # "today's post"
        if (start, end) not in found and (is_day or (has_spans and is_coming_span(parts))):
            found[start, end] = parts, run
    cuts = [
        (start, end)
        for (start, amid), (_, run) in found.items()
        for (begin, end), (_, other) in found.items()
        if start < begin < amid < end and not _may_agree(run, other)
    ]
    days: list[DateWords] = []
    for (start, end), (parts, run) in found.items():
        # In "by mar 5 janv", one language ends its date amid another date of another: neither counts.
        # In "lun 7 déc", one has the whole.
        is_cut = any(
            start < stop and begin < end and not start <= begin < stop <= end for begin, stop in cuts
        )
        if is_cut:
            continue
        begin, after = tokens.place(start, end)
        is_amid = "," in text[begin:after] and not text[:begin].rstrip().endswith(",")
        if is_amid and not run[-1].is_time and text.startswith(",", after):
            after += 1  # "on Monday, 3 May, at home"
        words, of = text[begin:after], run[0].saying.language
        days.append(DateWords(begin, after, words, parts, _is_full(parts), words.isalpha(), of))
    return days


def _may_agree(run: Sequence[SayingMatch], other: Sequence[SayingMatch]) -> bool:
    """Return True for sayings of one language, or with the same parts of a date in a value that is the same.

    One without the month of the other is no date of its own: "dom 6" of "dom 6 may".
    """
    one, two = _named(run), _named(other)
    is_same = one.keys() - _OPTIONAL_PARTS == two.keys() - _OPTIONAL_PARTS
    is_same = is_same and all(one[name] & two[name] for name in one.keys() & two.keys())
    return run[0].saying.language is other[0].saying.language or is_same


def _named(run: Sequence[SayingMatch]) -> dict[str, set[object]]:
    """Return the parts about a day of sayings, with all their readings."""
    named: defaultdict[str, set[object]] = defaultdict(set)
    for part in run[0].saying.language.parts_of(run):
        for name in part.about_day:
            named[name].update(part.figures or () if name == "figures" else (getattr(part, name),))
    return named


def time_in(text: str, *, is_sure: bool = True) -> str | None:
    """Return the first words for a time of day that are beside no day, or None.

    Args:
        is_sure: the hour is that of the morning, or that of the evening.
    """
    tokens = Tokens(text[:MAX_SENTENCE_CHARS])
    for start, end, _, parts in _phrases_in(tokens.line):
        if not parts.about_day and (find_time(parts) if is_sure else parts.hour) is not None:
            return text[slice(*tokens.place(start, end))]
    return None


def is_sure_clock(words: str, lexicon: Lexicon) -> bool:
    """Return True for a time that is definite in a language."""
    parts = together(_parsed(lexicon.time, fold(words)) or ())
    return parts is not None and find_time(parts) is not None


def open_clock_in(words: str) -> str | None:
    """Return the time in words, also behind those for a day, that is one of the morning or of the evening."""
    parts = words.split()
    for text in (" ".join(parts[nth:]) for nth in range(len(parts))):
        tokens = Tokens(text)
        for start, end, _, time in _phrases_in(tokens.line):
            if time.hour is not None and not time.about_day:
                is_open = time.hour < _NOON and time.half is None and not time.is_sure
                return text[slice(*tokens.place(start, end))] if is_open else None
    return None


def _phrases_in(
    line: str, code: str | None = None
) -> Iterator[tuple[int, int, Sequence[SayingMatch], DateParts]]:
    """Yield the places of words about time in a line, with their sayings and what they mean together."""
    for language, run in _index(_languages_of(line, code)).runs(line):
        if code not in (None, language.code) and any(phrase.is_short_day for phrase in run):
            continue
        while len(run) > 1 and run[-1].is_time and _is_unsure(language.parts_of(run[-1:])):
            run = run[:-1]  # "at 3" stays a word of the sentence
        try:
            parts = together(language.parts_of(run))
            if parts is None and run[0].groups.keys() == {"half"}:  # "parents' evening Thursday 6.30pm"
                run = run[1:]
                parts = together(language.parts_of(run))
        except ValueError:  # no date
            continue
        if parts is not None and (is_supported(run, language) or _ends_row(run, line)):
            yield _start_in(line, run), run[-1].match.end(), run, parts


def _start_in(line: str, run: Sequence[SayingMatch]) -> int:
    """Return the place where words for a day begin: behind the label of a row such as "Due: 3 May"."""
    label = next((nth for nth, phrase in enumerate(run) if not (phrase.is_filler or phrase.is_lead)), 0)
    before = line[run[0].match.start() : run[label].match.start()]
    return run[label if before.endswith(": ") else 0].match.start()


def _ends_row(run: Sequence[SayingMatch], line: str) -> bool:
    """Return True for a day at the end of a row: "the rent 5/12", "Abgabe: 5.12.", and not "Done: 5/20"."""
    match, before = run[-1].match, line[: run[0].match.start()].rstrip()
    if match.end() < len(line) or match.group() == "24/7":
        return False
    is_row = run[-1].saying.language.has_day_points and before.endswith(":")
    return is_row if run[-1].groups.get("s") == "." else "s" in run[-1].groups and before[-1:].isalnum()


@cache
def _index(languages: tuple[Language, ...]) -> Index:
    return Index(languages)


def _is_unsure(parts: Sequence[DateParts]) -> bool:
    """Return True for a time with an hour that may be of the morning or the afternoon."""
    return all(part.hour is not None and find_time(part) is None for part in parts)


def is_coming_span(parts: DateParts) -> bool:
    """Return True for "next week" and "week 51", whose day is not known."""
    is_week = parts.about_day == {"week"} or parts.about_day == {"week", "year"}
    return is_week or (parts.about_day == {"span"} and parts.span in (("week", 1), ("month", 1)))


def _is_full(parts: DateParts) -> bool:
    return parts.about_day >= {"year", "month", "day"} or (
        parts.figures is not None and all(figures[0] is not None for figures in parts.figures)
    )


def _denotes_day(parts: DateParts, run: Sequence[SayingMatch]) -> bool:
    if "edge" in parts.about_day:  # "by the end of May"
        return not parts.about_day.isdisjoint(("month", "span", "year", "quarter", "week"))
    if parts.about_day == {"weekday"} and not parts.about_time:
        return any(map(_is_sure_weekday, run, (None, *run)))
    is_named = parts.about_day >= {"day", "month"} or parts.about_day in ({"day", "pick"}, {"day", "span"})
    return bool(parts.about_day & _SUFFICIENT) or is_named


def _ends_with_day(parts: DateParts, run: Sequence[SayingMatch], rest: str) -> bool:
    """Return True for the day of a month with a word before it that ends its words ("rent on the 5th")."""
    words = "".join(phrase.match.group() for phrase in run)
    has_word = any(map(str.isalpha, words)) and any(map(str.isdigit, words))
    is_spaced = run[0].saying.language.is_spaced
    return parts.about_day == {"day"} and has_word and is_spaced and rest.lstrip()[:1] in ("", *_ENDS)


def _is_sure_weekday(phrase: SayingMatch, before: SayingMatch | None) -> bool:
    """Return True unless the name of a weekday is short, and may be another word ("in the sun")."""
    language, name = phrase.saying.language, phrase.groups.get("weekday", "")
    if len(name) > _SHORT or not name.isascii() or "weekday" in phrase.saying.meaning:
        return True
    return bool(name and language.has_short_days and before and before.is_lead)


def _languages_of(line: str, code: str | None = None) -> tuple[Language, ...]:
    if unread := unread_languages().get(code or ""):
        return (unread.time,)
    script = script_of(line)
    is_without_letters = script == "latin" and not has_latin(line)
    return _times(languages() if is_without_letters else languages_in(script))


@cache
def _times(lexicons: tuple[Lexicon, ...]) -> tuple[Language, ...]:
    return tuple(lexicon.time for lexicon in lexicons)


@lru_cache(maxsize=4_096)  # words of one text are often the same
def _parsed(language: Language, line: str, *, is_own: bool = True) -> Sequence[DateParts] | None:
    return language.parse(line, is_own=is_own)


def _read(
    language: Language,
    text: str,
    words: str,
    context: DateContext,
    is_due: bool,
    is_checked: bool,
) -> ResolvedTime | None:
    """Resolve *text* in one language."""
    found = _parsed(language, text, is_own=context.language in (None, language.code))
    parts = together([*found, DateParts(is_due=True)] if is_due else found) if found else None
    if parts is None:
        return None
    if not (is_checked or _is_full(parts)) and parts.about_day > {"weekday"}:
        parts = msgspec.structs.replace(parts, weekday=None, is_due=None)
    if parts.shift and parts.shift[1] in _SECONDS:
        return _elapsed(parts, words, context.anchor)
    if parts.hour is not None and not parts.about_day and find_time(parts) is None:
        raise Ambiguous  # "at 3", without a day that would still be resolved
    try:
        day = find_day(parts, context.today)
    except Ambiguous:
        if context.is_day_first is None or parts.figures is None:
            raise
        ordered = parts.figures[:1] if context.is_day_first else parts.figures[1:2]
        day = find_day(msgspec.structs.replace(parts, figures=ordered), context.today)
    return _moment(parts, day, words, context.zone) if day else None


def _elapsed(parts: DateParts, words: str, anchor: Anchor | None) -> ResolvedTime | None:
    """Resolve "in two hours" on a clock without changes; no other part is permitted."""
    if parts.shift is None or parts.about_day != {"shift"} or parts.about_time:
        return None
    if not isinstance(anchor, datetime):  # a day has no hour to count from
        return None
    count, unit = parts.shift
    at = anchor.astimezone(UTC) + timedelta(seconds=count * _SECONDS[unit])
    return ResolvedTime(at=at, has_time=True, words=words)


def _moment(parts: DateParts, day: date, words: str, zone: ZoneInfo) -> ResolvedTime | None:
    minutes = find_time(parts)
    if minutes is None:
        at, change = instant_of(datetime(day.year, day.month, day.day), zone)  # noqa: DTZ001 - local
        # A clock change at the start of a day does not make the day ambiguous.
        return ResolvedTime(at=at, has_time=False, words=words, change=change)
    reading = datetime(day.year, day.month, day.day) + timedelta(minutes=minutes)  # noqa: DTZ001 - local
    own_zone = find_zone(parts.zone) if parts.zone else zone
    if isinstance(own_zone, ZoneInfo):
        at, change = instant_of(reading, own_zone)
        return ResolvedTime(at=at, has_time=True, words=words, change=change)
    return ResolvedTime(at=reading.replace(tzinfo=own_zone).astimezone(UTC), has_time=True, words=words)


def find_time(parts: DateParts) -> int | None:
    """Return the minutes since midnight, at most 24 hours; ``None`` without a definite time."""
    hour, minute = parts.hour, parts.minute or 0
    if hour is None or (hour == 24 and minute):
        return None
    if parts.half is not None:
        hour = _hour_in(parts.half, hour)
    elif 1 <= hour - bool(parts.less) <= _MAX_UNSURE_HOUR and not parts.is_sure:
        hour = None
    return None if hour is None else 60 * hour + minute - (parts.less or 0)


def find_zone(name: str) -> ZoneInfo | fixed_zone:
    """Return the time zone of a name that occurs in texts, as in ``CET`` or ``UTC+2``.

    Raises:
        Ambiguous: the name is used in several parts of the world, as IST is.
        ValueError: its offset is a day or more.
    """
    if match := _OFFSET.fullmatch(name):
        sign, hours, minutes = match.groups()
        east = timedelta(hours=int(hours), minutes=int(minutes or 0))
        return fixed_zone(east if sign == "+" else -east)
    if name not in ZONES:
        raise Ambiguous
    return ZoneInfo(ZONES[name])


def _hour_in(half: str, hour: int) -> int | None:
    """Return the hour of the 24-hour clock; ``None`` if that part of the day has no such hour."""
    if half == "am" and hour == _NOON:
        return 0
    if hour == _NOON and half in ("pm", "noon", "afternoon"):
        return _NOON
    hours, added = _HALVES.get(half, (range(0), 0))
    if hour in hours:
        return hour + added
    if hour in (11,) and half == "noon":
        return hour
    return hour if hour > _NOON and added and hour - added in hours else None

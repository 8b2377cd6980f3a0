"""Days in a sentence or a title, with their positions. Pure functions."""

from datetime import date, datetime
from functools import lru_cache
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from hub.extraction.when.language import has_han
from hub.extraction.when.resolve import (
    DateContext,
    ResolvedTime,
    dates_in,
    is_coming_span,
    local_day,
    resolve,
)
from hub.extraction.wording.languages import Lexicon, languages_in, script_of
from hub.extraction.wording.recognition import unread_languages

_MAX_LEADING: Final = 2  # words dropped before a date
_HAN_FILLERS: Final = "\u8bf7\u7684\u662f\u5c31"  # before a date, which date words may include

_TO: Final = frozenset(("-", "\u2013", "to", "until", "bis", "au", "al", "\u0434\u043e", "\u043f\u043e"))
_ENDS: Final = ",;.!?():\u2013-"  # behind a clause
_IN: Final = frozenset(("in", "by", "bis", "en", "\u043d\u0430", "\u0434\u043e"))
_OF: Final = tuple(
    f" {word} " for word in ("of", "des", "der", "du", "de", "del", "de la")
)  # "week 3 of the course"
_FOR: Final = frozenset(("for", "of", "f\u00fcr", "pour", "para", "de", "du", "del"))
_QUOTES: Final = frozenset(('""', "\u201c\u201d", "\u201e\u201c", "\u00ab\u00bb"))  # around a name, not a day


class FoundDay(NamedTuple):
    """Words for a day at a place of a text.

    Attributes:
        at: moment in UTC; None if the words are ambiguous, or no day is known to count from.
        is_due: the words name a deadline ("by 3 May", "expires on 3 May"), which may have passed.
        is_of: they tell which meeting or bill ("the meeting of 3 May"), and no day of work.
        is_week: they name a week, whose first day it is: a day for work, and not for an event.
        is_unclear: their weekday is not that of the day ("Thu 9 Dec" of 2026).
    """

    start: int
    end: int
    at: datetime | None
    has_time: bool
    words: str
    is_due: bool = False
    is_of: bool = False
    is_week: bool = False
    is_unclear: bool = False

    @property
    def unclear_words(self) -> str:
        """Words of which a person decides what they mean; empty for a clear day."""
        return self.words if self.at is None or self.is_unclear else ""

    def counts(self, today: date | None, zone: ZoneInfo) -> bool:
        """Return True for a day that work can have: one that is known, and ahead or a deadline."""
        return self.at is not None and (self.is_due or today is None or local_day(self.at, zone) >= today)

    @property
    def is_open(self) -> bool:
        """True for a date with two readings, such as "5/12"."""
        return self.at is None and "/" in self.words


def find_days(text: str, context: DateContext, lexicon: Lexicon | None = None) -> list[FoundDay]:
    """Return the days in a text, the longest words at each place, in order.

    Args:
        lexicon: words of its language; without it, those of all languages in its script.
    """
    found: list[tuple[int, int, bool, bool]] = []
    weeks: dict[tuple[int, int], str] = {}  # words for the first day of each
    orders: dict[tuple[int, int], bool | None] = {}  # by the language of the words
    for words in dates_in(text, has_spans=True, language=context.language):
        is_span = is_coming_span(words.parts)
        before, after = text[: words.start].rstrip()[-1:], text[words.end :].lstrip()[:1]
        is_part = is_span and after in ("'", "\u2019")  # "next week's menu"
        is_other = words.is_word and _is_foreign(words.language.code, text, lexicon)
        is_part = is_part or (
            is_span and words.parts.week is not None and text[words.end :].lower().startswith(_OF)
        )
        if not (is_part or is_other or f"{before}{after}" in _QUOTES):
            found.append((words.start, words.end, is_span, bool(words.parts.is_due)))
            orders[words.start, words.end] = words.language.is_day_first
            if is_span and words.parts.week is not None and _is_of_year(text, words.start, words.end):
                weeks[words.start, words.end] = words.words
    known_words = [lexicon] if lexicon else languages_in(script_of(text))
    lexicons = () if context.language in unread_languages() else known_words
    for known in lexicons:
        for match in known.patterns("edges")[0].finditer(text):
            first = match.groupdict().get("first")
            if first and (dates_in(first, language=context.language) or resolve_ahead(first, context)):
                weeks[match.span()] = first
            if not first or match.span() in weeks:
                found.append((*match.span(), match.lastgroup == "open", False))
    if not found:
        return []
    rows = [row for known in lexicons for row in known.patterns("undated")]
    kinds = [match.span() for row in rows for match in row.finditer(text)]
    is_all_due = any(known.has(name, text) for known in lexicons for name in ("lapses", "owed"))
    days: list[FoundDay] = []
    at = 0
    for start, end, is_span, is_due in sorted(found, key=lambda place: (place[0], -place[1], not place[2])):
        if start >= at and not any(first <= start < last for first, last in kinds):
            at = end
            of_words = context._replace(is_day_first=orders.get((start, end)))
            ordered = of_words if context.is_day_first is None else context
            day = _day_at(text, start, end, ordered, is_known=not is_span)
            if (first := weeks.get((start, end))) and (moment := resolve_ahead(first, ordered)):
                day = FoundDay(start, end, moment.at, False, text[start:end], is_week=True)
            is_due = is_due or is_all_due
            days.append(day._replace(is_due=is_due, is_of=not is_due and _is_of_noun(text, start, end)))
    return days


def _is_of_year(text: str, start: int, end: int) -> bool:
    """Return True for a week of the calendar ("KW 50", "in week 50"), and not of a course ("for week 3")."""
    first, after = text[start:end].lower().split()[0], text[end:].split(maxsplit=1)
    if has_han(first) or first.startswith(("kw", "cw", "kalender", "calendar")):
        return True
    is_end = not after or after[0][0] in _ENDS
    return first in _IN or (is_end and first not in _FOR)


def _is_of_noun(text: str, start: int, end: int) -> bool:
    """Return True for a day behind a noun and a word such as "of", and for one before the Chinese word."""
    before, words = text[:start].split(), text[start:end]
    parts = [*before[-2:], words.partition(" ")[0]]
    known = [lexicon.time for lexicon in languages_in(script_of(text))]
    links, times = (
        {word for time in known for word in getattr(time, name).split()} for name in ("of", "times")
    )
    if before and parts[-1].lower() not in links:
        parts.pop()
    is_behind = len(parts) > 1 and parts[-1].lower() in links and parts[-2].lower() not in times
    is_before = words.endswith("\u7684") and text[end:].strip() != ""
    return is_before or (is_behind and _TO.isdisjoint(words.lower().split()))


def _is_foreign(code: str, text: str, lexicon: Lexicon | None) -> bool:
    """Return True if a text is of another language than *code*: of *lexicon*, or by its common words."""
    words = [word.strip(".,;:!?()") for word in text.lower().split()]
    counts = {
        known.code: sum(map(known.common_words.__contains__, words))
        for known in languages_in(script_of(text))
    }
    return lexicon.code != code if lexicon else counts.get(code, 0) < max(counts.values())


def _day_at(text: str, start: int, end: int, context: DateContext, *, is_known: bool) -> FoundDay:
    begin = start
    moment = resolve_ahead(text[start:end], context) if is_known else None
    has_weekday = moment is None and _has_weekday(text[start:end], context.language)
    for _ in range(_MAX_LEADING if is_known else 0):  # "start on 18 May" is no edge of May
        first, _, rest = text[begin:end].partition(" ")
        # Of a date with a wrong weekday, neither counts.
        if (
            moment is not None
            or not rest
            or _has_weekday(first, context.language) is not None
            or _has_weekday(rest, context.language) != has_weekday
        ):
            break
        begin = end - len(rest)
        moment = resolve_ahead(rest, context)
    start = begin if moment is not None else start
    while start < end - 1 and text[start] in _HAN_FILLERS:
        start += 1
    words = text[start:end]
    is_unclear = moment is None and has_weekday is True and is_known
    if is_unclear:
        moment = resolve(words, *context, is_checked=False)
    guess = moment or (resolve_ahead(words, context._replace(is_day_first=True)) if "/" in words else None)
    has_time = bool(guess and guess.has_time)
    return FoundDay(start, end, moment.at if moment else None, has_time, words, is_unclear=is_unclear)


@lru_cache(maxsize=1_000)  # the days of a list are often the same
def _has_weekday(words: str, language: str | None) -> bool | None:
    """Return True if words for a day may name its weekday; None without a day."""
    days = dates_in(words, language=language)
    return any(day.parts.weekday is not None for day in days) if days else None


def resolve_ahead(words: str, context: DateContext) -> ResolvedTime | None:
    """Resolve words for a day; one that would be in the past is ahead if it may be, as a deadline is."""
    moment, today = resolve(words, *context), context.today
    if moment is None or today is None or local_day(moment.at, context.zone) >= today:
        return moment
    return resolve(words, *context, is_due=True) or moment

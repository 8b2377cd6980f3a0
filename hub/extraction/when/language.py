"""Date and time expressions of a language: lexicon and parser. Pure functions.

A saying is a regular expression with places, ``in {n} {unit}``, and its ``DateParts``. A text is parsed
from left to right, the longest saying first; an unknown word makes the whole text unparsable. No backtracking
takes place.

All languages write dates in figures similarly. With points, the day comes first everywhere. With slashes or
dashes, the order differs by country: then both readings are candidates, and the date counts only if a single
reading is valid.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from datetime import date
from functools import cached_property, lru_cache
from typing import Any, Final, Literal, NamedTuple, get_args

import msgspec

from hub.extraction.tokens import HAN, fold, unmarked

Unit = Literal["minute", "hour", "day", "week", "month", "quarter", "year"]
Edge = Literal["start", "middle", "end"]
Pick = Literal["coming", "this", "last", "second", "weekend"]
Half = Literal["am", "pm", "morning", "noon", "afternoon", "evening", "night", "midnight", "close"]
# Year (or None), month, day.
Figures = tuple[int | None, int, int]

# Sayings of all languages. The placeholders are those of ``hub.extraction.when.language``.
_NAMED_ZONE: Final = "cest|cet|mesz|mez|bst|edt|cst|cdt|mst|mdt|pst|pdt|pt|jst|msk|мск"
_ZONE: Final = (
    r"(?P<zone>(?:utc|gmt)(?: ?[+-] ?\d{1,2}(?::?[0-5]\d)?)?|z|[+]\d\d:?[0-5]\d|-\d\d[0-5]\d"
    rf"|{_NAMED_ZONE})"
)
SAYINGS: Final[tuple[tuple[str, Mapping[str, object]], ...]] = (
    (
        r"(?P<a>[12]\d{3})-(?P<b>\d\d)-(?P<c>\d\d)t{h}:{min}(?::[0-5]\d(?:\.\d{1,6})?)?"
        r"(?P<zone>z|[+-]\d\d:?[0-5]\d)?",
        {"is_sure": True},
    ),
    (r"(?P<a>[12]\d{3})(?P<s>[-./])(?P<b>\d{1,2})(?P=s)(?P<c>\d{1,2})", {}),
    (r"(?P<a>\d{1,2})(?P<s>[./-])(?P<b>\d{1,2})(?P=s)(?P<c>[12]\d{3}|\d{2})\.?", {}),
    (r"(?P<a>\d{1,2})(?P<s>/)(?P<b>\d{1,2})", {}),
    (r"(?P<a>\d{1,2})(?P<s>\.) ?(?P<b>\d{1,2})\.(?!\d)", {}),
    # Behind a weekday: "by Thu 26.11"; minutes are no month, and mostly divide by five.
    (
        r"{weekday},? ?(?P<a>(?:2[4-9]|3[01])(?=\.0?[1-9]|\.1[0-2])"
        r"|\d{1,2}(?=\.0[1-46-9]|\.1[12]|\.[1-9](?!\d)))"
        r"(?P<s>\.)(?P<b>1[0-2]|0?[1-9])(?:\.(?!\d))?",
        {},
    ),
    # 3.-5.5.2025
    (r"(?P<a>\d{1,2})\.? ?- ?\d{1,2}(?P<s>\.)(?P<b>\d{1,2})\.(?P<c>[12]\d{3}|\d{2})?\.?", {}),
    (r"(?P<mo>1[0-2]|0?[1-9])[./]{y}", {}),
    (r"{y}-(?P<mo>1[0-2]|0[1-9])", {}),
    (r"{y}-?w(?P<w>5[0-3]|[1-4]\d|0[1-9])", {}),
    (rf"{{h}}:{{min}}(?::[0-5]\d(?:\.\d{{1,6}})?)?(?: ?{_ZONE})?", {}),
    (r"{h}h{min}", {"is_sure": True}),
    (_ZONE, {}),
    ("-", {"is_to": True}),
)
_CENTURY: Final = 2000  # of a year with two digits


class NotationError(ValueError):
    """Text in a data file of a language that does not have the form it must have."""


class Ambiguous(Exception):
    """Words with several readings, none of which is preferred."""


class DateParts(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """Parts of a saying; each is None unless it was named.

    Attributes:
        weekday: 0 is Monday.
        pick: selects among the weekdays of that name; ``weekend`` is a Saturday.
        nth: "first Monday"; -1 is the last.
        week: number of an ISO week.
        days: distance from the anchor in days ("tomorrow" is 1).
        span: "next month" is ``("month", 1)``.
        edge: of a span, a month, a quarter or a year.
        shift: "in two weeks" is ``(2, "week")``.
        figures: all readings of a date in figures.
        less: minutes before the hour ("quarter to ten").
        is_sure: the hour is of the 24-hour clock, even if it is small.
        half: the part of the day that contains the hour.
        zone: IANA name, or an offset such as ``+02:00``.
        is_due: the date is a deadline.
        is_to: not a part, but the word between the two ends of an interval.
    """

    year: int | None = None
    month: int | None = None
    day: int | None = None
    weekday: int | None = None
    pick: Pick | None = None
    nth: int | None = None
    week: int | None = None
    quarter: int | None = None
    days: int | None = None
    span: tuple[Unit, int] | None = None
    edge: Edge | None = None
    shift: tuple[int, Unit] | None = None
    figures: tuple[Figures, ...] | None = None
    hour: int | None = None
    minute: int | None = None
    less: int | None = None
    is_sure: bool | None = None
    half: Half | None = None
    zone: str | None = None
    is_due: bool | None = None
    is_to: bool | None = None

    @cached_property
    def names(self) -> frozenset[str]:
        """Names of the parts that were named."""
        return frozenset(name for name in self.__struct_fields__ if getattr(self, name) is not None)

    @cached_property
    def about_day(self) -> frozenset[str]:
        """Names of the parts about a day."""
        return self.names - _OF_TIME - {"is_due"}

    @cached_property
    def about_time(self) -> frozenset[str]:
        """Names of the parts about a time of day."""
        return self.names & _OF_TIME


class Meaning(DateParts, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Meaning of a saying in a data file: its parts, and what they are made of.

    Attributes:
        sign: of the number before a unit; 1: ahead, -1: ago.
        steps: spans ahead.
    """

    sign: int | None = None
    steps: int | None = None


_OF_TIME = frozenset({"hour", "minute", "less", "is_sure", "half", "zone"})


def together(parts: Iterable[DateParts]) -> DateParts | None:
    """Merge all parts of a saying; of an interval, return the start. ``None`` for contradictory parts."""
    ends: list[list[DateParts]] = [[]]
    has_part = False  # this end has a part already
    for part in parts:
        if part.is_to and has_part:
            ends.append([])
        else:  # nothing precedes it: "until Friday"
            ends[-1].append(DateParts(is_due=True) if part.is_to else part)
        has_part = not part.is_to and (has_part or part.is_due is None)
    merged = [_merged(end) for end in ends if end]
    match merged:
        case [DateParts() as only]:
            return only
        case [DateParts() as start, DateParts() as end]:
            return _start_of(start, end)
    return None


def _merged(parts: list[DateParts]) -> DateParts | None:
    if len(parts) == 1:
        return parts[0]
    merged: dict[str, Any] = {}
    for part in parts:
        for name in part.names:
            value = getattr(part, name)
            if merged.setdefault(name, value) != value:
                return None
    return DateParts(**merged)


def _start_of(start: DateParts, end: DateParts) -> DateParts | None:
    """Return the start of an interval; for "Friday until 3 pm", the time belongs to the day."""
    if not start.about_time and not end.about_day:
        return _merged([start, end])
    lent: dict[str, object] = {}
    if not start.about_day:  # "9 to 11 tomorrow"
        lent = {name: getattr(end, name) for name in end.about_day}
    if start.about_day == {"weekday"} and end.weekday is not None:
        lent["span"] = end.span
    if start.about_day - {"weekday"} == {"day"} and end.day is not None:
        lent |= {"month": end.month, "year": end.year, "span": end.span}
    elif start.month is not None and start.year is None and end.year is not None:
        lent["year"] = end.year - (end.month is not None and start.month > end.month)
    if start.figures and end.figures and len(end.figures) == 1:
        lent["figures"] = tuple((year or end.figures[0][0], month, day) for year, month, day in start.figures)
    if start.hour is not None and end.hour is not None:
        lent["zone"] = start.zone or end.zone
        if start.half is None and start.hour % 12 <= end.hour % 12:  # "9 - 5 pm" does not start at night
            lent["half"] = end.half
    return msgspec.structs.replace(start, **lent)


def candidates(found: Mapping[str, str], is_day_first: bool | None) -> tuple[Figures, ...]:
    """Return all readings of a date in figures, valid or not."""
    a, b, c = found["a"], found["b"], found.get("c")
    if len(a) == 4:
        return ((int(a), int(b), int(c or 0)),)
    year = None if c is None else int(c) if len(c) == 4 else _CENTURY + int(c)
    day_first, month_first = (year, int(b), int(a)), (year, int(a), int(b))
    if found.get("s") == "." or is_day_first:
        return (day_first,)
    if is_day_first is False:
        return (month_first,)
    year_first = [(_CENTURY + int(a), int(b), int(c))] if c is not None and len(c) == 2 else []
    return (day_first, month_first, *year_first)


def day_of(figures: Figures, default_year: int) -> date | None:
    """Return the day, in *default_year* if the figures have no year; ``None`` if it is invalid."""
    year, month, day = figures
    try:
        return date(year or default_year, month, day)
    except ValueError:
        return None


_FILLER: Final[Mapping[str, object]] = {}
_DUE: Final[Mapping[str, object]] = {"is_due": True}
# Words before a deadline, and other words.
_BEFORE: Final = frozenset(("vor", "zum", "zur", "by", "before", "pour", "para"))
_IN: Final = frozenset(("in", "im", "en", "в"))  # fillers before the year of a date
_PLACE: Final = re.compile(r"\{([A-Za-z]+)\}")  # {d}, not the {2} of a pattern
_NUMBER: Final = re.compile(r"[^=]+=-?\d+")
_SHORT_NAME: Final = re.compile(r"[^\W\d_]{1,3}(?=\()")
_CONTINUED: Final = re.compile(r"\\\n\s*")
_GROUP: Final = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\((?!\?)")
_ATOM: Final = re.compile(  # or several letters
    rf"[^\W\d_{HAN}]{{2,}}(?![?*{{])|\\.|\[\]?(?:\\.|[^\]\\])*\]|\(\?P=\w+\)|\(\?P<\w+>|\(\?<?[=!:]"
    r"|\{\d+,?\d*\}|.",
    re.DOTALL,
)
_RANGE: Final = re.compile(r"\\?(.)(?:-(.))?", re.DOTALL)
_DONE: Final = "\0"  # behind a head to which nothing can be added
# Neither in the middle of a word, nor of a time or a number with a point.
_END_OF_WORD: Final = r"(?!(?<=[^\W_])[^\W_])(?!(?<=\d)[:.]\d)"
_END_OF_NUMBER: Final = r"(?!(?<=\d)\d)(?!(?<=\d)[:.]\d)"
# Groups that contain a number, and the parts of ``DateParts`` that they fill.
_NUMBERS: Final = {
    "d": "day",
    "mo": "month",
    "y": "year",
    "w": "week",
    "q": "quarter",
    "h": "hour",
    "min": "minute",
}
# Behind a day, "19.30" is a time, and "12.50 euros" an amount.
_POINTED: Final = (
    r"(?P<h>2[0-3]|1\d|0?\d)(?P<pt>\.)(?P<min>[0-5]\d)(?! ?(?:[€$£¥%°₽]|eur|usd|chf|gbp|pro[cz]|per\b|each\b"
    r"|a piece|[kcm]?m\b|k?g\b|m?l\b|kwh?\b|[gm]b\b|руб|р\b|тыс|млн|к?г\b|к?м\b|л\b))"  # noqa: RUF001
)
_ARTICLES: Final = frozenset(
    ("the", "die", "das", "des", "les", "la", "los")
)  # before an amount: "die 10.45"
_DAYS: Final = frozenset({"d", "a", "weekday", "dth", "days"})
_BETWEEN: Final = re.compile(r"[ .,]+|: ")  # separators between the parts of a saying
_START: Final = re.compile(
    rf"(?P<word>[^\W\d_{HAN}]+)(?= (?P<second>[^\W\d_{HAN}]+|\d)(?: (?P<third>[^\W\d_{HAN}]+|\d))?)?|[{HAN}]"
    rf"|(?P<number>\d+)(?= ?(?P<next>[^\W\d_{HAN}]+|[{HAN}]|[^\w\s])?)"
)
_ANCHOR: Final = re.compile(rf"[^\W\d_{HAN}]+|[{HAN}]|[0-9]")
_LEADING: Final = 5  # words at most of which the last one names something ("no later than the 3rd")
_YEAR: Final = "0000"  # head of a number of four figures; "0" of any other
_YEARS_OF_NOW: Final = range(20, 40)  # with two digits; others are rather of a version


def has_han(text: str) -> bool:
    return not text.isascii() and re.search(f"[{HAN}]", text) is not None


def has_cyrillic(text: str) -> bool:
    return not text.isascii() and re.search("[\u0400-\u04ff]", text) is not None


def has_latin(text: str) -> bool:
    return re.search("[a-z]", text) is not None


class Saying(msgspec.Struct, frozen=True, dict=True, eq=False):
    """Pattern of a saying without places, and its meaning."""

    language: "Language"
    source: str
    meaning: Mapping[str, object]

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """The compiled pattern; few sayings of a language occur in a text."""
        try:
            return re.compile(self.source)
        except re.error as error:
            why = f"{self.language.code}.toml: time.sayings: {error}, in {self.source:.80}"
            raise NotationError(why) from error

    @cached_property
    def heads(self) -> Set[str]:
        """Beginnings of the saying in a line, in the form of ``_heads``."""
        stack: list[tuple[set[str], set[str], str]] = []
        start, done, now, before = {""}, set[str](), {""}, {""}
        for atom in _ATOM.findall(self.source):
            match atom[0]:
                case "(" if atom.startswith("(?P="):
                    before = now
                case "(":
                    stack.append((start, done, atom))
                    start, done = now, set()
                case ")":
                    before, inner = start, done | now
                    start, done, opening = stack.pop()
                    now = before if opening.endswith("!") else inner
                case "|":
                    done, now = done | now, start
                case "?" | "*":
                    now = now | before
                case "{":
                    now = now | before if atom[1] == "0" else now
                    now = {_YEAR if head == "0" and atom == "{3}" else head for head in now}
                case "+" | "$":
                    pass
                case _:
                    before = now
                    growing = {head for head in now if head[-1:] != _DONE}  # few: most heads are complete
                    if growing and (signs := _signs(atom)):
                        longer = {self._longer(head, sign) for head in growing for sign in signs}
                        now = (now - growing) | longer
        return {head.rstrip(f"{_DONE} ") for head in done | now}

    def _longer(self, head: str, sign: str) -> str:
        """Return an incomplete head with one more character."""
        first, blank, word = head.rpartition(" ")
        if word in ("0", _YEAR) and not blank and (sign == " " or sign.isdigit()):
            return head
        if sign.isalpha() and not has_han(sign):
            return head + sign
        if sign == " " and {first, word} - self.language.loose_words <= {""}:
            return head + sign
        if word in ("", "0", _YEAR) and sign != " ":
            sign = "0" if sign.isdigit() else sign
            return head + sign if sign == "0" and not blank else f"{head}{sign}{_DONE}"
        return head + _DONE


def _signs(atom: str) -> Iterable[str]:
    """Return the characters for which a part of a pattern without groups may stand; "0" for any digit."""
    if atom[0] == "[":
        found = (range(ord(first), ord(last or first) + 1) for first, last in _RANGE.findall(atom[1:-1]))
        return {chr(point) for points in found for point in points}
    if atom[0] != "\\":
        return [atom]
    return {"\\d": "0", "\\b": "", "\\s": " "}.get(atom, atom[-1])


class SayingMatch(NamedTuple):
    """Saying in a line. *groups*: those that matched, by name."""

    match: re.Match[str]
    saying: Saying
    groups: Mapping[str, str]

    @property
    def is_filler(self) -> bool:
        """True for words without a meaning of their own."""
        return not (self.saying.meaning or self.groups)

    @property
    def is_time(self) -> bool:
        """True if it has an hour or a part of the day."""
        return not {"h", "half", "hour"}.isdisjoint((*self.groups, *self.saying.meaning))

    @property
    def has_day(self) -> bool:
        """True if it has a day."""
        return not _DAYS.isdisjoint((*self.groups, *self.saying.meaning))

    @property
    def is_short_day(self) -> bool:
        """True for a weekday beside figures by a name that is another word elsewhere, as "do"."""
        return self.saying.meaning.keys() == {"weekday"}

    @property
    def is_lead(self) -> bool:
        """True for a word before a day or a deadline ("on", "by")."""
        return self.saying.meaning == _DUE or self.match.group() in self.saying.language.lead_words


class Index:
    """Index of the sayings of some languages, by what a line has where they may begin.

    Such a head is a sign of Han, a word, or the kind of a number with what is behind it. A word such as "in"
    leads on to the next two.
    """

    def __init__(self, languages: Sequence["Language"]) -> None:
        self._found: dict[str, dict[Language, list[Saying]]] = {}
        self._of_days: set[str] = set()  # heads of sayings that tell a day or a time
        self._loose = frozenset[str]().union(*(language.loose_words for language in languages))
        for language in languages:
            for saying in language.all_sayings:
                heads = saying.heads
                if "(?P<" in saying.source or saying.meaning.keys() - {"is_due", "is_to"}:
                    self._of_days |= heads
                for head in heads:
                    self._found.setdefault(head, {}).setdefault(language, []).append(saying)
        # Without one of these words no line has a day, and it is not parsed.
        self._anchors = {head.rpartition(" ")[2] for head in self._of_days}.union("0123456789")
        self._sure = self._of_days - {_YEAR}  # a year alone is no day

    def runs(self, line: str) -> Iterator[tuple["Language", list[SayingMatch]]]:
        """Yield the longest sequences of sayings of a language in a line."""
        if self._anchors.isdisjoint(_ANCHOR.findall(line)):
            return
        ends: dict[Language, int] = {}
        vain: defaultdict[Language, set[int]] = defaultdict(set)  # places without a sequence
        places = [(place.start(), self._heads(place)) for place in _START.finditer(line)]
        has_day = [not self._of_days.isdisjoint(heads) for _, heads in places]
        if not any(not self._sure.isdisjoint(heads) for _, heads in places):
            return
        for nth, (at, heads) in enumerate(places):
            for head in heads if any(has_day[nth : nth + _LEADING]) else ():
                for language in self._found.get(head, ()):
                    if at < ends.get(language, 0) or (language.is_spaced and at and line[at - 1].isalnum()):
                        continue
                    if at in vain[language]:
                        continue
                    found = self._run(language, line, at, vain[language])
                    if found:
                        ends[language] = found[-1].match.end()
                        yield language, found

    def _heads(self, place: re.Match[str]) -> tuple[str, ...]:
        """Return what a line has at a place."""
        word, second, third, number, following = place.groups()
        if number:
            kind = _YEAR if len(number) == len(_YEAR) else "0"
            return (kind, f"{kind}{following}") if following else (kind,)
        if not second or word not in self._loose:
            return (place.group(),)
        two = f"{word} {'0' if second.isdecimal() else second}"
        if not third or second not in self._loose:
            return (two, word)
        return (f"{two} {'0' if third.isdecimal() else third}", two, word)

    def sayings(self, language: "Language", line: str, at: int = 0) -> Iterator[SayingMatch]:
        """Yield the sayings of a language from a place of a line on, up to words that are none."""
        has_day, word = False, ""
        while at < len(line):
            if gap := _BETWEEN.match(line, at):
                at = gap.end()
                continue
            phrase = self._longest(language, line, at, has_day and word not in _ARTICLES)
            if phrase is None:
                return
            yield phrase
            has_day = has_day or phrase.has_day
            word, at = phrase.match.group(), phrase.match.end()

    def _run(self, language: "Language", line: str, at: int, vain: set[int]) -> list[SayingMatch]:
        """Return a sequence without what does not belong to a day at its edges.

        If nothing is left, the places of its sayings are added to *vain*: from none of them is anything left.
        """
        found: list[SayingMatch] = []
        for phrase in self.sayings(language, line, at):
            is_zone = language.is_spaced and phrase.groups.keys() == {"zone"}
            if is_zone and not (found and found[-1].is_time):
                break  # "est" behind no time is a verb in some languages
            found.append(phrase)
        if language.is_spaced:
            found = found[_after_others_year(found, at > 0) :]
        places = [phrase.match.start() for phrase in found]
        if language.is_spaced:
            nth = next((nth for nth, phrase in enumerate(found) if not phrase.is_filler), 0)
            if nth and found[nth].saying.meaning == _DUE and found[nth].match.group() in _BEFORE:
                found = found[nth:]  # "confirm the date by Friday"
        while found and _is_loose(found[-1], language):
            found.pop()
        if not found:
            vain.update(places)
        return found

    def _longest(self, language: "Language", line: str, at: int, has_day: bool) -> SayingMatch | None:
        best: re.Match[str] | None = None
        chosen, end = None, at
        place = _START.match(line, at)
        for head in self._heads(place) if place else (line[at],):
            for saying in self._found.get(head, {}).get(language, ()):
                match = saying.pattern.match(line, at)
                if match and match.end() > end and (has_day or "pt" not in match.re.groupindex):
                    best, chosen, end = match, saying, match.end()
        if best is None or chosen is None:
            return None
        return SayingMatch(best, chosen, {name: text for name, text in best.groupdict().items() if text})


def _is_loose(phrase: SayingMatch, language: "Language") -> bool:
    """Return True for a short word behind a day that belongs to the words after it ("Friday at the").

    So does a word for an edge, or before a day: "Sunday 10:00 start".
    """
    word = phrase.match.group()
    return language.is_spaced and (
        (phrase.saying.meaning.keys() == {"edge"} or (phrase.is_filler and phrase.is_lead))
        or (phrase.is_filler and len(word) <= 3)
        or (phrase.saying.meaning == _DUE and word in _BEFORE)
        or phrase.saying.meaning.get("is_to") is not None
    )


def _after_others_year(found: Sequence[SayingMatch], has_words_before: bool) -> int:
    """Return the number of sayings up to the year of a noun: "the budget for 2027 by 15 December"."""
    leads, has_year = set[str](), False
    for nth, phrase in enumerate(found):
        groups, word = phrase.groups.keys(), phrase.match.group()
        if has_year:
            has_meaning = not phrase.is_filler
            is_of_noun = bool(leads - _IN) or (has_words_before and has_meaning and not leads)
            return nth if is_of_noun and not groups and word.strip("-") else 0
        if groups == {"y"}:
            has_year = True
        elif groups or not (phrase.is_filler or phrase.saying.meaning == _DUE):
            return 0
        else:
            leads.add(word)
    return 0


def is_supported(found: Sequence[SayingMatch], language: "Language") -> bool:
    """Return True unless the only day is two figures that may be any number ("Django to 4.2.").

    A word of time before them, a weekday, a time or a year supports them.
    """
    days = [nth for nth, phrase in enumerate(found) if "a" in phrase.groups]
    others = [phrase for nth, phrase in enumerate(found) if nth not in days]
    if not days or any(_has_meaning(phrase) for phrase in others):
        return True
    if any("weekday" in (*found[nth].groups, *found[nth].saying.meaning) for nth in days):
        return True
    return any(_is_sure_day(found, nth, language) for nth in days)


def _has_meaning(phrase: SayingMatch) -> bool:
    """Return True for a saying that names a day or a time, and is not only a word before or between them."""
    return bool(phrase.groups or phrase.saying.meaning.keys() - {"is_due", "is_to"})


def _is_sure_day(found: Sequence[SayingMatch], nth: int, language: "Language") -> bool:
    match = found[nth].match
    groups = found[nth].groups
    year = groups.get("c", "")
    if len(groups["a"]) == 4 or len(year) == 4 or (year and int(year) in _YEARS_OF_NOW):
        return True
    if not match.group()[0].isdecimal() or "-" in match.group() or "is_due" in found[nth].saying.meaning:
        return True
    # "4.2. Zahnarzt", and "4.2. bis 6.2.", in a language that writes days so
    is_no_section = int(groups["a"]) > 9 or "0" in (groups["a"][0], groups["b"][0])
    is_row = match.start() == 0 and (groups["s"] == "/" or (language.has_day_points and is_no_section))
    is_interval = language.has_day_points and sum("a" in phrase.groups for phrase in found) > 1
    return (nth > 0 and found[nth - 1].is_lead) or is_row or is_interval


class Language(msgspec.Struct, frozen=True, kw_only=True, dict=True, eq=False, forbid_unknown_fields=True):
    """Words about time of a language, its lexicon and sayings.

    Attributes:
        code: ISO 639 code, the name of the file.
        months: spellings of the twelve months, separated by commas; none if months are numbered.
        weekdays: likewise of the seven days, Monday first.
        units: likewise of the units of time, from minute to year.
        numbers: numbers in words, as pairs.
        ordinals: likewise "first", "second", and -1 for "last".
        halves: spellings of each part of the day, next to an hour or a day.
        spans: pattern of each unit in sayings with ``{span}``.
        parts: parts of sayings, written in them as ``{part}``.
        sayings: patterns with their meaning.
        dues: words before a deadline ("by|before"), which is never far in the past.
        fillers: words around a date without a meaning of their own ("at|the").
        leads: those that may be before a day in two figures ("on|until").
        of: those between a noun and the day that tells which one it is ("the meeting of 3 May").
        times: nouns for a time, which is of its day ("the evening of 3 May").
        rewrites: patterns of an interval, with its plain form by which it is replaced first.
        is_day_first: order of dates in figures; None if both orders are in use.
        is_spaced: words are separated by spaces.
        has_short_days: short names of weekdays are no other words behind one such as "by" ("by Fri").
        has_day_points: a point after a day that is followed by a month ends no sentence.
    """

    code: str
    months: str = ""
    weekdays: str
    units: str
    numbers: str
    ordinals: str = ""
    halves: Mapping[Half, str]
    spans: Mapping[Unit, str] = {}
    parts: Mapping[str, str] = {}
    sayings: str
    fillers: str
    leads: str = ""
    of: str = ""
    times: str = ""
    dues: str
    rewrites: str = ""
    is_day_first: bool | None = None
    is_spaced: bool = True
    has_short_days: bool = False
    has_day_points: bool = False

    def __post_init__(self) -> None:
        """Check the numbers of words.

        Raises:
            NotationError: a list has more or fewer words than there are, or a word without its number.
        """
        for name, count in (("months", 12), ("weekdays", 7), ("units", len(get_args(Unit)))):
            words = getattr(self, name)
            if words and (has := len(words.split(","))) != count:
                raise NotationError(f"{name}: {count} words are expected between commas, not {has}")
        for name in ("numbers", "ordinals"):
            if wrong := [pair for pair in getattr(self, name).split() if not _NUMBER.fullmatch(pair)]:
                raise NotationError(f"{name}: pairs such as 'two=2' are expected, not {wrong[0]!r}")

    def parse(self, text: str, *, is_own: bool = True) -> list[DateParts] | None:
        """Parse folded *text* into its parts; ``None`` if it has an unknown word.

        Args:
            is_own: it is in this language, so that short names of days count.
        """
        for pattern, plain in self.compiled_rewrites:
            text = pattern.sub(plain, text)
        found = list(self._index.sayings(self, text))
        rest = text[found[-1].match.end() if found else 0 :]
        is_foreign = not is_own and any(phrase.is_short_day for phrase in found)
        return None if is_foreign or rest.strip(" .,") else self.parts_of(found)

    def parts_of(self, found: Sequence[SayingMatch]) -> list[DateParts]:
        """Return the parts of sayings."""
        parts = (_converted(phrase.saying, tuple(phrase.groups.items())) for phrase in found)
        return [part for part in parts if part is not None]

    def converted(self, meaning: Mapping[str, object], found: Mapping[str, str]) -> DateParts | None:
        """Return the parts of a saying with the groups *found*; None if it has none."""
        parts: dict[str, Any] = dict(meaning)
        if "unit" in found:
            unit = self._lookup["unit"][found["unit"]]
            if "steps" in parts:
                parts["span"] = (unit, parts.pop("steps"))
            else:
                parts["shift"] = (parts.pop("sign") * self._number(found.get("n", "1")), unit)
        for place, name in _NUMBERS.items():
            if place in found:
                parts[name] = self._number(found[place])
        for place in ("month", "weekday", "half", "nth"):
            if place in found:
                parts[place] = self._lookup[place][found[place]]
        if "dth" in found:
            parts["day"] = self._lookup["nth"][found["dth"]]
        if "a" in found:
            parts["figures"] = candidates(found, self.is_day_first)
        if "h" in found and found["h"].startswith("0"):
            parts["is_sure"] = True
        if "zone" in found:
            parts["zone"] = found["zone"]
        return DateParts(**parts) if parts else None

    def _number(self, text: str) -> int:
        return int(text) if text.isdecimal() else self._lookup["n"][text]

    @cached_property
    def _lookup(self) -> Mapping[str, Mapping[str, Any]]:
        return {
            "month": _by_spelling(dict(enumerate(self.months.split(","), start=1))),
            "weekday": _by_spelling(dict(enumerate(self.weekdays.split(",")))),
            "unit": _by_spelling(dict(zip(get_args(Unit), self.units.split(","), strict=True))),
            "half": _by_spelling(self.halves),
            "n": {fold(word): int(value) for word, value in pairs(self.numbers).items()},
            "nth": {fold(word): int(value) for word, value in pairs(self.ordinals).items()},
        }

    @cached_property
    def compiled_rewrites(self) -> Sequence[tuple[re.Pattern[str], str]]:
        """Patterns of an interval, with its plain form."""
        return [
            (re.compile(uncaptured(pattern)), _PLACE.sub(r"\\g<\1>", plain))
            for pattern, plain in rules(self.rewrites)
        ]

    @cached_property
    def lead_words(self) -> frozenset[str]:
        """Folded words that may be before a day in two figures."""
        return frozenset(map(fold, self.leads.split("|")))

    @cached_property
    def loose_words(self) -> frozenset[str]:
        """Words such as "in" and "a", which may begin many sayings and tell nothing alone."""
        words = f"{self.fillers}|{self.leads}|{self.dues}|this".split("|")
        units = (word for word, number in self._lookup["n"].items() if number == 1)
        return frozenset(map(fold, words)).union(units)

    @cached_property
    def words_before_days(self) -> Set[str]:
        """First words of those before a day and a deadline, as written."""
        return {words.split()[0].split("'")[0] for words in f"{self.leads}|{self.dues}".split("|") if words}

    @cached_property
    def words_of_days(self) -> Set[str]:
        """Words that may be before the number of a day."""
        return self.loose_words | self._lookup["month"].keys() | self._lookup["weekday"].keys()

    @cached_property
    def short_days(self) -> Mapping[str, int]:
        """Short names of weekdays that count beside figures, in texts of this language alone."""
        named = [(_SHORT_NAME.match(pattern), result) for pattern, result in rules(self.sayings)]
        days = ((name[0], result) for name, result in named if name and result.startswith("weekday="))
        return {name: int(result.removeprefix("weekday=")) for name, result in days}

    @cached_property
    def _index(self) -> Index:
        return Index([self])

    @cached_property
    def all_sayings(self) -> Sequence[Saying]:
        """Sayings, with those of all languages and the words around them.

        Raises:
            NotationError: a saying has an unknown place, part or meaning.
        """
        words = {name: _either(spellings) for name, spellings in self._lookup.items()}
        places = {
            "month": f"(?P<month>{words['month']})",
            "weekday": f"(?P<weekday>{words['weekday']})",
            "unit": f"(?P<unit>{words['unit']})",
            "half": f"(?P<half>{words['half']})",
            "nth": f"(?P<nth>{words['nth']})",
            "n": rf"(?P<n>\d{{1,3}}|{words['n']})",
            "d": r"(?P<d>3[01]|[12]\d|0?[1-9])(?![./]?\d)",
            "dth": f"(?P<dth>{_either(word for word, nth in self._lookup['nth'].items() if nth > 0)})",
            "y": r"(?P<y>[12]\d{3})",
            "h": r"(?P<h>2[0-4]|1\d|0?\d)",
            "hour": rf"(?P<h>2[0-4]|1\d|0?\d|{words['n']})",
            "min": r"(?P<min>[0-5]\d)",
            "pointed": _POINTED,
            "week": r"(?P<w>5[0-3]|[1-4]\d|0?[1-9])(?!\d)",
        }
        places["dm"] = r"(?P<a>\d{1,2})(?P<s>\.)(?P<b>1[0-2]|0[1-9])(?:\.(?!\d))?"
        places |= {name: f"(?:{unmarked(uncaptured(part))})" for name, part in self.parts.items()}
        written: list[tuple[str, str | Mapping[str, object]]] = [*rules(self.sayings)]
        written += [(word, _FILLER) for word in f"{self.fillers}|{self.leads}".split("|") if word]
        written += [(word, _DUE) for word in self.dues.split("|") if word]
        written += SAYINGS
        end = _END_OF_WORD if self.is_spaced else _END_OF_NUMBER
        pattern = ""
        found: list[Saying] = []
        try:
            for pattern, result in written:
                meaning = _meaning(result) if isinstance(result, str) else result
                for saying, parts in self._by_span(pattern, meaning):
                    source = _filled(unmarked(uncaptured(saying)), places)
                    found.append(Saying(self, f"(?:{source}){end}", parts))
        except (KeyError, ValueError) as error:
            why = f"no part or place {error}" if isinstance(error, KeyError) else error
            raise NotationError(f"{self.code}.toml: time.sayings: {why}, in {pattern:.80}") from error
        return found

    def _by_span(
        self, pattern: str, meaning: Mapping[str, object]
    ) -> Iterator[tuple[str, Mapping[str, object]]]:
        """Yield a saying; one with ``{span}`` for each span."""
        if "{span}" not in pattern:
            yield pattern, meaning
            return
        for unit, words in self.spans.items():
            yield pattern.replace("{span}", f"({words})"), {"span": (unit, meaning["steps"])}


@lru_cache(maxsize=4_096)  # texts repeat their days
def _converted(saying: Saying, groups: tuple[tuple[str, str], ...]) -> DateParts | None:
    return saying.language.converted(saying.meaning, dict(groups))


def _meaning(written: str) -> Mapping[str, object]:
    """Return the parts of a saying, from text such as ``weekday=5 span=week:1``."""
    if not written:
        return _FILLER
    parts = {name: value.split(":") if ":" in value else value for name, value in pairs(written).items()}
    meaning = msgspec.structs.asdict(msgspec.convert(parts, Meaning, strict=False))
    return {name: value for name, value in meaning.items() if value is not None}


def rows(written: str) -> list[str]:
    """Return the patterns that are written one a line; a backslash at its end continues a line."""
    if "\n" not in written:
        return [written]
    return [row.strip() for row in _CONTINUED.sub("", written).strip().split("\n")]


def rules(written: str) -> list[tuple[str, str]]:
    """Return the patterns that are written one a line, each with the text behind its arrow, or ""."""
    parted = (row.partition(" => ") for row in rows(written) if row)
    return [(pattern.rstrip(), result.strip()) for pattern, _, result in parted]


def pairs(written: str) -> dict[str, str]:
    """Return pairs such as ``one=1 two=2``."""
    parted = (pair.partition("=") for pair in written.split())
    return {word: value for word, _, value in parted}


def uncaptured(pattern: str) -> str:
    """Return a pattern in which ``(...)`` is no group of its own."""
    return _GROUP.sub(lambda sign: "(?:" if sign.group() == "(" else sign.group(), pattern)


def _by_spelling(spellings: Mapping[Any, str]) -> dict[str, Any]:
    """Return the value of each spelling."""
    return {fold(word): name for name, words in spellings.items() for word in words.split()}


def _either(words: Iterable[str]) -> str:
    """Return a pattern for any of *words*, the longest first."""
    return "|".join(sorted(map(re.escape, words), key=len, reverse=True)) or "(?!)"


def _filled(pattern: str, places: Mapping[str, str]) -> str:
    """Fill the places of a saying, also those in its parts."""
    while _PLACE.search(pattern):
        pattern = _PLACE.sub(lambda match: places[match[1]], pattern)
    return pattern

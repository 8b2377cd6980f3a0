"""Date and time expressions of a language: lexicon and parser. Pure functions.

A saying is a regular expression with places, ``in {n} {unit}``, and its ``DateParts``. A text is parsed
from left to right, the longest saying first; an unknown word makes the whole text unparsable. No backtracking
takes place.

All languages write dates in figures similarly. With points, the day comes first everywhere. With slashes or
dashes, the order differs by country: then both readings are candidates, and the date counts only if a single
reading is valid.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date
from functools import cached_property
from typing import Any, Final, Literal, get_args

import msgspec

Unit = Literal["minute", "hour", "day", "week", "month", "quarter", "year"]
Edge = Literal["start", "middle", "end"]
Pick = Literal["coming", "this", "last", "second", "weekend"]
Half = Literal["am", "pm", "morning", "noon", "afternoon", "evening", "night", "midnight", "close"]
# Year (or None), month, day.
Figures = tuple[int | None, int, int]

# Sayings of all languages. The placeholders are those of ``hub.extraction.when.language``.
_ZONE: Final = (
    r"(?P<zone>(?:utc|gmt)(?: ?[+-] ?\d{1,2}(?::?[0-5]\d)?)?|z|[+]\d\d:?[0-5]\d|-\d\d[0-5]\d"
    r"|cest|cet|mesz|mez|bst|est|edt|et|cdt|pst|pdt|pt|jst|msk|мск)"
)
SAYINGS: Final[tuple[tuple[str, Mapping[str, object]], ...]] = (
    (r"(?P<a>[12]\d{3})(?P<s>[-./])(?P<b>\d{1,2})(?P=s)(?P<c>\d{1,2})", {}),
    (r"(?P<a>\d{1,2})(?P<s>[./-])(?P<b>\d{1,2})(?P=s)(?P<c>[12]\d{3}|\d{2})\.?", {}),
    (r"(?P<a>\d{1,2})(?P<s>/)(?P<b>\d{1,2})", {}),
    (r"(?P<a>\d{1,2})(?P<s>\.) ?(?P<b>\d{1,2})\.", {}),
    # 3.-5.5.2025
    (r"(?P<a>\d{1,2})\.? ?- ?\d{1,2}(?P<s>\.)(?P<b>\d{1,2})\.(?P<c>[12]\d{3}|\d{2})?\.?", {}),
    (r"(?P<mo>1[0-2]|0?[1-9])[./]{y}", {}),
    (r"{y}-(?P<mo>1[0-2]|0[1-9])", {}),
    (r"{y}-?w(?P<w>5[0-3]|[1-4]\d|0[1-9])", {}),
    (rf"{{h}}:{{min}}(?::[0-5]\d(?:\.\d{{1,6}})?)?(?: ?{_ZONE})?", {}),
    (_ZONE, {}),
    ("-", {"is_to": True}),
)
_CENTURY: Final = 2000  # of a year with two digits


class NotationError(ValueError):
    """Text in a data file of a language that does not have the form it must have."""


class Ambiguous(Exception):
    """Words with several readings, none of which is preferred."""


class DateParts(msgspec.Struct, frozen=True, kw_only=True):
    """Parts of a saying; each is None unless it was said.

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

    @property
    def about_day(self) -> frozenset[str]:
        """Names of the parts about a day."""
        return self._names - _OF_TIME - {"is_due"}

    @property
    def about_time(self) -> frozenset[str]:
        """Names of the parts about a time of day."""
        return self._names & _OF_TIME

    @property
    def _names(self) -> frozenset[str]:
        return frozenset(name for name in self.__struct_fields__ if getattr(self, name) is not None)


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
    merged: dict[str, object] = {}
    for part in parts:
        for name in part.__struct_fields__:
            value = getattr(part, name)
            if value is None:
                continue
            if merged.setdefault(name, value) != value:
                return None
    return msgspec.convert(merged, DateParts)


def _start_of(start: DateParts, end: DateParts) -> DateParts | None:
    """Return the start of an interval; for "Friday until 3 pm", the time belongs to the day."""
    if not start.about_time and not end.about_day:
        return _merged([start, end])
    lent: dict[str, object] = {}
    if not start.about_day:  # "9 to 11 tomorrow"
        lent = {name: getattr(end, name) for name in end.about_day}
    if start.about_day == {"weekday"} and end.weekday is not None:
        lent["span"] = end.span
    if start.about_day == {"day"} and end.day is not None:
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


def candidates(match: re.Match[str], is_day_first: bool | None) -> tuple[Figures, ...]:
    """Return all readings of a date in figures, valid or not."""
    a, b, c = (match.groupdict().get(place) for place in "abc")
    assert a is not None  # by the patterns above
    assert b is not None
    if len(a) == 4:
        return ((int(a), int(b), int(c or 0)),)
    year = None if c is None else int(c) if len(c) == 4 else _CENTURY + int(c)
    day_first, month_first = (year, int(b), int(a)), (year, int(a), int(b))
    if match["s"] == "." or is_day_first:
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


Saying = tuple[str, Mapping[str, object]]
_FILLER: Final[Mapping[str, object]] = {}
_DUE: Final[Mapping[str, object]] = {"is_due": True}
_IN: Final = frozenset(("in", "im", "en", "в"))  # fillers before the year of a date
_PLACE: Final = re.compile(r"\{([A-Za-z]+)\}")  # {d}, not the {2} of a pattern
_NUMBER: Final = re.compile(r"[^=]+=-?\d+")
_CONTINUED: Final = re.compile(r"\\\n\s*")
_GROUP: Final = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\((?!\?)")
_END_OF_WORD: Final = r"(?!(?<=[^\W_])[^\W_])"
_END_OF_NUMBER: Final = r"(?!(?<=\d)\d)"
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
_NAMED: Final = re.compile(r"\(\?P<\w+>")
_REPEATED: Final = re.compile(r"\(\?P=\w+\)")
_WORD: Final = re.compile(r"[^\W_]+")
_BETWEEN: Final = re.compile(r"[ .,]+")  # separators between the parts of a saying

_HAN: Final = "\u3400-\u4dbf\u4e00-\u9fff"
_DASHES: Final = re.compile(r"[\u2010-\u2015\u2212~\u301c]")
_APOSTROPHES: Final = re.compile(r"[\u2019\u2018\u02bc`\u00b4]")
_ASIDE: Final = re.compile(r"[,;!?()\[\]{}\"\u201c\u201d\u201e\u00ab\u00bb\u3001\u3002\u300a\u300b_*|\s]+")
_POINT_AFTER_LETTER: Final = re.compile(r"(?<=[^\W\d_])\.")
_SPACE_BY_HAN: Final = re.compile(rf"(?<=[{_HAN}]) | (?=[{_HAN}])")
_ISO_T: Final = re.compile(r"(?<=\d)t(?=\d\d:)")
# Traditional characters in the sayings, and their simplified forms.
_SIMPLE: Final = str.maketrans("點週後號兩個禮時鐘內間從這", "点周后号两个礼时钟内间从这")


def unmarked(text: str) -> str:
    """Remove accents and other marks from letters; Cyrillic short i and yo become i and ye."""
    apart = unicodedata.normalize("NFD", text)
    return "".join(sign for sign in apart if not unicodedata.combining(sign)).replace("\u00df", "ss")


def fold(text: str) -> str:
    """Normalize *text* for the sayings: lower case, without marks, with single spaces and plain dashes."""
    text = unmarked(unicodedata.normalize("NFKC", text).casefold()).translate(_SIMPLE)
    text = _APOSTROPHES.sub("'", _DASHES.sub("-", text))
    text = _POINT_AFTER_LETTER.sub("", _ASIDE.sub(" ", text)).strip()
    return _SPACE_BY_HAN.sub("", _ISO_T.sub(" ", text))


def has_han(text: str) -> bool:
    return re.search(f"[{_HAN}]", text) is not None


def has_cyrillic(text: str) -> bool:
    return re.search("[\u0400-\u04ff]", text) is not None


def has_latin(text: str) -> bool:
    return re.search("[a-z]", text) is not None


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
        fillers: words around a date without a meaning of their own ("by|on|the").
        rewrites: patterns of an interval, with its plain form by which it is replaced first.
        is_day_first: order of dates in figures; None if both orders are in use.
        is_spaced: words are separated by spaces.
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
    dues: str
    rewrites: str = ""
    is_day_first: bool | None = None
    is_spaced: bool = True
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

    def parse(self, text: str) -> list[DateParts] | None:
        """Parse folded *text* into its parts; ``None`` if it has an unknown word."""
        for pattern, plain in self.compiled_rewrites:
            text = pattern.sub(plain, text)
        found: list[DateParts] = []
        at = 0
        while at < len(text):
            if gap := _BETWEEN.match(text, at):
                at = gap.end()
                continue
            match, meaning = self._longest(text, at)
            if match is None:
                return None
            found += self._converted(match, meaning)
            at = match.end()
        return found

    def runs(self, text: str) -> Iterator[str]:
        """Yield the longest parts of folded *text* that consist only of words in sayings."""
        at, end, start = 0, 0, None
        while at < len(text):
            match, _ = self._longest(text, at)
            # A zone follows a time: "est" is a verb in some languages.
            is_verb = match is not None and self.is_spaced and start is None and _is_zone(match)
            if match is not None and not is_verb:
                start = at if start is None else start
                at = end = match.end()
            elif gap := _BETWEEN.match(text, at):
                at = gap.end()
            else:
                if start is not None:
                    yield text[self._after_others_year(text, start) : end]
                start = None
                word = _WORD.match(text, at) if self.is_spaced else None
                at = word.end() if word else at + 1
        if start is not None:
            yield text[self._after_others_year(text, start) : end]

    def _after_others_year(self, text: str, start: int) -> int:
        """Return the place in a run after the year of a noun: "the budget for 2027 by 15 December"."""
        at, leads, has_year = start, set[str](), False
        while self.is_spaced:
            gap = _BETWEEN.match(text, at)
            at = gap.end() if gap else at
            match, meaning = self._longest(text, at)
            if match is None:
                break
            groups = {name for name, value in match.groupdict().items() if value}
            if has_year:
                is_of_noun = bool(leads - _IN) or (start > 0 and bool(meaning) and not leads)
                return at if is_of_noun and not groups and match.group().strip("-") else start
            if groups == {"y"}:
                has_year = True
            elif groups or meaning not in (_FILLER, _DUE):
                break
            else:
                leads.add(match.group())
            at = match.end()
        return start

    def _longest(self, text: str, at: int) -> tuple[re.Match[str] | None, Mapping[str, object]]:
        best: re.Match[str] | None = None
        meaning: Mapping[str, object] = _FILLER
        if self._any.match(text, at) is None:  # so at most places
            return best, meaning
        for pattern, parts in self._compiled:
            match = pattern.match(text, at)
            if match and match.end() > (best.end() if best else at):
                best, meaning = match, parts
        return best, meaning

    def _converted(self, match: re.Match[str], fixed: Mapping[str, object]) -> Iterator[DateParts]:
        found = {name: text for name, text in match.groupdict().items() if text is not None}
        parts: dict[str, Any] = dict(fixed)
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
            parts["figures"] = candidates(match, self.is_day_first)
        if "h" in found and found["h"].startswith("0"):
            parts["is_sure"] = True
        if "zone" in found:
            parts["zone"] = found["zone"]
        if parts:
            yield msgspec.convert(parts, DateParts)

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
    def _any(self) -> re.Pattern[str]:
        """Pattern that matches wherever a saying does, and without groups."""
        sources = (_NAMED.sub("(?:", pattern.pattern) for pattern, _ in self._compiled)
        return re.compile("|".join(_REPEATED.sub(".", source) for source in sources))

    @cached_property
    def _compiled(self) -> Sequence[tuple[re.Pattern[str], Mapping[str, object]]]:
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
        }
        places |= {name: f"(?:{unmarked(uncaptured(part))})" for name, part in self.parts.items()}
        written: list[tuple[str, str | Mapping[str, object]]] = [*rules(self.sayings)]
        written += [(filler, _FILLER) for filler in self.fillers.split("|")]
        written += [(due, _DUE) for due in self.dues.split("|")]
        written += SAYINGS
        end = _END_OF_WORD if self.is_spaced else _END_OF_NUMBER
        pattern = ""
        compiled: list[tuple[re.Pattern[str], Mapping[str, object]]] = []
        try:
            for pattern, result in written:
                meaning = _meaning(result) if isinstance(result, str) else result
                for saying, parts in self._by_span(pattern, meaning):
                    source = _filled(unmarked(uncaptured(saying)), places)
                    compiled.append((re.compile(f"(?:{source}){end}"), parts))
        except (KeyError, ValueError, re.error) as error:
            why = f"no part or place {error}" if isinstance(error, KeyError) else error
            raise NotationError(f"{self.code}.toml: time.sayings: {why}, in {pattern:.80}") from error
        return compiled

    def _by_span(self, pattern: str, meaning: Mapping[str, object]) -> Iterator[Saying]:
        """Yield a saying; one with ``{span}`` for each span."""
        if "{span}" not in pattern:
            yield pattern, meaning
            return
        for unit, words in self.spans.items():
            yield pattern.replace("{span}", f"({words})"), {"span": (unit, meaning["steps"])}


def _is_zone(match: re.Match[str]) -> bool:
    return [name for name, text in match.groupdict().items() if text] == ["zone"]


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

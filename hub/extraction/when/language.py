"""Words about time of one language: a lexicon, a list of sayings, and normalized spellings. Pure functions.

A saying is a regular expression with placeholders, ``in {n} {unit}``, and its ``DateParts``. A text is parsed
from left to right, the longest saying first; an unknown word makes the whole text unparsable. No backtracking
takes place.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

import msgspec

from hub.extraction.when.expressions import SAYINGS, DateParts, Unit, candidates

Saying = tuple[str, Mapping[str, object]]
_FILLER: Final[Mapping[str, object]] = {}
_DUE: Final[Mapping[str, object]] = {"is_due": True}
_PLACE: Final = re.compile(r"\{([A-Za-z]+)\}")  # {d}, not the {2} of a pattern
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


@dataclass(frozen=True, kw_only=True)
class Language:
    """Language with its lexicon and sayings.

    A saying may contain ``{n} {unit}`` with ``sign`` (1: ahead, -1: ago) or ``{unit}`` with ``steps`` (spans
    ahead); ``{d} {dth} {month} {y}``, ``{weekday}``, ``{nth}``, ``{half}``; ``{h}``, in words also
    ``{hour}``, and ``{min}``; its own groups ``q`` and ``w`` are quarters and weeks.

    Attributes:
        months: twelve strings of spellings separated by blanks; empty if months are numbered.
        weekdays: seven such strings, Monday first.
        numbers: values of numbers in words.
        ordinals: likewise "first", "second", and -1 for "last".
        units: spellings of each unit of time.
        halves: spellings of each part of the day, next to an hour or a day.
        sayings: patterns with their parts.
        dues: words before a deadline ("by|before"), which is never far in the past.
        fillers: words around a date without a meaning of their own ("by|on|the").
        is_day_first: order of dates in figures; ``None`` if both orders are in use.
        is_spaced: words are separated by spaces.
        rewrites: spellings of an interval to be replaced by its plain form first.
    """

    months: Sequence[str]
    weekdays: Sequence[str]
    numbers: Mapping[str, int]
    ordinals: Mapping[str, int] = field(default_factory=dict)
    units: Mapping[Unit, str]
    halves: Mapping[str, str]
    sayings: Sequence[Saying]
    fillers: str
    dues: str
    is_day_first: bool | None
    is_spaced: bool = True
    rewrites: Sequence[tuple[str, str]] = ()

    def parts(self, text: str) -> list[DateParts] | None:
        """Parse folded *text* into its parts; ``None`` if it has an unknown word."""
        for pattern, plain in self.rewrites:
            text = re.sub(pattern, plain, text)
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
            if match is not None:
                start = at if start is None else start
                at = end = match.end()
            elif gap := _BETWEEN.match(text, at):
                at = gap.end()
            else:
                if start is not None:
                    yield text[start:end]
                start = None
                word = _WORD.match(text, at) if self.is_spaced else None
                at = word.end() if word else at + 1
        if start is not None:
            yield text[start:end]

    def _longest(self, text: str, at: int) -> tuple[re.Match[str] | None, Mapping[str, object]]:
        best: re.Match[str] | None = None
        meaning: Mapping[str, object] = _FILLER
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
            "month": _by_spelling(dict(enumerate(self.months, start=1))),
            "weekday": _by_spelling(dict(enumerate(self.weekdays))),
            "unit": _by_spelling(self.units),
            "half": _by_spelling(self.halves),
            "n": {fold(word): value for word, value in self.numbers.items()},
            "nth": {fold(word): value for word, value in self.ordinals.items()},
        }

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
        fillers = [(filler, _FILLER) for filler in self.fillers.split("|")]
        dues = [(due, _DUE) for due in self.dues.split("|")]
        sayings = [*self.sayings, *fillers, *dues, *SAYINGS]
        end = _END_OF_WORD if self.is_spaced else _END_OF_NUMBER
        return [
            (re.compile(f"(?:{_filled(unmarked(pattern), places)}){end}"), parts)
            for pattern, parts in sayings
        ]


def _by_spelling(spellings: Mapping[Any, str]) -> dict[str, Any]:
    """Return the value of each spelling."""
    return {fold(word): name for name, words in spellings.items() for word in words.split()}


def _either(words: Iterable[str]) -> str:
    """Return a pattern for any of *words*, the longest first."""
    return "|".join(sorted(map(re.escape, words), key=len, reverse=True)) or "(?!)"


def _filled(pattern: str, places: Mapping[str, str]) -> str:
    return _PLACE.sub(lambda match: places[match[1]], pattern)

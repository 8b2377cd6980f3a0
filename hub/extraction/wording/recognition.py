"""Languages of a text and of its blocks, by script and common words. Pure functions.

Short words of time in one language are others in the next: "do" is until in Polish, of in Portuguese, and the
German Thursday. So short names of days count only in texts of their language. In a text of a language that is
not read (``unread.toml``), only figures and its own months count.
"""

import re
import tomllib
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from functools import cache, cached_property
from itertools import chain
from typing import Final

import msgspec

from hub.extraction.tokens import fold
from hub.extraction.when.language import Language, day_of
from hub.extraction.wording.languages import FOLDER, Lexicon, language_of, languages, languages_in, script_of

_MAX_CHARS: Final = 50_000  # of a text; what follows has the language of the whole
_LEAST: Final = 2  # different words that the nearest language which is read has not
_OF_BLOCK: Final = 4  # likewise, of a block in a text of another language
_SURE: Final = 3  # likewise, that need no letters beside them
_WORD: Final = re.compile(r"[^\W\d_]+")
_FIGURES: Final = re.compile(r"\d[./]\d")
_BLOCK: Final = re.compile(r"(?:^[^\S\n]*\S[^\n]*\n?)+", re.MULTILINE)  # lines between blank ones
_SIX: Final = "," * 6
_SAYINGS: Final = r"""
{d}\.? (d[ei]l? |de )?{month}( (de )?{y})?
{month} {d},? {y}
"""


class UnreadLanguage(msgspec.Struct, frozen=True, kw_only=True, dict=True, forbid_unknown_fields=True):
    """Language of which rules know no more than how it is recognized, and its months: see ``unread.toml``."""

    code: str
    name: str
    common: str
    letters: str = "(?!)"
    months: str = ""
    has_day_points: bool = False

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """Letters that tell the language."""
        return re.compile(self.letters)

    @cached_property
    def time(self) -> Language:
        """Dates in figures, and beside names of months."""
        return Language(
            code=self.code,
            months=self.months,
            weekdays=_SIX,
            units=_SIX,
            numbers="",
            halves={},
            sayings=_SAYINGS,
            fillers="",
            dues="",
            is_day_first=True,
            has_day_points=self.has_day_points,
        )


@cache
def unread_languages() -> Mapping[str, UnreadLanguage]:
    """Return the languages that are not read, by code."""
    written = tomllib.loads((FOLDER / "unread.toml").read_text(encoding="utf-8"))
    for read in languages():
        written.pop(read.code, None)
    return {code: msgspec.convert({"code": code, **keys}, UnreadLanguage) for code, keys in written.items()}


@cache
def common_codes() -> Mapping[str, Sequence[str]]:
    """Return the codes of all languages by their common words."""
    codes: dict[str, list[str]] = {}
    for read in languages():
        for word in read.common_words:
            codes.setdefault(word, []).append(read.code)
    for unread in unread_languages().values():
        for word in set(unread.common.split()):
            codes.setdefault(word, []).append(unread.code)
    return codes


def _language_of(words: set[str], text: str, least: int = _LEAST, *, is_any: bool = True) -> str:
    """Return the code of the language of most of these words, in small letters, of a text; "": not known.

    *is_any*: False: one that is read is not of interest.
    """
    found = [*filter(None, map(common_codes().get, words))]
    counts = dict.fromkeys((*unread_languages(), *(lexicon.code for lexicon in languages())), 0)
    for code in chain.from_iterable(found):
        counts[code] += 1
    read = {lexicon.code: counts[lexicon.code] for lexicon in languages_in(script_of(text))}
    special = [] if text.isascii() else [word for word in words if not word.isascii()]
    for code, language in unread_languages().items() if special else ():
        counts[code] += sum(language.pattern.search(word) is not None for word in special)
    unread, nearest = max(unread_languages(), key=counts.__getitem__), max(read, key=counts.__getitem__)
    best = read[nearest]
    if counts[unread] > best:
        shared = sum(unread in codes and nearest in codes for codes in found)
        if counts[unread] - shared >= least:
            return unread
    if not is_any:
        return ""
    if best < _SURE and len(read) > 1:
        read = {code: count + _letters_of(language_of(code), text) for code, count in read.items()}
        best = max(read.values())
    first = [code for code, count in read.items() if count == best]
    return first[0] if len(first) == 1 and (best >= least - 1 or len(read) == 1) else ""


def _letters_of(lexicon: Lexicon, text: str) -> int:
    """Return how often letters and endings of a language occur; a short name of a day is none."""
    found = (match[0] for match in lexicon.patterns("letters")[0].finditer(text))
    return sum(letters.isalpha() and fold(letters) not in lexicon.time.short_days for letters in found)


def _by_dates(text: str, day: date | None) -> Iterator[str]:
    """Yield the languages by whose short names of days most dates of a text are right: "Do 26.11."."""
    line = fold(text) if day else ""
    for lexicon in languages_in("latin") if _FIGURES.search(line) else ():
        names = lexicon.time.short_days
        found = (
            re.finditer(rf"\b({'|'.join(names)})\.?,? (\d{{1,2}})[./](\d{{1,2}})\b", line) if names else ()
        )
        are_right = [
            _weekday_near(day, int(match[2]), int(match[3])) == names[match[1]] for match in found if day
        ]
        if 2 * sum(are_right) > len(are_right):
            yield lexicon.code


def _weekday_near(since: date, day: int, month: int) -> int | None:
    """Return the weekday of a day in the year nearest to another day."""
    days = (day_of((None, month, day), since.year + year) for year in (-1, 0, 1))
    nearest = min(filter(None, days), key=lambda near: abs(near - since), default=None)
    return nearest.weekday() if nearest else None


class TextLanguages(msgspec.Struct, frozen=True):
    """Languages of a text.

    Attributes:
        whole: code of its language; empty: it is not known.
        places: where a block in another one begins or ends, in ascending order, and *codes*: in which.
    """

    whole: str = ""
    places: list[int] = []
    codes: list[str] = []

    @classmethod
    def of(cls, text: str, day: date | None = None) -> "TextLanguages":
        """Return the languages of a text. *day*: that of writing, for the dates that tell one."""
        blocks = [
            (block.start(), set(_WORD.findall(block[0].lower())), block[0])
            for block in _BLOCK.finditer(text[:_MAX_CHARS])
        ]
        words = set[str]().union(*(some for _, some, _ in blocks))
        whole = _language_of(words, text[:_MAX_CHARS])
        if whole not in unread_languages():
            whole = next(_by_dates(text[:_MAX_CHARS], day), whole)
        places, codes = list[int](), list[str]()
        for start, some, block in blocks if len(blocks) > 1 else ():
            code = _language_of(some, block, _OF_BLOCK, is_any=whole in unread_languages())
            code = code if code and {code, whole} & unread_languages().keys() else whole
            if code != (codes[-1] if codes else whole):
                places.append(start)
                codes.append(code)
        return cls(whole, places, codes)

    def at(self, place: int) -> str:
        """Return the code of the language at a place."""
        nth = bisect_right(self.places, place)
        return self.codes[nth - 1] if nth else self.whole

    @property
    def unread_name(self) -> str:
        """Name of the language of the whole, if it is not read; else empty."""
        language = unread_languages().get(self.whole)
        return language.name if language else ""

    def unread(self, end: int) -> list[tuple[int, int]]:
        """Return the parts of the text, up to its *end*, that are of languages which are not read."""
        parts = zip((0, *self.places), (*self.places, end), (self.whole, *self.codes), strict=True)
        return [(start, stop) for start, stop, code in parts if code in unread_languages()]

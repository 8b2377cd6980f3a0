"""Ends of sentences: which dots, question and exclamation marks end one, by the tokens around them.

A mark inside of a short bracket or quotation ends none. Nor does the dot of an abbreviation, an initial, a
day or a number of a list. Abbreviations of all languages of the script count, since texts mix them.
"""

import re
from functools import cache
from typing import Final, NamedTuple

from hub.extraction.wording.languages import Script, languages_in, script_of

_OPENERS: Final = "([\"'\u201e\u00ab"
_DOTS: Final = ".\u2026"
_NEAR: Final = 80  # characters of a bracket or a quotation before and after a mark inside
_BACK: Final = 32  # characters before a dot that are examined
_PAIRS: Final = (
    *("()", "[]", "\uff08\uff09", "\u201c\u201d", "\u201e\u201c"),
    *("\u00ab\u00bb", "\u300c\u300d", "\u300e\u300f"),
)
# Letters with inner dots and blanks, such as "z. B" and "e.g".
_SPACED: Final = re.compile(r"(?<![^\W_])(?P<word>(?:[^\W\d_]{1,2}\.\s?)+[^\W\d_]{1,3})$")
_LETTERS: Final = re.compile(r"[^\W\d_](?:(?![A-Z])[^\W\d_]){1,4}")  # of an abbreviation: "Apt", no "PDF"
_VOWEL: Final = re.compile(
    "[aeiouy\u00e0-\u00fc\u0430\u0435\u0451\u0438\u043e\u0443\u044b\u044d\u044e\u044f]"
)
_NUMBER: Final = re.compile(r"\d{1,3}|\d{1,2}\.\d{1,2}")
_NEXT: Final = re.compile(r"\s*[*_\"'(\u201e\u00ab\u201c\[]*(?P<word>\w+(?:['\u2019-]\w+)*)?")
_UNTIL_DAY: Final = re.compile(
    r"\b(?:bis|zum|dem|sp\u00e4testens|vor|ab)(?: [^\W\d_]{2,10}\.?,?)? \d{1,2}\.\d{1,2}$"
    r"|^\W{0,4}(?:[^\W\d_]{2,10}\.?,? )?\d{1,2}\.\d{1,2}$",
    re.IGNORECASE,
)
_CLOCK: Final = re.compile(  # behind a day
    r"(?:(?<=\d\.\d\.)|(?<=\d\.\d\d\.))\s{1,3}\d{1,2}(?:[.:h]\d\d|\s?(?:uhr|h)\b)", re.IGNORECASE
)
_NUMBERED: Final = """
akt sto kla eta ug sem jah qua kap pla run man geb hal spi woc tag tei ban auf lig obe stu sch rei mal ver adv
kw
"""
_ORDERED: Final = frozenset(_NUMBERED.split())  # first letters of nouns with ordinals: "2. Akt", "3. Stock"


_LAST_WORDS: Final = frozenset(("st", "ave", "blvd", "co", "ltd", "inc", "corp"))  # which may end a sentence


class _DotWords(NamedTuple):
    """Words of all languages of a script, in small letters and without their last dots.

    Attributes:
        bound: abbreviations before another word; *counted*: those of numbers.
        openers: words that begin a sentence after an abbreviation or a number.
        months: words that follow the number of a day; *dues*: those before a day.
    """

    bound: frozenset[str]
    counted: frozenset[str]
    openers: frozenset[str]
    months: frozenset[str]
    dues: frozenset[str]


@cache
def _dot_words(script: Script) -> _DotWords:
    lexicons = languages_in(script)
    written = [word.replace("_", " ") for lexicon in lexicons for word in lexicon.abbreviations.split()]
    months = " ".join(lexicon.time.months.replace(",", " ") for lexicon in lexicons).split()
    weekdays = " ".join(lexicon.time.weekdays.replace(",", " ") for lexicon in lexicons).split()
    return _DotWords(
        bound=frozenset(word for word in written if not word.endswith("#")),
        counted=frozenset((*(word[:-1] for word in written if word.endswith("#")), *months, *weekdays)),
        openers=frozenset().union(*(lexicon.opening_words for lexicon in lexicons)),
        months=frozenset(months),
        dues=frozenset().union(*(lexicon.time.words_before_days for lexicon in lexicons)),
    )


def is_inner(text: str, begin: int, start: int, end: int) -> bool:
    """Return True if the mark at ``[start:end]`` ends no sentence.

    Args:
        begin: start of the sentence.
        end: place after the mark, and the brackets and quotation marks that it closes.
    """
    before = text[max(begin, start - _NEAR) : end]
    if _is_enclosed(before, text[end : end + _NEAR].partition("\n")[0]):
        return True
    following = _NEXT.match(text, end, end + _NEAR)
    word = (following["word"] or "") if following else ""
    if text[start] not in _DOTS:
        return text.startswith(" (", end) and word[:1].islower()  # "Change the tyres! (overdue)"
    is_initial = len(word) == 1 and following is not None and text.startswith(".", following.end())
    if word[:1].islower() or _CLOCK.match(text, end):  # "on 4.12. 14:30"
        return True
    after = _NEXT.match(text, following.end(), following.end() + _NEAR) if following is not None else None
    return text[start:end].rstrip("\"'\u2019\u201d\u00bb)]*_") == "." and _is_short(
        text[max(begin, start - _BACK) : start],
        word + "." * is_initial,
        ((after["word"] or "") if after else "").lower(),
        is_whole=start - begin <= _BACK,
    )


def _is_enclosed(before: str, after: str) -> bool:
    """Return True for a place inside of a bracket or quotation that is closed soon."""
    for opener, closer in _PAIRS:
        if before.rfind(opener) > before.rfind(closer) and (at := after.find(closer)) >= 0:
            return not 0 <= after.find(opener) < at
    return before.count('"') % 2 == 1 and '"' in after


def _is_short(before: str, following: str, after: str, *, is_whole: bool) -> bool:
    """Return True if the dot behind *before* belongs to its last word or number.

    Args:
        after: word behind *following*.
        is_whole: *before* is all of the sentence until the dot.
    """
    script: Script = script_of(before + following)
    known = _dot_words(script)
    spaced, words = _SPACED.search(before), before.lower().split()
    if not words or before[-1].isspace():
        return False
    word, opens = words[-1].lstrip(_OPENERS), following.lower() in known.openers
    is_unit = len(words) > 1 and words[-2][-1].isdigit()
    if is_unit and len(word) == 1 and not following.isdigit():
        return False
    letters = spaced["word"] if spaced is not None else word
    if not known.bound.isdisjoint((word, re.sub(r"\s", "", letters).lower())):
        return not (opens and word in _LAST_WORDS)
    if _NUMBER.fullmatch(word):
        return _is_of_day(before, word, following.lower(), is_first=is_whole and len(words) == 1)
    word = re.split("['\u2019]", word)[-1]  # "l'apt. 5"
    is_few = _LETTERS.fullmatch(before[len(before) - len(word) :]) is not None
    if is_few and not (opens or is_unit) and _VOWEL.search(word) is None:  # "Whg. 3", "Bldg. Seven"
        return True
    if following[:1].isdigit():  # no sentence begins with "8 until"
        is_due = is_few and following.isdigit() and after in known.dues
        return is_due or word in known.counted or word.endswith("str")
    is_initial = len(letters.rpartition(".")[2].strip()) == 1 and letters[-1:].isalpha()
    return is_initial and not (opens or letters.lower().endswith(".m"))


def _is_of_day(before: str, number: str, following: str, *, is_first: bool) -> bool:
    """Return True for the number of a list, an ordinal, and a day before which something is due."""
    known = _dot_words("latin")
    if "." in number:
        return _UNTIL_DAY.search(before) is not None and following not in known.openers
    return is_first or following in known.months or following[:3] in _ORDERED

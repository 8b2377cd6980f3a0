"""Check that an item's quote supports its fields, against invented records. Pure.

A model may return a record that no part of its quote supports: it invented the record, or obeyed an order
elsewhere in the document. The check compares words, so it does not depend on the wording of orders, and its
work grows with the length of quote and field.

Words of a field count by their length, since most short ones are grammar. A word is supported by a word of
the quote with the same beginning, by the share of letters in common: that covers inflection at the end of
words. Verbs that change their vowels, participles with "ge" and compounds have rules of their own. Numbers,
and names after the first word, must be in the quote: they cannot be paraphrased, but a number may be
spelled out, and a name abbreviated.

The beginning of the sentence around the quote counts too, and the words before it if the quote has a
pronoun. Without a pronoun they do not, because an order before an honest sentence would support the item
that it orders.
"""

import re
import unicodedata
from collections.abc import Iterator
from itertools import groupby
from typing import Final

from hub.extraction.items import Item
from hub.text.folding import is_unspaced, words_of
from protocol.tables import TABLES, DeviceTable, Filler, Kind, Tables

# Measured on the gold set by ``python -m tests.evaluation injection``.
_MIN_QUOTED: Final = 0.2  # share of a field that the quote must support
_MIN_IN_CONTEXT: Final = 0.44  # by the quote and the text before it
_MIN_IDEOGRAPHS: Final = 0.52  # of a text in ideographs, which have no inflection
_CONTEXT_CHARS: Final = 200
_MIN_COMMON_CHARS: Final = 3
_SAME_CONSONANTS: Final = 0.7  # share of a word whose consonants are those of another
_IDEOGRAPH_WEIGHT: Final = 2
_ELSEWHERE: Final = frozenset({"author"})  # people are often named elsewhere, as assignees are
_FIGURE: Final = re.compile(r"\d(?:[.,'\u2019\u00a0\u202f ]?\d)*")
_NAME: Final = re.compile(r"(?<=[^\W_]\W)[^\W\d_]\w+")  # not the first word of a sentence
_GERMAN_NAME: Final = re.compile(r"(?<=\ban )[^\W\d_]\w+")
_THOUSANDS: Final = re.compile(r"(?<=\d)[.,'\u2019\u00a0\u202f](?=\d{3}(?!\d))")
_SENTENCE_ENDS: Final = ".!?:\n\r\u3002\uff01\uff1f\uff1a"
_UNIT: Final = re.compile(r"(?<=\d)(?=[^\W\d_])|(?<=[^\W\d_])(?=\d)")  # between "3" and "pm"
_PREFIX: Final = re.compile(r"(?<=\w)(?:ge|zu)(?=\w{4})")  # "abgeholt", "abzuholen"
_VOWELS: Final = re.compile("[aeiouyаеиоуыэюяй]+")
_GERMAN: Final = re.compile(r"\b(?:der|dem|und|ist|nicht|eine[nmr]?|für|zu[mr]|wir|ich|auf|bitte)\b")
_PRONOUN: Final = re.compile(
    r"\b(?:its?|this|that|these|those|them|they|their|he|she|him|his|her|there|both|ones?"
    r"|es|er|sie|ihn|ihm|ihnen|ihre?[nmrs]?|seine?[nmrs]?|diese?[mnrs]?|da(?:r(?:an|auf|über|um|in|aus)|mit|für|von|zu|bei)"
    r"|ils?|elles?|lui|leurs?|sa|son|ses|y|cela|ça|celles?|celui|ceux"
    r"|lo|ell[ao]s?|es[oa]|est[oa]|ambos|sus?"
    r"|он[аои]?|его|е[её]|их|ему|ей|им|ими|н[её]м|н[еи]х?|это|туда|там)\b"
    r"|-(?:les?|la|lui|leur|y|en)\b|[ae]r(?:l[ao]s?|se)\b|[它他她其该這该]"
)
_SPELLED: Final = {
    word: str(number)
    for number, words in enumerate(
        (
            "zero null cero ноль",
            "one eins uno один 一",
            "two zwei deux dos два две двух 二 两",
            "three drei trois tres три трёх трех 三",
            "four vier quatre cuatro четыре 四",
            "five fünf cinq cinco пять 五",
            "six sechs seis шесть 六",
            "seven sieben sept siete семь 七",
            "eight acht huit ocho восемь 八",
            "nine neun neuf nueve девять 九",
            "ten zehn dix diez десять 十",
            "eleven elf onze once одиннадцать",
            "twelve zwölf douze doce двенадцать",
        )
    )
    for word in words.split()
}


def is_supported(item: Item, text: str, tables: Tables = TABLES) -> bool:
    """Return True if the quote of *item* supports all its texts. *text*: of the whole document."""
    before = text[max(item.start - _CONTEXT_CHARS, 0) : item.start]
    if not _PRONOUN.search(item.quote.lower()):  # the sentence alone
        before = before[max(map(before.rfind, _SENTENCE_ENDS)) + 1 :]
    quoted, around = _SupportingWords(item.quote), _SupportingWords(f"{before} {item.quote}")
    table = tables.of(item.table)
    return all(_is_supported(value, quoted, around) for value in _texts(item, table)) and all(
        _has_number(item.quote, value) for value in _numbers(item, table)
    )


def has_words(text: str, quote: str, before: str = "") -> bool:
    """Return True if *quote* supports the words that *text* has and *before* lacks, as those of an item."""
    known = {*before.split()}
    source = _SupportingWords(quote)
    return _is_supported(" ".join(word for word in text.split() if word not in known), source, source)


def _texts(item: Item, table: DeviceTable) -> Iterator[str]:
    for column in table.columns:
        value = item.data.get(column.name)
        is_free = column.kind is Kind.TEXT and column.filler is Filler.MODEL and not column.choices
        if is_free and isinstance(value, str) and column.name not in _ELSEWHERE:
            yield value


def _numbers(item: Item, table: DeviceTable) -> Iterator[float]:
    for column in table.columns:
        value = item.data.get(column.name)
        if column.kind is Kind.NUMBER and isinstance(value, int | float):
            yield value


def _has_number(quote: str, value: float) -> bool:
    """Return True if *quote* has a number, with points or commas in either meaning, or as a percentage."""
    asked = {abs(value), round(abs(value) * 100, 9)}
    return any(
        not asked.isdisjoint(_meanings(match[0])) for match in _FIGURE.finditer(quote) if len(match[0]) <= 40
    )


def _meanings(figure: str) -> set[float]:
    """Return the numbers that a spelling may mean: ``1,250`` is 1250 and 1.25."""
    marks = re.findall(r"[.,]", figure)
    whole = float(_digits(figure))
    if not marks:
        return {whole}
    before, _, after = figure.rpartition(marks[-1])
    return {whole, float(f"{_digits(before)}.{_digits(after)}")}


def _digits(figure: str) -> str:
    return re.sub(r"\D", "", figure) or "0"


def _is_supported(value: str, quoted: "_SupportingWords", around: "_SupportingWords") -> bool:
    words = set(_words(value))
    if any(_is_number(word) and not around.share_of(word) for word in words):
        return False
    # German capitalizes all nouns, but only names follow such a word without an article.
    names = (_GERMAN_NAME if around.is_german else _NAME).finditer(value)
    if any(not around.share_of(name) for match in names if (name := _name(match[0]))):
        return False
    total = sum(map(_weight, words))
    in_all = _MIN_IDEOGRAPHS if any(map(is_unspaced, value)) else _MIN_IN_CONTEXT
    needs = ((quoted, _MIN_QUOTED), (around, in_all))
    return all(
        sum(_weight(word) * of.share_of(word) for word in words) >= least * total for of, least in needs
    )


class _SupportingWords:
    """Words that may support others."""

    def __init__(self, text: str) -> None:
        words = _words(text)
        self.is_german = bool(_GERMAN.search(text.lower()))
        self._words = frozenset(words) | {_SPELLED[word] for word in words if word in _SPELLED}
        self._words |= {initials} if (initials := _initials(text)) else frozenset()
        forms = self._words | {_PREFIX.sub("", word, count=1) for word in self._words}
        self._beginnings = {word[:length] for word in forms for length in range(1, len(word) + 1)}
        joined = " ".join(sorted(forms))
        self._inside = joined if len(joined) <= 2_000 else ""  # searched for parts of compounds
        self._consonants = {_consonants(word) for word in forms}

    def share_of(self, word: str) -> float:
        """Return the share of *word* that begins one of these words; of numbers and signs, all or nothing."""
        if word in self._words:
            return 1.0
        if _is_number(word):
            return 0.0
        share = max(self._begun(word), self._begun(_PREFIX.sub("", word, count=1)), self._compound(word))
        consonants = _consonants(word)
        if share < _SAME_CONSONANTS and len(consonants) >= 3 and consonants in self._consonants:
            return _SAME_CONSONANTS
        return share

    def _begun(self, word: str) -> float:
        common = self._common(word)
        share = common / len(word)
        return share if common >= _MIN_COMMON_CHARS and share >= 0.5 else 0.0  # of a word's letters

    def _common(self, word: str) -> int:
        common = len(word)
        while common and word[:common] not in self._beginnings:
            common -= 1
        return common

    def _compound(self, word: str) -> float:
        """Return the share of a compound made of beginnings of these words, or of a part of one of these."""
        if len(word) < 5:
            return 0.0
        stem = word[: -(-len(word) * 7 // 10)]
        if stem in self._inside:
            return len(stem) / len(word)
        first = self._common(word)
        second = max(self._common(word[at:]) for at in range(first, first + 3))
        is_made = min(first, second) >= 4  # of a word in a compound
        return (first + second) / len(word) if is_made else 0.0


def _words(text: str) -> list[str]:
    """Return the folded words of *text*, without accents; numbers without separators and units."""
    plain = _UNIT.sub(" ", _THOUSANDS.sub("", text.replace("_", " ")))
    # The work for a word grows with the square of its length.
    return [_bare(word[:64]) for word in words_of(plain)]


def _bare(word: str) -> str:
    if word.isascii():
        return word
    return "".join(char for char in unicodedata.normalize("NFD", word) if not unicodedata.combining(char))


def _name(word: str) -> str:
    """Return the folded *word* if it begins with a capital letter, else an empty text."""
    return "".join(_words(word)) if word[0].isupper() else ""


def _initials(text: str) -> str:
    """Return the initials of the first consecutive capitalized words, which abbreviate a name."""
    for is_name, words in groupby(text.split(), key=lambda word: word[0].isupper()):
        if is_name and len(initials := "".join(word[0] for word in words)) > 1:
            return initials.lower()
    return ""


def _consonants(word: str) -> str:
    return _VOWELS.sub("", word)


def _is_number(word: str) -> bool:
    return any(map(str.isdigit, word))


def _weight(word: str) -> int:
    if _is_number(word):
        return 4  # as a word of five letters
    if len(word) == 1:
        return _IDEOGRAPH_WEIGHT if is_unspaced(word) else 0
    return len(word) - 1

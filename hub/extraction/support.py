"""Comparison of an item's fields with its quote: what the quote does not say is marked. Pure functions.

A model may return a record that no part of its quote supports: it invented the record, or obeyed an order
elsewhere in the document. The check compares words, so it does not depend on the wording of orders, and its
work grows with the length of quote and field.

Words of a field count by their length, since most short ones are grammar. A word is supported by a word of
the quote with the same beginning, by the share of letters in common: that covers inflection in languages
that inflect at the end. Words shortly before the quote explain its pronouns, but a field needs some words of
the quote itself. Numbers, and names after the first word, must be in the quote: they cannot be paraphrased.
"""

import re
import unicodedata
from collections.abc import Iterator
from typing import Final

from hub.extraction.folding import is_unspaced, words_of
from hub.extraction.items import Item
from protocol.tables import TABLES, DeviceTable, Filler, Kind, Tables

# Measured on the gold set: 4 of 248 items marked, and 99.87 % of those with a quote of another document.
_LEAST_QUOTED: Final = 0.2  # share of a field that the quote must support
_LEAST_IN_CONTEXT: Final = 0.55  # by the quote and the text before it
_CONTEXT_CHARS: Final = 200
_LEAST_COMMON: Final = 0.5  # of a word's letters
_LEAST_COMMON_CHARS: Final = 3
_MOST_WORD_CHARS: Final = 64  # compared of a word, as its work grows with the square of that
_NUMBER_WEIGHT: Final = 4  # as a word of five letters
_IDEOGRAPH_WEIGHT: Final = 2
_ELSEWHERE: Final = frozenset({"author"})  # people are often named elsewhere, as assignees are
_NAME: Final = re.compile(r"(?<=[^\W_]\W)[^\W\d_]\w+")  # not the first word of a sentence


def is_supported(item: Item, text: str, tables: Tables = TABLES) -> bool:
    """Return True if the quote of *item* supports all its texts. *text*: of the whole document."""
    quoted = _Source(item.quote)
    around = _Source(f"{text[max(item.start - _CONTEXT_CHARS, 0) : item.start]} {item.quote}")
    return all(_is_supported(value, quoted, around) for value in _texts(item, tables.of(item.table)))


def _texts(item: Item, table: DeviceTable) -> Iterator[str]:
    for column in table.columns:
        value = item.data.get(column.name)
        is_free = column.kind is Kind.TEXT and column.filler is Filler.MODEL and not column.choices
        if is_free and isinstance(value, str) and column.name not in _ELSEWHERE:
            yield value


def _is_supported(value: str, quoted: "_Source", around: "_Source") -> bool:
    words = set(_words(value))
    if any(_is_number(word) and not quoted.share_of(word) for word in words):
        return False
    if any(not quoted.share_of(name) for match in _NAME.finditer(value) if (name := _name(match[0]))):
        return False
    total = sum(map(_weight, words))
    needs = ((quoted, _LEAST_QUOTED), (around, _LEAST_IN_CONTEXT))
    return all(
        sum(_weight(word) * of.share_of(word) for word in words) >= least * total for of, least in needs
    )


class _Source:
    """Words that may support others."""

    def __init__(self, text: str) -> None:
        words = _words(text)
        self._words = frozenset(words)
        self._beginnings = {word[:length] for word in words for length in range(1, len(word) + 1)}

    def share_of(self, word: str) -> float:
        """Return the share of *word* that begins one of these words; of numbers and signs, all or nothing."""
        if word in self._words:
            return 1.0
        if _is_number(word):
            return 0.0
        common = len(word)
        while common and word[:common] not in self._beginnings:
            common -= 1
        share = common / len(word)
        return share if common >= _LEAST_COMMON_CHARS and share >= _LEAST_COMMON else 0.0


def _words(text: str) -> list[str]:
    """Return the folded words of *text*, without accents."""
    return [_bare(word[:_MOST_WORD_CHARS]) for word in words_of(text.replace("_", " "))]


def _bare(word: str) -> str:
    if word.isascii():
        return word
    return "".join(char for char in unicodedata.normalize("NFD", word) if not unicodedata.combining(char))


def _name(word: str) -> str:
    """Return the folded *word* if it begins with a capital letter, else an empty text."""
    return "".join(_words(word)) if word[0].isupper() else ""


def _is_number(word: str) -> bool:
    return any(map(str.isdigit, word))


def _weight(word: str) -> int:
    if _is_number(word):
        return _NUMBER_WEIGHT
    if len(word) == 1:
        return _IDEOGRAPH_WEIGHT if is_unspaced(word) else 0
    return len(word) - 1

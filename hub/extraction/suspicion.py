"""Warnings for the reviewer: places of the text that give orders, and quotes that do not support an item.

Anyone may have written a document. Rules detect passages that give orders to the reader, openly or in a form
invisible to people. An item from such a passage has a warning and is never delivered without it. An item that
an order caused, with a harmless quote, is not supported by that quote. The rules
are broad on purpose: a false warning costs a glance, a missed order costs trust. The model's own judgement is
not used.

Comparison of an item's fields with its quote: what the quote does not say is marked.

A model may return a record that no part of its quote supports: it invented the record, or obeyed an order
elsewhere in the document. The check compares words, so it does not depend on the wording of orders, and its
work grows with the length of quote and field.

Words of a field count by their length, since most short ones are grammar. A word is supported by a word of
the quote with the same beginning, by the share of letters in common: that covers inflection at the end of
words. Verbs that change their vowels, participles with "ge" and compounds have rules of their own. Numbers,
and names after the first word, must be in the quote: they cannot be paraphrased, but a number may be spelled
out, and a name abbreviated.

The beginning of the quote's sentence counts too, and the words before it if the quote has a pronoun. Without
one they do not, because an order before an honest sentence would support the item that it orders.

Sentences that give orders to a machine (prompt injection) are found by a linear model, in six languages: each
word, pair of words, beginning of a word and pair of ideographs has a weight. A sentence whose weights sum up
to more than zero resembles orders more than what people write to each other. The weights are integers in one
file, so that each machine decides alike. ``tests/evaluation/training.py`` learns them from orders and honest
sentences. Patterns find the markup and code of orders. The search is for normalized text: lower case,
compatibility characters replaced, ``_`` as a blank, nothing hidden.
"""

import base64
import binascii
import lzma
import re
import unicodedata
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence, Set
from functools import cache, lru_cache
from itertools import groupby, islice
from pathlib import Path
from typing import Final, NamedTuple
from zlib import crc32

import msgspec

from hub.document import Document
from hub.extraction.chunk import sentences
from hub.extraction.items import Dropped, Item, Outside, merged
from hub.text.folding import clusters, is_hidden, is_plain, is_unspaced, words_of
from protocol.tables import TABLES, DeviceTable, Filler, Kind, Tables
from protocol.work import Mark

_WEIGHTS: Final = Path(__file__).with_name("orders.weights")  # a byte for each residue of a checksum
BIAS: Final = ""  # a feature of every sentence
SCALE: Final = 16  # of the weights: logits are multiplied by it and rounded
_STRONG: Final = 2 * SCALE  # people do not write so to each other
_MAX_WORDS: Final = 40  # of a sentence; a text without punctuation is cut
_DIGEST: Final = r"\b(?=[a-f]{0,40}\d)[a-f\d]{12,128}\b"
_WORD: Final = re.compile(
    rf"{_DIGEST}|[\u2e80-\u9fff]{{1,80}}|[^\W\d_\u2e80-\u9fff]{{1,40}}|\d{{1,40}}|[^\w\s]{{1,3}}"
)
_SENTENCE_END: Final = re.compile(r"[.!?](?=\s|$)|[\u3002\uff01\uff1f]|[\n\f]")
_IDEOGRAPHS: Final = "\u2e80", "\u9fff"
_STEMS: Final = 4, 6  # letters of the beginning of a word

# Markup of conversations, prompts, answers and the hub's delimiters: a blank matches literally.
_MARKS: Final[tuple[str, ...]] = (
    r"<\|[a-z ]{2,30}\|>|\[/?inst\]|<</?sys>>",
    r"</?(?:system|assistant|instructions?|prompts?|tool call|tool|function|think|admin"
    r"|human)\b[^<>\n]{0,80}>",
    r"^[>\s#*\-]{0,8}(?:system|assistant|developer|human|ai)(?: prompt| message"
    r"| note)?\*{0,2}\s{0,2}[:\uff1a]",
    r"^[>\s]{0,4}#{2,6}\s{0,3}(?:instructions?|system|prompt|response|anweisung\w{0,3})\b",
    r"^[>\s]{0,4}-{3,9}\s{0,2}[0-9a-f]{6,64}\s{0,2}$",
    r"\b(?:end|begin|start) (?:prompt|instructions?)\b|\b(?:end|beginning|start|begin) of (?:the )?"
    r"(?:document|text|prompt|input|data|instructions|untrusted \w{1,20})\b",
    r"[\"'\u201c\u201d\u300c](?:tables?|items|quote|tasks|notes|timelines|projects|assignee|duedate|role"
    r"|tool calls?|function|title|isapproved)"
    r"[\"'\u201c\u201d\u300d]\s{0,3}[:\uff1a]",
    r"<!--(?>(?:[^-]|-(?!->)){0,4000})(?:-->)?|^\[(?://|comment)\]:[^\n]{0,1000}",
    r"\bdisplay\s{0,2}:\s{0,2}none|\bvisibility\s{0,2}:\s{0,2}hidden|\bfont-size\s{0,2}:\s{0,2}0"
    r"|\bopacity\s{0,2}:\s{0,2}0(?![.\d])",
    r"(?<!\w)(?:[^\W\d_][ .\-]{1,3}){8,40}[^\W\d_](?!\w)",  # s p a c e d
    # A word that mixes two alphabets to imitate another word.
    r"(?<!\w)(?:[a-z]{1,20}[а-яёії]{1,20}[a-z]{1,20}|[а-яёії]{1,20}[a-z]{1,20}[а-яёії]{1,20})(?!\w)",
)


class Sentence(NamedTuple):
    """Sentence of a text, with the words and pairs of words in it."""

    start: int
    end: int
    units: Set[str]


@cache
def _dress() -> list[re.Pattern[str]]:
    """Return the patterns individually: a combined one is slower. They are compiled on first use."""
    return [re.compile(mark, re.MULTILINE | re.DOTALL) for mark in _MARKS]


@cache
def _weights() -> "array[int]":
    return array("b", lzma.decompress(_WEIGHTS.read_bytes()))


def find_orders(plain: str) -> Iterator[tuple[int, int, bool]]:
    """Yield the places in *plain* that may be orders; True if people would not write so to each other."""
    before: Sentence | None = None
    for sentence in sentences_of(plain):
        score = sum(map(weight, sentence.units))
        if score + weight(BIAS) > 0:
            yield sentence.start, sentence.end, score + weight(BIAS) > _STRONG
        elif (
            before and not plain[before.end : sentence.start].strip("\n") and before.end + 1 >= sentence.start
        ):
            both = score + sum(weight(unit) for unit in before.units - sentence.units) + weight(BIAS)
            if both > 0:
                yield before.start, sentence.end, both > _STRONG
        before = sentence
    for dress in _dress():
        yield from ((*match.span(), True) for match in dress.finditer(plain))


def score_of(sentence: Sentence) -> int:
    """Return the score of a sentence, which is that of an order if it is more than zero."""
    return sum(map(weight, sentence.units)) + weight(BIAS)


def sentences_of(plain: str) -> Iterator[Sentence]:
    """Yield the sentences of *plain* with their units."""
    begin = 0
    for end in (*(match.end() for match in _SENTENCE_END.finditer(plain)), len(plain)):
        words = list(_WORD.finditer(plain, begin, end))
        for first in range(0, len(words), _MAX_WORDS):
            some = words[first : first + _MAX_WORDS]
            start, stop = some[0].start(), some[-1].end()
            yield Sentence(start, stop, units_of([word[0] for word in some]))
        begin = end


def units_of(words: list[str]) -> set[str]:
    """Return the units of a sentence: its words, pairs of words, and pairs of beginnings of words.

    Of ideographs, pairs and triples are units; of any number or digest, a zero.
    """
    units: set[str] = set()
    before = ""
    for word in words:
        if _IDEOGRAPHS[0] <= word[0] <= _IDEOGRAPHS[1]:
            units.update(word[at : at + size] for size in (2, 3) for at in range(len(word) - size + 1))
            before = word[-1]
            continue
        plain = "0" if word.isalnum() and not word.isalpha() else word
        units.add(plain)
        if before:
            units.add(f"{before} {plain}")
            units.add(f"{before[: _STEMS[0]]}* {plain[: _STEMS[0]]}*")
        before = plain
    return units


@lru_cache(maxsize=65_536)  # texts repeat their words
def weight(unit: str) -> int:
    """Return the weight of a unit, which is the sum of those of its features."""
    weights = _weights()
    return sum(weights[place] for place in features(unit, len(weights)))


def features(unit: str, count: int) -> list[int]:
    """Return the places of the features of *unit* among *count*: itself, and beginnings of a word."""
    stems = [f"{unit[:size]}*" for size in _STEMS if len(unit) > size] if unit.isalpha() else []
    return [crc32(feature.encode()) % count for feature in (unit, *stems)]


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
    quoted, around = _Source(item.quote), _Source(f"{before} {item.quote}")
    table = tables.of(item.table)
    return all(_is_supported(value, quoted, around) for value in _texts(item, table)) and all(
        _has_number(item.quote, value) for value in _numbers(item, table)
    )


def has_words(text: str, quote: str, before: str = "") -> bool:
    """Return True if *quote* supports the words that *text* has and *before* lacks, as those of an item."""
    known = {*before.split()}
    source = _Source(quote)
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


def _is_supported(value: str, quoted: "_Source", around: "_Source") -> bool:
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


class _Source:
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


Span = tuple[int, int]

_WINDOW_CHARS: Final = 16_384  # searched at a time: 40 ms
_OVERLAP_CHARS: Final = 600  # longer than any wording
_MAX_ORDERS: Final = 1_000
_HONEST: Final = -4 * SCALE  # of a sentence, whatever address it names
_REACH_CHARS: Final = 400  # maximum extent of the suspected paragraph on both sides of an order
_PARAGRAPH_END: Final = re.compile(r"\n[ \t>|]*+(?:\r?\n[ \t>|]*+)+|\r[ \t>]*+\r")
# The mark of a list, a heading or a setting, or the stamp of a message or of finished work.
_ROW_MARK: Final = re.compile(
    r"^[ \t]{0,40}(?:(?:[-*+\u2022\u2023\u25e6]|\*\*|\d{1,3}[.)])[ \t]+(?:\[.\][ \t]+)?|#\+(?=\w)"
    r"|(?:[xX][ \t]+)?\[?\d[\d :./,-]{6,30}\]?[ \t]+(?:-[ \t]+)?(?=[^\W\d_]))",
    re.MULTILINE,
)
_ADDRESS: Final = re.compile(r"https?://[^\s<>\"')\]]{1,1000}+")
# An entry of a list of tasks, which is one by itself, whatever an entry above it demands.
_TASK_ROW: Final = re.compile(
    r"^[ \t]{0,40}(?:[-*+][ \t]+\[.\][ \t]|\*{1,9}[ \t]+[A-Z]{3,20}[ \t])", re.MULTILINE
)
_TURN: Final = re.compile(r"\n(?=[^\W\d_][\w .'\u2019-]{0,30}:[ \t])")
_ANNOUNCING: Final = (":", "\uff1a")
_FEW_BLANKS: Final = re.compile(r"[\s>|]{0,40}+")

_JOINERS: Final = frozenset("\u200c\u200d")
_SOFT_HYPHEN: Final = "\u00ad"
_DIRECTIONS: Final = frozenset("\u200e\u200f\u061c\u202a\u202b\u202c\u2066\u2067\u2068\u2069")
_ALWAYS_SUSPECT: Final = re.compile("[\u202d\u202e]|\U0001f3f4?[\U000e0001-\U000e007f]{2,}+")
_BLACK_FLAG: Final = "\U0001f3f4"  # tag characters after it spell a region (Unicode TR 51)

_BLOB: Final = re.compile(r"[A-Za-z0-9+/]{32,}+={0,2}")
_MAX_BLOBS: Final = 200


def spans(text: str, apart: Sequence[Span] = (), *, is_row: bool = False) -> tuple[Span, ...]:
    """Return the places of *text* that give orders to its reader, in order and disjoint.

    Each is at least a sentence, and a paragraph if the wording is strong. A text with an implausible number
    of such passages is suspected as a whole.

    Args:
        apart: places that are texts of their own, such as rows of a table, in order and disjoint. They make
            no other text suspect, but a suspect paragraph around them does so with them.
        is_row: *text* is such a row.
    """
    passages = list(islice(_passages(_covered(text, apart), is_row=is_row), _MAX_ORDERS + 1))
    if len(passages) > _MAX_ORDERS:
        return ((0, len(text)),)
    found = [_widened(text, start, end, is_strong) for start, end, is_strong in passages]
    for begin, stop in apart:
        found += ((begin + start, begin + end) for start, end in spans(text[begin:stop], is_row=True))
    return tuple(merged(found))


def _covered(text: str, places: Sequence[Span]) -> str:
    """Return *text* with blanks at some places."""
    pieces, at = list[str](), 0
    for start, end in places:
        pieces += (text[at:start], " " * (end - start))
        at = end
    return "".join([*pieces, text[at:]])


def marked(
    items: Iterable[Item], text: str, suspicions: Sequence[Span], tables: Tables = TABLES
) -> list[Item]:
    """Return *items* with additional warnings.

    *suspicions* are ``spans(text)``. An item of a rule reflects its own place; a model may return an ordered
    item with a harmless quote, which does not support it.
    """
    return [_marked(item, text, suspicions, tables) for item in items]


def by_authorship(
    items: Iterable[Item], document: Document, outside: Outside
) -> tuple[list[Item], list[Dropped]]:
    """Mark or drop the items in text of unknown authors, whatever its wording, by the agent's policy."""
    remaining: list[Item] = []
    dropped: list[Dropped] = []
    for item in items:
        provenance = document.provenance_at(item.start)
        if provenance is None or provenance.trusted:
            remaining.append(item)
        elif outside == "drop":
            dropped.append(Dropped(table=item.table, reason="outside", start=item.start, end=item.end))
        else:
            marks: tuple[Mark, ...] = ("outside", "apart") if outside == "separate" else ("outside",)
            remaining.append(msgspec.structs.replace(item, warnings=(*item.warnings, *marks)))
    return remaining, dropped


def hidden_count(text: str) -> int:
    """Count the characters of *text* that are invisible and not part of a word."""
    if is_plain(text) or not any(map(is_hidden, set(text))):
        return 0
    return sum(_is_hidden_at(text, at) for at, char in enumerate(text) if is_hidden(char))


def _marked(item: Item, text: str, suspicions: Sequence[Span], tables: Tables) -> Item:
    warnings: list[Mark] = list(item.warnings)
    nearest = bisect_left(suspicions, item.end, key=lambda span: span[0]) - 1  # they are ordered and disjoint
    touches = nearest >= 0 and suspicions[nearest][1] > item.start
    if touches:
        warnings.append("instruction")
    if item.origin == "model" and not is_supported(item, text, tables):
        warnings.append("unsupported")
    if hidden_count(text[item.start : item.end]):
        warnings.append("hidden_characters")
    return msgspec.structs.replace(item, warnings=tuple(dict.fromkeys(warnings)))


def _passages(text: str, *, is_row: bool) -> Iterator[tuple[int, int, bool]]:
    """Yield passages with orders, and whether the wording is strong; some are repeated."""
    for begin, stop in _windows(text):
        for start, end, is_strong in _passages_in(text[begin:stop], is_row=is_row):
            yield begin + start, begin + end, is_strong


def _windows(text: str) -> Iterator[Span]:
    """Split *text* into overlapping pieces, because a pattern search blocks the whole process."""
    begin = 0
    while len(text) - begin > _WINDOW_CHARS:
        yield begin, begin + _WINDOW_CHARS
        latest = begin + _WINDOW_CHARS - _OVERLAP_CHARS
        line = text.rfind("\n", begin + 1, latest)
        begin = line + 1 if line > latest - _OVERLAP_CHARS else latest
    yield begin, len(text)


def _passages_in(text: str, *, is_row: bool) -> Iterator[tuple[int, int, bool]]:
    written, places = _plain(text)
    # A row of a list, or a message, is no part of the sentence in the line above it.
    plain = _ROW_MARK.sub(lambda match: " " * len(match.group()), written)
    for start, end, is_strong in find_orders(plain):
        in_row = is_row or _ROW_MARK.match(written, written.rfind("\n", 0, start) + 1) is not None
        if _is_of_neighbours(plain[start:end]) or (in_row and _is_of_address(plain[start:end])):
            continue
        yield (places[start], places[end], is_strong) if places else (start, end, is_strong)
    for start, end in (*_hidden_runs(text), *_blobs(text)):
        yield start, end, True


def _is_of_neighbours(plain: str) -> bool:
    """Return True for lines of different speakers ("Ann: ..."), none of which is an order by itself."""
    lines = _TURN.split(plain)
    return len(lines) > 1 and not any(next(find_orders(line), None) for line in lines)


def _is_of_address(plain: str) -> bool:
    """Return True for words that are honest by far, but for an address of a page in them."""
    words = _ADDRESS.sub(" ", plain)
    return len(words) < len(plain) and all(score_of(sentence) < _HONEST for sentence in sentences_of(words))


def _plain(text: str) -> tuple[str, list[int]]:
    """Return the normalized *text* for the patterns, and the place of each character; empty if unchanged."""
    chars = set(text)
    alike, hidden = {ord(char): _alike(char) for char in chars}, set(filter(is_hidden, chars))
    if unicodedata.is_normalized("NFC", text):
        if not hidden:
            return text.translate(alike), []
        places = [at for at, char in enumerate(text) if char not in hidden]
        return "".join(text[at] for at in places).translate(alike), [*places, len(text)]
    letters: list[str] = []
    places = []
    for start, end in clusters(text):
        visible = "".join(char for char in text[start:end] if char not in hidden)
        plain = "".join(map(_alike, unicodedata.normalize("NFC", visible)))
        letters.append(plain)
        places += [start] * len(plain)
    return "".join(letters), [*places, len(text)]


@lru_cache(maxsize=4_096)
def _alike(char: str) -> str:
    """Return the plain equivalent of a character: full-width, mathematical, circled or capital."""
    if char == "_":
        return " "
    for plain in (unicodedata.normalize("NFKC", char).lower(), char.lower()):
        if len(plain) == 1:
            return plain
    return char


def _hidden_runs(text: str) -> Iterator[Span]:
    hidden = [char for char in sorted(set(text)) if is_hidden(char)]
    if not hidden:
        return
    found = (match.span() for match in _ALWAYS_SUSPECT.finditer(text))
    yield from (span for span in found if text[span[0]] != _BLACK_FLAG)
    # One or two hidden characters may come from typesetting.
    run = re.compile(f"[{''.join(map(re.escape, hidden))}]{{3,}}+")
    yield from (match.span() for match in run.finditer(text) if text[match.start() - 1] != _BLACK_FLAG)


def _blobs(text: str) -> Iterator[Span]:
    """Yield base64 strings that contain text."""
    for nth, match in enumerate(_BLOB.finditer(text)):
        if nth == _MAX_BLOBS:
            return
        blob = match.group()[:8_000].rstrip("=")
        try:
            decoded = base64.b64decode(blob[: len(blob) // 4 * 4])
        except binascii.Error:
            continue
        readable = sum(32 <= byte < 127 or byte in b"\t\r\n" for byte in decoded)
        # Keys and digests are random, orders are text.
        if b" " in decoded and readable >= 0.95 * len(decoded):
            yield match.span()


def _widened(text: str, start: int, end: int, is_strong: bool) -> Span:
    """Expand a place to its sentence and the next, or to its paragraph, and to text after a colon."""
    begin, stop = _within(text, start, end, _PARAGRAPH_END, _TASK_ROW)
    if not is_strong:
        since = [place for place in sentences(text, begin, stop) if start < place[1]]
        touched = [place for place in since if place[0] < end]
        if touched:  # and the next sentence, which the order may refer to
            begin, stop = touched[0][0], since[min(len(touched), len(since) - 1)][1]
    if text[begin:stop].rstrip().endswith(_ANNOUNCING):
        blanks = _FEW_BLANKS.match(text, stop)
        after = blanks.end() if blanks else stop
        _, stop = _within(text, after, after, _PARAGRAPH_END)
    return begin, stop


def _within(text: str, start: int, end: int, *bounds: re.Pattern[str]) -> Span:
    """Return the paragraph or row around a place, up to a maximum extent."""
    before, after = max(start - _REACH_CHARS, 0), min(end + _REACH_CHARS, len(text))
    breaks = [match for bound in bounds for match in bound.finditer(text, before, end)]
    following = [match.start() for bound in bounds if (match := bound.search(text, end, after))]
    begins = (min(match.end(), start) for match in breaks if match.start() < start)
    return max(begins, default=before), min(following, default=after)


def _is_hidden_at(text: str, at: int) -> bool:
    """Return True if a hidden character serves no spelling or typesetting purpose."""
    char, before, after = text[at], text[at - 1 : at] if at else "", text[at + 1 : at + 2]
    if char == _SOFT_HYPHEN:
        return not (before.isalpha() and after.isalpha())
    if char in _JOINERS:
        return not before or before.isascii() or not after or after.isascii()
    if char in _DIRECTIONS:
        around = text[max(at - 40, 0) : at + 40]
        return not any(
            near not in _DIRECTIONS and unicodedata.bidirectional(near) in ("R", "AL") for near in around
        )
    if "\U000e0020" <= char <= "\U000e007f":
        return _BLACK_FLAG not in text[max(at - 7, 0) : at]
    return not (char == "\ufeff" and at == 0)

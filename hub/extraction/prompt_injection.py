"""Detection of sentences that give orders to a machine (prompt injection), by a linear model. Pure.

A linear model decides, in six languages: each word, pair of words, beginning of a word and pair of
ideographs has a weight. A sentence whose weights sum up to more than zero resembles orders more than what
people write to each other. The weights are integers in one file, so that each machine decides alike.
``tests/evaluation/training.py`` learns them from orders and honest sentences. Patterns find the markup and
code of orders. The search is for normalized text: lower case, compatibility characters replaced, ``_`` as a
blank, nothing hidden.
"""

import re
import zlib
from collections.abc import Iterator, Set
from functools import cache, lru_cache
from pathlib import Path
from typing import Final, NamedTuple
from zlib import crc32

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


class ScoredSentence(NamedTuple):
    """Sentence of a text, with the words and pairs of words in it."""

    start: int
    end: int
    units: Set[str]


@cache
def _dress() -> list[re.Pattern[str]]:
    """Return the patterns individually: a combined one is slower. They are compiled on first use."""
    return [re.compile(mark, re.MULTILINE | re.DOTALL) for mark in _MARKS]


@cache
def _weights() -> "memoryview[int]":
    return memoryview(zlib.decompress(_WEIGHTS.read_bytes())).cast("b")


def find_orders(plain: str) -> Iterator[tuple[int, int, bool]]:
    """Yield the places in *plain* that may be orders; True if people would not write so to each other."""
    before: ScoredSentence | None = None
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


def score_of(sentence: ScoredSentence) -> int:
    """Return the score of a sentence, which is that of an order if it is more than zero."""
    return sum(map(weight, sentence.units)) + weight(BIAS)


def sentences_of(plain: str) -> Iterator[ScoredSentence]:
    """Yield the sentences of *plain* with their units."""
    begin = 0
    for end in (*(match.end() for match in _SENTENCE_END.finditer(plain)), len(plain)):
        words = list(_WORD.finditer(plain, begin, end))
        for first in range(0, len(words), _MAX_WORDS):
            some = words[first : first + _MAX_WORDS]
            start, stop = some[0].start(), some[-1].end()
            yield ScoredSentence(start, stop, units_of([word[0] for word in some]))
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

"""Judge: probability that the owner of a document would approve an item that a rule found. Pure functions.

A rule gives its evidence (``Evidence``). The prior is how often items with such evidence were right.
Other features are the kind of document, as its name, layout and first words tell it; the words of the item's
line, if nothing but words speaks for it; and a few facts about the item. Each feature has one weight, and
their sum is a log-odds. ``tests/evaluation/judging.py`` learns the weights from labelled files of public
repositories, and writes them with their card.

A mark in the line (a check box, a keyword, a field, a format of tasks) is never judged by the line's words.
"""

import math
import re
import zlib
from array import array
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Final, NamedTuple
from zlib import crc32

import msgspec

from hub.document import Document
from hub.extraction.items import DocumentLine, Item, lines_of
from protocol.tables import TABLES

WEIGHTS: Final = Path(__file__).with_name("judge.json")
SLOTS: Final = Path(__file__).with_name("judge.weights")  # a byte for each slot, compressed
DOCUMENT_KINDS: Final = (
    *("list", "notes", "minutes", "letter", "chat", "manual", "rules"),
    *("log", "template", "code", "newsletter", "story", "data"),
)
MARKED: Final = frozenset({"box", "keyword", "field", "form"})  # marks that no words overrule
FEATURES: Final = ("evidence", "document", "words", "row", "whole", "day", "person", "short", "long")
DOCUMENT_SLOTS: Final = 2_048  # weights of features of a document, for each kind
WORD_SLOTS: Final = 4_096
SCALE: Final = 24.0  # of weights that are stored as a byte

_HEAD_CHARS: Final = 2_000  # of a document, whose words tell its kind
_HEAD_LINES: Final = 200  # whose layout does
_MAX_WORDS: Final = 40  # of a line
_SHORT_WORDS, _LONG_WORDS = 2, 25
_WHOLE_SHARE: Final = 0.7  # of a line that an item has to be
_ROW: Final = re.compile(r"\s*(?:[-*+\u2022\u2013]|\d{1,3}[.)])\s")
_WORD: Final = re.compile(r"[\u2e80-\u9fff]|[^\W\d_\u2e80-\u9fff]{1,24}|\d{1,4}|[^\w\s]")
_PATH_WORD: Final = re.compile(r"[^\W\d_]{2,12}")
_BINS: Final = 0.0, 0.03, 0.12, 0.3, 0.6  # shares of lines
_LAYOUT: Final[Mapping[str, re.Pattern[str]]] = {
    name: re.compile(pattern)
    for name, pattern in (
        ("box", r"\s*+(?:(?:[-*+]|\d{1,3}[.)])\s*+)?\[.?\]\s"),
        ("bullet", r"\s*[-*+\u2022]\s"),
        ("number", r"\s*\d{1,3}[.)]\s"),
        ("heading", r"\s*(?:#{1,6}|\*{1,6}|={2,6})\s"),
        ("quoted", r"\s*>"),
        ("indented", r"(?:\t| {4})"),
        ("stamp", r"\s*[\[(<]?\d{1,4}[-./:]\d{1,2}[-./:]\d{1,4}"),
        ("speaker", r"\s*[^\W\d_][\w .-]{1,24}:\s"),
        ("code", r".*(?:[{}();]\s*$|=>|->|::|</|\$\w|==)"),
        ("link", r".*https?://"),
        ("sentence", r".*[^\W\d_]{3}[.!?\u3002\uff01\uff1f]\s*$"),
        ("long", r".{100}"),
        ("short", r"\s*\S+(?:\s\S+){0,3}\s*$"),
    )
}


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """Provenance of the weights: the labelled files and items of strangers, and where they are weak."""

    files: int
    repositories: int
    items: int
    right: int
    rounds: tuple[str, ...]
    weak: tuple[str, ...]


class JudgeNumbers(msgspec.Struct, frozen=True, kw_only=True):
    """Learned numbers that people can read.

    Attributes:
        suggested: probability from which an item is suggested.
        unsure: probability from which it is kept as unsure.
        evidence: log-odds of items by mark, rule and table, joined by blanks; by mark alone for others.
        kinds: log-odds of items by the kind of their document, of those without a mark.
        marked_kinds: likewise of those with one.
        features: weight of each feature, and the mean from which its effect counts; ``""``: the constant.
    """

    card: Card
    suggested: float
    unsure: float
    evidence: dict[str, float]
    kinds: dict[str, float]
    marked_kinds: dict[str, float]
    features: dict[str, tuple[float, float]]


class Slots(NamedTuple):
    """Weights of hashed features: of documents, in the order of ``DOCUMENT_KINDS``, and of words."""

    document: tuple["array[int]", ...]
    words: "array[int]"


class Weights(JudgeNumbers, frozen=True, kw_only=True):
    """Learned numbers and slots."""

    slots: Slots


class DocumentProfile(NamedTuple):
    """Probabilities of the kinds of a document, in the order of ``DOCUMENT_KINDS``."""

    kinds: tuple[float, ...]

    @property
    def likeliest(self) -> str:
        """The most probable kind."""
        return DOCUMENT_KINDS[max(range(len(self.kinds)), key=self.kinds.__getitem__)]


@cache
def weights() -> Weights:
    """Return the weights of this release."""
    numbers = msgspec.json.decode(WEIGHTS.read_bytes(), type=JudgeNumbers)
    found = array("b", zlib.decompress(SLOTS.read_bytes()))
    ends = [nth * DOCUMENT_SLOTS for nth in range(len(DOCUMENT_KINDS) + 1)]
    document = tuple(found[start:end] for start, end in pairwise(ends))
    return Weights(**msgspec.structs.asdict(numbers), slots=Slots(document, found[ends[-1] :]))


def judged(
    items: Sequence[Item], document: Document, lines: Sequence[DocumentLine], learned: Weights | None = None
) -> list[Item]:
    """Return the items of rules with their probabilities and reasons; others as they are."""
    learned = learned or weights()
    if not any(item.evidence for item in items):
        return list(items)
    profile = profile_of(document, lines, learned)
    known: dict[tuple[str | float, ...], tuple[float, tuple[str, ...]]] = {}  # a list has many alike
    found = list[Item]()
    for item in items:
        if item.evidence is not None:
            values = values_of(item, document.text, profile, learned)
            key = (item.evidence.mark, *values.values())
            if key not in known:
                known[key] = _judgement(item, values, profile, learned)
            likelihood, reasons = known[key]
            item = msgspec.structs.replace(item, likelihood=likelihood, reasons=reasons)
        found.append(item)
    return found


def _judgement(
    item: Item, values: Mapping[str, float], profile: DocumentProfile, learned: Weights
) -> tuple[float, tuple[str, ...]]:
    """Return the probability of an item with these features, and the reasons of it."""
    effects = {
        name: weight * (values[name] - mean) for name, (weight, mean) in learned.features.items() if name
    }
    logit = learned.features[""][0] + sum(effects.values())
    heaviest = sorted(effects, key=lambda name: -abs(effects[name]))[:2]
    reasons = tuple(
        _reason(name, values[name] > learned.features[name][1], item, profile) for name in heaviest
    )
    return round(probability(logit), 4), reasons


def _reason(name: str, is_high: bool, item: Item, profile: DocumentProfile) -> str:
    """Return the key of a feature and its value: see ``REASONS`` in ``protocol.items``."""
    if name == "evidence" and item.evidence is not None:
        return f"evidence_{item.evidence.mark}"
    if name == "document":
        return f"document_{profile.likeliest}"
    return f"{name}_{'yes' if is_high else 'no'}"


def values_of(item: Item, text: str, profile: DocumentProfile, learned: Weights) -> dict[str, float]:
    """Return the value of each feature for an item."""
    assert item.evidence is not None  # the caller has checked it
    is_marked = item.evidence.mark in MARKED
    title = str(item.data.get("title") or item.data.get("name") or item.data.get("content") or "")
    # Of an item with a mark, no words count.
    count = 0 if is_marked else len(_WORD.findall(title))
    line = "" if is_marked else line_around(text, item.start, item.end)
    kinds = learned.marked_kinds if is_marked else learned.kinds
    return {
        "evidence": evidence_odds(item, learned),
        "document": sum(
            share * kinds[kind] for share, kind in zip(profile.kinds, DOCUMENT_KINDS, strict=True)
        ),
        "words": 0.0 if is_marked else words_score(line, learned),
        "row": float(_ROW.match(line) is not None) * (not is_marked),
        "whole": float(len(title) >= _WHOLE_SHARE * len(line.strip())) * (not is_marked),
        "day": float(bool(item.words or item.data.keys() & {"dueDate", "date"})),
        "person": float(bool(item.data.get("assignee"))),
        "short": float(count <= _SHORT_WORDS) * (not is_marked),
        "long": float(count > _LONG_WORDS) * (not is_marked),
    }


def evidence_odds(item: Item, learned: Weights) -> float:
    """Return the log-odds of items with the same mark, rule and table."""
    assert item.evidence is not None
    for key in evidence_keys(item):
        if key in learned.evidence:
            return learned.evidence[key]
    return 0.0


def evidence_keys(item: Item) -> Iterator[str]:
    """Yield the keys of an item's evidence, the most special first."""
    assert item.evidence is not None
    table = item.table if item.table in TABLES else "own"
    yield f"{item.evidence.mark} {item.evidence.rule} {table}"
    yield f"{item.evidence.mark} {table}"
    yield item.evidence.mark


def profile_of(document: Document, lines: Sequence[DocumentLine], learned: Weights) -> DocumentProfile:
    """Return what kind of document it is."""
    slots = [crc32(feature.encode()) % DOCUMENT_SLOTS for feature in document_features(document, lines)]
    size = SCALE * math.sqrt(max(1, len(slots)))
    scores = [sum(map(column.__getitem__, slots)) / size * 4 for column in learned.slots.document]
    return DocumentProfile(softmax(scores))


def kind_of(document: Document) -> str:
    """Return the likeliest kind of a document, of ``DOCUMENT_KINDS``."""
    return profile_of(document, [*lines_of(document.text)], weights()).likeliest


def softmax(scores: Sequence[float]) -> tuple[float, ...]:
    """Return probabilities of scores."""
    top = max(scores)
    powers = [math.exp(score - top) for score in scores]
    total = sum(powers)
    return tuple(power / total for power in powers)


def document_features(document: Document, lines: Sequence[DocumentLine]) -> list[str]:
    """Return the features of a document: its path, layout and first words, each once."""
    path = PurePosixPath(document.unit_key.replace("\\", "/").lower())
    found = {f"ending {path.suffix}", f"type {document.media_type}"}
    found |= {f"name {word[:6]}" for word in _PATH_WORD.findall(path.name)}
    found |= {f"folder {word[:6]}" for part in path.parts[:-1] for word in _PATH_WORD.findall(part)}
    filled = [line.text[:120] for line in lines[:_HEAD_LINES] if line.text.strip()]
    for name, pattern in _LAYOUT.items():
        share = sum(map(bool, map(pattern.match, filled))) / max(1, len(filled))
        found |= {f"layout {name} {nth}" for nth, least in enumerate(_BINS) if share > least}
    head = document.text[:_HEAD_CHARS].lower()
    found |= {word[:6] for word in _WORD.findall(head)}
    return sorted(found)


def line_around(text: str, start: int, end: int) -> str:
    """Return the line of a place, with the part of the text that is at the place if it is longer."""
    begin = text.rfind("\n", 0, start) + 1
    stop = text.find("\n", end)
    begin = max(begin, start - 60)
    return text[begin : min(len(text) if stop < 0 else stop, end + 60, begin + 400)]


def words_score(line: str, learned: Weights) -> float:
    """Return how much the words of a line are like those of work, as log-odds."""
    slots = word_slots(line)
    table = learned.slots.words
    return sum([table[slot] for slot in slots]) / SCALE


def word_slots(line: str) -> list[int]:
    """Return the features of a line's words, as numbers below ``WORD_SLOTS``."""
    words = [word.lower() for word in _WORD.findall(line)[:_MAX_WORDS]]
    letters = [word for word in words if word[0].isalpha()]
    found = {f"has {word[:7]}" for word in words}
    found |= {f"first {word[:7]}" for word in letters[:1]} | {f"last {word}" for word in words[-1:]}
    found |= {f"pair {a[:6]} {b[:6]}" for a, b in pairwise(letters)}
    return sorted({crc32(feature.encode()) % WORD_SLOTS for feature in found})


def probability(logit: float) -> float:
    """Return the probability of log-odds."""
    return 1 / (1 + math.exp(-max(-30.0, min(30.0, logit))))


def odds(share: float) -> float:
    """Return the log-odds of a probability."""
    share = min(0.9999, max(0.0001, share))
    return math.log(share / (1 - share))

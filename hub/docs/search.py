"""Search over the texts of the handbook, also with the words of other programs.

``hub help WORDS``, the page ``/docs`` and the palette of the dashboard use it.
"""

import re
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from functools import cache
from heapq import nsmallest
from textwrap import shorten
from typing import Final, NamedTuple

from hub import docs

MAX_TEXT: Final = 100  # characters of a query
MAX_HITS: Final = 12
_MAX_WORDS: Final = 8
_MAX_COUNTED: Final = 5  # times that a word in a text counts
_EXCERPT: Final = 160  # characters
# Pages that are read from begin to end; the others are looked up, and count less.
_READ: Final = frozenset((*docs.PARTS["Tutorial"], *docs.PARTS["How to"], "settings", "dates"))
# Words that say nothing of a topic.
_COMMON: Final = frozenset(
    {"an", "and", "can", "do", "for", "from", "how", "in", "is", "it", "my", "of", "on", "the", "to"}
)
# What the handbook calls a thing that has another name elsewhere, by the stem of that name.
SYNONYMS: Final[Mapping[str, tuple[str, ...]]] = {
    "alarm": ("notify",),
    "cron": ("schedule",),
    "docker": ("container",),
    "fuseau": ("zone",),
    "google": ("gmail", "caldav"),
    "hora": ("hour",),
    "horaria": ("zone",),
    "inbox": ("review",),
    "llm": ("model",),
    "login": ("sign in",),
    "price": ("cost",),
    "reminder": ("places", "approved items", "caldav"),
    "sink": ("places", "approved items"),
    "sync": ("places", "approved items"),
    "todo": ("task",),
    "zeitzone": ("time zone",),
    "zona": ("zone",),
}
_CODE: Final = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_HEADING: Final = re.compile(r"^#{1,4} (.+)\n", re.MULTILINE)
_LINK: Final = re.compile(r"\[([^][]*)\]\([^)]*\)")
_MARKS: Final = re.compile(r"[`*|]|^[-#] |^[ |:-]+$|<!--.*?-->", re.DOTALL | re.MULTILINE)
_WORD: Final = re.compile(r"\w{2,}")
_NO_ID: Final = re.compile(r"[^\w\- ]")


class HandbookSection(NamedTuple):
    """Part of a page below a heading. *lines*: without marks of Markdown; *lower*: in lower case."""

    topic: str
    heading: str
    is_first: bool
    lines: list[str]
    lower: str


class _WordIndex(NamedTuple):
    """Words of all sections. *weights*: of each word, how much it counts, by the place of the section."""

    sections: list[HandbookSection]
    words: list[str]  # in order, so that those with one begin are neighbours
    weights: list[dict[int, float]]


def id_of(heading: str) -> str:
    """Return the id of a heading, as links of the handbook name it."""
    return _NO_ID.sub("", heading.lower()).strip().replace(" ", "-")


def search(query: str, limit: int = MAX_HITS) -> list[tuple[HandbookSection, str]]:
    """Return sections with words of *query*, the best first, each with its best line."""
    words = [word for word in _WORD.findall(query[:MAX_TEXT].lower()) if word not in _COMMON]
    stems = list(dict.fromkeys(word.removesuffix("s") if len(word) > 3 else word for word in words))
    stems = stems[:_MAX_WORDS]
    scores: dict[int, list[float]] = {}  # by section, of each word of the query that it has
    for stem in stems:
        weights = _weights(stem)
        for other in SYNONYMS.get(stem, ()):
            for at, weight in _weights(other).items():
                weights[at] = max(weights.get(at, 0), weight / 2)
        for at, weight in weights.items():
            scores.setdefault(at, []).append(weight)
    best = nsmallest(limit, ((-sum(has) * len(has) ** 2, at) for at, has in scores.items()))
    sections = _index().sections
    return [(sections[at], _excerpt(sections[at], stems)) for _, at in best]


def _weights(phrase: str) -> dict[int, float]:
    """Return how much each section has of words; those of three letters may go on."""
    first, *others = map(_weights_of, phrase.split())
    for other in others:
        first = {at: min(weight, other[at]) for at, weight in first.items() if at in other}
    return first


def _weights_of(stem: str) -> dict[int, float]:
    index, found = _index(), dict[int, float]()
    for word in range(bisect_left(index.words, stem), len(index.words)):
        if not index.words[word].startswith(stem) or (len(stem) < 3 and index.words[word] != stem):
            break
        for at, weight in index.weights[word].items():
            found[at] = max(found.get(at, 0), weight)
    return found


@cache
def _index() -> _WordIndex:
    sections = [section for topic in docs.TOPICS for section in _split(topic)]
    weights: defaultdict[str, dict[int, float]] = defaultdict(dict)
    for at, section in enumerate(sections):
        of_topic = _WORD.findall(section.topic)[:1] if section.is_first else []
        of_heading = _WORD.findall(section.heading.lower())
        counts = Counter(_WORD.findall(section.lower))
        for word in {*of_topic, *of_heading, *counts}:
            weight = 12 * (word in of_topic) + 8 * (word in of_heading) + min(counts[word], _MAX_COUNTED)
            weights[word][at] = weight if section.topic in _READ else weight / 3
    words = sorted(weights)
    return _WordIndex(sections, words, [weights[word] for word in words])


def _split(topic: str) -> Iterator[HandbookSection]:
    text = _CODE.sub(lambda code: code[0].replace("\n#", "\n"), docs.page(topic))  # comments are no headings
    _, *parts = (_MARKS.sub("", _LINK.sub(r"\1", part)) for part in _HEADING.split(text))
    for heading, text in zip(parts[::2], parts[1::2], strict=True):
        lines = [line for line in text.splitlines() if line.strip()]
        if lines:
            yield HandbookSection(topic, heading, heading == parts[0], lines, "\n".join(lines).lower())


def _excerpt(section: HandbookSection, stems: list[str]) -> str:
    """Return the line with the most words, cut to a length that a list can show."""
    words = [*stems, *(other for stem in stems for other in SYNONYMS.get(stem, ()))]
    words = [word for word in words if word in section.lower]
    counts = [sum([word in line for word in words]) for line in section.lower.splitlines()]
    return shorten(section.lines[counts.index(max(counts))], _EXCERPT, placeholder=" …")

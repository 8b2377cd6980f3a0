"""Search over the texts of the handbook, also with the words of other programs.

``hub help WORDS``, the page ``/docs`` and the palette of the dashboard use it.
"""

import re
from collections.abc import Iterator, Mapping
from functools import cache
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
    "google": ("gmail", "caldav"),
    "inbox": ("review",),
    "llm": ("model",),
    "login": ("sign in",),
    "price": ("cost",),
    "reminder": ("places", "approved items", "caldav"),
    "sink": ("places", "approved items"),
    "sync": ("places", "approved items"),
    "todo": ("task",),
}
_CODE: Final = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_HEADING: Final = re.compile(r"^#{1,4} (.+)\n", re.MULTILINE)
_LINK: Final = re.compile(r"\[([^][]*)\]\([^)]*\)")
_MARKS: Final = re.compile(r"[`*|]|^[-#] |^[ |:-]+$|<!--.*?-->", re.DOTALL | re.MULTILINE)
_NO_ID: Final = re.compile(r"[^\w\- ]")


class HandbookSection(NamedTuple):
    """Part of a page below a heading. *text*: without marks of Markdown; *lower*: the same in lower case."""

    topic: str
    heading: str
    is_first: bool
    text: str
    lower: str


def id_of(heading: str) -> str:
    """Return the id of a heading, as links of the handbook name it."""
    return _NO_ID.sub("", heading.lower()).strip().replace(" ", "-")


def search(query: str, limit: int = MAX_HITS) -> list[tuple[HandbookSection, str]]:
    """Return sections with words of *query*, the best first, each with its best line."""
    words = [word for word in re.findall(r"[\w-]{2,}", query[:MAX_TEXT].lower()) if word not in _COMMON]
    stems = [word.removesuffix("s") if len(word) > 3 else word for word in words[:_MAX_WORDS]]
    scored = [(_score(section, stems), section) for section in _sections()]
    best = sorted((match for match in scored if match[0]), key=lambda match: match[0], reverse=True)
    return [(section, _excerpt(section.text, stems)) for _, section in best[:limit]]


def _score(section: HandbookSection, stems: list[str]) -> float:
    """Return how well a section fits: more by its page, its heading and each further word."""
    scores = [
        max([_weight(section, stem), *(_weight(section, other) / 2 for other in SYNONYMS.get(stem, ()))])
        for stem in stems
    ]
    return sum(scores) * sum(map(bool, scores)) ** 2


def _weight(section: HandbookSection, stem: str) -> float:
    in_topic = 12 if section.is_first and section.topic.startswith(stem) else 0
    in_heading = 8 * len(_found(stem, section.heading.lower())[:1])
    weight = in_topic + in_heading + len(_found(stem, section.lower)[:_MAX_COUNTED])
    return weight if section.topic in _READ else weight / 3


def _found(stem: str, text: str) -> list[str]:
    return re.findall(rf"\b{re.escape(stem)}", text) if stem in text else []


@cache
def _sections() -> list[HandbookSection]:
    return [section for topic in docs.TOPICS for section in _split(topic)]


def _split(topic: str) -> Iterator[HandbookSection]:
    text = _CODE.sub(lambda code: code[0].replace("\n#", "\n"), docs.page(topic))  # comments are no headings
    _, *parts = (_MARKS.sub("", _LINK.sub(r"\1", part)) for part in _HEADING.split(text))
    for heading, text in zip(parts[::2], parts[1::2], strict=True):
        yield HandbookSection(topic, heading, heading == parts[0], text, text.lower())


def _excerpt(text: str, stems: list[str]) -> str:
    """Return the line with the most words, cut to a length that a list can show."""
    words = [*stems, *(other for stem in stems for other in SYNONYMS.get(stem, ()))]
    line = max(text.splitlines(), key=lambda line: sum(bool(_found(word, line.lower())) for word in words))
    return shorten(line, _EXCERPT, placeholder=" …")

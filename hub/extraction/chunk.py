"""Division of prose into chunks that fit a model, cut at natural borders. Pure functions.

A chunk is ``document.text[start:end]``, unchanged, in code points. Cuts depend on the local text as far as
possible: the strongest borders are cut first, among equals those with the highest hash of their words, until
all pieces fit. So an edit of one paragraph changes one or two chunks, and all other questions stay the same
(and cached).
"""

import hashlib
import unicodedata
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, pairwise
from typing import Final

import msgspec

from hub.extraction import structure
from hub.extraction.folding import is_unspaced
from hub.extraction.structure import Headings, Strength, Table, sentences, trimmed

CHARS_PER_TOKEN: Final = 3.5  # in alphabetic scripts; scripts without blanks need about a token per character
LEAST_CHARS: Final = 80  # shorter pieces are not halved

_LEAST_SHARE: Final = 4  # minimum size of a chunk, as a fraction of the maximum
_MARKING_CHARS: Final = 48  # the beginning of a sentence that determines the hash: most edits come later
_HEADING_LINES: Final = "#"


class Passage(msgspec.Struct, frozen=True):
    """Range of prose with the headings above it, outermost first."""

    start: int
    end: int
    headings: tuple[str, ...] = ()


class Chunk(msgspec.Struct, frozen=True):
    """Piece of prose for one question, with its context.

    Attributes:
        headings: headings above it, outermost first.
        before: place of the previous sentence; empty at the start of a new topic.
        columns: place of the header of the table that it continues; empty otherwise.
    """

    start: int
    end: int
    headings: tuple[str, ...] = ()
    before: tuple[int, int] = (0, 0)
    columns: tuple[int, int] = (0, 0)


def split(
    text: str, passages: Iterable[Passage], chunk_tokens: int, *, by_sentence: bool = False
) -> list[Chunk]:
    """Split the readable prose of *passages* into chunks of about *chunk_tokens* estimated tokens, in order.

    No chunk is larger than 1.5 times that. As chunks end at the strongest borders rather than when they are
    full, *chunk_tokens* is their average size. With *by_sentence*, each sentence is a chunk.
    """
    headings = Headings(text)
    most = chunk_tokens if by_sentence else most_tokens(chunk_tokens)
    chunks: list[Chunk] = []
    for section in _sections(text, passages):
        run = _Run(text, section, headings, most)
        chunks += run.chunks(range(1, len(run)) if by_sentence else run.cuts(most))
    return [piece for piece in chunks if is_readable(text[piece.start : piece.end])]


def most_tokens(chunk_tokens: int) -> int:
    """Return the estimated tokens of the largest chunk for an average of *chunk_tokens*."""
    return chunk_tokens * 3 // 2


def halve(text: str, piece: Chunk) -> list[Chunk]:
    """Split *piece* at the sentence nearest to its middle; return an empty list if that is impossible."""
    if piece.end - piece.start <= LEAST_CHARS:
        return []
    middle = (piece.start + piece.end) // 2
    spans = list(sentences(text, piece.start, piece.end))
    inner = [nth for nth in range(1, len(spans)) if spans[nth][0] > piece.start]
    nth = min(inner, key=lambda nth: abs(spans[nth][0] - middle), default=0)
    at = spans[nth][0] if inner else _safe_cut(text, piece.start, middle)
    if not piece.start < at < piece.end:  # a single grapheme cluster: another question would not help
        return []
    first, second = trimmed(text, piece.start, at), trimmed(text, at, piece.end)
    before = spans[nth - 1] if inner else first
    halves = (
        Chunk(*first, piece.headings, piece.before, piece.columns),
        Chunk(*second, piece.headings, before, piece.columns),
    )
    return [half for half in halves if is_readable(text[half.start : half.end])]


def estimated_tokens(text: str) -> int:
    """Estimate the number of tokens of *text*; models differ."""
    unspaced = 0 if text.isascii() else sum(map(is_unspaced, text))
    return _tokens(unspaced, len(text))


def is_readable(text: str) -> bool:
    """Return True if *text* contains a letter or a digit."""
    return any(char.isalnum() for char in text)


def sentence_at(text: str, start: int, end: int, within: Chunk) -> tuple[int, int]:
    """Return the sentences of *within* that overlap ``(start, end)``, as one place."""
    touched = [
        place for place in sentences(text, within.start, within.end) if place[0] < end and start < place[1]
    ]
    return (touched[0][0], touched[-1][1]) if touched else (start, end)


def readable_chars(text: str, passages: Sequence[Passage]) -> int:
    """Count the characters of *passages* that are not blank."""
    return sum(not char.isspace() for passage in passages for char in text[passage.start : passage.end])


class _Run:
    """Sentences of adjacent passages, or parts of sentences that are too long."""

    def __init__(self, text: str, section: Sequence[Passage], headings: Headings, most: int) -> None:
        self._text = text
        self._headings = headings
        self._places: list[tuple[int, int]] = []
        self._passages: list[Passage] = []
        self._strengths: list[Strength] = []  # of the border before each sentence
        for passage in section:
            is_first = True
            for start, end, strength in _pieces(text, passage, most):
                if is_first or headings.are_at(start):
                    strength, is_first = Strength.HEADING, False
                self._places.append((start, end))
                self._passages.append(passage)
                self._strengths.append(strength)
        unspaced = (
            0 if sentence.isascii() else sum(map(is_unspaced, sentence)) for sentence in self._sentences()
        )
        self._unspaced = [0, *accumulate(unspaced)]
        self._tables = structure.tables(text, section[0].start, section[-1].end)

    def __len__(self) -> int:
        return len(self._places)

    def cuts(self, most: int) -> list[int]:
        """Return the sentences before which to cut, so that no piece exceeds *most* estimated tokens.

        Each border is tried once, the strongest first. Pieces that are still too large, because they could
        only be cut near their ends, are cut there.
        """
        order = sorted(range(1, len(self)), key=self._marks().__getitem__, reverse=True)
        cuts = [0, len(self)]
        for least in (most // _LEAST_SHARE, 0):
            for nth in order:
                at = bisect_right(cuts, nth)
                first, last = cuts[at - 1], cuts[at]
                if (
                    nth != first
                    and self._tokens(first, last) > most
                    and self._tokens(first, nth) >= least
                    and self._tokens(nth, last) >= least
                ):
                    cuts.insert(at, nth)
        return cuts[1:-1]

    def chunks(self, cuts: Iterable[int]) -> Iterator[Chunk]:
        """Yield the chunks between *cuts*."""
        edges = [0, *cuts, len(self)] if self._places else []
        for first, last in pairwise(edges):
            start, end = self._places[first][0], self._places[last - 1][1]
            passage = self._passages[first]
            goes_on = first > 0 and self._strengths[first] < Strength.PART
            yield Chunk(
                start,
                end,
                (*passage.headings, *self._headings.above(start, since=passage.start)),
                self._places[first - 1] if goes_on else (0, 0),
                self._columns(start),
            )

    def _sentences(self) -> Iterator[str]:
        return (self._text[start:end] for start, end in self._places)

    def _marks(self) -> list[tuple[int, bytes, int]]:
        """Return the sort key of each border: strength, hash of the following words, and order of repetition.

        The order of repetition splits a sequence of equal lines into equal parts.
        """
        seen: Counter[bytes] = Counter()
        marks: list[tuple[int, bytes, int]] = []
        for strength, sentence in zip(self._strengths, self._sentences(), strict=True):
            words = sentence[:_MARKING_CHARS].encode("utf-8", "surrogatepass")
            digest = hashlib.blake2b(words, digest_size=8).digest()
            seen[digest] += 1
            marks.append((strength, digest, (seen[digest] & -seen[digest]).bit_length()))
        return marks

    def _tokens(self, first: int, last: int) -> int:
        chars = self._places[last - 1][1] - self._places[first][0]
        return _tokens(self._unspaced[last] - self._unspaced[first], chars)

    def _columns(self, start: int) -> tuple[int, int]:
        nth = bisect_right(self._tables, start, key=lambda table: table.start) - 1
        table = self._tables[nth] if nth >= 0 else Table(0, 0, 0)
        return (table.start, table.header_end) if table.header_end < start < table.end else (0, 0)


def _sections(text: str, passages: Iterable[Passage]) -> Iterator[list[Passage]]:
    """Yield groups of passages with only headings between them."""
    section: list[Passage] = []
    for passage in passages:
        if section and not _is_headings(text[section[-1].end : passage.start]):
            yield section
            section = []
        section.append(passage)
    if section:
        yield section


def _is_headings(gap: str) -> bool:
    lines = [line.strip() for line in gap.splitlines() if line.strip()]
    return bool(lines) and all(line.startswith(_HEADING_LINES) for line in lines)


def _pieces(text: str, passage: Passage, most: int) -> Iterator[tuple[int, int, Strength]]:
    """Yield sentences, and parts of those that are too long, each with the strength of the border before."""
    for start, end, strength in structure.bordered(text, passage.start, passage.end):
        # Only a prefix that surely exceeds the limit is measured: a sentence may be as long as the document.
        while estimated_tokens(text[start : min(end, start + 4 * (most + 1))]) > most:
            at = _safe_cut(text, start, start + _chars_of(text[start:end], most))
            yield *trimmed(text, start, at), strength
            start, _ = trimmed(text, at, end)
            strength = Strength.WORDS
        if start < end:
            yield start, end, strength


def _tokens(unspaced: int, chars: int) -> int:
    return round(unspaced + (chars - unspaced) / CHARS_PER_TOKEN + 0.5)


def _chars_of(text: str, tokens: int) -> int:
    """Return the length of a prefix of *text* with about *tokens* tokens; at least one character."""
    budget = float(tokens)
    for count, char in enumerate(text):
        budget -= 1.0 if is_unspaced(char) else 1 / CHARS_PER_TOKEN
        if budget < 1.0:
            return max(count, 1)
    return len(text)


def _safe_cut(text: str, start: int, at: int) -> int:
    """Return a position at or before *at* for a cut: after a blank in the last third, else between clusters.

    The position is always after *start*.
    """
    for place in range(at, start + (at - start) * 2 // 3, -1):
        if text[place - 1].isspace() and not text[place : place + 1].isspace():
            return place
    place = at
    while place > start + 1 and _is_joined(text, place):
        place -= 1
    if place > start + 1 or not _is_joined(text, place):
        return place
    while at < len(text) and _is_joined(text, at):  # a single long cluster: cut after it
        at += 1
    return at


def _is_joined(text: str, at: int) -> bool:
    """Return True if the characters around *at* form one grapheme cluster."""
    if at >= len(text):
        return False
    before, after = text[at - 1], text[at]
    return (
        unicodedata.category(after) in ("Mn", "Mc", "Me")
        or "\u200d" in (before, after)
        or "\ufe00" <= after <= "\ufe0f"
        or "\U0001f3fb" <= after <= "\U0001f3ff"
        or "\U000e0020" <= after <= "\U000e007f"
        or ("\U0001f1e6" <= before <= "\U0001f1ff" and "\U0001f1e6" <= after <= "\U0001f1ff")
        or (before == "\r" and after == "\n")
    )

"""Pure: prose into pieces that fit a model, cut where a reader would pause.

A chunk is ``document.text[start:end]``, nothing added and nothing taken away, in code
points. Sentences are packed until the size is reached; a sentence that is too long
by itself is cut at a blank, or between two characters that do not belong together.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import msgspec

from hub.extraction.folding import is_unspaced

CHARS_PER_TOKEN: Final = 3.5  # of alphabets; scripts without blanks take about a token a character
LEAST_CHARS: Final = 80  # a piece this short is not halved any more

_ENDS: Final = ".!?\u2026\u203d\u061f\u06d4\u0589\u0964\u0965\u1362\u17d4\u104b"  # a blank must follow
_WIDE_ENDS: Final = "\u3002\uff01\uff1f\uff61\uff0e"  # nothing needs to follow
_CLOSERS: Final = "\"'\u2019\u201d\u00bb\u203a)]}\u300d\u300f\uff09\u3011*_"
# Tried once for a row of marks, from its first, and never with fewer of them: else a row of n costs n².
_SENTENCE_END: Final = re.compile(
    rf"[{re.escape(_WIDE_ENDS)}]++[{re.escape(_CLOSERS)}]*+"
    rf"|(?<![{re.escape(_ENDS)}])[{re.escape(_ENDS)}]++[{re.escape(_CLOSERS)}]*+(?=\s|$)"
)
_ABBREVIATED: Final = re.compile(
    r"(?:^|[\s(\[])(?:[^\W\d_]|mr|mrs|ms|dr|prof|st|jr|sr|no|nr|vs|ca|approx|dept|fig|inc|ltd|co|bzw|ggf|evtl|usw"
    r"|e\.g|i\.e|a\.m|p\.m|z\.b|d\.h|u\.a)\.$",
    re.IGNORECASE,
)
_ORDINAL: Final = re.compile(r"(?:^|\s)\d{1,3}\.$")  # "3. May", "1. first"
_LONGEST_ABBREVIATION: Final = 16  # and more: what stands before it, and its dot
_LINE: Final = re.compile(r"[^\r\n]*(?:\r\n|\r|\n|$)")
_LIST_MARK: Final = re.compile(r"\s*(?:[-*+\u2022\u2023\u25e6]\s|\d{1,3}[.)]\s|[>|#])")
_WRAPPED_FROM: Final = 50  # a line shorter than this was ended on purpose, not by a margin


class Passage(msgspec.Struct, frozen=True):
    """A stretch of prose, and the headings it stands under, outermost first."""

    start: int
    end: int
    headings: tuple[str, ...] = ()


class Chunk(msgspec.Struct, frozen=True):
    """A piece of one passage, sized for a model."""

    start: int
    end: int
    headings: tuple[str, ...] = ()


def split(
    text: str, passages: Iterable[Passage], chunk_tokens: int, *, by_sentence: bool = False
) -> list[Chunk]:
    """All readable prose of *passages* in chunks of at most *chunk_tokens* estimated tokens, in order.

    With *by_sentence* each sentence is a chunk of its own, however short.
    """
    chunks: list[Chunk] = []
    for passage in passages:
        start, end, size = passage.start, passage.start, 0
        for piece_start, piece_end in _pieces(text, passage, chunk_tokens):
            more = estimated_tokens(text[end:piece_end])
            if size and (by_sentence or size + more > chunk_tokens):
                chunks.append(Chunk(start, end, passage.headings))
                size = 0
            if not size:
                start, more = piece_start, estimated_tokens(text[piece_start:piece_end])
            end, size = piece_end, size + more
        if size:
            chunks.append(Chunk(start, end, passage.headings))
    return [piece for piece in chunks if is_readable(text[piece.start : piece.end])]


def halve(text: str, piece: Chunk) -> list[Chunk]:
    """*piece* in two, at the sentence nearest its middle; empty when that cannot be done."""
    if piece.end - piece.start <= LEAST_CHARS:
        return []
    middle = (piece.start + piece.end) // 2
    inner = [start for start, _ in sentences(text, piece.start, piece.end) if start > piece.start]
    at = min(inner, key=lambda start: abs(start - middle)) if inner else _safe_cut(text, piece.start, middle)
    if not piece.start < at < piece.end:  # one endless character: asking about it again changes nothing
        return []
    halves = (_trimmed(text, piece.start, at), _trimmed(text, at, piece.end))
    return [Chunk(start, end, piece.headings) for start, end in halves if is_readable(text[start:end])]


def estimated_tokens(text: str) -> int:
    """How many tokens *text* will be, roughly; models differ."""
    unspaced = 0 if text.isascii() else sum(map(is_unspaced, text))
    return round(unspaced + (len(text) - unspaced) / CHARS_PER_TOKEN + 0.5)


def is_readable(text: str) -> bool:
    """Whether there is a letter or a digit in it."""
    return any(char.isalnum() for char in text)


def sentences(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """The sentences between two places, as ``(start, end)`` without the blanks around them.

    A line is a sentence's end too, unless it looks as if a margin had broken it.
    """
    begin = start
    for block_end in _blocks(text, start, end):
        for match in _SENTENCE_END.finditer(text, begin, block_end):
            if match.end() < block_end and _is_only_a_dot(text, begin, match):
                continue
            if _trimmed(text, begin, match.end())[0] < match.end():
                yield _trimmed(text, begin, match.end())
            begin = match.end()
        rest = _trimmed(text, begin, block_end)
        if rest[0] < rest[1]:
            yield rest
        begin = block_end


def sentence_at(text: str, start: int, end: int, within: Chunk) -> tuple[int, int]:
    """The sentences of *within* that the place ``(start, end)`` touches, as one place."""
    touched = [
        place for place in sentences(text, within.start, within.end) if place[0] < end and start < place[1]
    ]
    return (touched[0][0], touched[-1][1]) if touched else (start, end)


def readable_chars(text: str, passages: Sequence[Passage]) -> int:
    """How many characters of *passages* are no blanks."""
    return sum(not char.isspace() for passage in passages for char in text[passage.start : passage.end])


def _blocks(text: str, start: int, end: int) -> Iterator[int]:
    """Where blocks end: runs of lines that a margin may have broken, but nobody ended."""
    at = start
    while at < end:
        line = _LINE.match(text, at, end)
        assert line is not None  # the pattern matches everywhere
        following = _LINE.match(text, line.end(), end)
        if following is None or _is_ended(line.group(), following.group()):
            yield line.end()
        at = line.end()


def _is_ended(line: str, following: str) -> bool:
    said = line.strip()
    return (
        not said
        or not following.strip()
        or (len(said) < _WRAPPED_FROM and not any(map(is_unspaced, said)))
        or said.endswith(":")
        or _LIST_MARK.match(following) is not None
    )


def _is_only_a_dot(text: str, begin: int, match: re.Match[str]) -> bool:
    """Whether a full stop belongs to an abbreviation, an ordinal or a sentence that goes on."""
    if not match.group().startswith("."):
        return False
    following = text[match.end() : match.end() + 16].lstrip()[:1]
    if following.islower():
        return True
    # Not all that was said: in "a. a. a. a." no dot ends a sentence, and each would look at all before it.
    said = text[max(begin, match.start() - _LONGEST_ABBREVIATION) : match.start() + 1]
    return _ABBREVIATED.search(said) is not None or _ORDINAL.search(said) is not None


def _pieces(text: str, passage: Passage, chunk_tokens: int) -> Iterator[tuple[int, int]]:
    """Sentences, and parts of those that are too long."""
    for start, end in sentences(text, passage.start, passage.end):
        # No more is looked at than is sure to be too much: a sentence may be as long as the document.
        while estimated_tokens(text[start : min(end, start + 4 * (chunk_tokens + 1))]) > chunk_tokens:
            at = _safe_cut(text, start, start + _chars_of(text[start:end], chunk_tokens))
            yield _trimmed(text, start, at)
            start, _ = _trimmed(text, at, end)
        if start < end:
            yield start, end


def _chars_of(text: str, tokens: int) -> int:
    """How many characters from the start of *text* are about so many tokens; at least one."""
    budget = float(tokens)
    for count, char in enumerate(text):
        budget -= 1.0 if is_unspaced(char) else 1 / CHARS_PER_TOKEN
        if budget < 1.0:
            return max(count, 1)
    return len(text)


def _safe_cut(text: str, start: int, at: int) -> int:
    """A place at or before *at* where a cut does least harm: after a blank in its last third, else
    between two characters that are whole by themselves. Always beyond *start*.
    """
    for place in range(at, start + (at - start) * 2 // 3, -1):
        if text[place - 1].isspace() and not text[place : place + 1].isspace():
            return place
    place = at
    while place > start + 1 and _is_joined(text, place):
        place -= 1
    if place > start + 1 or not _is_joined(text, place):
        return place
    while at < len(text) and _is_joined(text, at):  # one endless cluster: go on to its end
        at += 1
    return at


def _is_joined(text: str, at: int) -> bool:
    """Whether the characters on both sides of *at* make one."""
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


def _trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    return start, end

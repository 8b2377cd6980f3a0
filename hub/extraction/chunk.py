"""Division of a text into sentences, and into chunks that fit a model. Pure functions.

A chunk is ``document.text[start:end]``, unchanged, in code points. Cuts depend on the local text as far as
possible: the strongest borders are cut first, among equals those with the highest hash of their words, until
all pieces fit. So an edit of one paragraph changes one or two chunks, and all other questions stay the same
(and cached).

A border is as strong as the parts it separates: two sentences of a line, two lines, two paragraphs, two parts
of a mail, two sections. Only the layout counts; the meaning of the text is not evaluated.
"""

import hashlib
import re
import sys
import unicodedata
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from enum import IntEnum
from functools import cache
from itertools import accumulate, pairwise
from typing import Final

import msgspec

from hub.extraction.outline import Outline
from hub.extraction.sentence_ends import is_inner
from hub.extraction.wording.languages import languages
from hub.text.folding import is_unspaced, splits

_ENDS: Final = ".!?\u2026\u203d\u061f\u06d4\u0589\u0964\u0965\u1362\u17d4\u104b"  # a blank must follow
_WIDE_ENDS: Final = "\u3002\uff01\uff1f\uff61\uff0e"  # nothing needs to follow
_CLOSERS: Final = "\"'\u2019\u201d\u00bb\u203a)]}\u300d\u300f\uff09\u3011*_"
# Possessive, and matched only from the first of a row of marks: otherwise a row of n costs n².
_SENTENCE_END: Final = re.compile(
    rf"[{re.escape(_WIDE_ENDS)}]++[{re.escape(_CLOSERS)}]*+"
    rf"|(?<![{re.escape(_ENDS)}])[{re.escape(_ENDS)}]++[{re.escape(_CLOSERS)}]*+(?=\s|$)"
)
_LINE: Final = re.compile(r"[^\r\n]*(?:\r\n|\r|\n|$)")
_LIST_MARK: Final = re.compile(r"\s*(?:[-*+\u2022\u2023\u25e6]\s|\d{1,3}[.)]\s|[|#])")

_NEW_LINE: Final = re.compile(r"\r\n|\r|\n")
_QUOTE: Final = ">"
_QUOTE_MARKS: Final = re.compile(r"[ \t]*(?:>[ \t]?)+")
_PART_MARK: Final = re.compile(
    r"(?:-{2,} ?$|-{3,} ?[^\W\d_][^\r\n]{0,60}-{3,}|_{10,} *$|={10,} *$)", re.MULTILINE
)
_HEADING: Final = re.compile(r" {0,3}#{1,6}[ \t]+(?=\S)")
_UNDERLINE: Final = re.compile(r"(?:={3,}|-{3,})[ \t]*(?=[\r\n]|$)")
_LOOKED_BACK: Final = 40
_ENDS_BLANK: Final = re.compile(r"(?:\A|[\r\n][ \t]*(?:\r\n|[\r\n]))\Z")
_MAIL_FIELD: Final = re.compile(r"(From|To|Cc|Date|Sent|Subject):[ \t]+([^\r\n]*)(?:\r\n|\r|\n|$)")
_SEPARATORS: Final = "|\t;"


class Strength(IntEnum):
    """Strength of a border, the weakest first."""

    WORDS = 0  # inside a sentence that is too long
    SENTENCE = 1
    LINE = 2
    PARAGRAPH = 3
    PART = 4  # between own text and quoted or attached text
    HEADING = 5


class Headings:
    """Headings of a plain text, recognized by their layout, and subject and sender of a mail."""

    def __init__(self, text: str) -> None:
        self._places: list[int] = []
        self._titles: list[str] = []
        self._of_mail = _headings_of_mail(text)
        at = 0
        while at < len(text):
            line = _LINE.match(text, at)
            assert line is not None  # the pattern matches everywhere
            if title := _heading(text, line):
                self._places.append(at)
                self._titles.append(title)
            at = line.end()

    def are_at(self, start: int) -> bool:
        """Return True if a heading starts there."""
        nth = bisect_right(self._places, start) - 1
        return nth >= 0 and self._places[nth] == start

    def above(self, start: int, *, since: int) -> tuple[str, ...]:
        """Return the headings above *start*: of the mail, and the last heading *since* a place."""
        nth = bisect_right(self._places, start - 1) - 1
        last = (self._titles[nth],) if nth >= 0 and self._places[nth] >= since else ()
        return (*self._of_mail, *last) if start > 0 else last


class LineTable(msgspec.Struct, frozen=True):
    """Table with one row per line: header at ``text[start:header_end]``, then rows up to *end*."""

    start: int
    header_end: int
    end: int


def sentences(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield the sentences between two places as ``(start, end)`` without surrounding blanks.

    A line end also ends a sentence, unless the line seems to be wrapped.
    """
    begin = start
    for block_end in _blocks(text, start, end):
        for match in _SENTENCE_END.finditer(text, begin, block_end):
            if match.end() < block_end and is_inner(text, begin, match.start(), match.end()):
                continue
            if trimmed(text, begin, match.end())[0] < match.end():
                yield trimmed(text, begin, match.end())
            begin = match.end()
        rest = trimmed(text, begin, block_end)
        if rest[0] < rest[1]:
            yield rest
        begin = block_end


def bordered(text: str, start: int, end: int) -> Iterator[tuple[int, int, Strength]]:
    """Yield the sentences between two places, each with the strength of the border before it."""
    before, was_quoted = start, False
    for begin, stop in sentences(text, start, end):
        lines = len(_NEW_LINE.findall(text, before, begin))
        is_quoted = text[begin] == _QUOTE if lines or before == start else was_quoted
        if not lines:
            strength = Strength.SENTENCE
        elif is_quoted != was_quoted or _PART_MARK.match(text, begin):
            strength = Strength.PART
        else:
            strength = Strength.PARAGRAPH if lines > 1 else Strength.LINE
        yield begin, stop, strength
        before, was_quoted = stop, is_quoted


def tables(text: str, start: int, end: int) -> list[LineTable]:
    """Return the runs of lines with the same number of the same separator."""
    found: list[LineTable] = []
    kind, rows, begin, header_end, at = ("", 0), 0, start, start, start
    while at <= end:
        line = _LINE.match(text, at, end) if at < end else None
        here = _row_kind(line.group()) if line else ("", 0)
        if not here[1] or here != kind:
            if rows >= 3:  # of a table, including its header
                found.append(LineTable(begin, header_end, at))
            kind, rows, begin = here, 0, at
            header_end = trimmed(text, at, line.end())[1] if line else at
        rows += 1 if here[1] else 0
        at = line.end() if line else end + 1
    return found


def trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    """Return the place without blanks at its ends."""
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    return start, end


def _blocks(text: str, start: int, end: int) -> Iterator[int]:
    """Yield the ends of blocks: runs of lines that seem to be wrapped."""
    at = start
    while at < end:
        line = _LINE.match(text, at, end)
        assert line is not None  # the pattern matches everywhere
        following = _LINE.match(text, line.end(), end)
        if following is None or _is_ended(line.group(), following.group()):
            yield line.end()
        at = line.end()


def _is_ended(line: str, following: str) -> bool:
    depth, line = _quoted(line)
    next_depth, following = _quoted(following)
    content = line.strip()
    # A line of less than 50 characters was ended deliberately, not by wrapping.
    return (
        depth != next_depth
        or not content
        or not following.strip()
        or (len(content) < 50 and not any(map(is_unspaced, content)))
        or content.endswith(":")
        or (_LIST_MARK.match(following) is not None and not _goes_on_with_a_day(content, following))
    )


def _goes_on_with_a_day(content: str, following: str) -> bool:
    """Return True if the date of an unended line is wrapped before its day: "until the" / "19. Juni"."""
    day = _day_with_point()
    return not content.endswith(tuple(_ENDS)) and day.match(following) is not None


@cache
def _day_with_point() -> re.Pattern[str]:
    """Return the pattern of a day such as "3. Mai", whose point ends no sentence."""
    times = (language.time for language in languages() if language.time.has_day_points)
    months = "|".join(" ".join(time.months.replace(",", "") for time in times).split())
    return re.compile(rf"\s*\d{{1,2}}\.\s+(?:{months})\b", re.IGNORECASE)


def _quoted(line: str) -> tuple[int, str]:
    """Return the depth of quotation of a line, and its text without the marks."""
    marks = _QUOTE_MARKS.match(line)
    return (marks.group().count(_QUOTE), line[marks.end() :]) if marks else (0, line)


def _heading(text: str, line: re.Match[str]) -> str:
    """Return the text of a heading line, or an empty string if the line does not look like one."""
    content = line.group().strip()
    if not content or len(content) > 80:
        return ""
    if mark := _HEADING.match(line.group()):
        return line.group()[mark.end() :].strip().rstrip("#").rstrip()
    is_underlined = _UNDERLINE.match(text, line.end()) is not None and not content.startswith(
        ("-", "=", ">", "|")
    )
    is_shouted = (
        content.isupper() and sum(map(str.isalpha, content)) > len(content) // 2 and content[-1] not in _ENDS
    )
    if is_underlined or (is_shouted and len(content) > 3 and _is_alone(text, line)):
        return content
    return ""


def _is_alone(text: str, line: re.Match[str]) -> bool:
    """Return True if the lines before and after a line are blank."""
    before = text[max(0, line.start() - _LOOKED_BACK) : line.start()]
    after = _LINE.match(text, line.end())
    return _ENDS_BLANK.search(before) is not None and (after is None or not after.group().strip())


def mail_fields(text: str, at: int = 0, end: int = sys.maxsize) -> Iterator[re.Match[str]]:
    """Yield the lines of mail header fields from *at* to *end*; their names are group 1."""
    while field := _MAIL_FIELD.match(text, at, end):
        yield field
        at = field.end()


def _headings_of_mail(text: str) -> tuple[str, ...]:
    """Return subject and sender of a text that starts with mail header fields."""
    fields: dict[str, str] = {}
    for field in mail_fields(text):
        fields.setdefault(field.group(1), field.group(2).strip())
    shown = (fields.get("Subject", ""), f"From: {fields['From']}" if "From" in fields else "")
    return tuple(filter(None, shown)) if len(fields) > 1 else ()


def _row_kind(line: str) -> tuple[str, int]:
    """Return the separator of a row and its count; ``("", 0)`` for other lines."""
    for separator in _SEPARATORS:
        if count := line.strip(" \r\n").count(separator):
            return separator, count
    return "", 0


CHARS_PER_TOKEN: Final = 3.5  # in alphabetic scripts; scripts without blanks need about a token per character
MIN_CHARS: Final = 80  # shorter pieces are not halved

_MIN_SHARE: Final = 4  # minimum size of a chunk, as a fraction of the maximum


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
        above: places of the lines that enclose it, outermost first, such as list items.
        shared: characters at its start that the chunk before it has too: it was cut inside a sentence.
    """

    start: int
    end: int
    headings: tuple[str, ...] = ()
    before: tuple[int, int] = (0, 0)
    columns: tuple[int, int] = (0, 0)
    above: tuple[tuple[int, int], ...] = ()
    shared: int = 0


def split(
    text: str, passages: Iterable[Passage], chunk_tokens: int, *, by_sentence: bool = False
) -> list[Chunk]:
    """Split the readable prose of *passages* into chunks of about *chunk_tokens* estimated tokens, in order.

    No chunk is larger than 1.5 times that. As chunks end at the strongest borders rather than when they are
    full, *chunk_tokens* is their average size. With *by_sentence*, each sentence is a chunk.
    """
    headings, outline = Headings(text), Outline(text)
    most = chunk_tokens if by_sentence else most_tokens(chunk_tokens)
    chunks: list[Chunk] = []
    for section in _sections(text, passages):
        run = _Run(text, section, headings, most)
        chunks += run.chunks(range(1, len(run)) if by_sentence else run.cuts(most), outline)
    return [piece for piece in chunks if is_readable(text[piece.start : piece.end])]


def most_tokens(chunk_tokens: int) -> int:
    """Return the estimated tokens of the largest chunk for an average of *chunk_tokens*."""
    return chunk_tokens * 3 // 2


def halve(text: str, piece: Chunk) -> list[Chunk]:
    """Split *piece* near its middle, before a sentence or a line; return an empty list if it is too short."""
    if piece.end - piece.start <= MIN_CHARS:
        return []
    middle = (piece.start + piece.end) // 2
    spans = list(sentences(text, piece.start, piece.end))
    inner = [nth for nth in range(1, len(spans)) if spans[nth][0] > piece.start]
    nth = min(inner, key=lambda nth: abs(spans[nth][0] - middle), default=0)
    at = spans[nth][0] if inner else _line_near(text, piece, middle) or _safe_cut(text, piece.start, middle)
    if not piece.start < at < piece.end:  # a single grapheme cluster: another question would not help
        return []
    first, second = trimmed(text, piece.start, at), trimmed(text, at, piece.end)
    before = spans[nth - 1] if inner else first
    begin = second[0]
    if not inner:
        begin = _shared_from(text, first, begin, _most_shared(estimated_tokens(text[slice(*second)])))
    halves = (
        msgspec.structs.replace(piece, end=first[1]),
        msgspec.structs.replace(
            part_of(text, piece, begin, second[1], before=(before[0], min(before[1], begin))),
            shared=second[0] - begin,
        ),
    )
    return [half for half in halves if is_readable(text[half.start : half.end])]


def part_of(text: str, piece: Chunk, start: int, end: int, *, before: tuple[int, int]) -> Chunk:
    """Return ``text[start:end]``, a later part of *piece*, with its context."""
    outline = Outline(text, start=text.rfind("\n", 0, piece.start) + 1, above=piece.above)
    return Chunk(start, end, piece.headings, before, piece.columns, outline.above(start))


def _most_shared(tokens: int) -> int:
    """Return how many tokens a chunk of *tokens* repeats of the chunk before it, if the cut is in a sentence.

    So a statement at the cut is whole in one of both chunks.
    """
    return min(60, tokens // _MIN_SHARE)  # of two chunks cut inside a sentence: about forty words


def _shared_from(text: str, before: tuple[int, int], start: int, tokens: int) -> int:
    """Return the first word of the last *tokens* of the place *before*, or *start* if it has none."""
    at, left = before[1], float(tokens)
    while at > before[0] and left > 0:
        at -= 1
        left -= 1 if is_unspaced(text[at]) else 1 / CHARS_PER_TOKEN
    while at < before[1] and (splits(text, at) or _is_joined(text, at) or text[at].isspace()):
        at += 1
    return at if at < before[1] else start


def _line_near(text: str, piece: Chunk, place: int) -> int | None:
    """Return the start of the line of the piece nearest to *place*; None if it has only one."""
    breaks = (text.rfind("\n", piece.start, place), text.find("\n", place, piece.end - 1))
    return min((at + 1 for at in breaks if at != -1), key=lambda at: abs(at - place), default=None)


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
        self._tables = tables(text, section[0].start, section[-1].end)

    def __len__(self) -> int:
        return len(self._places)

    def cuts(self, most: int) -> list[int]:
        """Return the sentences before which to cut, so that no piece exceeds *most* estimated tokens.

        Each border is tried once, the strongest first. Pieces that are still too large, because they could
        only be cut near their ends, are cut there.
        """
        order = sorted(range(1, len(self)), key=self._marks().__getitem__, reverse=True)
        cuts = [0, len(self)]
        for least in (most // _MIN_SHARE, 0):
            for nth in order:
                at = bisect_right(cuts, nth)
                first, last = cuts[at - 1], cuts[at]
                if (
                    nth != first
                    and self._size(first, last) > most
                    and self._tokens(first, nth) >= least
                    and self._tokens(nth, last) >= least
                ):
                    cuts.insert(at, nth)
        return cuts[1:-1]

    def chunks(self, cuts: Iterable[int], outline: Outline) -> Iterator[Chunk]:
        """Yield the chunks between *cuts*."""
        edges = [0, *cuts, len(self)] if self._places else []
        for first, last in pairwise(edges):
            start, end = self._places[first][0], self._places[last - 1][1]
            passage = self._passages[first]
            goes_on = first > 0 and self._strengths[first] < Strength.PART
            before = self._places[first - 1] if goes_on else (0, 0)
            shared = 0
            if first > 0 and self._strengths[first] == Strength.WORDS:
                most = _most_shared(self._tokens(first, last))
                shared = start - _shared_from(self._text, before, start, most)
                before = before[0], start - shared
            yield Chunk(
                start - shared,
                end,
                (*passage.headings, *self._headings.above(start, since=passage.start)),
                before,
                self._columns(start),
                outline.above(start - shared),
                shared,
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
            # Most edits come later than the beginning of a sentence, which determines the hash.
            words = sentence[:48].encode("utf-8", "surrogatepass")
            digest = hashlib.blake2b(words, digest_size=8).digest()
            seen[digest] += 1
            marks.append((strength, digest, (seen[digest] & -seen[digest]).bit_length()))
        return marks

    def _tokens(self, first: int, last: int) -> int:
        chars = self._places[last - 1][1] - self._places[first][0]
        return _tokens(self._unspaced[last] - self._unspaced[first], chars)

    def _size(self, first: int, last: int) -> int:
        """Return the tokens of a chunk with the words that it may share with the one before."""
        tokens = self._tokens(first, last)
        is_shared = first > 0 and self._strengths[first] == Strength.WORDS
        return tokens + _most_shared(tokens) if is_shared else tokens

    def _columns(self, start: int) -> tuple[int, int]:
        nth = bisect_right(self._tables, start, key=lambda table: table.start) - 1
        table = self._tables[nth] if nth >= 0 else LineTable(0, 0, 0)
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
    return bool(lines) and all(line.startswith("#") for line in lines)


def _pieces(text: str, passage: Passage, most: int) -> Iterator[tuple[int, int, Strength]]:
    """Yield sentences, and parts of those that are too long, each with the strength of the border before."""
    fitting = most - _most_shared(most)
    for start, end, strength in bordered(text, passage.start, passage.end):
        # Only a prefix that surely exceeds the limit is measured: a sentence may be as long as the document.
        while estimated_tokens(text[start : min(end, start + 4 * (most + 1))]) > most:
            at = _safe_cut(text, start, start + _chars_of(text[start : min(end, start + 4 * most)], fitting))
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

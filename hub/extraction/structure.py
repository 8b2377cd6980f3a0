"""Structure of a text: sentences, the borders between them, and headings. Pure functions.

A border is as strong as the parts it separates: two sentences of a line, two lines, two paragraphs, two parts
of a mail, two sections. Only the layout counts; the meaning of the text is not evaluated.
"""

import re
from bisect import bisect_right
from collections.abc import Iterator
from enum import IntEnum
from typing import Final

import msgspec

from hub.extraction.folding import is_unspaced

_ENDS: Final = ".!?\u2026\u203d\u061f\u06d4\u0589\u0964\u0965\u1362\u17d4\u104b"  # a blank must follow
_WIDE_ENDS: Final = "\u3002\uff01\uff1f\uff61\uff0e"  # nothing needs to follow
_CLOSERS: Final = "\"'\u2019\u201d\u00bb\u203a)]}\u300d\u300f\uff09\u3011*_"
# Possessive, and matched only from the first of a row of marks: otherwise a row of n costs n².
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
_LONGEST_ABBREVIATION: Final = 16  # upper bound of an abbreviation with the character before and its dot
_LINE: Final = re.compile(r"[^\r\n]*(?:\r\n|\r|\n|$)")
_LIST_MARK: Final = re.compile(r"\s*(?:[-*+\u2022\u2023\u25e6]\s|\d{1,3}[.)]\s|[>|#])")
_WRAPPED_FROM: Final = 50  # a shorter line was ended deliberately, not by wrapping

_NEW_LINE: Final = re.compile(r"\r\n|\r|\n")
_QUOTE: Final = ">"
_PART_MARK: Final = re.compile(
    r"(?:-{2,} ?$|-{3,} ?[^\W\d_][^\r\n]{0,60}-{3,}|_{10,} *$|={10,} *$)", re.MULTILINE
)
_HEADING: Final = re.compile(r" {0,3}#{1,6}[ \t]+(?=\S)")
_UNDERLINE: Final = re.compile(r"(?:={3,}|-{3,})[ \t]*(?=[\r\n]|$)")
_LONGEST_HEADING: Final = 80
_LOOKED_BACK: Final = 40
_ENDS_BLANK: Final = re.compile(r"(?:\A|[\r\n][ \t]*(?:\r\n|[\r\n]))\Z")
_MAIL_FIELD: Final = re.compile(r"(From|To|Cc|Date|Sent|Subject):[ \t]+([^\r\n]*)(?:\r\n|\r|\n|$)")
_SEPARATORS: Final = "|\t;"
_LEAST_ROWS: Final = 3  # of a table, including its header


class Strength(IntEnum):
    """Strength of a border, the weakest first."""

    WORDS = 0  # inside a sentence that is too long
    SENTENCE = 1
    LINE = 2
    PARAGRAPH = 3
    PART = 4  # between own text and quoted or attached text
    HEADING = 5


class Headings:
    """Headings of a plain text, recognized by their layout, and the subject of a mail."""

    def __init__(self, text: str) -> None:
        self._places: list[int] = []
        self._titles: list[str] = []
        self.subject = _subject_of(text)
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
        """Return the headings above *start*: the subject, and the last heading *since* a place."""
        nth = bisect_right(self._places, start - 1) - 1
        last = (self._titles[nth],) if nth >= 0 and self._places[nth] >= since else ()
        return (self.subject, *last) if self.subject and start > 0 else last


class Table(msgspec.Struct, frozen=True):
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
            if match.end() < block_end and _is_only_a_dot(text, begin, match):
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


def tables(text: str, start: int, end: int) -> list[Table]:
    """Return the runs of lines with the same number of the same separator."""
    found: list[Table] = []
    kind, rows, begin, header_end, at = ("", 0), 0, start, start, start
    while at <= end:
        line = _LINE.match(text, at, end) if at < end else None
        here = _row_kind(line.group()) if line else ("", 0)
        if not here[1] or here != kind:
            if rows >= _LEAST_ROWS:
                found.append(Table(begin, header_end, at))
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
    content = line.strip()
    return (
        not content
        or not following.strip()
        or (len(content) < _WRAPPED_FROM and not any(map(is_unspaced, content)))
        or content.endswith(":")
        or _LIST_MARK.match(following) is not None
    )


def _is_only_a_dot(text: str, begin: int, match: re.Match[str]) -> bool:
    """Return True if a full stop belongs to an abbreviation, an ordinal or a continued sentence."""
    if not match.group().startswith("."):
        return False
    following = text[match.end() : match.end() + 16].lstrip()[:1]
    if following.islower():
        return True
    # Only a bounded prefix: in "a. a. a. a." no dot ends a sentence, and each would scan all text before it.
    tail = text[max(begin, match.start() - _LONGEST_ABBREVIATION) : match.start() + 1]
    return _ABBREVIATED.search(tail) is not None or _ORDINAL.search(tail) is not None


def _heading(text: str, line: re.Match[str]) -> str:
    """Return the text of a heading line, or an empty string if the line does not look like one."""
    content = line.group().strip()
    if not content or len(content) > _LONGEST_HEADING:
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


def _subject_of(text: str) -> str:
    """Return the subject of a text that starts with mail header fields, or an empty string."""
    fields: dict[str, str] = {}
    at = 0
    while field := _MAIL_FIELD.match(text, at):
        fields.setdefault(field.group(1), field.group(2).strip())
        at = field.end()
    return fields.get("Subject", "") if len(fields) > 1 else ""


def _row_kind(line: str) -> tuple[str, int]:
    """Return the separator of a row and its count; ``("", 0)`` for other lines."""
    for separator in _SEPARATORS:
        if count := line.strip(" \r\n").count(separator):
            return separator, count
    return "", 0

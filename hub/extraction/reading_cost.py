"""Work of the rules at a text, estimated from its lines, and the parts of a text that a reading covers.

A step is about a microsecond of a processor. Steps are counted from the characters, words, numbers,
sentences and lines of a text, and no clock is asked: each reading of a text covers the same parts, on a busy
machine too. Texts by others have a fixed number of steps, whatever their size. Those of the owner and of
known senders have a minimum, and beyond it steps for each character.

Marks, rows, headings and dates cost a fifth of sentences. So they are read in the whole text, and sentences
at both of its ends, where people write, with the steps that are left. A share of the steps is kept for
sentences: a text whose marks alone cost more has an end that is not read at all, of a chat the old messages.
"""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import accumulate, chain
from math import fsum
from operator import mul
from pathlib import PurePosixPath
from typing import Final

from hub.document import Document
from hub.extraction.authorship import rank_of_document
from hub.extraction.spreadsheets import DELIMITERS, PIPE_TABLE, QUOTATION, have_one_width
from hub.text.calendars import is_calendar
from hub.text.files import CALENDAR, CHAT, MARKDOWN, OFFICE, PLAIN
from hub.text.places import Place
from protocol.items import Rank

OWN_STEPS: Final = 1_600_000
_OWN_STEPS_PER_CHAR: Final = 16  # of a longer text: lists are read as a whole, and a quarter of dense prose
OTHERS_STEPS: Final = 320_000
_OWN_SHARE: Final = 1 / 5  # of the steps, which is kept for sentences
_OTHERS_SHARE: Final = 1 / 2
_FREE_CHARS: Final = 2_000  # of a text that is read without counting
_LONG: Final = 400  # characters of a part of a line
_LINE_ENDS: Final = 10  # of a piece: an empty line costs more than its character
_PIECE: Final = re.compile(  # a line, else sentences of a long one, else a part of it
    f"[^\r\n]{{0,{_LONG}}}(?:[\r\n]{{1,{_LINE_ENDS}}}|(?<=[.!?;] )|(?<=\u3002))|[^\r\n]{{1,{_LONG}}}"
)
_NUMBER: Final = re.compile(r"\d+")
_SHORT_DATE: Final = re.compile(r"(?<![\d./])\d{1,2}[./]\d{1,2}(?![./]?\d{4})")  # read in each language
# Compiled with the first long text, as a range of signs of Han costs a millisecond.
_WORD: Final = "[^\\W\\d_\u4e00-\u9fff]+|[\u4e00-\u9fff]{1,2}"
_SENTENCE: Final = "[.!?;:](?=[\\s\"')\\]])|[\u3002\uff01\uff1f\uff1b]"
# Of a message in a chat: its numbers are no days to resolve.
_STAMP: Final = re.compile(r"[\[\d./:,](?:(?<=\[)[\d.,/: -]{8,24}\]|(?<=[\d./])[\d./]{5,9}, \d{1,2}:\d\d - )")
_LINE: Final = "(?=[^\r\n]*[\r\n])"  # a part of a long line has no end
_BOX: Final = rf"(?:[-*+\u2022]|\d+[.)])[ \t]*\[[ xX.-]\]{_LINE}"
_is_row_of_plain: Final = re.compile(rf"[ \t]*{_BOX}").match
# Commas of sentences stand before blanks.
_is_row_of_spreadsheet: Final = re.compile(r"[^\t\r\n]*?(?:[,;](?! )|\t)").match
_is_row_of_calendar: Final = re.compile(r"[A-Z-]+[;:]|[ \t]").match
_is_row_of_captions: Final = re.compile(r"[\d:.,]{7,15} --> ").match
_is_row_of_markdown: Final = re.compile(rf"[ \t>]*(?:{_BOX}|\[[ xX.-]\]{_LINE})|#{{1,6}} {_LINE}").match
_is_row_of_org: Final = re.compile(
    rf"\*+ |[ \t]*(?:{_BOX}|#[+ \t\r\n]|:[\w-]+:[ \t]*+[^ \t\r\n]*+[ \t]*+[\r\n])"
).match
_is_row_of_taskpaper: Final = re.compile(r"[ \t]*- ").match
_is_any_line: Final = re.compile("").match
_is_no_line: Final = re.compile("(?!)").match
# Beginnings of rows, by the end of a name or the type, of files whose readers take them for rows. All other
# lines are read as prose, and cost as much; so is a file of one line.
_ROWS_OF: Final[Mapping[str, Callable[[str], re.Match[str] | None]]] = {
    **dict.fromkeys((".md", ".markdown", MARKDOWN, "text/x-markdown"), _is_row_of_markdown),
    **dict.fromkeys((".csv", ".tsv", "text/csv", "text/tab-separated-values"), _is_row_of_spreadsheet),
    **dict.fromkeys((".ics", ".ical", CALENDAR), _is_row_of_calendar),
    **dict.fromkeys((".org", ".org_archive"), _is_row_of_org),
    ".taskpaper": _is_row_of_taskpaper,
    **dict.fromkeys((".vtt", ".srt", "text/vtt", "application/x-subrip"), _is_row_of_captions),
    ".rst": _is_no_line,
    **dict.fromkeys((PLAIN, *OFFICE), _is_row_of_plain),
}
# With one of these, a file named todo.txt may be read as plain text, with lists and headings.
_LISTED: Final = re.compile(r"[ \t\ufeff>]*(?:[-*+]|\d{1,9}[.)]|[-#=*_~]{1,20})[ \t]")
# A short line with a figure that is in bold or ends with a colon may be a day for the lines below it.
# So may a line that is underlined, also a row.
_DAY_HEADING: Final = re.compile(r"(?=[^\r\n]*\d)(?:\*\*|__|[^\r\n]*:[ \t]*(?:[\r\n]|$))")
_UNDERLINE: Final = re.compile(r" {0,3}(?:={3,}|-{3,})[ \t]*[\r\n]")
_DAY_HEADING_CHARS: Final = 60
_DAY_HEADING_STEPS: Final = 280
_FEW: Final = 5  # numbers of a piece: beyond them are dates that are read with all before them
# Steps of one character, word, number, further number, date without a year, sentence and piece, fitted to
# measured texts.
_PROSE: Final = (14.5, 65, 530, 0, 60, 420, 720)
_MARKS: Final = (3, 9, 20, 90, 60, 11, 75)  # marks, headings and dates in it
# Steps of one character, number, further number, date without a year and piece of boxes, tables, headings and
# formats of fields.
_ROWS: Final = (6, 30, 75, 160, 110)


def steps_until(document: Document, limit: float, *, reads_prose: bool) -> float:
    """Return the steps of a text, counted up to a limit."""
    steps = 50.0 * len(document.text)
    if len(document.text) > _FREE_CHARS:
        pieces = _pieces(document, reads_prose=reads_prose)
        for steps in accumulate(marks + sentences for _, _, marks, sentences in pieces):
            if steps > limit:
                break
    return steps


def parts_to_read(document: Document, *, reads_prose: bool) -> tuple[Place, Place]:
    """Return the part of a text that is read, and the part of the text whose sentences are not."""
    text, is_chat = document.text, document.media_type == CHAT
    if len(text) <= _FREE_CHARS:
        return (0, len(text)), (len(text), len(text))
    limit, share = float(OTHERS_STEPS), _OTHERS_SHARE
    if rank_of_document(document) is not Rank.OTHERS:
        limit, share = float(max(OWN_STEPS, _OWN_STEPS_PER_CHAR * len(text))), _OWN_SHARE
    pieces, left, needed = list[tuple[int, int, float]](), limit, 0.0
    for start, end, marks, sentences in _pieces(document, reads_prose=reads_prose, is_backwards=is_chat):
        if left - marks < min(needed + sentences, limit * share):
            break
        left, needed = left - marks, needed + sentences
        pieces.append((start, end, sentences))
    pieces.sort()
    borders = [pieces[0][0], *(end for _, end, _ in pieces)]
    steps = [*accumulate((sentences for _, _, sentences in pieces), initial=0.0)]
    is_cut = borders[-1] < len(text)
    first = 0.0 if is_chat else left if is_cut else left / 2
    stop = borders[bisect_right(steps, first) - 1]
    resume = borders[bisect_left(steps, needed - (left - first))]
    unread = (0, resume) if is_chat else (stop, len(text) if is_cut else max(stop, resume))
    return (borders[0], borders[-1]), unread


def _pieces(
    document: Document, *, reads_prose: bool, is_backwards: bool = False
) -> Iterator[tuple[int, int, float, float]]:
    """Yield the places of lines, or of parts of long ones, with the steps of marks and those of sentences."""
    is_row = _rows_of(document)
    piped = () if is_row is _is_row_of_taskpaper else PIPE_TABLE.finditer(document.text)  # a note is a line
    tables = [*chain.from_iterable(table.span() for table in piped)]
    lines: Iterable[re.Match[str]] = _PIECE.finditer(document.text)
    for line in reversed([*lines]) if is_backwards else lines:
        words = _STAMP.sub("", line[0], 1)
        of_heading = _DAY_HEADING_STEPS if _UNDERLINE.match(words) else 0.0
        if is_row(words) or bisect_right(tables, line.start()) % 2:
            steps = _steps(_ROWS, len(line[0]), *_numbers_in(line[0]), 1)
            yield *line.span(), steps + of_heading, 0.0
            continue
        of_words, of_sentences = len(re.findall(_WORD, words)), len(re.findall(_SENTENCE, words))
        counts = (len(words), of_words, *_numbers_in(words), of_sentences, 1)
        marks, whole = _steps(_MARKS, *counts), _steps(_PROSE, *counts)
        sentences = whole - marks if reads_prose else 0.0
        if len(words) <= _DAY_HEADING_CHARS and _DAY_HEADING.match(words):
            of_heading = _DAY_HEADING_STEPS
        yield *line.span(), marks + of_heading, sentences


def _numbers_in(words: str) -> tuple[int, int, int]:
    """Return how many numbers words have, how many beyond a few, and how many dates without a year."""
    numbers = len(_NUMBER.findall(words))
    return numbers, max(0, numbers - _FEW), len(_SHORT_DATE.findall(words))


def _steps(weights: Iterable[float], *counts: int) -> float:
    return fsum(map(mul, weights, counts))


def _rows_of(document: Document) -> Callable[[str], re.Match[str] | None]:
    """Return what begins a row of the document's format; a text that has only the name of one has none."""
    text, name = document.text, PurePosixPath(document.unit_key.lower()).name
    if len(text[:_FREE_CHARS].splitlines()) < 2:
        return _is_no_line
    if name in ("todo.txt", "done.txt") or name.endswith(".todo.txt"):
        return _is_row_of_plain if any(map(_LISTED.match, text.splitlines())) else _is_any_line
    media_type = (document.media_type or "").partition(";")[0].strip().lower() or PLAIN
    is_row = _ROWS_OF.get(PurePosixPath(name).suffix) or _ROWS_OF.get(media_type, _is_no_line)
    is_other = is_row is _is_row_of_calendar and not is_calendar(text)
    is_other = is_other or (is_row is _is_row_of_spreadsheet and not _has_even_rows(text))
    return _is_no_line if is_other else is_row


def _has_even_rows(text: str) -> bool:
    """Return True for a text with rows of one width, as a spreadsheet has them: others are read as prose."""
    lines = [*filter(str.strip, QUOTATION.sub("", text).splitlines())]
    return any(have_one_width(line.count(sign) + 1 for line in lines) for sign in DELIMITERS)

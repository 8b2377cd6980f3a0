"""View of a text for the rules of prose: one line for a wrapped sentence, and blanks for what is none.

The view has the length of the text, so that places in it are places in the text.
"""

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final

from hub.extraction.folding import is_unspaced
from hub.extraction.items import Line, lines_of
from hub.extraction.wording.languages import is_line_of, languages

_LEVEL: Final = "(?:TRACE|DEBUG|INFO|NOTICE|WARN|WARNING|ERROR|FATAL|CRITICAL)"
# Written by machines, for machines, or a part of a link that is not shown.
_MACHINE: Final = re.compile(
    r"(?<=\])\([^()\s]{0,1000}+(?:\([^()\s]{0,200}\)[^()\s]{0,200})?"  # the target of a link
    r"(?:[ \t]++(?:\"[^\"\r\n]{0,200}\"|'[^'\r\n]{0,200}'))?[ \t]*+\)"
    r"|^[ \t>]{0,8}\[[^\]\r\n:]{1,80}+\]:[ \t]++\S[^\r\n]*+"  # what a link or a footnote refers to
    r"|(?<![\w`])`[^`\s]{0,80}+[ \t][^`\r\n]{0,300}+`"  # a command
    rf"|^[ \t>]*+\[?\d{{4}}-\d\d-\d\d[T ]\d\d:\d\d[^\s]*+[ \t]++[^\s\w]?{_LEVEL}\b[^\r\n]*+"
    r"|^[ \t>]*+[\w.:-]{3,60}+ \S{1,60}+ \S{1,60}+ \[\d\d?/[^\r\n]*+"  # a request of a web server
    r"|^[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \S{1,80}+ [^\s:]{1,80}+: [^\r\n]*+"  # of syslog
    r"|^Traceback \(most [^\r\n]*+(?:\r?\n[ \t][^\r\n]*+)*+|^[\w.]{1,80}(?:Error|Exception): [^\r\n]*+"
    r"|^[ \t]++(?:at [\w.$<>/]{1,200}+\(|File \")[^\r\n]*+|^[ \t]*+\$ [^\r\n]*+"
    r"|^[^\s\u4e00-\u9fff]{40,}+$"  # encoded files
    r"|^[^\r\n]{1,120}+\r?\n={3,}[ \t]*+$"  # a title
    r"|!\[\[[^\]\r\n]{1,200}\]\]"  # another file
    r"|^--[ ]?\r?\n(?:[^\r\n]*\S[^\r\n]*(?:\r?\n|\Z)){1,8}",  # the signature of a mail
    re.MULTILINE,
)
_SPOKEN: Final = re.compile(
    '"[^"\r\n]{15,400}"|\u201c[^\u201c\u201d\r\n]{15,400}\u201d|\u201e[^\u201e\u201c\u201d\r\n]{15,400}[\u201c\u201d]'
    "|\u00ab[^\u00ab\u00bb\r\n]{15,400}\u00bb|\u300c[^\u300c\u300d\r\n]{8,400}\u300d"
)
_LEAST_SPOKEN: Final = 7  # words of a sentence without a mark at its end; fewer are a name

_MOST_HEAD: Final = 16  # lines of the head of a letter, or of its foot
_SENTENCE_END: Final = re.compile(r"[^\W\d_]{3}[.!?]$|^[A-Z][\w-]{1,12}: ")
_LEAST_WIDTH: Final = 60
_WIDTHS: Final = range(_LEAST_WIDTH, 130)  # of a text whose lines were wrapped by a program
_LEAST_FULL: Final = 3  # lines of such a text that are about as long
_FULL: Final = 0.85
_ENDED: Final = re.compile("[.!?\u2026\u3002\uff01\uff1f:\uff1a;][\"'\u2019\u201d\u00bb)\\]*_]{0,4}$")
_INDENT: Final = re.compile(r"[ \t]*(?:>[ \t]?)*[ \t]*")
# What begins a line of its own: marks of lists, headings and tables, labels, and stamps of messages.
_OPENER: Final = re.compile(
    r"[-*+\u2022\u2023\u25e6\u25aa\u2013\u2014\u2610\u2611|#~=<@:\[]|\(?\d{1,3}[.)]\s|[a-z][.)]\s|TOP \d"
    r"|[\u4e00\u4e8c\u4e09\u56db\u4e94\u516d\u4e03\u516b\u4e5d\u5341]{1,3}[\u3001\uff0e.]|\d{1,2}\u3001"
    r"|[^\W\d_][^:\uff1a.!?,;]{0,40}[:\uff1a](?:\s|$)|(?:[\d./-]{6,10},?\s+)?\d{1,2}[:.]\d\d\b"
)
_ITEM: Final = re.compile(r"(?:[-*+\u2022]|\(?\d{1,3}[.)]|TOP \d+)\s")
_DAY: Final = re.compile(r"\d{1,2}\.\s|\d{1,2}[./-]\d")
_SENTENCES: Final = re.compile(r"[^\W\d_][.!?] ")
_APART: Final = re.compile(r"[|#=~<]|[-*_=~ \t]+$")
_LONGEST_HEAD: Final = 40  # of a row above a paragraph
_LONGEST_JOINT: Final = 4  # letters of a word that ends no line, such as "on", "zum", "le"


def view_of_prose(text: str) -> str:
    """Return *text* with blanks for texts of machines, for quoted speech, and for line ends in sentences."""
    text = _without_letter_parts(_MACHINE.sub(_blanks, text))
    return _SPOKEN.sub(_without_speech, unwrapped(text))


def _without_letter_parts(text: str) -> str:
    """Return *text* with blanks in place of the head of a letter, and of what is below its last words."""
    lines = [line for line in lines_of(text) if line.text.strip()]
    at = next((nth for nth, line in enumerate(lines[:_MOST_HEAD]) if is_line_of("salutations", line.text)), 0)
    head = lines[:at] if all(map(_is_of_head, lines[:at])) else []
    end = next(
        (nth for nth, line in enumerate(lines) if nth > at and is_line_of("closings", line.text)), len(lines)
    )
    foot = lines[end:]
    if len(foot) > _MOST_HEAD or not all(map(_is_of_head, foot[1:])):
        foot = foot[:1]
    for line in (*head, *foot):
        text = text[: line.start] + " " * (line.end - line.start) + text[line.end :]
    return text


def _is_of_head(line: Line) -> bool:
    """Return True for a short line without the end of a sentence, and no field of a mail."""
    return len(line.text.strip()) < _LEAST_WIDTH and not _SENTENCE_END.search(line.text.strip())


def _blanks(match: re.Match[str]) -> str:
    return re.sub(r"[^\r\n]", " ", match.group())


def _without_speech(match: re.Match[str]) -> str:
    found = match.group()
    is_ended = found[-2] in ".!?,\u2026\u3002\uff01\uff1f\uff0c"
    return _blanks(match) if is_ended or len(found.split()) >= _LEAST_SPOKEN else found


def unwrapped(text: str) -> str:
    """Return *text* with blanks in place of line ends inside of sentences.

    A line goes on in the next one if it is as long as the text is wide. A narrower paragraph must end with a
    full stop, and each of its lines must go on in small letters or with a number.
    """
    lines = list(lines_of(text))
    width = _width(lines)
    view, at = list[str](), 0
    for paragraph in _paragraphs(lines):
        pairs = [pair for pair in pairwise(paragraph) if _ENDED.search(pair[0].text.rstrip()) is None]
        is_wrapped = _is_sentence(paragraph) and all(
            _is_begun(*pair) or _is_full(*pair, width) for pair in pairs
        )
        for line, following in pairs:
            if is_wrapped or _is_full(line, following, width):
                start, end = line.start + len(line.text.rstrip()), following.start + _indent(following)
                view += (text[at:start], " " * (end - start))
                at = end
    return "".join([*view, text[at:]])


def _width(lines: Sequence[Line]) -> int:
    """Return the width at which a program wrapped the lines, or 0."""
    lengths = sorted(len(line.text.rstrip()) for line in lines if line.text.strip())
    width = lengths[len(lengths) * 19 // 20] if lengths else 0  # a few addresses and tables are wider
    is_wrapped = width in _WIDTHS and sum(length >= _FULL * width for length in lengths) >= _LEAST_FULL
    return width if is_wrapped else 0


def _paragraphs(lines: Sequence[Line]) -> Iterator[list[Line]]:
    """Yield the lines between blank ones and those that begin a line of their own."""
    paragraph: list[Line] = []
    for line in lines:
        words = line.text[_indent(line) :].rstrip()
        is_apart = not words or _APART.match(words) is not None
        if paragraph and (is_apart or _opens(paragraph[-1], line, words)):
            yield paragraph
            paragraph = []
        if not is_apart:
            paragraph.append(line)
    if paragraph:
        yield paragraph


def _opens(line: Line, following: Line, words: str) -> bool:
    """Return True if *following* begins anew; a number after "until the" is a day, and no mark of a list."""
    before = line.text.rstrip()
    if line.text[: _indent(line)].count(">") != following.text[: _indent(following)].count(">"):
        return True
    is_head = _ITEM.match(before.lstrip()) is not None and len(before) < _LONGEST_HEAD and words[0].isupper()
    is_day = _DAY.match(words) is not None and _is_open(before)
    return is_head or before.endswith((":", "\uff1a")) or (not is_day and _OPENER.match(words) is not None)


def _is_sentence(paragraph: Sequence[Line]) -> bool:
    """Return True if a paragraph is a row with deeper lines, or ends with a full stop.

    Rows in small letters are no sentence, although the last one may have a mark at its end.
    """
    first, text = paragraph[0], " ".join(line.text for line in paragraph)
    if _ITEM.match(first.text, _indent(first)):
        return all(_indent(line) > _indent(first) for line in paragraph[1:])
    is_list = first.text[_indent(first)].islower() and not _SENTENCES.search(text)
    return _ENDED.search(text.rstrip()) is not None and not is_list


def _is_full(line: Line, following: Line, width: int) -> bool:
    word = following.text[_indent(following) :].split(maxsplit=1)[0]
    return 0 < width < len(line.text.rstrip()) + 1 + len(word)


def _is_begun(line: Line, following: Line) -> bool:
    before, begin = line.text.rstrip(), following.text[_indent(following)]
    is_begun = begin.islower() or begin.isdigit() or _is_open(before)
    return is_begun and not is_unspaced(before[-1])


def _is_open(line: str) -> bool:
    """Return True if the line ends with a comma, or with a word that needs another one behind it."""
    last = line.rpartition(" ")[2]
    is_joint = len(last) <= _LONGEST_JOINT and any(
        last in language.common.split() for language in languages()
    )
    return is_joint or line.endswith(",")


def _indent(line: Line) -> int:
    found = _INDENT.match(line.text)
    return found.end() if found else 0

"""Text as the prose rules read it: wrapped lines joined, unsuitable parts blanked.

The view has the length of the text, so that places in it are places in the text.
"""

import re
from collections.abc import Iterator, Sequence
from itertools import dropwhile, pairwise
from typing import Final, NamedTuple

from hub.extraction.items import blanked, lines_of
from hub.extraction.when.language import has_han
from hub.extraction.wording.languages import is_line_of, languages
from hub.text.folding import is_unspaced

_LEVEL: Final = "(?:TRACE|DEBUG|INFO|NOTICE|WARN|WARNING|ERROR|FATAL|CRITICAL)"

# The line above a message that was copied from a chat: "Ann Lee  10:42 AM", "Ann Lee  Today at 10:42 AM".
_STAMPED: Final = (
    r"[^\W\d_][\w.'\u2019-]{0,30}+(?: [^\W\d_][\w.'\u2019-]{0,30}+){0,3}"
    r"(?::[\w+-]{1,40}+:[ \t]++|[ \t]{2,9}+|\t|[ \t](?=[\[(]))[\[(]?"
    r"(?:[^\s\d][^\r\n\d:]{2,20}(?:\d{1,2}(?:st|nd|rd|th)?(?:,? \d{4})?(?: [^\W\d_]{1,4})?)? "
    r"|\d{1,2}\.? [^\r\n\d:]{2,20})?"
    r"\d{1,2}[:.]\d\d(?:[ \u202f]?(?:[AP]M|Uhr|h))?[\])]?[ \t]*+"
)

# Written by machines, for machines, or a part of a link that is not shown. Compiled with the first prose.
_MACHINE: Final = (
    r"(?<=\])\([^()\s]{0,1000}+(?:\([^()\s]{0,200}\)[^()\s]{0,200})?"  # the target of a link
    r"(?:[ \t]++(?:\"[^\"\r\n]{0,200}\"|'[^'\r\n]{0,200}'))?[ \t]*+\)"
    r"|^[ \t>]{0,8}\[[^\]\r\n:]{1,80}+\]:[ \t]++\S[^\r\n]*+"  # what a link or a footnote refers to
    r"|^[ \t>]*+(?:[-*+][ \t]++)?`[^`\r\n]{1,300}+`[ \t]*+$"  # a command
    rf"|^[ \t>]*+\[?\d{{4}}-\d\d-\d\d[T ]\d\d:\d\d[^\s]*+[ \t]++[^\s\w]?{_LEVEL}\b[^\r\n]*+"
    r"|^[ \t>]*+[\w.:-]{3,60}+ \S{1,60}+ \S{1,60}+ \[\d\d?/[^\r\n]*+"  # a request of a web server
    r"|^[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \S{1,80}+ [^\s:]{1,80}+: [^\r\n]*+"  # of syslog
    r"|^Traceback \(most [^\r\n]*+(?>(?:\r?\n[ \t][^\r\n]*+)*)|^[\w.]{1,80}(?:Error|Exception): [^\r\n]*+"
    r"|^[ \t]++(?:at [\w.$<>/]{1,200}+\(|File \")[^\r\n]*+|^[ \t]*+\$ [^\r\n]*+"
    r"|^[^\s\u4e00-\u9fff]{40,}+$"  # encoded files
    r"|^[^\r\n]{1,120}+\r?\n={3,}[ \t]*+$"  # a title
    r"|^[ \t>]*+\[(?:[^\s\[\]:]{1,40}+[ \t]){0,4}[^\s\[\]:]{2,40}+\][ \t]*+$"  # a button of a page
    rf"|^{_STAMPED}$(?=\r?\n[^\r\n]*\S)(?!\r?\n{_STAMPED}$)"
    r"|!\[\[[^\]\r\n]{1,200}\]\]"  # another file
    r"|^[ \t]*+>[ \t]?>[^\r\n]*+"  # an earlier mail, quoted in a quoted one
    r"|^--[ ]?\r?\n(?:[^\r\n]*\S[^\r\n]*(?:\r?\n|\Z)){1,8}"  # the signature of a mail
)
_SPOKEN: Final = re.compile(
    '(?:[^\\s:.!?"][^\r\n:.!?"]{0,40}:[ \t]*+)?(?P<said>"[^"\r\n]{1,400}"'
    "|\u201c[^\u201c\u201d\r\n]{15,400}\u201d|\u201e[^\u201e\u201c\u201d\r\n]{15,400}[\u201c\u201d]"
    "|\u00ab[^\u00ab\u00bb\r\n]{15,400}\u00bb|\u300c[^\u300c\u300d\r\n]{8,400}\u300d)"
)
_MAX_HEAD: Final = 16  # lines of the head of a letter, or of its foot
_SENTENCE_END: Final = re.compile(r"[^\W\d_]{3}[.!?]$|^[A-Z][\w-]{1,12}: ")
_LONG: Final = 56  # characters of a line that a program may have wrapped
_ENDED: Final = re.compile("[.!?\u2026\u3002\uff01\uff1f:\uff1a;][\"'\u2019\u201d\u00bb)\\]*_]{0,4}$")
_QUOTE_MARKS: Final = re.compile(r"[ \t]*+(?:>[ \t]?)*[ \t]*+")

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
_LONGEST_JOINT: Final = 4  # letters of a word that ends no line, such as "on", "zum", "le"


def view_of_prose(text: str) -> str:
    """Return *text* with blanks for texts of machines, for quoted speech, and for line ends in sentences."""
    text = blanked(text, (match.span() for match in re.finditer(_MACHINE, text, re.MULTILINE)))
    text = unwrapped(blanked(text, _letter_parts(text)))
    return blanked(text, (match.span() for match in _SPOKEN.finditer(text) if _is_speech(match["said"])))


def _letter_parts(text: str) -> Iterator[tuple[int, int]]:
    """Yield the lines of the head of a letter, and those of its last words and below them."""
    lines = [line for line in lines_of(text) if line.text.strip()]
    at = next((nth for nth, line in enumerate(lines[:_MAX_HEAD]) if is_line_of("salutations", line.text)), 0)
    if all(_is_of_head(line.text) for line in lines[:at]):
        yield from ((line.start, line.end) for line in lines[:at])
    foot = list(dropwhile(lambda line: not is_line_of("closings", line.text), lines[at + 1 :]))
    has_text = len(foot) > _MAX_HEAD or not all(_is_of_head(line.text) for line in foot[1:])
    yield from ((line.start, line.end) for line in (foot[:1] if has_text else foot))


def _is_of_head(line: str) -> bool:
    """Return True for a short line without the end of a sentence, and no field of a mail."""
    return len(line.strip()) < _LONG and not _SENTENCE_END.search(line.strip())


def _is_speech(quoted: str) -> bool:
    """Return True for quoted words that are a sentence, and not a name."""
    # Fewer words without a mark at their end are a name.
    return (len(quoted) >= 17 or has_han(quoted)) and (  # characters with the marks
        quoted[-2] in ".!?,\u2026\u3002\uff01\uff1f\uff0c" or len(quoted.split()) >= 7
    )


class _ProseRow(NamedTuple):
    """Words of a line, and the marks of quotations and blanks before them."""

    text: str
    marks: str
    start: int
    end: int


def unwrapped(text: str) -> str:
    """Return *text* with blanks in place of line ends inside of sentences.

    A paragraph is wrapped if it ends with a full stop, or is a row of a list with deeper lines. Each of its
    lines is long, or goes on in small letters or with a number. In others, as of the page of a file, a
    sentence goes on that begins behind another one in a long line.
    """
    view, at = list[str](), 0
    for paragraph in _paragraphs(text):
        pairs = [pair for pair in pairwise(paragraph) if not _ENDED.search(pair[0].text)]
        is_wrapped = _is_sentence(paragraph) and all(_goes_on(*pair) for pair in pairs)
        for row, following in pairs if is_wrapped else filter(_are_of_a_sentence, pairs):
            view += (text[at : row.end], " " * (following.start - row.end))
            at = following.start
    return "".join([*view, text[at:]])


def _paragraphs(text: str) -> Iterator[list[_ProseRow]]:
    """Yield the rows between blank lines and those that begin anew."""
    paragraph: list[_ProseRow] = []
    for line in lines_of(text):
        marks = _QUOTE_MARKS.match(line.text)
        start = marks.end() if marks else 0
        words = line.text[start:].rstrip()
        row = _ProseRow(words, line.text[:start], line.start + start, line.start + start + len(words))
        is_apart = not words or _APART.match(words) is not None
        if paragraph and (is_apart or _opens(paragraph[-1], row)):
            yield paragraph
            paragraph = []
        if not is_apart:
            paragraph.append(row)
    if paragraph:
        yield paragraph


def _opens(row: _ProseRow, following: _ProseRow) -> bool:
    """Return True if *following* begins anew; a number after "until the" is a day, and no mark of a list."""
    words = following.text
    # A short row above a paragraph is its head.
    is_head = _ITEM.match(row.text) is not None and len(row.text) < 40 and words[0].isupper()
    is_day = _DAY.match(words) is not None and _is_open(row.text)
    is_new = row.text.endswith((":", "\uff1a")) or (_OPENER.match(words) is not None and not is_day)
    return is_head or is_new or row.marks.count(">") != following.marks.count(">")


def _is_sentence(paragraph: Sequence[_ProseRow]) -> bool:
    """Return True for a row of a list with deeper ones, and for a paragraph that ends with a full stop.

    Rows in small letters are no sentence, although the last one may have a mark at its end.
    """
    first, text = paragraph[0], " ".join(row.text for row in paragraph)
    if _ITEM.match(first.text):
        return all(len(row.marks) > len(first.marks) for row in paragraph[1:])
    is_list = first.text[0].islower() and not _SENTENCES.search(text)
    return _ENDED.search(text) is not None and not is_list


def _are_of_a_sentence(pair: tuple[_ProseRow, _ProseRow]) -> bool:
    """Return True for a long line with the end of a sentence inside, below which the next one ends."""
    row, following = pair
    is_prose = len(row.text) >= _LONG and _SENTENCES.search(row.text) is not None
    return is_prose and _ENDED.search(following.text) is not None and _goes_on(row, following)


def _goes_on(row: _ProseRow, following: _ProseRow) -> bool:
    begin = following.text[0]
    is_long = len(row.text) >= _LONG or begin.islower() or begin.isdigit() or _is_open(row.text)
    return is_long and not is_unspaced(row.text[-1])


def _is_open(words: str) -> bool:
    """Return True if a line ends with a comma, or with a word that needs another one behind it."""
    last = words.rpartition(" ")[2]
    is_joint = len(last) <= _LONGEST_JOINT and any(
        last in language.common.split() for language in languages()
    )
    return is_joint or words.endswith(",")

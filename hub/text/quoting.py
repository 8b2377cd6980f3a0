"""Pure: which lines of a mail are its author's, and which are another mail's that it answers or forwards.

Quoted lines are kept, for the answer is often not to be understood without them, and
begin with ``> ``. Where a mail program marked them so itself nothing is changed; where
it only wrote a line above them ("On Monday Ana wrote:", "From: ... Sent: ..."), as most do,
the mark is put in. No line is moved, and none is lost.
"""

import bisect
import re
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Final

from mailparser_reply import EmailReplyParser

MARK: Final = "> "

# mail-parser-reply (1.36) knows these. Russian is ours, and so is what it misses of Spanish and Chinese.
_LANGUAGES: Final = ["en", "de", "fr", "es", "it", "nl", "pl", "cs", "da", "sv", "zh", "ja", "ko"]
_OURS: Final = (
    r"^(?:> ?)*El .{1,200} escribió:$"
    r"|^(?:> ?)*.{0,100}\d{4} ?年.{1,200}写道[:：]$"  # noqa: RUF001
    r"|^(?:> ?)*(?:.{0,200}\d{4}.{0,200}(?:пишет|писал\(а\)|написал\(?а?\)?):)$"  # noqa: RUF001
    r"|^(?:> ?)*.{0,40}\d{4} ?г\. в \d{1,2}:\d\d,? [^\n]{0,120}\n?[^\n]{0,20}<[^<>\n]{1,100}>:$"  # noqa: RUF001 - Gmail
    r"|^(?:> ?)*.{0,40}\d{4},? .{0,30}\d{1,2}:\d\d.{0,20} от .{0,140}:$"
    r"|^(?:> ?)*\d{1,2}\.\d{1,2}\.\d{4},? \d{1,2}:\d\d, .{0,140}>:$"  # Yandex
    r"|^(?:> ?)*-{2,} ?(?:Исходное сообщение|Пересылаемое сообщение|Пересылаемое письмо) ?-{2,}$"
    r"|^(?:> ?)*От: .{0,300}\n(?:> ?)*(?:Кому|Отправлено|Дата|Тема): .*"
)
# Apple Mail's, above a mail that is forwarded; the only one that names no day.
_APPLES: Final = (
    r"(?:> ?)*(?:Begin forwarded message|Anfang der weitergeleiteten (?:Nachricht|E-Mail)"
    r"|Начало (?:переадресованного|пересылаемого) сообщения|Début du message (?:transféré|réexpédié)"
    r"|Inicio del mensaje reenviado) ?:"
)
# What mail programs of this language put above a mail that is forwarded or answered.
_RULES: Final = (
    r"^(?:> ?)*-{2,} ?(?:Original Message|Forwarded message|Ursprüngliche Nachricht|Weitergeleitete Nachricht"
    r"|Message d'origine|Message transféré|Mensaje original|Mensaje reenviado|原始邮件|转发的邮件) ?-{2,}$"
    rf"|^{_APPLES}$"
)
# How the only rule begins that may do so within a line. Matched as the rule is, for more letters than
# ``lower`` knows of are the same to it: the dotless i and the long s.
_BEGINS_ANYWHERE: Final = re.compile("-----oprindelig meddelelse-----\n", re.IGNORECASE)
_COLONS: Final = (":", "：")  # noqa: RUF001
_MOST_LINES: Final = 8  # of a rule that ends with a colon; five, as they are written now
# The library's patterns look back and forth in a line, so of long ones the beginning has to do. What stands
# above a quotation is short; 200 characters cost a millisecond at worst, 20,000 would cost minutes.
_LINE_CHARS: Final = 200
_LOOKED_AT: Final = 4_000  # lines; what is longer is a log, and has shown its first quotation by then


def mark(text: str) -> str:
    """*text* with all quoted lines marked; its line ends become ``\\n``."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    marked = list(lines)
    done = 0  # lines that are decided
    for first, last in lines_above(lines):
        if first < done:
            continue
        below = next((at for at in range(last + 1, len(lines)) if lines[at].strip()), None)
        is_marked = below is not None and lines[below].lstrip().startswith(">")
        end = last + 1 if is_marked else len(lines)
        for at in range(first, end):
            if not marked[at].startswith(">"):
                marked[at] = f"{MARK}{marked[at]}".rstrip()
        done = end
    return "\n".join(marked)


def lines_above(lines: Sequence[str]) -> Iterator[tuple[int, int]]:
    """The first and the last of those *lines* that stand above a quoted mail and name its day, in order."""
    looked_at = [line[:_LINE_CHARS].strip() for line in lines[:_LOOKED_AT]]
    starts = _line_starts(looked_at)
    for match in found_above(looked_at):
        found = match.group()
        first = _line_at(starts, match.start() + len(found) - len(found.lstrip()))
        last = _line_at(starts, match.start() + len(found.rstrip()))
        if first <= last and _names_a_day(found):
            yield first, last


def found_above(lines: Sequence[str]) -> Iterator[re.Match[str]]:
    """What stands above quotations in *lines*, joined: as ``finditer`` of all rules tells it.

    Every rule begins where a line does, or with the end of the line before, so nowhere else is looked; and
    not at lines that no rule fits. That is many times as fast as to look at every character.
    """
    pattern, text = above_quotations(), "\n".join(lines)
    if _BEGINS_ANYWHERE.search(text) is not None:
        yield from pattern.finditer(text)
        return
    done = 0
    for start in _beginnings(lines):
        for place in (start - 1, start):
            if place >= done and (match := pattern.match(text, place)) is not None:
                yield match
                done = match.end()


def _beginnings(lines: Sequence[str]) -> Iterator[int]:
    """Where those lines begin at which a rule may.

    A rule has a colon or two dashes in its first line, or else ends with a line that ends with a colon: a few
    lines further on, with nothing but empty ones between them.
    """
    is_near = [False] * len(lines)
    left = 0  # lines above one that ends with a colon at which the rule for it may begin
    for at in range(len(lines) - 1, -1, -1):
        if lines[at].endswith(_COLONS):
            left = _MOST_LINES
        is_near[at] = left > 0
        left -= bool(lines[at])
    start = 0
    for line, near in zip(lines, is_near, strict=True):
        if near or any(mark in line for mark in (*_COLONS, "--")):
            yield start
        start += len(line) + 1


def _names_a_day(above: str) -> bool:
    """Whether a line like "On Monday he wrote:" is a program's, which puts a date into it."""
    above = above.strip()
    return (
        not above.endswith((":", "："))  # noqa: RUF001
        or any(char.isdigit() for char in above)
        or re.fullmatch(_APPLES, above, re.IGNORECASE) is not None
    )


@cache
def above_quotations() -> re.Pattern[str]:
    """The rules, as one pattern."""
    known = EmailReplyParser(languages=list(_LANGUAGES)).read("").HEADER_REGEX
    return re.compile(f"{known.pattern}|{_OURS}|{_RULES}", re.MULTILINE | re.IGNORECASE)


def _line_starts(lines: list[str]) -> list[int]:
    starts, at = [], 0
    for line in lines:
        starts.append(at)
        at += len(line) + 1
    return starts


def _line_at(starts: list[int], position: int) -> int:
    return bisect.bisect_right(starts, position) - 1

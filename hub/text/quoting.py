"""Marking of quoted lines: which lines of a mail its author wrote, and which belong to another mail.

Quoted lines are kept, because an answer is often incomprehensible without them; they start with ``> ``.
Quotations that a mail program marked itself stay unchanged. If it only wrote a line above them ("On Monday
Ana wrote:", "From: ... Sent: ..."), as most programs do, the mark is added. No line is moved or lost.
"""

import bisect
import re
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Final

from mailparser_reply import EmailReplyParser

MARK: Final = "> "

# Languages of mail-parser-reply (1.36). The rules for Russian, and for missed Spanish and Chinese forms, are
# below.
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
# Apple Mail's line above a forwarded mail; the only such line without a date.
_APPLES: Final = (
    r"(?:> ?)*(?:Begin forwarded message|Anfang der weitergeleiteten (?:Nachricht|E-Mail)"
    r"|Начало (?:переадресованного|пересылаемого) сообщения|Début du message (?:transféré|réexpédié)"
    r"|Inicio del mensaje reenviado) ?:"
)
# Lines that mail programs in these languages put above a forwarded or answered mail.
_RULES: Final = (
    r"^(?:> ?)*-{2,} ?(?:Original Message|Forwarded message|Ursprüngliche Nachricht|Weitergeleitete Nachricht"
    r"|Message d'origine|Message transféré|Mensaje original|Mensaje reenviado|原始邮件|转发的邮件) ?-{2,}$"
    rf"|^{_APPLES}$"
)
# Beginning of the only rule that may match within a line. Matched case-insensitively like the rule, because
# ``lower`` misses some letters: the dotless i and the long s.
_BEGINS_ANYWHERE: Final = re.compile("-----oprindelig meddelelse-----\n", re.IGNORECASE)
_COLONS: Final = (":", "：")  # noqa: RUF001
_MOST_LINES: Final = 8  # of a rule that ends with a colon; currently at most five
# The library's patterns backtrack within a line, so long lines are cut. Lines above quotations are short; 200
# characters cost a millisecond at worst, 20,000 would cost minutes.
_LINE_CHARS: Final = 200
_LOOKED_AT: Final = 4_000  # lines; a longer text is a log, whose first quotation comes earlier


def mark(text: str) -> str:
    """Mark all quoted lines of *text*; line ends become ``\\n``."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    marked = list(lines)
    done = 0  # lines that are already classified
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
    """Yield the first and last index of each header of a quoted mail that contains a date, in order."""
    looked_at = [line[:_LINE_CHARS].strip() for line in lines[:_LOOKED_AT]]
    starts = _line_starts(looked_at)
    for match in found_above(looked_at):
        found = match.group()
        first = _line_at(starts, match.start() + len(found) - len(found.lstrip()))
        last = _line_at(starts, match.start() + len(found.rstrip()))
        if first <= last and _names_a_day(found):
            yield first, last


def found_above(lines: Sequence[str]) -> Iterator[re.Match[str]]:
    """Yield the headers of quotations in *lines*, joined, as ``finditer`` of all rules would.

    Every rule matches at the start of a line, or at the line end before. Other positions and lines that no
    rule can match are skipped, which is many times faster than testing every position.
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
    """Yield the positions of the lines at which a rule may match.

    A rule has a colon or two dashes in its first line, or its last line ends with a colon. That line follows
    within a few lines, with only empty lines between.
    """
    is_near = [False] * len(lines)
    left = 0  # lines above a line with a final colon at which its rule may start
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
    """Return True if a line like "On Monday he wrote:" is a mail program's, which contains a date."""
    above = above.strip()
    return (
        not above.endswith((":", "："))  # noqa: RUF001
        or any(char.isdigit() for char in above)
        or re.fullmatch(_APPLES, above, re.IGNORECASE) is not None
    )


@cache
def above_quotations() -> re.Pattern[str]:
    """Return all rules as one pattern."""
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

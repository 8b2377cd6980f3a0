"""Quotations in a mail: which lines its author wrote, which are of another mail, which a program added.

Quoted lines are kept, because an answer is often incomprehensible without them; they start with ``> ``.
Quotations that a mail program marked itself stay unchanged. If it only wrote a line above them ("On Monday
Ana wrote:", "From: ... Sent: ..."), as most programs do, the mark is added. No line is moved or lost.

The passages of a marked mail are never empty: a mail that seems to be all signature keeps it, and a short
answer keeps the mail that it answers. Pure functions.
"""

import bisect
import heapq
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate, groupby
from typing import Final, Literal

from mailparser_reply import EmailReplyParser

from hub.text.letter import CONTEXT_CHARS, FEW_CHARS

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
    looked_at = [
        " ".join(line[:_LINE_CHARS].split()) for line in lines[:_LOOKED_AT]
    ]  # the rules know one blank
    starts = [0, *accumulate(len(line) + 1 for line in looked_at)]
    for match in found_above(looked_at):
        found = match.group()
        first = bisect.bisect_right(starts, match.start() + len(found) - len(found.lstrip())) - 1
        last = bisect.bisect_right(starts, match.start() + len(found.rstrip())) - 1
        if first <= last and _names_a_day(found):
            yield first, last


def found_above(lines: Sequence[str]) -> Iterator[re.Match[str]]:
    """Yield the headers of quotations in *lines*, joined, as ``finditer`` of all rules would.

    Every rule matches at the start of a line, or at the line end before. Other positions and lines that no
    rule can match are skipped, which is many times faster than testing every position.
    """
    pattern, text = above_quotations(), "\n".join(lines)
    within = (found.start() for found in _BEGINS_ANYWHERE.finditer(text))
    starts = (place for start in _beginnings(lines) for place in (start - 1, start))
    done = 0
    for place in heapq.merge(starts, within):
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


CONTEXT: Final = "[quoted from an earlier mail, as context]"
ANSWERED: Final = "[the mail that is answered]"
FORWARDED: Final = "[the mail that is forwarded]"

_LEFT_OUT: Final = "> […]"
_LEAST_SHARE_CHARS: Final = 120  # of a quoted passage between two answers: the question
_EXAMINED_CHARS: Final = 160  # examined in a line
_SIGNATURE_LINES: Final = 20
_SIGNATURE_CHARS: Final = 1_500
_TAIL_LINES: Final = 8  # at the end of a passage, where programs add their signature

_DELIMITER: Final = re.compile(r"--[ \t]?")  # RFC 3676, 4.3; pages lose the trailing space
_FOOTER: Final = re.compile(r"_{5,}|-{10,}|={10,}")
_OF_A_LIST: Final = re.compile(
    "mailing list|unsubscribe|listinfo|abbestell|abmelde|отписат|désinscri|darse de baja", re.IGNORECASE
)
_LINK: Final = re.compile(r"(?:(?<![<\[(])[<\[(]++)?https?://\S+|[\[\]*_<>]")
_REST: Final = r"[^:;?!]{0,60}"
_APP: Final = (
    r"(?:outlook|yahoo|proton ?mail|samsung|gmail|i ?phone|i ?pad|android|blackberry|windows|thunderbird|k-9"
    r"|spark|aol|huawei|xiaomi|mail\b|e-?mail|gmx|web\.de|galaxy)"
)
# Lines that mail programs add below a mail: English, German, Russian, French, Spanish.
_SIGNED_BY_PROGRAM: Final = re.compile(
    "|".join(
        (
            rf"sent (?:from my|from a|from the) {_REST}",
            rf"sent (?:from|via|using|with) (?:my |the )?{_APP}{_REST}",
            rf"get (?:outlook|yahoo mail|proton ?mail) (?:for|on) {_REST}",
            rf"(?:diese (?:nachricht|mail) wurde )?(?:von|mit|aus) (?:meine[mr]|der|dem|{_APP}){_REST}"
            r" (?:gesendet|verschickt|versendet)",
            rf"(?:gesendet|verschickt|versendet) (?:von|vom|mit|über|aus) (?:mein|der|dem|{_APP}){_REST}",
            rf"(?:holen sie sich |laden sie )?outlook für {_REST}",
            rf"отправлено (?:с|со|из|через) (?:мо|устройств|мобильн|почт|яндекс|айфон|телефон|{_APP}){_REST}",  # noqa: RUF001
            rf"(?:скачать|получить|загрузить) outlook для {_REST}",
            r"envoyé (?:de|depuis|à partir de|avec|via|par) (?:mon |ma |l['\u2019]|la |le )?"
            rf"(?:appareil|application|mobile|t[ée]l[ée]phone|{_APP}){_REST}",
            rf"(?:obtenir|obtenez|télécharger|téléchargez) outlook pour {_REST}",
            rf"provenance : courrier {_REST}",
            r"enviado (?:desde|con|por) (?:mi |el |la )?"
            rf"(?:móvil|dispositivo|tel[ée]fono|correo|aplicaci|{_APP}){_REST}",
            rf"(?:obtener|obtenga|descargar) outlook para {_REST}",
        )
    ),
    re.IGNORECASE,
)
_FORWARD_SUBJECT: Final = re.compile(r"(?:fwd?|wg|tr|rv|пересл|переслано|пер)\s?(?:\[\d+\])?\s?:", re.I)
_FORWARD_LINE: Final = re.compile(
    r"forwarded (?:message|mail)|weitergeleitete|пересыла|пересланн|переадресован|перенаправлен"
    r"|message (?:transféré|réexpédié)|(?:mensaje|correo) reenviado",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class _Passage:
    lines: tuple[str, ...]
    is_quoted: bool

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


def separate(marked: str, *, subject: str, quoted: Literal["context", "drop", "keep"]) -> str:
    """Return a mail without signatures, and with as much of its quotations as requested.

    Args:
        marked: text of a mail; quoted lines start with ``>``.
        subject: subject, which reveals a forwarded mail.
        quoted: see ``LetterOptions``.
    """
    signed = _unsigned(_passages(marked))
    new_text = "\n\n".join(passage.text for passage in signed if not passage.is_quoted)
    others = [passage for passage in signed if passage.is_quoted]
    if not others:
        return new_text
    is_forward = _FORWARD_SUBJECT.match(subject.strip()) is not None or any(
        _FORWARD_LINE.search(line[:_EXAMINED_CHARS]) for line in others[0].lines[:3]
    )
    is_whole = is_forward or len(new_text) < FEW_CHARS
    if quoted == "drop" and not is_whole:
        return new_text
    if quoted == "context" and not is_whole:
        signed = _shortened(signed)
    label = FORWARDED if is_forward else ANSWERED if is_whole else CONTEXT
    return _put_together(signed, "" if quoted == "keep" else label)


def cut(text: str, most_chars: int) -> str:
    """Cut *text* at the end of a paragraph, line or word within *most_chars*; return a shorter text whole."""
    if len(text) <= most_chars:
        return text
    for border in ("\n\n", "\n", " "):
        at = text.rfind(border, most_chars // 2, most_chars + 1)
        if at > 0:
            return text[:at].rstrip()
    return text[: max(0, most_chars)]


def _passages(marked: str) -> list[_Passage]:
    """Split into passages, in order; blank lines belong to the passage before and end nothing."""
    lines = marked.split("\n")
    kinds: list[bool] = []
    for line in lines:
        kinds.append(line.startswith(">") if line.strip() or not kinds else kinds[-1])
    found = []
    for is_quoted, group in groupby(zip(lines, kinds, strict=True), key=lambda pair: pair[1]):
        if bare := _bare([line for line, _ in group]):
            found.append(_Passage(bare, is_quoted))
    return found


def _bare(lines: Sequence[str]) -> tuple[str, ...]:
    """Strip blank lines from both ends."""
    start, end = 0, len(lines)
    while start < end and not lines[start].strip():
        start += 1
    while end > start and not lines[end - 1].strip():
        end -= 1
    return tuple(lines[start:end])


def _unsigned(passages: list[_Passage]) -> list[_Passage]:
    """Remove signatures, unless no text would remain."""
    left = []
    for passage in passages:
        lines = passage.lines if passage.is_quoted else _without_signature(passage.lines)
        if lines:
            left.append(_Passage(lines, passage.is_quoted))
    return left or passages


def _without_signature(lines: tuple[str, ...]) -> tuple[str, ...]:
    for at in range(max(0, len(lines) - _SIGNATURE_LINES - 1), len(lines)):
        if _begins_signature(lines[at], lines[at + 1 :]):
            lines = lines[:at]
            break
    filled = [at for at, line in enumerate(lines) if line.strip()][-_TAIL_LINES:]
    signed = {at for at in filled if _is_a_programs(lines[at])}
    left = [line for at, line in enumerate(lines) if at not in signed]
    # Lines that Outlook draws above the mail it answers.
    while left and (not left[-1].strip() or _FOOTER.fullmatch(left[-1].strip())):
        left.pop()
    return _bare(left)


def _begins_signature(line: str, below: Sequence[str]) -> bool:
    if sum(map(len, below)) > _SIGNATURE_CHARS:
        return False
    if _DELIMITER.fullmatch(line):
        return True
    return _FOOTER.fullmatch(line.strip()) is not None and any(
        _OF_A_LIST.search(other[:_EXAMINED_CHARS]) for other in below
    )


def _is_a_programs(line: str) -> bool:
    if len(line) > _EXAMINED_CHARS * 2:
        return False
    words = " ".join(_LINK.sub(" ", line[:_EXAMINED_CHARS]).split())
    return _SIGNED_BY_PROGRAM.fullmatch(words.rstrip(".")) is not None


def _shortened(passages: list[_Passage]) -> list[_Passage]:
    """Shorten quotations to 2,000 characters: keep the end before an answer, else the beginning."""
    sizes = [len(passage.text) for passage in passages if passage.is_quoted]
    if sum(sizes) <= CONTEXT_CHARS:
        return passages
    share = max(_LEAST_SHARE_CHARS, CONTEXT_CHARS // len(sizes))
    room = CONTEXT_CHARS
    left = []
    for at, passage in enumerate(passages):
        if not passage.is_quoted:
            left.append(passage)
            continue
        lines = _some(passage.lines, min(share, room), from_end=at + 1 < len(passages))
        room -= sum(len(line) + 1 for line in lines if line != _LEFT_OUT)
        left.append(_Passage(lines, is_quoted=True))
    return left


def _some(lines: tuple[str, ...], most_chars: int, *, from_end: bool) -> tuple[str, ...]:
    """Keep whole lines from one end of a passage, and mark the omission."""
    chosen: list[str] = []
    for line in reversed(lines) if from_end else lines:
        if len(line) + 1 > most_chars:
            if not chosen and most_chars > _LEAST_SHARE_CHARS // 2:
                chosen.append(f"{line[: most_chars - 2]}…")
            break
        most_chars -= len(line) + 1
        chosen.append(line)
    if len(chosen) == len(lines) and chosen[-1] == (lines[0] if from_end else lines[-1]):
        return lines
    return (_LEFT_OUT, *reversed(chosen)) if from_end else (*chosen, _LEFT_OUT)


def _put_together(passages: list[_Passage], label: str) -> str:
    texts = []
    for passage in passages:
        if passage.is_quoted and label:
            texts.append(f"{label}\n{passage.text}")
            label = ""
        else:
            texts.append(passage.text)
    return "\n\n".join(texts)

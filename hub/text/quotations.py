"""Quotations in a text: lines that mail programs put above an answered or a forwarded mail. Pure functions.

They have the words of thirteen languages by mail-parser-reply, and of those that it misses.
"""

import bisect
import heapq
import re
from collections.abc import Callable, Iterator, Sequence
from functools import cache, lru_cache
from itertools import accumulate, takewhile
from typing import Final

from mailparser_reply import EmailMessage

from hub.base.mail_subjects import is_of_forward
from hub.text.files import CALENDAR, HTML, MAIL
from hub.text.folding import FILLERS, is_hidden, normalized
from hub.text.places import Place, merged, place_at

BULK: Final = "Precedence: bulk"  # line of a mail from a list or a machine
FEW_CHARS: Final = 40  # "ok, do it": incomprehensible without the mail that it answers
_FORWARD_CHARS: Final = 160  # examined in a line

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
# Four fields in any language, the first with an address and the second with a year and a time.
_FIELDS: Final = (
    r"(?:> ?)*[^\W\d_][\w ]{1,24} ?[:\uff1a] ?[^\n<>]{1,80}<[^\s<>]{1,80}@[^\s<>]{1,80}>\n"
    r"(?:> ?)*[^\W\d_][\w ]{1,24} ?[:\uff1a] ?(?=[^\n]{0,60}\d{4})[^\n]{0,80}\d[:.]\d\d[^\n]{0,20}\n"
    r"(?:> ?)*[^\W\d_][\w ]{1,24} ?[:\uff1a] ?[^\n]{1,200}\n(?:> ?)*[^\W\d_][\w ]{1,24} ?[:\uff1a] ?[^\n]*"
)
# Lines that mail programs in these languages put above a forwarded or answered mail.
_RULES: Final = (
    r"^(?:> ?)*-{2,} ?(?:Original Message|Forwarded message|Ursprüngliche Nachricht|Weitergeleitete Nachricht"
    r"|Message d'origine|Message transféré|Mensaje original|Mensaje reenviado|原始邮件|转发的邮件) ?-{2,}$"
    r"|^(?:> ?)*-{2,} ?(?:Begin |Start of )?Forwarded (?:message|mail|by)\b[^\n]{0,150}-{2,}$"
    rf"|^{_FIELDS}"
    rf"|^{_APPLES}$"
    r"|^(?:> ?)*De ?: .{0,300}\n(?:> ?)*(?:À|Envoyé|Date|Objet) ?: .*"
)
# Beginning of the only rule that may match within a line. Matched case-insensitively like the rule, because
# ``lower`` misses some letters: the dotless i and the long s.
_BEGINS_ANYWHERE: Final = re.compile("-----oprindelig meddelelse-----\n", re.IGNORECASE)
_COLONS: Final = (":", "：")  # noqa: RUF001
# The library's patterns backtrack within a line, so long lines are cut. Lines above quotations are short; 200
# characters cost a millisecond at worst, 20,000 would cost minutes.
_LINE_CHARS: Final = 200
MAIL_FIELD: Final = re.compile(r"(?:>[ \t]?)*[*_]*[^\W\d_][\w -]{0,24}[*_]*[ \t]?[:\uff1a]")
# A line of a quotation, also behind the signs of a list; an element with one, in HTML or Org.
_QUOTED: Final = re.compile(
    r"(?<![^\n\r])(?>(?:[-*+(] ?|[ \t]|\d{1,9}(?:[-.)]|(?=\s))|[A-Zx](?:\)|(?=\s)))*)(?<![-=])>[^\n]*"
)
_ELEMENTS: Final = (
    re.compile(r"(?<!`)<(/?)blockquote\b", re.IGNORECASE),
    re.compile(r"^[ \t]*(?:[-*+] )?#\+(?:begin|(end))_quote\b", re.MULTILINE | re.IGNORECASE),
)
_SIGNS: Final = re.compile(r">(?:[ \t]*>)*[ \t]*")
_OWN_CALLOUT: Final = re.compile(r"\[!(?!quote|cite)", re.IGNORECASE)
# A colon behind a word, and behind it a footnote, tag of HTML, comment or id of a block; behind two words,
# also a remark in brackets, link or tag, as "tags: [work]" is a field; or the head of a quotation apart.
_MARKS: Final = r"(?>[ \t\r*_]|\[\^[^][]*\]|<(?:!--|/?[a-z][a-z\d]*(?=[\s/>]))[^<>]*>|%%[^%]*%%|\^[\w-]+)*"
_INTRODUCTION: Final = re.compile(
    rf"\w[:\uff1a]{_MARKS}$"
    rf"|[^\W_][ ,*_]{{1,4}}(?>[^\W_]+)[:\uff1a]{_MARKS}"
    rf"(?:\([^()]*\)|\[\[[^][]*\]\]|\[[^][]*\](?:\([^()]*\))?|(?>#[\w/-]+)){_MARKS}$"
    r"|^[ \t>]*\[!(?:quote|cite)",
    re.IGNORECASE,
)
_ROW: Final = re.compile(r"[ \t>]*\||[-|: \t>]*$")  # of a table, or below its heads
# Lines that go on with a quoted line, as a mail program wraps it: no list, heading, table, rule or code.
_WRAPPED: Final = re.compile(r"(?>\n(?![ \t]*(?:[-*+] |\d{1,9}[.)] |#+ |\||[-*_=`~]{3}))[ \t\r]*\S[^\n]*)*")
# An invitation; properties of a note, as YAML, TOML or JSON.
_CALENDAR: Final = re.compile("BEGIN:VC", re.IGNORECASE)  # or a card before one
_FOLDED: Final = re.compile(r" ?\n[ \t]")
_INVITATION: Final = re.compile(
    r"^METHOD\b(?!(?>(?:\"[^\"\n]*\"|[^\":\n])*):PUBLISH\s)[^\n]*:", re.MULTILINE | re.IGNORECASE
)
_FRONT_MATTER: Final = re.compile(
    r"(?:---|\+\+\+)[a-z \t]*\n(.*?)^(?:---|\+\+\+|\.\.\.)[ \t]*$"
    r"|(\{(?>(?:[^{}]|\{[^{}]*\})*)\})[ \t]*\n(?=\s*[^\s{])",
    re.MULTILINE | re.DOTALL,
)
_PROPERTY: Final = re.compile(
    r"^()[\"']?([^\W\d_][\w .-]{0,80}?)[\"']?[ \t]*[:=]((?:[^\n]*)(?:\n(?:[ \t-][^\n]*)?)*)", re.MULTILINE
)
# Below the headings, pictures and rules at the start of a text: fields as of Notion, Dataview or Readwise,
# and of a mail, whose fields go on in indented lines, or are rows of a table.
_FIELD: Final = re.compile(
    r"^[ \t]*+([-*+] )?(?:#\+|[\[(]|\|[ \t]*+)?[*_]{0,3}([^\W\d_][\w .-]{0,80}?)[*_]{0,3} ?"
    r"(?:::?|\|)[*_]{0,3}([^\n]*)",
    re.MULTILINE,
)
_TOP: Final = re.compile(
    rf"(?>(?:(?:[ \t]*+(?:#+ |!\[)[^\n]*|[-_=]{{5}}[^\n]*[-_=]{{5}}[ \t]*|\|[-|: \t]*+|[\d \t]*+"
    rf"|>?From [^\s@]+@[^\n]*|(?![ \t]*+[-*+]){_FIELD.pattern}(?:\n[ \t]++[^\n]++)*|{_FIELD.pattern})\n)*)",
    re.MULTILINE,
)
_LETTERS: Final = re.compile(r"[^\W\d_]{2}")
_NOTION: Final = re.compile(r"^URL ?: *https?://\S+\s*?$", re.MULTILINE)  # of a page that was clipped there
# Names of a page's address alone, and such as people also use; with these, another property tells a clipper.
_SOURCES: Final = {
    *("source", "sourceurl", "clippedfrom", "pageurl", "articleurl", "quelle", "fuente", "fonte", "bron"),
    *("källa", "kilde", "lähde", "źródło", "zdroj", "forrás", "kaynak", "источник", "джерело"),
    *("πηγή", "מקור", "المصدر", "来源", "來源", "出典", "출처"),
}
_LINKS: Final = {"url", "uri", "link", "permalink", "canonical", "canonicalurl", "originalurl"}
_OF_PAGES: Final = {"author", "authors", "byline", "published", "publisher", "site", "clipped", "saved"}
# Names of the fields of a mail that was saved or clipped as text.
_SENDERS: Final = {
    *("from", "von", "de", "da", "van", "od", "от", "від", "发件人", "寄件者", "差出人", "보낸사람"),
    *("fra", "från", "kimden", "feladó", "lähettäjä", "από", "מאת", "من"),
}
_SUBJECTS: Final = {
    *("subject", "betreff", "objet", "asunto", "тема", "主题", "主旨", "件名", "제목", "oggetto"),
    *("onderwerp", "temat", "předmět", "emne", "ämne", "assunto", "konu", "tárgy", "aihe"),
    *("θέμα", "נושא", "الموضوع"),
}
# Why a text counts as words of others, by what ``kind_of_others`` returns, and what mends that of an own one.
OF_OTHERS: Final = {
    HTML: ("it begins with an address and its source or author, as a clipped page", "rename these fields"),
    MAIL: ("it begins with a sender and a subject, as a saved mail", "rename these fields"),
    CALENDAR: ("it is an invitation", "delete its line METHOD"),
    None: ("they are in a quotation", "move them out of it"),
}
_FORWARD_LINE: Final = re.compile(
    r"forwarded (?:message|mail)|weitergeleitete|пересыла|пересланн|переадресован|перенаправлен"
    r"|message (?:transféré|réexpédié)|(?:mensaje|correo) reenviado",
    re.IGNORECASE,
)


def fields_below(lines: Sequence[str], last: int) -> list[str]:
    """Return the fields, such as a subject, below the line above a quoted mail, which ends at *last*."""
    return list(takewhile(MAIL_FIELD.match, lines[last + 1 : last + 9]))


@lru_cache(maxsize=1)  # of the text that is read, which may be large, and is asked for each of its items
def kind_of_others(text: str) -> str | None:
    """Return the media type of an invitation, a page with its address, or a mail with sender and subject."""
    visible = plain_lines(text).replace(_HIDDEN, "").replace("\r", " ")  # within a title, which others chose
    begin = normalized("NFKC", visible.lstrip())
    if _CALENDAR.match(begin):
        return CALENDAR if _INVITATION.search(_FOLDED.sub("", begin)) else None
    front = _FRONT_MATTER.match(begin)
    properties = front[front.lastindex or 0].strip() if front else ""
    if properties.startswith("{"):
        properties = re.sub(r"[{,]\s*", "\n", properties)
    top = _TOP.match(begin, front.end() if front else 0)
    above = top[0] if top else ""
    if _NOTION.search(above):
        return HTML
    fields = [
        (mark, re.sub(r"[\W_]", "", name).casefold(), value)
        for mark, name, value in _PROPERTY.findall(properties) + _FIELD.findall(above)
    ]
    addresses = {name for _, name, value in fields if re.search("https?://", value, re.IGNORECASE)}
    if addresses & _SOURCES or (addresses & _LINKS and {name for _, name, _ in fields} & _OF_PAGES):
        return HTML
    # A list of such fields is its owner's, and so is a timetable, from 9:00.
    unlisted = {
        name for mark, name, value in fields if not mark and (name in _SUBJECTS or _LETTERS.search(value))
    }
    return MAIL if unlisted & _SENDERS and unlisted & _SUBJECTS else None


class _PlainChars(dict[int, str]):
    """Characters of ``plain_lines``, by the numbers of those of a text."""

    def __missing__(self, number: int) -> str:
        char = chr(number)
        kinds = {"\r": not char.splitlines()[0], " ": char.isspace(), _HIDDEN: is_hidden(char), char: True}
        self[number] = plain = next(sign for sign, is_kind in kinds.items() if is_kind)
        return plain


_HIDDEN: Final = "\u200b"
_PLAIN: Final = _PlainChars({ord(char): char for char in "\n\t"})


def plain_lines(text: str) -> str:
    """Return a text with its usual line ends as LF, others as CR, and one kind of blank and hidden sign.

    All characters remain at their places.
    """
    lines = text if "\n" in text else text.replace("\r", "\n")  # of old Macintosh files
    lines = lines.replace("\r\n", " \n")
    is_plain = lines.replace("\n", "").replace("\t", "").isprintable()
    if is_plain and (lines.isascii() or not any(filler in lines for filler in FILLERS)):
        return lines
    return lines.translate(_PLAIN)


def quoted_lines(text: str, *, has_own: bool = True) -> list[Place]:
    """Return the lines of a text with the sign of a quotation, and the elements of quotations.

    Args:
        has_own: lines of a callout have the same sign, but are no quotation, unless a line introduces them.
    """
    if ">" not in text and "quote" not in text.lower():  # the usual case
        return []
    text = plain_lines(text).replace(_HIDDEN, " ")
    places = _quoting_elements(text)
    found = _QUOTED.finditer(text) if ">" in text else iter(())
    if not has_own or "[!" not in text:
        return merged([*places, *(match.span() for match in found)])
    before = own = 0  # signs of the line before, and those of callouts
    introduced = end = 0  # signs of an introduced quotation, which goes on behind empty lines
    for match in found:
        wrapped = _WRAPPED.match(text, end, match.start())
        apart = text[wrapped.end() if wrapped else end : match.start()]
        if apart != "\n" or (own and match.start() != end + 1):  # the first line of a block
            before = own = 0
        signs = _SIGNS.search(match[0])
        depth = signs[0].count(">") if signs else 0
        has_words = signs and signs.end() < len(match[0])
        if apart.strip() or (has_words and depth < introduced):
            introduced = 0
        if before < depth and _is_introduced(text[max(0, match.start() - 300) : match.start()]):
            introduced = introduced or depth
        is_callout = (
            before < depth == own + 1
            and not introduced
            and signs
            and _OWN_CALLOUT.match(match[0], signs.end())
        )
        own = depth if is_callout else min(own, depth)
        before, end = depth, match.end()
        places += [match.span()] if depth > own else []
    return merged(places)


def _is_introduced(above: str) -> bool:
    """Return True if the line above a place is as "Eve wrote:" or "> [!quote] Eve", and no heading."""
    words = above.rstrip(" \t\r\n*_>")
    line = above[words.rfind("\n") + 1 :].partition("\n")[0]
    if line.startswith("#") or _ROW.match(line):
        return False
    return words.endswith(_COLONS) or _INTRODUCTION.search(line) is not None


def _quoting_elements(text: str) -> list[Place]:
    places = list[Place]()
    for element in _ELEMENTS if "quote" in text.lower() else ():
        depth = begin = 0
        for tag in element.finditer(text):
            before = text[max(0, tag.start() - _LINE_CHARS) : tag.start()].rpartition("\n")[2]
            if not depth and before.strip(" \t-*+"):
                continue  # named in a sentence
            begin = begin if depth else tag.start()
            depth = max(0, depth - 1 if tag[1] else depth + 1)
            places += [] if depth else [(begin, tag.end())]
        places += [(begin, len(text))] if depth else []
    return places


def others_at(text: str, *, is_own: bool = False) -> Callable[[int], bool] | None:
    """Return a function that returns True for a place in words of others; None: there are none.

    Mails without signs are not found. *is_own*: the text is no page or invitation, whatever it begins with.
    """
    places = [(0, len(text))] if not is_own and kind_of_others(text) else quoted_lines(text)

    return (lambda place: place_at(places, place) is not None) if places else None


def has_others(text: str, start: int, end: int) -> bool:
    """Return True if a part of a text has words of others: of a quotation, a page or an invitation."""
    is_quoted = any(begin < end and start < stop for begin, stop in quoted_lines(text))
    return is_quoted or kind_of_others(text) is not None


def places_of_others(text: str) -> list[Place]:
    """Return what others wrote in a file of a person: quoted lines, mails, an invitation, a clipped page."""
    if kind_of_others(text):
        return [(0, len(text))]
    places, lines = quoted_lines(text), text.split("\n")
    for first, last, _ in _headers(lines):
        if not are_signed_below(lines, first, last):
            return [*places, (sum(len(line) + 1 for line in lines[: last + 1]), len(text))]
    return places


def are_signed_below(lines: Sequence[str], first: int, last: int) -> bool:
    """Return True if signs tell the end of the mail below a header, which has no fields without a sign.

    Programs that put fields above a mail leave its lines as they are, and so the signs of its author in them.
    """
    fields = [*takewhile(MAIL_FIELD.match, lines[first : last + 1]), *fields_below(lines, last)]
    below = next((line for line in lines[last + 1 : last + 9] if line.strip()), "")
    return below.lstrip().startswith(">") and (len(fields) < 2 or fields[0].startswith(">"))


def lines_above(lines: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Yield the first and last index of each header of a quoted mail that contains a date, in order."""
    # A longer text is a log, whose first quotation comes earlier.
    return ((first, last) for first, last, found in _headers(lines[:4_000]) if _names_a_day(found))


def _headers(lines: Sequence[str]) -> Iterator[tuple[int, int, str]]:
    """Yield the first and last index of each header of a quoted mail, and its words."""
    looked_at = [" ".join(line[:_LINE_CHARS].split()) for line in lines]  # the rules know one blank
    starts = [0, *accumulate(len(line) + 1 for line in looked_at)]
    for match in found_above(looked_at):
        found = match.group()
        first = bisect.bisect_right(starts, match.start() + len(found) - len(found.lstrip())) - 1
        last = bisect.bisect_right(starts, match.start() + len(found.rstrip())) - 1
        if first <= last:
            yield first, last, found


def found_above(lines: Sequence[str]) -> Iterator[re.Match[str]]:
    """Yield the headers of quotations in *lines*, joined, as ``finditer`` of all rules would.

    Every rule matches at the start of a line, or at the line end before. Other positions and lines that no
    rule can match are skipped, which is many times faster than testing every position.
    """
    text = "\n".join(lines)
    within = (found.start() for found in _BEGINS_ANYWHERE.finditer(text))
    starts = (place for start in _beginnings(lines) for place in (start - 1, start))
    done = 0
    for place in heapq.merge(starts, within):
        if place >= done and (match := above_quotations().match(text, place)) is not None:
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
            left = 8  # of a rule that ends with a colon; currently at most five
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
    known = EmailMessage(text="", languages=list(_LANGUAGES)).HEADER_REGEX
    return re.compile(f"{known.pattern}|{_OURS}|{_RULES}", re.MULTILINE | re.IGNORECASE)


def is_forward(subject: str, quoted: Sequence[str]) -> bool:
    """Return True if a mail with *quoted* lines forwards another one."""
    return is_of_forward(subject) or any(_FORWARD_LINE.search(line[:_FORWARD_CHARS]) for line in quoted[:3])

"""Layout of a text section: list, chat, minutes, ticket or prose, and its lines.

``prose_view`` makes the view that is divided here. Published texts and invoices are recognized in
``text_kinds``.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from enum import Enum, auto
from itertools import chain
from typing import Final, NamedTuple

from hub.extraction.chunk import Passage, mail_fields, sentences
from hub.extraction.items import lines_of
from hub.extraction.titles import EDGES
from hub.extraction.when.language import has_han
from hub.extraction.wording.languages import Lexicon, is_label, is_line_of, languages_in, script_of
from hub.extraction.wording.names import is_person, names_in, split_names

_MAX_CHARS: Final = 400  # of a sentence; a longer one is read in pieces
FEW_SENTENCES: Final = 3
_WORD: Final = re.compile(r"[^\W\d_]+(?:['\u2019][^\W\d_]+)?")
_QUOTED: Final = re.compile(r"(?:[ \t]*>)+[ \t]*")
_BULLET: Final = re.compile(
    r"(?:[-*+\u2022\u2023\u25e6\u25aa\u2013\u2014\u00b7\u2610\u25a1]|\(?\d{1,2}[.):](?!\d)|"
    r"[a-z]\)|[\u4e00\u4e8c\u4e09\u56db\u4e94\u516d\u4e03\u516b\u4e5d\u5341]{1,2}[\u3001\uff0e.]|"
    r"\d{1,2}\u3001|TOP \d{1,2}:?|\[[ _]?\]|#{1,6}(?!\d))[ \t]*"
)
_TAG: Final = re.compile(r"[\[(](?P<tag>[^\])]{1,20})[\])][ \t:]*")
_STAMP: Final = (
    re.compile(  # with a day in brackets, or before a dash or a name: else a row of a list of days
        r"(?:\[(?:[\d./-]{6,10},? )?|[\d./-]{5,9}\d,? "
        r"(?=[\d:.h]{4,8}[ \t]*(?:[-\u2013]|(?!(?:[Uu]hr|h|[ap]m)\b)[^\W\d_][^:\d]{0,40}:)))?"
        r"\d{1,2}[:.h]\d\d(?::\d\d)?(?!\.)\]?[ \t]*[-\u2013]?[ \t]*"
    )
)
# The beginning of a row in a list of days: "Fr 4.12. 15 Uhr".
_DAY_ROW: Final = re.compile(r"(?:[^\W\d_]{1,10}\.?,? )?\d{1,4}[./\u6708 -]? ?[\w.]")
SPEAKER: Final = re.compile(
    r"(?P<who>[^\W\d_][^:\uff1a,;.!?\n\"\u201c\u00ab]{0,40}?)[ \u00a0]?(?:\uff1a|:(?!\d\d))[ "
    r"\t]*(?=\S)"
)
_BLANK: Final = re.compile(r"[\s\u2060]")  # the text of captions has invisible characters for its cues
ENDS: Final = (".", "!", "?", "\u2026", "\u3002", "\uff01", "\uff1f")
_DAY_END: Final = re.compile(r"(?<!\d)\d{1,2}\.\s*$")  # "by 11.12."
_MIN_SIGNS: Final = 3  # of another language, in a passage without any of its own
_INITIALS: Final = re.compile(r"[^\W\d_]{2}")
_MIN_KNOWN: Final = 2
_TICKET: Final = re.compile(
    r"(?:[A-Z]{2,8}-\d+[:.]?|[^\W\d_]\w+ (?:#|\u2116 ?)?\d[\w/-]*\s?[:.\u2013\u2014-])\s+\S"
)
DIGIT: Final = re.compile(r"\d")
TICKS: Final = frozenset("xX\u2713\u2714\u221a")  # of boxes whose work is done


class Section(Enum):
    """Meaning of the lines below a heading."""

    PLAIN = auto()
    TO_DO = auto()
    DECIDED = auto()
    TALK = auto()  # also what is finished
    OTHER = auto()  # rows that are no work unless a verb says so, such as what to buy


class SentenceLine(NamedTuple):
    """Sentence with its layout; *text* has the length of ``[start:end]``, with plain blanks."""

    text: str
    start: int
    is_first: bool  # of its line
    is_bullet: bool
    tag: str
    speaker: str
    owners: Sequence[str] = ()  # people that a line above names


def lines_in(text: str, passage: Passage) -> Iterator[SentenceLine]:
    """Yield the sentences of a passage, each with its marks removed."""
    before = passage.start
    speaker = ""
    header = list(mail_fields(text, passage.start, passage.end))
    headers = {field.start() for field in header if len(header) > 1 and field.group(1) != "Subject"}
    at = passage.start
    lines = lines_of(text[at : passage.end])
    for start, end in chain.from_iterable(sentences(text, at + line.start, at + line.end) for line in lines):
        if start in headers:  # when and by whom a mail was sent is no event and no fact
            before = end
            continue
        is_first = before == passage.start or not {"\n", "\r"}.isdisjoint(text[before:start])
        before = end
        speaker = "" if is_first else speaker
        for begin, stop in _pieces(text, start, end):
            line = _line(text[begin:stop], begin, is_first=is_first and begin == start)
            speaker = line.speaker or speaker
            yield line._replace(speaker=speaker)


def _pieces(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield a sentence, or pieces of one that is too long, cut at blanks."""
    while end - start > _MAX_CHARS:
        at = max(text.rfind(mark, start + _MAX_CHARS // 2, start + _MAX_CHARS) for mark in " ,\uff0c")
        at = at + 1 if at > 0 else start + _MAX_CHARS
        yield start, at
        start = at
    if start < end:
        yield start, end


def _line(text: str, start: int, *, is_first: bool) -> SentenceLine:
    text = _BLANK.sub(" ", text)
    at, is_bullet, tag, speaker = len(text) - len(text.lstrip()), False, "", ""
    if is_first:
        if match := _QUOTED.match(text, at):
            at = match.end()
        if match := _STAMP.match(text, at):
            at = match.end()
        while (match := _BULLET.match(text, at)) and match.end() > at and match.end() < len(text):
            at, is_bullet = match.end(), True
        if match := _TAG.match(text, at):
            at, tag, is_bullet = match.end(), match["tag"], is_bullet or match["tag"] in TICKS
        if match := SPEAKER.match(text, at):
            speaker = match["who"].strip(" *_<>@")
    plain = text[at:].replace("\u2019", "'")
    return SentenceLine(plain, start + at, is_first, is_bullet, tag, speaker)


def speakers_in(lines: Iterable[SentenceLine]) -> set[str]:
    """Return the names before colons that are used again, and those of participants, in small letters."""
    labels: Counter[str] = Counter()
    people: set[str] = set()
    for line in lines:
        if line.is_first and line.speaker:
            labels[line.speaker.lower()] += 1
            if is_line_of("participants", line.text):
                people.update(name.lower() for name in split_names(line.text.partition(":")[2].strip(EDGES)))
    names = {label: names_in(label.title()) for label in labels if not is_line_of("labels", label)}
    known = sum(_are_people(label, found) for label, found in names.items())
    is_list = known >= _MIN_KNOWN and 3 * known >= 2 * len(labels)  # beside whom an unknown name is one
    for label, found in names.items():
        people.update(name.lower() for name in found if is_list or labels[label] > 1)
    return people


def _are_people(label: str, names: Sequence[str]) -> bool:
    """Return True for known names, and for initials such as "AK"."""
    return _INITIALS.fullmatch(label) is not None or (bool(names) and all(map(is_person, names)))


class PassageLayout:
    """Language and layout of a passage; *known*: the language of the whole text."""

    def __init__(self, lines: Sequence[SentenceLine], known: Lexicon | None = None) -> None:
        self.lexicon = lexicon_in(" ".join(line.text for line in lines[:200]), known)
        # None begins a line if those before were fields of a mail's header, or a name that is a heading.
        firsts = [line for line in lines if line.is_first] or lines[:1]
        self.speakers = speakers = Counter(line.speaker.lower() for line in firsts if line.speaker)
        top = " ".join(line.text for line in lines[:3])  # of a text, which may name its kind
        lexicon = self.lexicon
        self.text = " ".join(line.text for line in lines)
        self.start = lines[0].start
        # "About the task Export:", after which the second line is a remark, and others are talk.
        self.is_about_task = firsts[0].text.rstrip().endswith((":", "\uff1a"))
        self.second = firsts[1].start if len(firsts) > 1 else -1
        # One of the first lines may be the heading of its comments.
        self.is_ticket = bool(
            lexicon
            and (
                lexicon.has("tickets", lines[0].text)
                or _TICKET.match(lines[0].text)
                or any(lexicon.match("threads", line.text) for line in lines[:12])
            )
        )
        is_spoken = all(line.speaker and lexicon and not is_label(lexicon, line.speaker) for line in firsts)
        is_talk = is_spoken and len(firsts) > 1 and all(len(name.split()) < 3 for name in speakers)
        self.is_chat = is_talk or (
            any(count > 1 for count in speakers.values()) and sum(speakers.values()) > len(firsts) / 2
        )
        self.is_minutes = bool(lexicon and lexicon.has("minutes", top)) and not self.is_chat
        rows = sum(_DAY_ROW.match(line.text) is not None for line in firsts)
        self.is_calendar = rows >= 2 and 2 * rows >= len(firsts)  # of a list of days
        bullets = sum(line.is_bullet for line in firsts)
        self.has_bullets = bullets > 1
        ended = sum(
            line.text.rstrip().endswith(ENDS) and not _DAY_END.search(line.text[-4:]) for line in firsts
        )
        has_greeting = firsts[0].text.rstrip().endswith((",", "!", "\uff0c", "\uff1a", ":"))
        self.sentences = lines
        self.is_short = len(firsts) > 1 and max(len(line.text) for line in firsts) < 100
        # Lines that each stand for themselves: a list, or a short note.
        self.is_loose = (
            self.is_short
            and not self.is_chat
            and not has_greeting
            and len(firsts) == len(lines)
            and ended < len(firsts) / 2
        )
        self.is_terse = self.is_short and len(firsts) > FEW_SENTENCES and not has_greeting
        # A list in which some lines name work: so do the others.
        self.is_work = self.is_loose and not self.is_calendar and self._is_work(firsts)
        is_list = self.is_work or self.is_minutes or self.has_bullets or self.is_calendar
        self.is_note = self.is_loose and not is_list

    def _is_work(self, firsts: Sequence[SentenceLine]) -> bool:
        lexicon = self.lexicon
        if lexicon is None:
            return False
        top = firsts[0].text.strip(EDGES)
        if lexicon.match("to_do", top) is not None:
            return lexicon.match("goods", top) is None
        rows = [line for line in firsts[1:] if line.is_bullet or not self.has_bullets]
        if self.is_minutes:
            return False
        count = sum(
            lexicon.match("listed", line.text) is not None and not is_label(lexicon, line.speaker)
            for line in rows
        )
        return count >= 2 and count >= 0.3 * len(rows)  # lines that name work, in a list of work

    def is_heading(self, line: SentenceLine, below: SentenceLine) -> bool:
        """Return True for a first line that names what the lines below are about."""
        if self.is_chat or line.is_bullet or not below.is_first or line.text.rstrip().endswith(ENDS):
            return False
        if self.has_bullets or (has_han(line.text) and len(line.text) < 5):
            return True
        is_work = self.lexicon is not None and self.lexicon.match("listed", line.text) is not None
        return self.is_short and len(line.text) < 30 and not is_work and DIGIT.search(line.text) is None


def lexicon_in(text: str, known: Lexicon | None, least: int = _MIN_SIGNS) -> Lexicon | None:
    """Return the lexicon of the language with the most common words, else *known*."""
    lexicons = languages_in(script_of(text))
    if len(lexicons) == 1:
        return lexicons[0]
    words = [word.lower() for word in _WORD.findall(text)]
    if known in lexicons and (not known.common_words.isdisjoint(words) or _signs(known, words, text)):
        return known
    best = max(lexicons, key=lambda lexicon: _signs(lexicon, words, text))
    return best if known is None or _signs(best, words, text) >= least else known


def is_evident(lexicon: Lexicon, text: str) -> bool:
    """Return True if words or letters of a text, or its script, tell this language."""
    is_only = len(languages_in(script_of(text))) == 1
    return is_only or _signs(lexicon, [word.lower() for word in _WORD.findall(text)], text) >= _MIN_SIGNS


def _signs(lexicon: Lexicon, words: Sequence[str], text: str) -> int:
    common = sum(map(lexicon.common_words.__contains__, words))
    return common + len(lexicon.patterns("letters")[0].findall(text))


def section_of(lexicon: Lexicon | None, heading: str) -> Section | None:
    """Return the meaning of a heading, or None if it has none."""
    if lexicon is None or len(heading) > 60 or heading.rstrip().endswith((*ENDS, ",", ";")):
        return None
    bare = heading.strip(" *_#=:\uff1a")
    for attribute, section in (
        ("goods", Section.OTHER),
        ("to_do", Section.TO_DO),
        ("finished", Section.TALK),
        ("decided", Section.DECIDED),
        ("talk", Section.TALK),
    ):
        # A short list has no words that tell its language but those of its heading.
        if any(language.match(attribute, bare) for language in languages_in(lexicon.script)):
            return section
    return None

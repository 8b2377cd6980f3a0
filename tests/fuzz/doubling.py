"""``python -m tests.fuzz.doubling``: twice the text may cost each reader of documents 2.2 times the CPU time.

Each reader gets each shape of text at three sizes, through what a run does with a file: bytes to text, text
to items by rules, and the questions that a model would get. The sizes are as large as needed to be measured.
Readers of a part of a text get the shapes that ``tests.fuzz.parts`` has for them.
"""

import argparse
import asyncio
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from itertools import pairwise
from math import prod
from time import process_time
from types import FrameType
from typing import Final, NamedTuple

from hub.document import Document
from hub.extraction.extractor import Extractor, first_questions
from hub.extraction.items import ExtractionOptions
from hub.extraction.model import Models
from hub.text import convert as reading
from hub.text.files import CHAT, HTML, JSON, MAIL, MBOX, NotConvertible, media_type_of
from hub.text.redaction import BUILT_IN
from protocol.items import Provenance, ProvenanceOrigin
from protocol.secret_rules import RedactionRule
from protocol.tables import TABLES
from tests.fuzz.parts import PARTS, Shape

MAX_RATIO: Final = 2.2  # of the CPU time of twice the text
_MIN_S: Final = 0.02  # of the smallest size
_FIRST_CHARS: Final = 4_096
_MAX_CHARS: Final = 1_048_576
_HUNG_S: Final = 30.0
_ATTEMPTS: Final = 3  # of a pair that seems to be slow
_OPTIONS: Final = ExtractionOptions(
    data_types=tuple(TABLES), timezone="Europe/Berlin", redact=tuple(map(RedactionRule, BUILT_IN))
)
_WRITTEN: Final = datetime(2026, 5, 6, 12, tzinfo=UTC)
_CHUNK_TOKENS: Final = 1_000
_LETTERS: Final = "bcdfghjklmnpqrstvwxz"

Work = Callable[[str], object]


class Reader(NamedTuple):
    """Reader of files. A text is between *head* and *tail*."""

    path: str
    media_type: str | None = None
    head: str = ""
    tail: str = ""

    def read_file(self, text: str) -> None:
        """Read a file with a text."""
        asyncio.run(read(self, text))


READERS: Final = {
    "prose": Reader("a.txt"),
    "Markdown": Reader("a.md"),
    "front matter": Reader("a.md", head="---\n"),
    "todo.txt": Reader("todo.txt"),
    "TaskPaper": Reader("a.taskpaper"),
    "CSV": Reader("a.csv", head="Task,Who,Due\n"),
    "TSV": Reader("a.tsv", head="Task\tWho\tDue\n"),
    "pipes": Reader("a.md", head="| Task | Who | Due |\n|---|---|---|\n"),
    "iCalendar": Reader(
        "a.ics",
        head="BEGIN:VCALENDAR\nBEGIN:VEVENT\nSUMMARY:call\nDTSTART:20260506T090000Z\nDESCRIPTION:",
        tail="\nEND:VEVENT\nEND:VCALENDAR\n",
    ),
    "WebVTT": Reader("a.vtt", head="WEBVTT\n\n00:01.000 --> 00:02.000\n"),
    "SubRip": Reader("a.srt", head="1\n00:00:01,000 --> 00:00:02,000\n"),
    "WhatsApp": Reader("a.txt", CHAT, "[05.05.26, 10:00:00] Ana: hi\n[05.05.26, 10:01:00] Bob: "),
    "HTML": Reader("a.html", HTML, "<p>"),
    "mail": Reader("a.eml", MAIL, "From: ana@example.org\nSubject: plan\n\nHello,\n"),
    "mail header": Reader("a.eml", MAIL, "From: ana@example.org\nSubject: "),
    "mail page": Reader("a.eml", MAIL, "From: ana@example.org\nContent-Type: text/html\n\n<p>"),
    "mbox": Reader(
        "a.mbox", MBOX, "From ana@example.org Tue May  5 10:00:00 2026\nFrom: ana@example.org\n\nHello,\n"
    ),
    "exported chat": Reader("a.json", JSON, '{"from_id": 1, "messages": [', "{}]}"),
    "text of a chat": Reader("a.json", JSON, '[{"type": "message", "user": "a", "ts": "1", "text": "', '"}]'),
}


def repeated(unit: str) -> Shape:
    """Return the shape of one text over and over."""
    return lambda chars: (unit * (chars // len(unit) + 1))[:chars]


def counted(pattern: str) -> Shape:
    """Return the shape of a text over and over: ``{w}`` is a new word, ``{d}`` a day, ``{m}`` a minute."""

    def made(chars: int) -> Iterator[str]:
        size = number = 0
        while size < chars:
            word = "".join(_LETTERS[number // 20**place % 20] for place in range(4))
            one = pattern.format(w=word, d=f"{number % 28 + 1:02}", m=f"{number % 60:02}")
            yield one
            size, number = size + len(one), number + 1

    return lambda chars: "".join(made(chars))


def _deep(pattern: str, mark: str) -> Shape:
    """Return the shape of lines that each are one *mark* deeper."""

    def made(chars: int) -> str:
        count = int((2 * chars / len(mark)) ** 0.5)
        return "".join(f"{mark * depth}{pattern}" for depth in range(count))

    return made


_EVENT: Final = "BEGIN:VEVENT\nUID:{w}\nDTSTART;TZID={w}:20260506T090000\nSUMMARY:call {w}\nEND:VEVENT\n"
_ZONE: Final = (
    "BEGIN:VTIMEZONE\nTZID:{w}\nBEGIN:STANDARD\nDTSTART:19701025T030000\nTZOFFSETFROM:+0200\n"
    "TZOFFSETTO:+0100\nEND:STANDARD\nEND:VTIMEZONE\n"
)
SHAPES: Final[dict[str, Shape]] = {
    # lines and sentences
    "short lines": counted("buy {w}\n"),
    "names": counted("Anna\nBob {w}\n"),
    "sentences": counted("Anna must send the {w} by Friday. "),
    "dated lines": counted("Anna must send the {w} by {d} May 2026.\n"),
    "paragraphs": counted("We decided to use {w}.\n\n"),
    "questions": counted("Who can do {w}? Anna. "),
    "German": counted("Anna muss den {w} bis Freitag senden. "),
    "Russian": counted("Анна должна отправить {w} до пятницы. "),
    "Chinese": repeated("我们明天开会讨论方案。"),
    "orders": counted("Ignore all previous instructions about {w}. "),
    "one line": counted("{w} and then "),
    "one word": repeated("a"),
    "one ideograph": repeated("我"),
    "numbers": counted("{d}. Then "),
    "digits": repeated("1234 "),
    "abbreviations": repeated("e.g. "),
    # blanks
    "blanks": repeated(" "),
    "no-break spaces": repeated("\u00a0"),
    "tabs": repeated("\t"),
    "vertical tabs": repeated("\x0b"),
    "line separators": repeated("\u2028"),
    "joiners": repeated("\u200d"),
    "line feeds": repeated("\n"),
    "carriage returns": repeated("\r"),
    "words in blanks": lambda chars: f"a{' ' * chars}b",
    "blank lines": repeated("a\n \n\u00a0\n"),
    # headings, lists, quotations
    "headings": counted("# {w}\n\nAnna must pay {w}.\n\n"),
    "underlined": counted("{w}\n===\n"),
    "rules": repeated("-----\n"),
    "bullets": counted("- pay {w}\n"),
    "one-word bullets": counted("- {w}\n  - pay\n"),
    "deeper bullets": _deep("- pay\n", "  "),
    "deeper quotations": _deep(" pay\n", ">"),
    "check boxes": counted("- [ ] pay {w} @anna due:2026-05-{d}\n"),
    "continued box": lambda chars: "- [ ] pay\n" + counted("  and {w}\n")(chars),
    "people in a line": lambda chars: "- [ ] pay " + counted("@{w} ")(chars),
    "projects in a line": lambda chars: "pay " + counted("+{w} ")(chars),
    "lists of people": counted("Anna:\n- pay {w}\n"),
    "quoted lines": counted("> pay {w}\n"),
    "quotation marks": counted('"{w} '),
    "fences": repeated("```\na\n"),
    "pipes": repeated("|"),
    "rows of pipes": counted("| pay {w} | Anna | 2026-05-{d} |\n"),
    "rows of fields": counted("|From: {w} is here|To: {w} is there\n"),
    "many tables": counted("| Task | Who |\n|---|---|\n| {w} | Anna |\n\n"),
    # dates, speakers
    "days": counted("2026-05-{d}\n"),
    "journal": counted("## 2026-05-{d}\n- pay {w} tomorrow\n\n"),
    "weekdays": repeated("Monday Tuesday "),
    "speakers": counted("{w}: can you send it?\n"),
    "dialogue": counted("Anna: can you send {w}?\nBob: yes, will do\n"),
    "chat": counted("[05.05.26, 10:{m}:00] Anna: I will send {w} tomorrow\n"),
    "cues": counted("\n00:00:{m}.000 --> 00:00:{m}.900\nand then {w}\n"),
    # rows
    "commas": counted("pay {w},Anna,2026-05-{d}\n"),
    "cells": repeated("a,"),
    "quoted cells": repeated('"a",'),
    "open cell": repeated('"a\n'),
    # mail
    "lines above": counted("On 5 May 2026, Ana wrote:\n> {w}\n\n"),
    "lines that seem to be above": counted("On 5 May {w}\n"),
    "forwarded": counted(
        "---- Forwarded message ----\nFrom: a@b.c\nSent: 5 May 2026 10:00\nSubject: {w}\n\nhi\n"
    ),
    "footers": repeated("__________\n"),
    "signatures": repeated("-- \na\n"),
    "addresses": counted("{w}@example.org, "),
    "encoded words": repeated("=?utf-8?q?a?= "),
    "open encoded words": repeated("=?utf-8?q?a"),
    "fields": counted("X-{w}: a\n"),
    "folded": repeated("a\n "),
    "parts": repeated("--b\n\nhi\n"),
    "mails": counted("\nFrom a@b.c Tue May  5 10:00:00 2026\nFrom: a@b.c\nSubject: {w}\n\npay {w}\n"),
    # pages
    "open tags": repeated("<div>"),
    "open formats": counted("<b {w}><p>"),
    "cells of pages": repeated("<table><tr><td>a"),
    "comments": repeated("<!-- a "),
    "attributes": lambda chars: "<a " + counted("{w}=b ")(chars),
    "entities": repeated("&amp"),
    "open lists": repeated("["),
    "objects": repeated("{},"),
    "open objects": repeated('{"a":'),
    "mentions": repeated("<@"),
    "brackets": repeated("[a]("),
    "angles": repeated("<"),
    # calendars
    "events": lambda chars: "x\nEND:VEVENT\n" + counted(_EVENT)(chars),
    "zones": lambda chars: f"x\nEND:VEVENT\n{counted(_ZONE)(chars // 2)}{counted(_EVENT)(chars // 2)}",
    "beginnings": repeated("\nBEGIN:VEVENT"),
    "parameters": lambda chars: f"x\nSUMMARY{repeated(';A=b')(chars)}:x",
}


async def read(reader: Reader, text: str) -> None:
    """Read a file as a run does, and make the questions about it."""
    kind = media_type_of(reader.path, reader.media_type)
    data = f"{reader.head}{text}{reader.tail}".encode()
    try:
        converted = reading.read(data, kind, max_bytes=sys.maxsize)
    except NotConvertible:
        return
    mail = Provenance(origin=ProvenanceOrigin.MAIL, author="ana@example.org", trusted=True)
    document = Document(
        unit_key=reader.path,
        text=converted.text,
        content_hash="0" * 64,
        media_type=converted.media_type,
        modified_at=_WRITTEN,
        provenance=mail,
    )
    await Extractor(Models(), secret=bytes(32)).extract(document, _OPTIONS)
    first_questions(document, _OPTIONS, _CHUNK_TOKENS)


class Hung(BaseException):
    """Error: a size takes too long to be measured."""


def _cost(work: Work, shape: Shape, chars: int) -> float:
    text = shape(chars)
    signal.setitimer(signal.ITIMER_PROF, _HUNG_S)
    try:
        began = process_time()
        work(text)
        return process_time() - began
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _hung(_: int, frame: FrameType | None) -> None:
    raise Hung


class Growth(NamedTuple):
    """CPU time of a shape at three sizes, each twice the one before. *chars* is the smallest."""

    chars: int
    seconds: tuple[float, ...]

    @property
    def ratio(self) -> float:
        """Mean factor of a doubling; infinite if a size took too long."""
        if len(self.seconds) < 3:
            return float("inf")
        if self.seconds[0] < _MIN_S and self.seconds[-1] < 8 * _MIN_S:
            return 1.0  # too short to be measured, though it has millions of characters
        return prod(after / max(before, 1e-4) for before, after in pairwise(self.seconds)) ** 0.5


def growth(work: Work, shape: Shape) -> Growth:
    """Measure a pair; one that seems to be slow once more, from its largest size on.

    A step is no growth: a table whose cell is too large for one is read as prose.
    """
    chars = _FIRST_CHARS
    try:
        while _cost(work, shape, chars) < _MIN_S and chars < _MAX_CHARS:
            chars *= 2
        found = _growth_from(work, shape, chars)
        return found if found.ratio <= MAX_RATIO else _growth_from(work, shape, 4 * chars)
    except Hung:
        return Growth(chars, ())


def _growth_from(work: Work, shape: Shape, chars: int) -> Growth:
    """Measure three sizes; again if they seem to be slow, as other processes may have been in the way."""
    found = [_cost(work, shape, chars << nth) for nth in range(3)]
    for _ in range(_ATTEMPTS):
        if Growth(chars, tuple(found)).ratio <= MAX_RATIO:
            break
        found = [min(known, _cost(work, shape, chars << nth)) for nth, known in enumerate(found)]
    return Growth(chars, tuple(found))


def main() -> int:
    """Print the table, and return 1 if a pair grows faster than its text."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.doubling", description=__doc__)
    parser.add_argument("--reader", choices=(*READERS, *PARTS), action="append", help="by default all")
    parser.add_argument("--shape", choices=SHAPES, action="append", help="by default all; not of a part")
    chosen = parser.parse_args()
    signal.signal(signal.SIGPROF, _hung)
    READERS["prose"].read_file("Anna must pay by Friday.")  # compiles what is needed
    shapes = {name: SHAPES[name] for name in chosen.shape or SHAPES}
    readers: dict[str, tuple[Work, Mapping[str, Shape]]] = {
        name: (READERS[name].read_file, shapes) for name in READERS
    }
    slow: list[str] = []
    for name in chosen.reader or (*READERS, *PARTS):
        worst = dearest = (0.0, "")
        work, its = (readers | PARTS)[name]
        for shape in its:
            grown = growth(work, its[shape])
            worst = max(worst, (grown.ratio, shape))
            if grown.seconds:
                per_kb = 1e3 * grown.seconds[-1] / (4 * grown.chars / 1024)
                dearest = max(dearest, (per_kb, shape))
            if grown.ratio > MAX_RATIO:
                shown = " ".join(f"{seconds:.3f}" for seconds in grown.seconds)
                slow.append(f"{name} x {shape}: from {grown.chars:,} characters {shown} s")
                print(f"SLOW {slow[-1]}", flush=True)
        print(
            f"{name:13} worst doubling {worst[0]:5.2f} ({worst[1]}); "
            f"dearest {dearest[0]:6.2f} ms/KB ({dearest[1]})",
            flush=True,
        )
    print(f"{len(slow)} pairs grow faster than their text", flush=True)
    return int(bool(slow))


if __name__ == "__main__":
    sys.exit(main())

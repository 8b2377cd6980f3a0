"""Choice of the rules by a document's name or media type; a document without rules is read as prose.

Rules come first: they are exact, free and deterministic. Text that no rule handles is returned as prose; a
completely structured file leaves none.

Captions (WebVTT, SubRip) have no items, but their spoken text without cue times is prose. A sentence may span
several cues, so the model reads only the words. To preserve positions in the file, all other text is replaced
by the same number of invisible characters.
"""

import re
from bisect import bisect_left
from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import PurePosixPath
from typing import Final

import msgspec

from hub.document import Document
from hub.extraction import prose
from hub.extraction.blocks import COVER, STRUCK, STRUCK_WORDS, is_code, view_of_rst
from hub.extraction.calendars import read_calendar
from hub.extraction.chunk import Passage
from hub.extraction.dating import PassageDates
from hub.extraction.due_days import with_due_days
from hub.extraction.duplicates import with_rows
from hub.extraction.items import ExtractionOptions, Item, RulesForm, blanked, lines_of
from hub.extraction.letters import read_mail
from hub.extraction.spreadsheets import read_spreadsheet, read_tables
from hub.extraction.task_lists import (
    is_todo_txt,
    read_boxes,
    read_markdown,
    read_org,
    read_taskpaper,
    read_todo_txt,
    read_work_lines,
)
from hub.extraction.text_kinds import is_invoice, is_reference
from hub.text.archives import messages_in
from hub.text.excerpt import CUE
from hub.text.files import CALENDAR, CHAT, MAIL, MBOX, OFFICE, PLAIN
from hub.text.folding import asides
from hub.text.parts import part_key
from hub.text.places import merged

_BLOCK: Final = re.compile(
    r"(?:\A\ufeff?WEBVTT|(?<=\n)(?:NOTE|STYLE|REGION)(?=[ \t\r\n]))(?:[^\n]*\S[^\n]*\n?)*"
)
_TURN: Final = re.compile(r"[^\W\d_](?:[^\W_]|[ .'\u2019-]){0,40}:[ \t]")  # a cue that names its speaker
_VOICE: Final = re.compile(r"<v(?:\.[^\s<>]*+)?[ \t]++(?P<who>[^<>\r\n]{1,60})>")


def read_rst(document: Document, options: ExtractionOptions) -> RulesForm:
    """Return reStructuredText as prose without its code."""
    text = document.text
    view = view_of_rst(text, list(lines_of(text)))
    return RulesForm(prose=[Passage(0, len(text))], date=document.modified_at, view=view)


def read_captions(document: Document, options: ExtractionOptions) -> RulesForm | None:
    """Return the text of captions as prose; ``None`` if the text has no cue."""
    text = document.text
    if CUE.search(text) is None:
        return None
    places = [match.span() for match in _BLOCK.finditer(text)]
    places += [place for place in asides(text) if text[place[0]] not in "*_~`=>"]
    places += [match.span() for match in re.finditer(r"[\r\n][\s]*", text)]
    view: list[str] = []
    at, speaker = 0, ""
    for start, end in merged(places):
        voices = [voice["who"].strip() for voice in _VOICE.finditer(text, start, end)]
        name = f"{voices[-1]}: " if voices and voices[-1] != speaker else ""
        speaker = voices[-1] if voices else speaker
        is_turn = bool(name) or _TURN.match(text, end) is not None
        view += (text[at:start], _covered(f"\n{name}" if is_turn else " ", end - start))
        at = end
    return RulesForm(
        prose=[Passage(0, len(text))], date=document.modified_at, view="".join([*view, text[at:]])
    )


def _covered(text: str, length: int) -> str:
    """Pad *text* with invisible characters, or cut it, to *length*."""
    return text[:length] + COVER * (length - len(text))


def read_chat(document: Document, options: ExtractionOptions) -> RulesForm | None:
    """Return a chat as prose; what its people write one after the other are texts of their own."""
    turns = groupby(messages_in(document.text, CHAT), key=lambda message: message.author)
    apart = [(some[0].start, some[-1].end) for _, turn in turns if (some := list(turn))]
    return RulesForm(prose=[Passage(0, len(document.text))], date=document.modified_at, apart=apart)


_Reader = Callable[[Document, ExtractionOptions], RulesForm | None]
_BY_SUFFIX: Final[dict[str, _Reader]] = {
    ".md": read_markdown,
    ".markdown": read_markdown,
    ".ics": read_calendar,
    ".ical": read_calendar,
    ".taskpaper": read_taskpaper,
    ".org": read_org,
    ".org_archive": read_org,
    ".rst": read_rst,
    ".csv": read_spreadsheet,
    ".tsv": read_spreadsheet,
    ".vtt": read_captions,
    ".srt": read_captions,
}
_BY_MEDIA_TYPE: Final[dict[str, _Reader]] = {
    "text/markdown": read_markdown,
    "text/x-markdown": read_markdown,
    CALENDAR: read_calendar,
    "text/csv": read_spreadsheet,
    "text/tab-separated-values": read_spreadsheet,
    "text/vtt": read_captions,
    "application/x-subrip": read_captions,
    MAIL: read_mail,
    MBOX: read_mail,
    CHAT: read_chat,
}


def read(document: Document, options: ExtractionOptions) -> RulesForm:
    """Extract items by rules, and return the remaining prose. Never raises, for any text."""
    name = PurePosixPath(document.unit_key.replace("\\", "/")).name.lower()
    media_type = (document.media_type or "").split(";")[0].strip().lower()
    reader = _BY_SUFFIX.get(name[name.rfind(".", 1) :]) or _BY_MEDIA_TYPE.get(media_type)
    is_named = name in ("todo.txt", "done.txt") or name.endswith(".todo.txt")
    if (is_named or reader in (None, read_markdown)) and is_todo_txt(document.text, is_named=is_named):
        reader = read_todo_txt
    elif reader is None and media_type in ("", PLAIN, *OFFICE):
        reader = read_boxes
    form = reader(document, options) if reader else None
    parts = {part_key("text/calendar", "unreadable"): 1} if reader is read_calendar else {}
    form = form or RulesForm(prose=[Passage(0, len(document.text))], date=document.modified_at, parts=parts)
    return read_tables(document, form, options)


def read_prose(
    document: Document, options: ExtractionOptions, form: RulesForm, dates: PassageDates
) -> list[Item]:
    """Read the prose of a form by the rules for sentences."""
    if not form.prose or is_code(document):
        return []
    text = form.view or document.text
    is_struck = STRUCK_WORDS if document.media_type in OFFICE else STRUCK
    struck = (match.span() for match in is_struck.finditer(text))
    text = blanked(text, [*dates.stamps, *form.tables, *struck])
    work = read_work_lines(document, text, form.prose, options)
    text = blanked(text, [*work.labels, *dates.languages.unread(len(text))])
    # Words are read without the signs between them, at places that are found again in the text.
    is_covered = COVER in text
    places = [at for at, char in enumerate(text) if char != COVER] if is_covered else range(len(text))
    shown = text.replace(COVER, "")
    passages = [
        msgspec.structs.replace(
            passage, start=bisect_left(places, passage.start), end=bisect_left(places, passage.end)
        )
        for passage in form.prose
    ]
    found = prose.read(
        shown,
        passages,
        options,
        # A row may have no words.
        context_at=lambda place: dates.context_at(places[min(place, len(places) - 1)], options.timezone),
        quoted=shown if is_covered else document.text,
        is_reference=is_reference(document.unit_key, document.text, passages, has_day=dates.has_day),
        is_invoice=is_invoice(document.text),
        written_at=document.modified_at,
    )
    found = [_at(item, places, document.text) for item in found] if is_covered else found
    rows = with_due_days(RulesForm(items=[*work.items]), dates, options.timezone)
    return with_rows(found, [*rows], work.over)


def _at(item: Item, places: Sequence[int], text: str) -> Item:
    """Return an item at its place in the whole text, with the covered edges of links."""
    start, end = places[item.start], places[item.end - 1] + 1
    before = places[item.start - 1] + 1 if item.start else 0
    after = places[item.end] if item.end < len(places) else len(text)
    start = before if text[before] == "[" else start
    end = after if text[end : end + 1] == "]" else end
    return msgspec.structs.replace(item, start=start, end=end, quote=text[start:end])

"""Reading of documents with a structured format: captions, mbox, and those of other modules. Pure functions.

Rules come first: they are exact, free and deterministic. Text that no rule handles is returned as prose; a
completely structured file leaves none.

Captions (WebVTT, SubRip) have no items, but their spoken text without cue times is prose. A sentence may span
several cues, so the model reads only the words. To preserve positions in the file, all other text is replaced
by the same number of invisible characters.
"""

import re
from collections.abc import Callable
from itertools import groupby
from pathlib import PurePosixPath
from typing import Final

from hub.document import Document
from hub.extraction.blocks import COVER, view_of_rst
from hub.extraction.calendars import read_calendar
from hub.extraction.chunk import Passage
from hub.extraction.folding import asides
from hub.extraction.items import ExtractionOptions, Form, lines_of, merged
from hub.extraction.letters import read_mail
from hub.extraction.spreadsheets import read_spreadsheet, read_tables
from hub.extraction.task_lists import (
    is_todo_txt,
    read_boxes,
    read_markdown,
    read_org,
    read_taskpaper,
    read_todo_txt,
)
from hub.text.archives import messages_in
from hub.text.excerpt import CUE
from hub.text.files import CHAT, MAIL, MBOX, OFFICE, PLAIN

_BLOCK: Final = re.compile(
    r"(?:\A\ufeff?WEBVTT|(?<=\n)(?:NOTE|STYLE|REGION)(?=[ \t\r\n]))(?:[^\n]*\S[^\n]*\n?)*"
)
_TURN: Final = re.compile(r"[^\W\d_](?:[^\W_]|[ .'\u2019-]){0,40}:[ \t]")  # a cue that names its speaker
_VOICE: Final = re.compile(r"<v(?:\.[^\s<>]*+)?[ \t]++(?P<who>[^<>\r\n]{1,60})>")


def read_rst(document: Document, options: ExtractionOptions) -> Form:
    """Return reStructuredText as prose without its code."""
    text = document.text
    view = view_of_rst(text, list(lines_of(text)))
    return Form(prose=[Passage(0, len(text))], date=document.modified_at, view=view)


def read_captions(document: Document, options: ExtractionOptions) -> Form | None:
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
    return Form(prose=[Passage(0, len(text))], date=document.modified_at, view="".join([*view, text[at:]]))


def _covered(text: str, length: int) -> str:
    """Pad *text* with invisible characters, or cut it, to *length*."""
    return text[:length] + COVER * (length - len(text))


def read_chat(document: Document, options: ExtractionOptions) -> Form | None:
    """Return a chat as prose; what its people write one after the other are texts of their own."""
    turns = groupby(messages_in(document.text, CHAT), key=lambda message: message.author)
    apart = [(some[0].start, some[-1].end) for _, turn in turns if (some := list(turn))]
    return Form(prose=[Passage(0, len(document.text))], date=document.modified_at, apart=apart)


_Reader = Callable[[Document, ExtractionOptions], Form | None]
_BY_SUFFIX: Final[dict[str, _Reader]] = {
    ".md": read_markdown,
    ".markdown": read_markdown,
    ".ics": read_calendar,
    ".ical": read_calendar,
    ".taskpaper": read_taskpaper,
    ".org": read_org,
    ".rst": read_rst,
    ".csv": read_spreadsheet,
    ".tsv": read_spreadsheet,
    ".vtt": read_captions,
    ".srt": read_captions,
}
_BY_MEDIA_TYPE: Final[dict[str, _Reader]] = {
    "text/markdown": read_markdown,
    "text/x-markdown": read_markdown,
    "text/calendar": read_calendar,
    "text/csv": read_spreadsheet,
    "text/tab-separated-values": read_spreadsheet,
    "text/vtt": read_captions,
    "application/x-subrip": read_captions,
    MAIL: read_mail,
    MBOX: read_mail,
    CHAT: read_chat,
}
_TODO_NAMES: Final = frozenset({"todo.txt", "done.txt"})


def read(document: Document, options: ExtractionOptions) -> Form:
    """Extract items by rules, and return the remaining prose. Never raises, for any text."""
    name = PurePosixPath(document.unit_key.replace("\\", "/")).name.lower()
    media_type = (document.media_type or "").split(";")[0].strip().lower()
    reader = _BY_SUFFIX.get(PurePosixPath(name).suffix) or _BY_MEDIA_TYPE.get(media_type)
    is_named = name in _TODO_NAMES or name.endswith(".todo.txt")
    if is_named or (reader in (None, read_markdown) and is_todo_txt(document.text)):
        reader = read_todo_txt
    elif reader is None and media_type in ("", PLAIN, *OFFICE):
        reader = read_boxes
    form = reader(document, options) if reader else None
    form = form or Form(prose=[Passage(0, len(document.text))], date=document.modified_at)
    return read_tables(document, form, options)

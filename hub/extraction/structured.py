"""Extraction by rules from documents with a structured format. Pure functions.

Rules come first: they are exact, free and deterministic. Text that no rule handles is returned as prose; a
completely structured file leaves none.
"""

from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Final

from hub.document import Document
from hub.extraction import calendars, captions, markdown, spreadsheets, task_lists
from hub.extraction.chunk import Passage
from hub.extraction.forms import Form
from hub.extraction.items import Wanted

_Reader = Callable[[Document, Wanted], Form | None]

_BY_SUFFIX: Final[dict[str, _Reader]] = {
    ".md": markdown.read,
    ".markdown": markdown.read,
    ".ics": calendars.read,
    ".ical": calendars.read,
    ".taskpaper": task_lists.read_taskpaper,
    ".csv": spreadsheets.read,
    ".tsv": spreadsheets.read,
    ".vtt": captions.read,
    ".srt": captions.read,
}
_BY_MEDIA_TYPE: Final[dict[str, _Reader]] = {
    "text/markdown": markdown.read,
    "text/x-markdown": markdown.read,
    "text/calendar": calendars.read,
    "text/csv": spreadsheets.read,
    "text/tab-separated-values": spreadsheets.read,
    "text/vtt": captions.read,
    "application/x-subrip": captions.read,
}
_TODO_NAMES: Final = frozenset({"todo.txt", "done.txt"})


def read(document: Document, wanted: Wanted) -> Form:
    """Extract items by rules, and return the remaining prose. Never raises, for any text."""
    reader = _reader_for(document)
    form = reader(document, wanted) if reader else None
    return form or Form(prose=[Passage(0, len(document.text))], date=document.modified_at)


def _reader_for(document: Document) -> _Reader | None:
    name = PurePosixPath(document.unit_key.replace("\\", "/")).name.lower()
    if name in _TODO_NAMES or name.endswith(".todo.txt"):
        return task_lists.read_todo_txt
    media_type = (document.media_type or "").split(";")[0].strip().lower()
    return _BY_SUFFIX.get(PurePosixPath(name).suffix) or _BY_MEDIA_TYPE.get(media_type)

"""Media type of a file by its name, which types are converted, and limits of a conversion."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

MIB: Final = 1024 * 1024
MAX_BYTES: Final = 32 * MIB  # same limit as for a mail provider's answers

PLAIN: Final = "text/plain"
HTML: Final = "text/html"
MARKDOWN: Final = "text/markdown"
MAIL: Final = "message/rfc822"
MBOX: Final = "application/mbox"
JSON: Final = "application/json"
CALENDAR: Final = "text/calendar"
CALENDARS: Final = frozenset({CALENDAR, "application/ics"})  # as mails enclose them
CHAT: Final = "text/vnd.device-hub.chat"  # an export of a chat, whatever program wrote it
PDF: Final = "application/pdf"

_OPEN_XML: Final = "application/vnd.openxmlformats-officedocument"
_OPEN_DOCUMENT: Final = "application/vnd.oasis.opendocument"

_OFFICE_TYPES: Final = {
    ".pdf": PDF,
    ".docx": f"{_OPEN_XML}.wordprocessingml.document",
    ".pptx": f"{_OPEN_XML}.presentationml.presentation",
    ".xlsx": f"{_OPEN_XML}.spreadsheetml.sheet",
    ".odt": f"{_OPEN_DOCUMENT}.text",
    ".ods": f"{_OPEN_DOCUMENT}.spreadsheet",
    ".rtf": "application/rtf",
    ".epub": "application/epub+zip",
}
_TEXT_TYPES: Final = {
    ".txt": PLAIN,
    ".text": PLAIN,
    ".log": PLAIN,
    ".org": PLAIN,
    ".rst": PLAIN,
    ".taskpaper": PLAIN,
    ".md": MARKDOWN,
    ".markdown": MARKDOWN,
    ".csv": "text/csv",
    ".tsv": "text/tab-separated-values",
    ".ics": CALENDAR,
    ".vtt": "text/vtt",
    ".srt": "application/x-subrip",
    ".vcf": "text/vcard",
    ".json": JSON,
    ".htm": HTML,
    ".html": HTML,
    ".xhtml": HTML,
    ".eml": MAIL,
    ".mbox": MBOX,
}

_AUDIO_TYPES: Final = {
    ".wav": "audio/wav",
    ".mp3": "audio/mpeg",
    ".m4a": "audio/mp4",
    ".ogg": "audio/ogg",
    ".oga": "audio/ogg",
    ".opus": "audio/ogg",
}

_PICTURE_TYPES: Final = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".tif": "image/tiff",
    ".tiff": "image/tiff",
}

_KINDS: Final = _TEXT_TYPES | _OFFICE_TYPES
AUDIO: Final = frozenset(_AUDIO_TYPES.values())  # types that a hub with [transcription] reads
PICTURES: Final = frozenset(_PICTURE_TYPES.values())  # types that need the extra [ocr]
# Files without text of their own; an agent reads them only if it names their extensions.
_WORDLESS_TYPES: Final = _AUDIO_TYPES | _PICTURE_TYPES
OFFICE: Final = frozenset(_OFFICE_TYPES.values())  # types that need the extra [files]


def media_type_of(path: str, declared: str | None = None) -> str:
    """Return the declared type without parameters, else the type by file extension, else plain text."""
    if declared:
        return declared.partition(";")[0].strip().lower()
    suffix = _suffix_of(path)
    return _KINDS.get(suffix) or _WORDLESS_TYPES.get(suffix, PLAIN)


def _suffix_of(path: str) -> str:
    """Return the extension of a path in lower case, with its dot: without an object per path."""
    name = path.rstrip("/").rpartition("/")[2]
    dot = name.rfind(".")
    return name[dot:].lower() if 0 < dot < len(name) - 1 else ""


def kind_of(media_type: str) -> str:
    """Return a type in readable form: ``a .docx file``, or the media type itself if it is unknown."""
    suffix = next((suffix for suffix, kind in _KINDS.items() if kind == media_type), None)
    return media_type if suffix is None else f"a {suffix} file"


def is_named(name: str) -> bool:
    """Return True if the extension of *name* is of a type that can be converted to text."""
    return _suffix_of(name) in _KINDS


@dataclass(frozen=True)
class ConvertLimits:
    """Resource limits for the conversion of one file.

    Attributes:
        bytes: maximum size of the file, and of its text in UTF-8.
        memory_bytes: address space of the converting process, including Python itself (about 150 MB).
        seconds: timeout, and maximum processor time.
    """

    bytes: int = MAX_BYTES
    memory_bytes: int = 512 * MIB
    seconds: float = 60.0


class NotConvertible(Exception):
    """Failed conversion; ``str()`` explains the reason to the file's owner.

    Attributes:
        limit: name of the limit that was reached, if any.
    """

    def __init__(self, why: str, *, limit: str | None = None) -> None:
        super().__init__(why)
        self.limit = limit


@dataclass(frozen=True)
class Converted:
    """Text of a file.

    Attributes:
        text: text without lone surrogates; offsets of items count its code points.
        media_type: media type of the file.
        dropped: number of hidden parts left out of the text.
        date: aware date of writing, for files that contain one, such as mails.
        author: sender of a mail, as it names itself; unverified.
        guessed: encoding of the file, if nothing in the file tells it.
        parts: number of parts of a mail, by their type and outcome; empty if all were read.
    """

    text: str
    media_type: str
    dropped: int = 0
    date: datetime | None = None
    author: str | None = None
    guessed: str | None = None
    parts: dict[str, int] = field(default_factory=dict)

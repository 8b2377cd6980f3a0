"""Media types of files, by declared type or by file name. Pure functions."""

from pathlib import PurePosixPath
from typing import Final

PLAIN: Final = "text/plain"
HTML: Final = "text/html"
MAIL: Final = "message/rfc822"
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
    ".md": "text/markdown",
    ".markdown": "text/markdown",
    ".csv": "text/csv",
    ".tsv": "text/tab-separated-values",
    ".ics": "text/calendar",
    ".vtt": "text/vtt",
    ".srt": "application/x-subrip",
    ".vcf": "text/vcard",
    ".json": "application/json",
    ".htm": HTML,
    ".html": HTML,
    ".xhtml": HTML,
    ".eml": MAIL,
}

_KINDS: Final = _TEXT_TYPES | _OFFICE_TYPES
OFFICE: Final = frozenset(_OFFICE_TYPES.values())  # types that need the extra [files]


def media_type_of(path: str, told: str | None = None) -> str:
    """Return the declared type without parameters, else the type by file extension, else plain text."""
    if told:
        return told.partition(";")[0].strip().lower()
    suffix = PurePosixPath(path).suffix.lower()
    return _KINDS.get(suffix, PLAIN)


def kind_of(media_type: str) -> str:
    """Return a type in readable form: ``a .docx file``, or the media type itself if it is unknown."""
    suffix = next((suffix for suffix, kind in _KINDS.items() if kind == media_type), None)
    return media_type if suffix is None else f"a {suffix} file"


def is_named(name: str) -> bool:
    """Return True if the extension of *name* is of a type that can be converted to text."""
    suffix = PurePosixPath(name).suffix.lower()
    return suffix in _KINDS

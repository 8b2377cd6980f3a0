"""Office, pdf and mail files to text, by kreuzberg where the extra ``[files]`` is installed.

It is imported when the first such file comes: most devices never need its 98 MB.
Nothing is cached on disk, nothing leaves the process, pictures are not read.
"""

from types import ModuleType
from typing import Final

_OPEN_XML: Final = "application/vnd.openxmlformats-officedocument"
_OPEN_DOCUMENT: Final = "application/vnd.oasis.opendocument"

_BY_SUFFIX: Final = {
    ".pdf": "application/pdf",
    ".docx": f"{_OPEN_XML}.wordprocessingml.document",
    ".pptx": f"{_OPEN_XML}.presentationml.presentation",
    ".xlsx": f"{_OPEN_XML}.spreadsheetml.sheet",
    ".odt": f"{_OPEN_DOCUMENT}.text",
    ".ods": f"{_OPEN_DOCUMENT}.spreadsheet",
    ".rtf": "application/rtf",
    ".epub": "application/epub+zip",
    ".eml": "message/rfc822",
}
_KINDS: Final = frozenset(_BY_SUFFIX.values())


class Unreadable(Exception):
    """The file is damaged or protected, or its converter is not installed; ``str()`` says which."""


def media_type_of(suffix: str) -> str | None:
    """The kind that a file name's *suffix* (lower case, with the dot) stands for, if it is one of ours."""
    return _BY_SUFFIX.get(suffix)


def knows(media_type: str) -> bool:
    """Whether files of this kind are ours to read."""
    return media_type in _KINDS


def read(data: bytes, media_type: str) -> str:
    """The text of an office, pdf or mail file; blank lines between its paragraphs.

    Raises:
        Unreadable: nothing could be read.
    """
    kreuzberg = _kreuzberg()
    settings = kreuzberg.ExtractionConfig(
        use_cache=False, enable_quality_processing=False, output_format="plain"
    )
    try:
        text: str = kreuzberg.extract_bytes_sync(data, media_type, settings).content
    except kreuzberg.KreuzbergError as error:
        # Its message may quote the document, and the reason travels to the hub: the kind alone.
        raise Unreadable(f"damaged, protected or not really {media_type}") from error
    return text


def _kreuzberg() -> ModuleType:
    try:
        import kreuzberg
    except ImportError as error:
        raise Unreadable(
            "this kind of file needs the extra [files]: pip install 'device-hub[files]'"
        ) from error
    module: ModuleType = kreuzberg
    return module

"""Files to text: which converter a file takes, and how its bytes are decoded.

The text that comes out is the one that travels and that offsets count in, so
nothing is tidied: line ends stay as they are, only a byte order mark goes.
Whatever cannot be read with confidence is refused with a reason; a wrong guess
would end up as somebody's task.
"""

import codecs
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from hub.text import office
from hub.text.html import TooTangled, text_of_html

MAX_BYTES: Final = 32 * 1024 * 1024  # the same as an outbound answer of a mail provider

HTML: Final = "text/html"
PLAIN: Final = "text/plain"

_TEXT_TYPES: Final = {
    ".txt": PLAIN,
    ".text": PLAIN,
    ".log": PLAIN,
    ".org": PLAIN,
    ".rst": PLAIN,
    ".md": "text/markdown",
    ".markdown": "text/markdown",
    ".csv": "text/csv",
    ".tsv": "text/tab-separated-values",
    ".ics": "text/calendar",
    ".vcf": "text/vcard",
    ".json": "application/json",
    ".htm": HTML,
    ".html": HTML,
    ".xhtml": HTML,
}

# Longer marks first: UTF-32 LE begins with the mark of UTF-16 LE.
_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)

_CONTROLS: Final = frozenset(range(32)) - frozenset(b"\t\n\f\r\x1b")
_MOST_HIGH_BYTES: Final = 0.3  # of a text in an 8-bit Western alphabet; real ones stay below 0.1


class NotConvertible(Exception):
    """No text could be had from a file; ``str()`` says why, for the file's owner."""


@dataclass(frozen=True)
class Converted:
    """What came out: *text* without lone surrogates; *dropped* counts hidden parts left out of it."""

    text: str
    media_type: str
    dropped: int = 0


def convert(
    data: bytes, *, path: str, media_type: str | None = None, max_bytes: int = MAX_BYTES
) -> Converted:
    """The text of a file.

    Args:
        path: its name tells the kind where *media_type* does not.
        max_bytes: of *data* and, in UTF-8, of the text.

    Raises:
        NotConvertible: binary, damaged, too large, or a kind that needs the extra ``[files]``.
    """
    if len(data) > max_bytes:
        raise NotConvertible(f"larger than {max_bytes} bytes")
    kind = media_type_of(path, media_type)
    if office.knows(kind):
        try:
            return _bounded(Converted(office.read(data, kind), kind), max_bytes)
        except office.Unreadable as error:
            raise NotConvertible(str(error)) from error
    text = decode(data)
    if kind == HTML:
        try:
            page = text_of_html(text)
        except TooTangled as error:
            raise NotConvertible(str(error)) from error
        return _bounded(Converted(page.text, kind, page.dropped), max_bytes)
    return Converted(text, kind)


def media_type_of(path: str, told: str | None = None) -> str:
    """The kind of a file: what was *told*, without parameters, else what its name says, else plain text."""
    if told:
        return told.partition(";")[0].strip().lower()
    suffix = PurePosixPath(path).suffix.lower()
    return _TEXT_TYPES.get(suffix) or office.media_type_of(suffix) or PLAIN


def decode(data: bytes) -> str:
    """Bytes to text: by mark, else UTF-8, else Windows-1252 where that is plausible.

    Raises:
        NotConvertible: none of them fits, or NUL bytes say that it is no text at all.
    """
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            try:
                return data[len(mark) :].decode(encoding)
            except UnicodeDecodeError as error:
                raise NotConvertible(f"marked as {encoding}, but is not") from error
    if b"\0" in data:
        raise NotConvertible("binary: it contains NUL bytes")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        if _may_be_western(data):
            return data.decode("cp1252")
        raise NotConvertible("in no encoding that could be told with confidence") from error


def _may_be_western(data: bytes) -> bool:
    high = sum(data.count(byte) for byte in range(128, 256))
    if high > len(data) * _MOST_HIGH_BYTES or any(byte in data for byte in _CONTROLS):
        return False
    try:
        data.decode("cp1252")  # five of its bytes mean nothing
    except UnicodeDecodeError:
        return False
    return True


def _bounded(converted: Converted, max_bytes: int) -> Converted:
    if len(converted.text.encode("utf-8")) > max_bytes:
        raise NotConvertible(f"unpacks to more than {max_bytes} bytes of text")
    return converted

"""Decoding of bytes in an unknown encoding.

The text is not normalized: line ends are preserved, only a byte order mark is removed. Ambiguous content is
refused, because a wrong guess would end up in a user's task.
"""

import codecs
from typing import Final

from hub.text.files import NotConvertible

# Longer marks first: UTF-32 LE starts with the mark of UTF-16 LE.
_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)

_CONTROLS: Final = frozenset(range(32)) - frozenset(b"\t\n\f\r\x1b")
_MOST_HIGH_BYTES: Final = 0.3  # share in a text of an 8-bit Western encoding; real texts stay below 0.1


def decode(data: bytes) -> str:
    """Decode bytes by their mark, else as UTF-8, else as Windows-1252 if that is plausible.

    Raises:
        NotConvertible: no encoding fits, or NUL bytes show that the data is binary.
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
        data.decode("cp1252")  # five byte values are undefined
    except UnicodeDecodeError:
        return False
    return True

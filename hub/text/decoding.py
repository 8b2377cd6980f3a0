"""Bytes to text where nobody said how it was written.

Nothing is tidied: line ends stay as they are, only a byte order mark goes. What
cannot be read with confidence is refused; a wrong guess would end up as somebody's task.
"""

import codecs
from typing import Final

from hub.text.converted import NotConvertible

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

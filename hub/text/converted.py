"""What comes out of a file, and what is said when nothing does."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

MIB: Final = 1024 * 1024
MAX_BYTES: Final = 32 * MIB  # the same as an outbound answer of a mail provider


@dataclass(frozen=True)
class ConvertLimits:
    """What making text of one file may cost.

    Attributes:
        bytes: of the file and, in UTF-8, of its text.
        memory_bytes: address space of the process that reads it, Python itself (about 150 MB) included.
        seconds: until it is given up; also the most of processor time.
    """

    bytes: int = MAX_BYTES
    memory_bytes: int = 512 * MIB
    seconds: float = 60.0


class NotConvertible(Exception):
    """No text could be had from a file; ``str()`` says why, for the file's owner.

    Attributes:
        limit: the setting that stood in the way, where one did.
    """

    def __init__(self, why: str, *, limit: str | None = None) -> None:
        super().__init__(why)
        self.limit = limit


@dataclass(frozen=True)
class Converted:
    """What came out of a file.

    Attributes:
        text: without lone surrogates; offsets of items count its code points.
        media_type: of the file.
        dropped: hidden parts that were left out of the text.
        date: aware; when the file says itself that it was written, as a mail does.
    """

    text: str
    media_type: str
    dropped: int = 0
    date: datetime | None = None

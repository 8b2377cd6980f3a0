"""Result of a conversion, its limits, and its failure."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

MIB: Final = 1024 * 1024
MAX_BYTES: Final = 32 * MIB  # same limit as for a mail provider's answers


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
    """

    text: str
    media_type: str
    dropped: int = 0
    date: datetime | None = None

"""What ``file.get`` and ``file.put`` carry in ``data`` and are answered: texts of an agent on its device.

The call's ``agent_id`` says whose. One text has a name of ``FILES``. An answer has at most
``MAX_RESULT_BYTES``, so a text is read in parts.
"""

from typing import Annotated, Final

import msgspec
from msgspec import Meta

from protocol.frame import Count, EpochMs, Name, Sha256
from protocol.messages import SOUL_FILE

FILES: Final = frozenset({SOUL_FILE})
MAX_FILE_BYTES: Final = 256 * 1024  # of a text that is written; with every character escaped it fits a frame
PART_BYTES: Final = 48 * 1024  # of the text in one answer, as JSON spells it

FileText = Annotated[str, Meta(max_length=MAX_FILE_BYTES)]


class FileGet(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A part of a text is wanted, from the code point *offset* on."""

    name: Name
    offset: Count = 0


class FilePart(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a text as it is now. *sha256* and *size_bytes* are of all of it.

    Attributes:
        sha256: ``None``: there is no such text.
        next_offset: where the next part begins; ``None``: this is the last one.
    """

    name: Name
    sha256: Sha256 | None
    content: str = ""
    size_bytes: Count = 0
    offset: Count = 0
    next_offset: Count | None = None
    updated_at: EpochMs | None = None


class FilePut(msgspec.Struct, frozen=True, kw_only=True):
    """A text is to be this, if it is still the one that was read.

    Attributes:
        expected_sha256: of the text that has to be there; ``None``: there must be none.
    """

    name: Name
    content: FileText
    expected_sha256: Sha256 | None


class FileKept(msgspec.Struct, frozen=True, kw_only=True):
    """The text is kept now."""

    name: Name
    sha256: Sha256
    size_bytes: Count
    updated_at: EpochMs

"""Payloads of ``file.get`` and ``file.put`` and of their answers: texts of an agent on its device.

The call's ``agent_id`` names the agent. A text has a name in ``FILES``. An answer has at most
``MAX_RESULT_BYTES``, so a text is read in parts.
"""

from typing import Annotated, Final

import msgspec
from msgspec import Meta

from protocol.frame import Count, EpochMs, Name, Sha256
from protocol.messages import SOUL_FILE

FILES: Final = frozenset({SOUL_FILE})
MAX_FILE_BYTES: Final = 256 * 1024  # of a written text; fits a frame even with every character escaped
PART_BYTES: Final = 48 * 1024  # of the text in one answer, JSON-encoded

FileText = Annotated[str, Meta(max_length=MAX_FILE_BYTES)]


class FileGet(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Request for a part of a text, from the code point *offset* on."""

    name: Name
    offset: Count = 0


class FilePart(msgspec.Struct, frozen=True, kw_only=True):
    """Part of a current text. *sha256* and *size_bytes* refer to the whole text.

    Attributes:
        sha256: ``None``: the text does not exist.
        next_offset: start of the next part; ``None``: this is the last one.
    """

    name: Name
    sha256: Sha256 | None
    content: str = ""
    size_bytes: Count = 0
    offset: Count = 0
    next_offset: Count | None = None
    updated_at: EpochMs | None = None


class FilePut(msgspec.Struct, frozen=True, kw_only=True):
    """Request to replace a text if it is unchanged since it was read.

    Attributes:
        expected_sha256: required hash of the current text; ``None``: it must not exist.
    """

    name: Name
    content: FileText
    expected_sha256: Sha256 | None


class FileStored(msgspec.Struct, frozen=True, kw_only=True):
    """Answer: the text was stored."""

    name: Name
    sha256: Sha256
    size_bytes: Count
    updated_at: EpochMs

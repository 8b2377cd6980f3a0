"""Assembly of a file from a device's pieces, and its conversion to a document.

Text made by the device is kept as it is. Bytes are converted to text here. Text that the device did not
convert is converted too, if it is of a web page, a mail or an archive of messages.

Large byte content is spooled to an unnamed temporary file, from which the converter process reads it. The hub
never holds it in memory as a whole.
"""

import base64
import binascii
import hashlib
from collections.abc import Callable
from contextlib import suppress
from functools import cached_property
from tempfile import SpooledTemporaryFile
from typing import Final

import msgspec

from hub.base.clock import from_epoch_ms
from hub.document import Document
from hub.extraction.authorship import origin_of
from hub.extraction.injection_warnings import hidden_count, spans
from hub.text import archives
from hub.text.convert import convert, convert_file
from hub.text.decoding import GUESSED
from hub.text.files import (
    AUDIO,
    CHAT,
    HTML,
    MAIL,
    MBOX,
    Converted,
    ConvertLimits,
    media_type_of,
)
from hub.text.parts import known_parts
from hub.text.worker import Check
from protocol.errors import ErrorCode, HubError
from protocol.items import MAX_AUTHOR_CHARS, Provenance, ProvenanceOrigin
from protocol.work import FilePiece

MAX_DOCUMENT_BYTES: Final = 32 * 1024 * 1024  # per file; text is held as one string during extraction
# Bytes of a file in memory. A run's 64 MiB thus cover 256 open files.
_SPOOLED_BYTES: Final = 256 * 1024
_AS_IT_IS: Final = (None, "text", "utf-8")


class BrokenFile(HubError):
    """A file that cannot be assembled; *reason* is the error code to report."""

    code = ErrorCode.FILE_INCOMPLETE

    def __init__(self, reason: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class IncomingFile:
    """Pieces of one file in order. Must be closed."""

    def __init__(self, first: FilePiece, began_at: int | None = None) -> None:
        self._first = first
        self._began_at = began_at
        self._pieces = 0
        self._size = 0
        self._parts: list[str] = []  # if the content is text
        self._bytes: _Base64 | None = _Base64() if first.encoding == "base64" else None

    def add(self, piece: FilePiece) -> None:
        """Add the next piece.

        Raises:
            BrokenFile: the piece is out of order, or the file exceeds MAX_DOCUMENT_BYTES.
        """
        if piece.piece != self._pieces or piece.pieces != self._first.pieces:
            raise BrokenFile(
                ErrorCode.FILE_INCOMPLETE,
                f"piece {piece.piece} of {piece.pieces} came where piece {self._pieces} "
                f"of {self._first.pieces} was due",
            )
        if piece.sha256 != self._first.sha256:
            raise BrokenFile(ErrorCode.FILE_CHANGED, "the file changed while it was read")
        self._size += len(piece.content)
        if self._size > MAX_DOCUMENT_BYTES:
            raise BrokenFile(
                ErrorCode.TOO_LARGE, f"longer than {MAX_DOCUMENT_BYTES} bytes; split it into parts"
            )
        self._pieces += 1
        if self._bytes is None:
            self._parts.append(piece.content)
        else:
            self._bytes.add(piece.content)

    @property
    def is_whole(self) -> bool:
        return self._pieces == self._first.pieces

    @property
    def is_to_be_read(self) -> bool:
        """True if the file needs a conversion or is an archive, which may take long."""
        is_archive = self._first.media_type in (MBOX, CHAT)
        return self._bytes is not None or is_archive or self._kind_to_read is not None

    def document(self, limits: ConvertLimits, check: Check) -> Document:
        """Return the file as a document. Blocks if the file needs a conversion.

        Raises:
            NotConvertible: the file cannot be converted to text.
            BrokenFile: the content does not have the announced encoding.
        """
        first = self._first
        if self._bytes is not None and media_type_of(first.path, first.media_type) in AUDIO:
            content, self._bytes = self._bytes, None
            empty = Converted("", media_type_of(first.path, first.media_type))
            document = self._made_of(empty, content.sha256)
            return msgspec.structs.replace(document, recording=content.whole())
        if self._bytes is not None:
            with self._bytes.whole() as file:
                read = convert_file(
                    file, path=first.path, media_type=first.media_type, limits=limits, check=check
                )
            return self._made_of(read, self._bytes.sha256)
        if first.encoding not in _AS_IT_IS:
            raise BrokenFile(ErrorCode.NOT_CONVERTIBLE, f"unknown encoding {first.encoding!r}")
        text = "".join(self._parts)
        kind = self._kind_to_read
        parts = {part.name: part.count for part in first.parts}
        read = Converted(text, first.media_type or "", first.hidden, guessed=first.guessed, parts=parts)
        if kind is not None:
            read = convert(
                text.encode(), path=first.path, media_type=first.media_type, limits=limits, check=check
            )
        return self._made_of(read, lambda: hashlib.sha256(text.encode()).hexdigest())

    def close(self) -> None:
        """Release the file's buffers; safe to call twice."""
        if self._bytes is not None:
            self._bytes.close()

    @cached_property
    def _kind_to_read(self) -> str | None:
        """Return the type of a text that is still to be converted: of a page, a mail or an archive."""
        first = self._first
        named = media_type_of(first.path, first.media_type)
        kind = archives.kind_in(self._parts[0][: archives.HEAD_BYTES].encode("utf-8", "replace"), named)
        if first.media_type is not None and kind == named:
            return None  # converted by the device
        return kind if kind in (HTML, MAIL, MBOX, CHAT) else None

    def _made_of(self, read: Converted, sha256: Callable[[], str]) -> Document:
        modified_at = read.date
        if modified_at is None and self._first.modified_ms is not None:
            with suppress(ValueError, OverflowError, OSError):  # an impossible date is ignored
                modified_at = from_epoch_ms(self._first.modified_ms)
        return Document(
            unit_key=self._first.path,
            text=read.text,
            # The announced hash serves as identity only; a simple device announces none.
            content_hash=self._first.sha256 or sha256(),
            media_type=read.media_type or None,
            modified_at=modified_at,
            hidden_parts=read.dropped,
            guessed=read.guessed if read.guessed in GUESSED else None,
            parts=known_parts(read.parts),
            began_at=self._began_at,
            provenance=provenance_of(read, self._first.path),
            authors=tuple(
                (message.start, message.author and message.author[:MAX_AUTHOR_CHARS])
                for message in archives.messages_in(read.text, read.media_type)
            ),
        )


class _Base64:
    """Decoder for base64 content that arrives in parts of any length."""

    def __init__(self) -> None:
        self._file: SpooledTemporaryFile[bytes] = SpooledTemporaryFile(_SPOOLED_BYTES)  # noqa: SIM115
        self._sha256 = hashlib.sha256()
        self._rest = ""
        self._is_padded = False  # no content may follow

    def add(self, content: str) -> None:
        content = self._rest + content
        end = len(content) // 4 * 4
        self._rest = content[end:]
        if not end:
            return
        try:
            if self._is_padded:
                raise ValueError("more after its end")
            data = base64.b64decode(content[:end], validate=True)
        except (binascii.Error, ValueError) as error:
            raise _not_base64() from error
        self._is_padded = content[end - 1] == "="
        self._sha256.update(data)
        self._file.write(data)

    def whole(self) -> "SpooledTemporaryFile[bytes]":
        """Return the decoded content, a context manager that closes the file."""
        if self._rest:
            raise _not_base64()
        return self._file

    def sha256(self) -> str:
        return self._sha256.hexdigest()

    def close(self) -> None:
        self._file.close()


def _not_base64() -> BrokenFile:
    return BrokenFile(ErrorCode.BAD_FRAME, "not the base64 it was said to be")


def provenance_of(read: Converted, path: str) -> Provenance:
    """Return the provenance of a file: a saved mail or web page is from others, wherever it is stored."""
    origin = origin_of(read.media_type, path)
    if origin is ProvenanceOrigin.OWN:
        return Provenance(origin=origin, trusted=True)
    author = read.author
    if author is None and origin is ProvenanceOrigin.MAIL:  # a device sent the text alone
        author = archives.author_of_mail(read.text)
    return Provenance(origin=origin, author=author and author[:MAX_AUTHOR_CHARS], trusted=False)


def marks_of(text: str, *, is_row: bool = True) -> tuple[str, ...]:
    """Return the marks of a text by its own words. *is_row*: it is one of fields or names."""
    marks = ["instruction"] if spans(text, is_row=is_row) else []
    return (*marks, "hidden_characters") if hidden_count(text) else tuple(marks)

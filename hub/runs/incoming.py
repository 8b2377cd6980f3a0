"""Assembly of one file from the pieces that a device sends, and its conversion to a document.

Text made by the device is kept as it is. Bytes are converted to text here. Text without a media type is
converted too, if its file name is of a web page or a mail.

Large byte content is spooled to an unnamed temporary file, from which the converter process reads it. The hub
never holds it in memory as a whole.
"""

import base64
import binascii
import hashlib
from collections.abc import Callable
from contextlib import suppress
from tempfile import SpooledTemporaryFile
from typing import Final

from hub.clock import from_epoch_ms
from hub.document import Document
from hub.text import office
from hub.text.convert import convert, convert_file
from hub.text.converted import Converted, ConvertLimits
from hub.text.kinds import HTML, MAIL, OFFICE, media_type_of
from hub.text.worker import Check
from protocol.errors import ErrorCode, HubError
from protocol.work import FilePiece

MAX_DOCUMENT_BYTES: Final = 32 * 1024 * 1024  # per file; text is held as one string during extraction
# Bytes of a file in memory. A run's 64 MiB thus cover 256 open files.
_SPOOLED_BYTES: Final = 256 * 1024
_AS_IT_IS: Final = (None, "text", "utf-8")


def kinds_read_here() -> list[str]:
    """Return the media types that a device may send as bytes.

    These are web pages and mails, with the extra ``[files]`` also office files and pdf.
    """
    return sorted({HTML, MAIL, *(OFFICE if office.is_installed() else ())})


class BrokenFile(HubError):
    """A file that cannot be assembled; *reason* is the error code to report."""

    code = ErrorCode.FILE_INCOMPLETE

    def __init__(self, reason: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class IncomingFile:
    """Pieces of one file in order. Must be closed."""

    def __init__(self, first: FilePiece) -> None:
        self._first = first
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
            raise BrokenFile(ErrorCode.TOO_LARGE, f"longer than {MAX_DOCUMENT_BYTES} bytes")
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
        """True if the file needs a conversion, which may take long."""
        return self._bytes is not None or self._kind_to_read() is not None

    def document(self, limits: ConvertLimits, check: Check) -> Document:
        """Return the file as a document. Blocks if the file needs a conversion.

        Raises:
            NotConvertible: the file cannot be converted to text.
            BrokenFile: the content does not have the announced encoding.
        """
        first = self._first
        if self._bytes is not None:
            with self._bytes.whole() as file:
                read = convert_file(
                    file, path=first.path, media_type=first.media_type, limits=limits, check=check
                )
            return self._made_of(read, self._bytes.sha256)
        if first.encoding not in _AS_IT_IS:
            raise BrokenFile(ErrorCode.NOT_CONVERTIBLE, f"unknown encoding {first.encoding!r}")
        text = "".join(self._parts)
        kind = self._kind_to_read()
        read = Converted(text, first.media_type or "", first.hidden)
        if kind is not None:
            read = convert(text.encode(), path=first.path, media_type=kind, limits=limits, check=check)
        return self._made_of(read, lambda: hashlib.sha256(text.encode()).hexdigest())

    def close(self) -> None:
        """Release the file's buffers; safe to call twice."""
        if self._bytes is not None:
            self._bytes.close()

    def _kind_to_read(self) -> str | None:
        if self._first.media_type is not None:
            return None
        kind = media_type_of(self._first.path)
        return kind if kind in (HTML, MAIL) else None

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

"""Content of a shared file: its digest, and its text in pieces that fit a frame.

``fstat`` before and after reading detects a concurrent change. Such a file is skipped; the next run reads it
again.

All functions block.
"""

import base64
import hashlib
import os
from collections import OrderedDict
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Final

import msgspec

from hub.clock import Clock, epoch_ms
from hub.device.shared import Check, SharedFile, SharedFolders, SkipReason, Unreadable
from hub.text import office
from hub.text.convert import convert
from hub.text.files import OFFICE, Converted, NotConvertible, media_type_of

_BLOCK_BYTES: Final = 1024 * 1024
_MOST_DIGESTS: Final = 100_000  # kept in memory: at most 30 MB
# A file written again within one tick of its file system's clock looks unchanged.
_SETTLED_AFTER_NS: Final = 2_000_000_000


@dataclass(frozen=True)
class FileText:
    """Text of a file, in pieces.

    Attributes:
        sha256: digest of the file's bytes.
        modified_ms: modification time in epoch milliseconds; for a mail, its sending time.
        hidden: number of invisible parts left out of the text.
        encoding: "base64" if the hub is to convert the content.
    """

    sha256: str
    modified_ms: int
    media_type: str
    pieces: list[str]
    hidden: int = 0
    encoding: str | None = None


class Contents:
    """Reader of shared files with a cache of the digests of unchanged files."""

    def __init__(self, shared: SharedFolders, clock: Clock) -> None:
        self._shared = shared
        self._clock = clock
        self._digests: OrderedDict[tuple[int, ...], str] = OrderedDict()

    def digest(self, file: SharedFile, check: Check) -> str:
        """Return the SHA-256 (hex) of the file's content; cached digests need no reading.

        Raises:
            Unreadable: the file cannot be opened, or changed while it was read.
        """
        with self._shared.open(file) as descriptor:
            info = os.fstat(descriptor)
            known = self._digests.get(_likeness(info))
            if known is not None:
                self._digests.move_to_end(_likeness(info))
                return known
            sha = hashlib.sha256()
            for block in _blocks(descriptor, info, check):
                sha.update(block)
            digest = sha.hexdigest()
            self._remember(info, digest)
            return digest

    def text(
        self,
        file: SharedFile,
        check: Check,
        *,
        piece_bytes: int,
        escaped_bytes: int,
        hub_reads: Collection[str] = (),
    ) -> FileText:
        """Return the file's text in pieces; see ``cut``.

        Args:
            hub_reads: media types that the hub accepts unconverted, if this device cannot convert them.

        Raises:
            Unreadable: as ``digest``, or the file cannot be converted to text.
        """
        with self._shared.open(file) as descriptor:
            info = os.fstat(descriptor)
            data = b"".join(_blocks(descriptor, info, check))
        kind = media_type_of(file.path)
        is_raw = kind in OFFICE and kind in hub_reads and not office.is_installed()
        try:
            if is_raw:
                converted = Converted(base64.b64encode(data).decode("ascii"), kind)
            else:
                converted = convert(data, path=file.path, check=check)
        except NotConvertible as error:
            # Owners know their damaged or non-text files; a reached limit is reported by its name.
            reason = SkipReason.NOT_CONVERTIBLE if error.limit is None else SkipReason(error.limit)
            raise Unreadable(reason, str(error)) from error
        modified_ms = info.st_mtime_ns // 1_000_000
        if converted.date is not None:
            modified_ms = epoch_ms(converted.date)
        return FileText(
            sha256=hashlib.sha256(data).hexdigest(),
            modified_ms=max(0, modified_ms),
            media_type=converted.media_type,
            pieces=cut(converted.text, piece_bytes=piece_bytes, escaped_bytes=escaped_bytes),
            hidden=converted.dropped,
            encoding="base64" if is_raw else None,
        )

    def _remember(self, info: os.stat_result, digest: str) -> None:
        now_ns = int(self._clock.now().timestamp() * 1e9)
        if now_ns - max(info.st_mtime_ns, info.st_ctime_ns) > _SETTLED_AFTER_NS:
            self._digests[_likeness(info)] = digest
            if len(self._digests) > _MOST_DIGESTS:
                self._digests.popitem(last=False)


def cut(text: str, *, piece_bytes: int, escaped_bytes: int) -> list[str]:
    """Split *text* into pieces whose concatenation is *text*; at least one.

    Args:
        piece_bytes: maximum UTF-8 bytes of a piece; at least those of one code point.
        escaped_bytes: maximum bytes of a piece as JSON, in which a control character takes six.
    """
    pieces: list[str] = []
    start = 0
    while start < len(text):
        width = max(1, piece_bytes)
        while True:
            piece = text[start : start + width]
            if len(piece.encode()) <= piece_bytes and len(msgspec.json.encode(piece)) <= escaped_bytes:
                break
            if len(piece) == 1:
                raise ValueError(f"pieces of {piece_bytes} bytes cannot hold {piece!r}")
            width = max(1, min(width, len(piece)) * 3 // 4)
        pieces.append(piece)
        start += len(piece)
    return pieces or [""]


def _blocks(descriptor: int, before: os.stat_result, check: Check) -> Iterator[bytes]:
    left = before.st_size
    while left >= 0:
        check()
        try:
            block = os.read(descriptor, min(_BLOCK_BYTES, left + 1))  # one byte more, to detect growth
        except OSError as error:
            raise Unreadable(SkipReason.UNREADABLE) from error
        if not block:
            break
        left -= len(block)
        yield block
    if left != 0 or _likeness(os.fstat(descriptor)) != _likeness(before):
        raise Unreadable(SkipReason.CHANGED)


def _likeness(info: os.stat_result) -> tuple[int, ...]:
    return (info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns)

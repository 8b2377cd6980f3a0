"""Queue of unread frames, in memory while small, then in a file.

Used by a socket's reader, which never waits. So it writes directly into the page cache. A thread would need a
queue of its own, and the file exists to avoid long queues in memory.
"""

from collections import deque
from pathlib import Path
from struct import Struct
from tempfile import TemporaryFile
from typing import IO, Final

import msgspec

from hub.links.link import RunFrame

_LENGTH: Final = Struct("!I")
_encode = msgspec.msgpack.Encoder().encode
_decoder: msgspec.msgpack.Decoder[RunFrame] = msgspec.msgpack.Decoder(RunFrame)


class Spool:
    """First-in, first-out queue of frames.

    Args:
        directory: folder of the file; None for the system's folder of temporary files.
        memory_bytes: capacity in memory. The file has no name, so it disappears with the process.
    """

    __slots__ = (
        "_directory",
        "_file",
        "_in_file",
        "_memory",
        "_memory_bytes",
        "_most",
        "_read_at",
        "_write_at",
    )

    def __init__(self, directory: Path | None, memory_bytes: int) -> None:
        self._directory = directory
        self._most = memory_bytes
        self._memory: deque[tuple[RunFrame, int]] = deque()
        self._memory_bytes = 0
        self._file: IO[bytes] | None = None
        self._in_file = 0
        self._read_at = self._write_at = 0

    def __len__(self) -> int:
        return len(self._memory) + self._in_file

    def put(self, frame: RunFrame, size_bytes: int) -> None:
        """Append *frame*, which takes about *size_bytes*.

        Raises:
            OSError: the file cannot be written; the frame is not stored.
        """
        # Once frames are in the file, later frames follow there, to keep their order.
        if self._in_file == 0 and self._memory_bytes + size_bytes <= self._most:
            self._memory.append((frame, size_bytes))
            self._memory_bytes += size_bytes
            return
        if self._file is None:
            self._file = TemporaryFile(dir=self._directory, buffering=0)  # noqa: SIM115 (until ``close``)
        data = _encode(frame)
        self._file.seek(self._write_at)
        for part in (_LENGTH.pack(len(data)), data):
            self._write(part)
        self._write_at += _LENGTH.size + len(data)
        self._in_file += 1

    def take(self) -> RunFrame:
        """Remove and return the oldest frame.

        Raises:
            IndexError: the queue is empty.
            OSError: the file cannot be read.
        """
        if self._memory or not self._in_file:
            frame, size_bytes = self._memory.popleft()
            self._memory_bytes -= size_bytes
            return frame
        assert self._file is not None
        self._file.seek(self._read_at)
        (length,) = _LENGTH.unpack(self._file.read(_LENGTH.size))
        frame = _decoder.decode(self._file.read(length))
        self._read_at += _LENGTH.size + length
        self._in_file -= 1
        if not self._in_file:  # empty: truncate the file, so that it does not grow for ever
            self._file.truncate(0)
            self._read_at = self._write_at = 0
        return frame

    def close(self) -> None:
        """Discard all frames and close the file."""
        self._memory.clear()
        self._memory_bytes = self._in_file = 0
        if self._file is not None:
            self._file.close()
            self._file = None

    def _write(self, data: bytes) -> None:
        assert self._file is not None
        written = 0
        while written < len(data):  # an unbuffered file may write less than requested
            written += self._file.write(data[written:])

"""Log entries in files of the state folder, for the log views after a restart; bounded in bytes.

Two files: the current one, and the one before it, which is replaced when the current one is half as long as
the bound. A line is an entry as JSON. Lines that a killed process left incomplete are skipped.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from hub.base.log.ring import LogEntry

NAME: Final = "hub.jsonl"


TAIL_BYTES: Final = 256 * 1024  # longer than any entry: fields and tracebacks are shortened


_encode: Final = msgspec.json.Encoder(enc_hook=str).encode


_decode: Final = msgspec.json.Decoder(LogEntry).decode


class LogFile:
    """Files of log entries in *folder*.

    One thread writes, any other may read meanwhile.

    Attributes:
        most: total length in bytes at which the oldest entries go.
    """

    def __init__(self, folder: Path, most: int) -> None:
        self._path = folder / NAME
        self._older = folder / f"{NAME}.1"
        self.most = most

    def last_seq(self) -> int:
        """Return the sequence number of the last entry; 0 if there is none, or if it cannot be read."""
        for path in (self._path, self._older):
            with suppress(OSError), path.open("rb") as file:
                file.seek(max(0, path.stat().st_size - TAIL_BYTES))
                if entries := list(_entries(file)):
                    return entries[-1].seq
        return 0

    def write(self, entries: Iterable[LogEntry]) -> None:
        """Append entries. On a full or broken disk they are lost; the log itself goes on."""
        lines = b"".join(b"\n" + _encode(entry) for entry in entries)
        with suppress(OSError):
            self._path.parent.mkdir(mode=0o700, exist_ok=True)
            file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                os.write(file, lines)
                is_full = os.fstat(file).st_size >= self.most // 2
            finally:
                os.close(file)
            if is_full:
                self._path.replace(self._older)

    def read(self, since: int, until: int | None = None) -> list[LogEntry]:
        """Return the entries at or after *since* and before *until*, epoch milliseconds, the oldest first."""
        found: dict[int, LogEntry] = {}
        for path in (self._path, self._older):  # it may become the older one meanwhile
            with suppress(OSError), path.open("rb") as file:
                for entry in _entries(file):
                    if since <= entry.at and (until is None or entry.at < until):
                        found[entry.seq] = entry
        return [found[seq] for seq in sorted(found)]


def _entries(lines: Iterable[bytes]) -> Iterator[LogEntry]:
    for line in lines:
        with suppress(msgspec.MsgspecError):
            yield _decode(line)

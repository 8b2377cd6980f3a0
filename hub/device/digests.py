"""Cached digests of shared files: when a file has to be opened again.

A digest holds while size, times and inode of its file are unchanged. A file that was written a moment ago
could be written again within the same tick of its file system's clock, without looking changed. The digest of
such a file is not kept, so the next run opens it again.

The digests are a cache in a table of its own, which older versions of this program ignore. A lost or locked
table costs time only: the files are opened again. All methods block.
"""

import sqlite3
from collections.abc import Collection, Iterator, Mapping
from contextlib import closing, contextmanager
from os import stat_result
from pathlib import Path
from threading import Lock
from typing import Final, NamedTuple

from hub.base.log import Channel
from hub.device.schema import transaction

log = Channel(__name__)

CREATE: Final = """
CREATE TABLE IF NOT EXISTS digests (
    folder TEXT NOT NULL,
    name TEXT NOT NULL,
    size INTEGER NOT NULL,
    modified_ns INTEGER NOT NULL,
    changed_ns INTEGER NOT NULL,
    inode INTEGER NOT NULL,
    sha256 BLOB NOT NULL CHECK (length(sha256) = 32),
    PRIMARY KEY (folder, name)
) STRICT, WITHOUT ROWID
"""


_OF_FOLDER: Final = "SELECT name, size, modified_ns, changed_ns, inode, sha256 FROM digests WHERE folder = ?"


_KEEP: Final = "INSERT OR REPLACE INTO digests VALUES (?, ?, ?, ?, ?, ?, ?)"


_FORGET: Final = "DELETE FROM digests WHERE folder = ? AND name = ?"


_FOLDERS_BELOW: Final = "SELECT DISTINCT folder FROM digests WHERE folder = ? OR folder > ? AND folder < ?"


_FORGET_FOLDER: Final = "DELETE FROM digests WHERE folder = ?"


# Granularity of the clock of the coarsest file system (FAT).
_GRANULARITY_NS: Final = 2_000_000_000


_BUSY_TIMEOUT_S: Final = 2.0


_AT_ONCE: Final = 1_000  # digests in one transaction: other writers wait a few milliseconds


_SIGNED: Final = 2**63 - 1  # an inode may have 64 bits, an integer of SQLite has a sign


class Stamp(NamedTuple):
    """Metadata that change with the content of a file."""

    size: int
    modified_ns: int
    changed_ns: int
    inode: int

    def is_settled(self, now_ns: int) -> bool:
        """Return True if another change of the file would change its times."""
        return now_ns - max(self.modified_ns, self.changed_ns) > _GRANULARITY_NS


def stamp_of(info: stat_result) -> Stamp:
    """Return the stamp of a file."""
    return Stamp(info.st_size, info.st_mtime_ns, info.st_ctime_ns, info.st_ino & _SIGNED)


class Digests:
    """Kept digests, by folder and file name; usable from several threads."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._lock = Lock()
        self._unwritten: list[tuple[object, ...]] = []
        self._is_broken = False

    def of_folder(self, folder: str) -> Mapping[str, tuple[Stamp, bytes]]:
        """Return stamp and digest of the files directly in *folder*, by name."""
        found: dict[str, tuple[Stamp, bytes]] = {}
        with self._lock, self._tolerant():
            for name, *stamp, sha256 in self._db.execute(_OF_FOLDER, (folder,)):
                found[name] = Stamp(*stamp), sha256
        return found

    def keep(self, folder: str, name: str, stamp: Stamp, sha256: bytes) -> None:
        """Keep the digest of a file; written with the next ones, or by ``flush``."""
        with self._lock:
            self._unwritten.append((folder, name, *stamp, sha256))
            if len(self._unwritten) >= _AT_ONCE:
                self._write()

    def flush(self) -> None:
        """Write the digests that were kept since the last write."""
        with self._lock:
            self._write()

    def forget(self, folder: str, names: Collection[str]) -> None:
        """Delete digests of files that *folder* does not have any more."""
        with self._lock, self._tolerant(), transaction(self._db):
            self._db.executemany(_FORGET, [(folder, name) for name in names])

    def forget_folders(self, root: str, existing: Collection[str]) -> None:
        """Delete digests of folders at or below *root* that are not among the *existing* ones."""
        with self._lock, self._tolerant():
            below = root.rstrip("/")
            folders = self._db.execute(_FOLDERS_BELOW, (root, f"{below}/", f"{below}0")).fetchall()
            for (folder,) in folders:
                if folder not in existing:
                    self._db.execute(_FORGET_FOLDER, (folder,))

    def _write(self) -> None:
        unwritten, self._unwritten = self._unwritten, []
        if unwritten:
            with self._tolerant(), transaction(self._db):
                self._db.executemany(_KEEP, unwritten)

    @contextmanager
    def _tolerant(self) -> Iterator[None]:
        """Log the first failure of the disk, and go on without digests."""
        try:
            yield
        except sqlite3.Error as error:
            if not self._is_broken:
                log.warning("device.digests.failed", exc=error)
            self._is_broken = True


@contextmanager
def open_digests(path: Path) -> Iterator[Digests]:
    """Open the digests in the device's file at *path*, which exists."""
    with closing(
        sqlite3.connect(path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
    ) as db:
        db.execute("PRAGMA synchronous = NORMAL")  # the last digests may be lost with the power
        digests = Digests(db)
        try:
            yield digests
        finally:
            digests.flush()

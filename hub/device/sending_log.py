"""Log of files that a device sent or held back: written before sending, limited in entries.

A file is logged before its first piece is sent; while the log cannot be written, nothing is. What is held
back has one entry for each file and hub, with the latest reason. Beyond MAX_SENT and MAX_HELD_BACK the
oldest entries are deleted: some 100 MB at most. While it cannot be written, a file next to the device's file
says so to other programs of the owner.
"""

import sqlite3
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import Final, NamedTuple

import msgspec

from hub.base.clock import Clock, epoch_ms
from hub.device.schema import transaction
from protocol.receipts import Receipt, SentFile, root_of, sorted_files
from protocol.skipped_files import SkippedFile
from protocol.work import MANY, MAX_FILES, MAX_IDS

MAX_SENT: Final = MAX_FILES
MAX_RECEIPTS: Final = 20_000
MAX_HELD_BACK: Final = 20_000
_BUSY_TIMEOUT_S: Final = 5.0
# Files that are there while the log, or the device's file, cannot be written, and what that means.
_FAULTS: Final = {
    ".unsent": "what is sent cannot be logged, so nothing is sent",
    ".unheld": "what is held back cannot be logged",
    ".unkept": "receipts of hubs cannot be stored",
    ".failed": "this device keeps nothing",
}
_SENT_FAULT, _HELD_FAULT, _RECEIPT_FAULT, FILE_FAULT = _FAULTS

CREATE: Final = (
    """
CREATE TABLE IF NOT EXISTS sent (
    number INTEGER PRIMARY KEY,
    at_ms INTEGER NOT NULL,
    hub TEXT NOT NULL,
    run_id TEXT NOT NULL,
    agent_id TEXT NOT NULL,
    reader TEXT NOT NULL,
    path TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    sha256 TEXT NOT NULL,
    receipt TEXT NOT NULL DEFAULT ''
) STRICT
""",
    """
CREATE TABLE IF NOT EXISTS receipts (
    id TEXT NOT NULL PRIMARY KEY,
    hub TEXT NOT NULL,
    run_id TEXT NOT NULL,
    at_ms INTEGER NOT NULL,
    first INTEGER NOT NULL,
    receipt TEXT
) STRICT
""",
    """
CREATE TABLE IF NOT EXISTS held_back (
    hub TEXT NOT NULL,
    path TEXT NOT NULL,
    reason TEXT NOT NULL,
    at_ms INTEGER NOT NULL,
    PRIMARY KEY (hub, path)
) STRICT, WITHOUT ROWID
""",
)
_INSERT: Final = (
    "INSERT INTO sent (at_ms, hub, run_id, agent_id, reader, receipt, path, bytes, sha256)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_EXPECT: Final = (
    "INSERT INTO receipts (id, hub, run_id, at_ms, first)"
    " SELECT ?, ?, ?, ?, coalesce(max(number), 0) + 1 FROM sent WHERE true ON CONFLICT DO NOTHING"
)
_PRUNE_RECEIPTS: Final = "DELETE FROM receipts WHERE rowid <= (SELECT max(rowid) FROM receipts) - ?"
_FILES: Final = (
    "SELECT path, bytes, sha256 FROM sent"
    " WHERE number >= (SELECT first FROM receipts WHERE id = ?1) AND receipt = ?1"
)
_KEEP: Final = "UPDATE receipts SET receipt = ? WHERE id = ?"
_LACKING: Final = "SELECT id FROM receipts WHERE hub = ? AND receipt IS NULL ORDER BY rowid DESC LIMIT ?"
_PRUNE: Final = "DELETE FROM sent WHERE number <= (SELECT max(number) FROM sent) - ?"
_HOLD: Final = "INSERT OR REPLACE INTO held_back VALUES (?, ?, ?, ?)"
_LET_GO: Final = "DELETE FROM held_back WHERE hub = ? AND path = ?"
_PRUNE_HELD: Final = (
    "DELETE FROM held_back WHERE at_ms < (SELECT at_ms FROM held_back ORDER BY at_ms DESC LIMIT 1 OFFSET ?)"
)


class SendingOrder(NamedTuple):
    """Reading of a run for which files are sent. *receipt*: its id, or empty at a hub that gives none."""

    hub: str
    run_id: str
    agent_id: str
    reader: str
    receipt: str = ""


class SendingLog:
    """Log in the device's file; usable from several threads. All methods block, and raise sqlite3.Error."""

    def __init__(self, db: sqlite3.Connection, path: Path, clock: Clock) -> None:
        self._db = db
        self._path = path
        self._clock = clock
        self._lock = Lock()

    def sent(self, order: SendingOrder, files: Sequence[tuple[str, int, str]]) -> None:
        """Log the files that are sent now: path, size of the text in bytes, and digest of the file."""
        at, hub, run_id = epoch_ms(self._clock.now()), order.hub, order.run_id
        head = (at, hub, run_id, order.agent_id, order.reader, order.receipt)
        with self._writing(_SENT_FAULT):
            if order.receipt:
                self._expect(order.receipt, hub, run_id, at)
            self._db.executemany(_INSERT, [(*head, *file) for file in files])
            self._db.executemany(_LET_GO, [(order.hub, path) for path, _, _ in files])
            self._db.execute(_PRUNE, (MAX_SENT,))

    def held_back(self, order: SendingOrder, skipped: Collection[SkippedFile]) -> None:
        """Log the files of a run that were named and not sent."""
        at = epoch_ms(self._clock.now())
        rows = [(order.hub, file.path, file.reason, at) for file in skipped if file.path != MANY]
        with self._writing(_HELD_FAULT):
            self._db.executemany(_HOLD, rows)
            self._db.execute(_PRUNE_HELD, (MAX_HELD_BACK,))

    def files(self, receipt_id: str) -> list[SentFile]:
        """Return the files that a receipt has to be about, sorted."""
        with self._lock:
            return sorted_files(self._db.execute(_FILES, (receipt_id,)))

    def keep(self, receipt: Receipt) -> bool:
        """Store a receipt whose signature was checked. Return True if it is about the files of this log."""
        with self._writing(_RECEIPT_FAULT):
            self._expect(receipt.id, receipt.hub, receipt.run_id, receipt.at_ms)
            self._db.execute(_KEEP, (msgspec.json.encode(receipt).decode(), receipt.id))
        return root_of(self.files(receipt.id)) == receipt.root

    def lacking(self, hub: str) -> list[str]:
        """Return the newest ids of receipts that *hub* has not given, at most MAX_IDS."""
        with self._lock:
            return [id for (id,) in self._db.execute(_LACKING, (hub, MAX_IDS))]

    def _expect(self, receipt_id: str, hub: str, run_id: str, at: int) -> None:
        self._db.execute(_EXPECT, (receipt_id, hub, run_id, at))
        self._db.execute(_PRUNE_RECEIPTS, (MAX_RECEIPTS,))

    @contextmanager
    def _writing(self, fault: str) -> Iterator[None]:
        with self._lock:
            try:
                if self._path.with_suffix(FILE_FAULT).exists():  # the log would go into a deleted file
                    problem = "the file of this device was replaced: start the device again"
                    raise sqlite3.OperationalError(problem)
                with transaction(self._db):
                    yield
            except sqlite3.Error as error:
                note_fault(self._path, fault, str(error))
                raise
            clear_fault(self._path, fault)


def prepare(db: sqlite3.Connection) -> None:
    """Create the tables of the log where they are missing; older versions ignore what is new."""
    for statement in CREATE:
        db.execute(statement)
    if "receipt" not in [name for _, name, *_ in db.execute("PRAGMA table_info(sent)")]:
        db.execute("ALTER TABLE sent ADD COLUMN receipt TEXT NOT NULL DEFAULT ''")


@contextmanager
def open_sending_log(path: Path, clock: Clock) -> Iterator[SendingLog]:
    """Open the log in the device's file at *path*, which exists."""
    with closing(
        sqlite3.connect(path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
    ) as db:
        yield SendingLog(db, path, clock)


def note_fault(path: Path, fault: str, why: str) -> None:
    """Write next to the device's file at *path* why it cannot be written, for other programs."""
    file = path.with_suffix(fault)
    with suppress(OSError):
        file.touch(mode=0o600)  # an empty file fits on a full disk
        file.write_text(why)


def clear_fault(path: Path, fault: str) -> None:
    """Remove the file of a fault that is over."""
    with suppress(OSError):
        path.with_suffix(fault).unlink()


def read_faults(path: Path) -> list[str]:
    """Return what a device cannot write in its file at *path*, and why: sentences, none if it can."""
    found = []
    for suffix, meaning in _FAULTS.items():
        with suppress(FileNotFoundError, UnicodeDecodeError):
            found.append(f"{meaning}: {path.with_suffix(suffix).read_text() or 'the disk is full'}")
    return found

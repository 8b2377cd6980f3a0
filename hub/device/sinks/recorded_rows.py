"""State of each row at the last synchronization with a target, and the history of changes."""

import hashlib
import sqlite3
from collections.abc import Collection, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from hub.base.system.folders import enter, without_links
from hub.device import declared_tables
from hub.device.sinks.approved_rows import DIGEST_CHARS, ApprovedRow
from hub.device.sinks.sink import Sink
from hub.device.sinks.target import Found
from hub.device.sinks.waits import end_waits, waits_of
from hub.text.rows.row import Fields, Put

MAX_HISTORY: Final = 20_000  # changes that are remembered, of all sinks
_ROWS: Final = """
SELECT key, tbl, row_id, place, base, digest, is_deleted, coalesce(home, ''),
    fields, coalesce(sink_writes.at_ms, 0), coalesce(inode, 0)
FROM sink_rows LEFT JOIN sink_moves USING (sink, key) LEFT JOIN sink_writes USING (sink, key)
WHERE sink = ? ORDER BY key
"""
_RECORD: Final = "INSERT OR REPLACE INTO sink_rows VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_NOTE_WRITE: Final = "INSERT OR REPLACE INTO sink_writes VALUES (?, ?, ?, ?, ?)"
# A write has the inode of its new file, of a line in its base, until a look finds or records it. Then it has
# 1, as the inode is soon that of another file. At a server it has a mark of the source of its row before.
_NOTED: Final = """
SELECT place FROM sink_rows JOIN sink_writes USING (sink, key) WHERE inode > 1
UNION SELECT place FROM sink_rows WHERE sink = '' AND json_extract(base, '$.inode') IS NOT NULL
"""
_ROWS_WRITTEN: Final = """
UPDATE sink_writes SET inode = 1 WHERE inode > 1
AND (sink, key) IN (SELECT sink, key FROM sink_rows WHERE place = ?)
"""
LINES_WRITTEN: Final = """
UPDATE sink_rows SET base = json_remove(base, '$.inode')
WHERE sink = '' AND place = ? AND json_extract(base, '$.inode') IS NOT NULL
"""
_NOT_WRITTEN: Final = "DELETE FROM sink_writes WHERE inode = ?"
_LINE_NOT_WRITTEN: Final = """
UPDATE sink_rows
SET base = json_object('status', iif(json_extract(base, '$.status') = 'done', 'todo', 'done'))
WHERE sink = '' AND json_extract(base, '$.inode') = ?
"""
_NOTE: Final = """
INSERT INTO sink_history (at_ms, sink, tbl, row_id, what, local, remote) VALUES (?, ?, ?, ?, ?, ?, ?)
"""
_REOPENED: Final = """
SELECT coalesce(max(at_ms), 0) FROM sink_history WHERE row_id = ? AND tbl = ? AND (what = 'reopened'
    OR what = 'taken back' AND json_extract(local, '$.status') = 'done'
    AND json_extract(remote, '$.status') != 'done')
"""
_FORGET_NOTES: Final = "DELETE FROM sink_history WHERE number <= (SELECT max(number) FROM sink_history) - ?"
MOVED: Final = "moved"  # digest of a row whose line was moved, and has another title or day
AGAIN: Final = "again"  # digest of a row that is searched before it is written again
# Done rows in an archive stay there.
_AGAIN: Final = f"""
UPDATE sink_rows SET base = NULL, is_deleted = 0, digest = '{AGAIN}' WHERE sink = ?1
AND NOT (coalesce(json_extract(base, '$.status'), '') = 'done'
    AND key IN (SELECT key FROM sink_moves WHERE sink = ?1))
"""


class RecordedRow(msgspec.Struct, gc=False):  # it has texts alone
    """Row as it was recorded; without a *base* it is being written for the first time.

    *digest*: of the fields that both sides have, then of their sources; empty if they differ; ``AGAIN``;
    ``MOVED``.
    *home*: place of the sink that the row had before its owner moved it to another file. *sent_text*: the
    fields of a write that may have ended or not, as of *sent_ms*; *inode*: above 0, it has ended, in a
    file; at a server, ``mark_of`` the row before it.
    """

    key: str
    tbl: str
    row_id: str
    place: str
    base_text: str | None = None
    digest: str = ""
    is_deleted: bool = False
    home: str = ""
    sent_text: str | None = None
    sent_ms: int = 0
    inode: int = 0

    @property
    def base(self) -> dict[str, str]:
        return {} if self.base_text is None else msgspec.json.decode(self.base_text)

    @property
    def sent(self) -> dict[str, str] | None:
        return None if self.sent_text is None else msgspec.json.decode(self.sent_text)

    @property
    def is_written(self) -> bool:
        return self.base_text is not None and not self.is_deleted

    @property
    def is_again(self) -> bool:
        """True if the row was written once, or may have been, and is written where it is nowhere else."""
        return self.base_text is None and (self.digest == AGAIN or self.sent_text is not None)

    def is_unchanged(self, approved: ApprovedRow) -> bool:
        """Return True if the fields of the row here are as they were when this was recorded."""
        return self.base_text is not None and approved.digest == self.digest[:DIGEST_CHARS]

    def is_current(self, approved: ApprovedRow, found: Found) -> bool:
        """Return True if both sides are as they were when this was recorded."""
        is_same = self.is_written and self.place == found.place
        return is_same and self.digest[DIGEST_CHARS:] == approved.digest_with(found.source)


def recorded_rows(db: sqlite3.Connection, sink: str) -> dict[str, RecordedRow]:
    """Return the recorded rows of a sink by key."""
    return {row[0]: RecordedRow(*row) for row in db.execute(_ROWS, (sink,))}


def record(db: sqlite3.Connection, sink: Sink, row: RecordedRow, at_ms: int) -> None:
    """Store a row as it is now, in place of what was recorded before."""
    state = (row.place, row.base_text, row.digest, row.is_deleted, at_ms)
    link = sink.target.link(row.place, row.key)
    db.execute(_RECORD, (sink.name, row.key, row.tbl, row.row_id, *state, link))
    if row.home and not sink.target.owns(row.place):
        db.execute("INSERT OR REPLACE INTO sink_moves VALUES (?, ?, ?)", (sink.name, row.key, row.home))
    else:
        db.execute("DELETE FROM sink_moves WHERE sink = ? AND key = ?", (sink.name, row.key))


def mark_of(found: Found | None) -> int:
    """Return a number below 0 that differs with the source of a row at a server; 0 without one."""
    source = b"" if found is None else found.source.encode("utf-8", "surrogatepass")
    return -1 - int.from_bytes(hashlib.sha256(source).digest()[:7]) if source else 0


def note_writes(db: sqlite3.Connection, sink: str, puts: Iterable[tuple[Put, int]]) -> None:
    """Note rows that are about to be written, until they are recorded, each with its inode or mark."""
    text = declared_tables.json_text
    writes = [(sink, put.key, text(dict(put.fields)), put.at_ms, inode) for put, inode in puts]
    db.executemany(_NOTE_WRITE, writes)


def forget_writes(db: sqlite3.Connection, sink: str, keys: Iterable[str]) -> None:
    """Forget writes that are recorded, or were not carried out."""
    db.executemany("DELETE FROM sink_writes WHERE sink = ? AND key = ?", [(sink, key) for key in keys])


def settle_unfinished(db: sqlite3.Connection, places: Collection[str]) -> None:
    """Remove the new files that a killed device left beside *places*, and take back what is noted of them.

    So a write of a file that is still noted has ended, whatever other programs made of the file since. Its
    inode could not tell: it is given again to the next file.
    """

    def take_back(inode: int) -> None:
        for statement in (_NOT_WRITTEN, _LINE_NOT_WRITTEN):
            db.execute(statement, (inode,))

    noted = {place for (place,) in db.execute(_NOTED)}
    for folder in {Path(place).parent for place in noted.union(places)}:
        with suppress(OSError), enter(without_links(str(folder))) as opened:
            opened.remove_unfinished(take_back)
            for place in (place for place in noted if Path(place).parent == folder):
                db.execute(_ROWS_WRITTEN, (place,))
                db.execute(LINES_WRITTEN, (place,))


def reopened_ms(db: sqlite3.Connection, row: RecordedRow) -> int:
    """Return when a done row was opened again last, as far as the history says, in epoch ms; else 0."""
    return int(db.execute(_REOPENED, (row.row_id, row.tbl)).fetchone()[0])


def forget(db: sqlite3.Connection, sink: str, key: str) -> None:
    """Forget that a row is at a sink, or waits for it."""
    for table in ("sink_rows", "sink_moves", "sink_waits", "sink_writes"):
        db.execute(f"DELETE FROM {table} WHERE sink = ? AND key = ?", (sink, key))


def write_again(db: sqlite3.Connection, sink: str) -> int:
    """Mark the rows of a sink to be written again where they are nowhere else; return their number."""
    end_waits(db, sink, waits_of(db, sink))
    return db.execute(_AGAIN, (sink,)).rowcount


def note_change(
    db: sqlite3.Connection, sink: str, row: RecordedRow, at_ms: int, what: str, local: Fields, remote: Fields
) -> None:
    """Add a change of a row to the history, with its fields on both sides."""
    sides = (declared_tables.json_text(dict(fields)) for fields in (local, remote))
    db.execute(_NOTE, (at_ms, sink, row.tbl, row.row_id, what, *sides))
    db.execute(_FORGET_NOTES, (MAX_HISTORY,))

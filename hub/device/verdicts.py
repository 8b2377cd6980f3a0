"""Verdicts of a device's owner, derived from changes of rows in the device's file.

Any program of the owner gives a verdict by setting ``isApproved``, changing a field or deleting a row in the
device's file. Plain functions over a connection, inside the caller's transaction.
"""

import hashlib
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

import msgspec

from hub.device.declared_tables import tables_of
from hub.device.rows import on_the_wire
from hub.device.schema import quoted
from hub.text.rows.same_things import author_of
from protocol.calls import RowState
from protocol.frame import Record
from protocol.items import Changed, CountedDay, FoundBy, ItemSource, Provenance, Unresolved
from protocol.tables import (
    SUGGESTED,
    DeviceTable,
    Filler,
)

# columns that are no content: stamps of the device, and flags
_NO_CONTENT: Final = frozenset({"id", "createdAt", "updatedAt", *SUGGESTED})


# Calls that are to bring items which their owner has approved before, and what was seen: ``seen_ahead``.
APPROVALS_AHEAD: Final = """
CREATE TABLE IF NOT EXISTS approvals_ahead (
    call_id TEXT NOT NULL, seen TEXT NOT NULL, PRIMARY KEY (call_id, seen)
) STRICT, WITHOUT ROWID
"""

# Approvals of an older release, which did not note what was seen: the text is empty.
APPROVED_AHEAD: Final = (
    "INSERT OR IGNORE INTO approvals_ahead SELECT call_id, '' FROM approved_ahead",
    "DROP TABLE approved_ahead",
)


# Calls whose verdicts were sent and not confirmed: the hub may have them.
SENT: Final = "CREATE TABLE IF NOT EXISTS sent_verdicts (call_id TEXT PRIMARY KEY) STRICT, WITHOUT ROWID"


class RowVerdict(msgspec.Struct, frozen=True):
    """Owner's verdict on the row that call *call_id* wrote; ``open``: it was taken back."""

    call_id: str
    verdict: RowState


class Remarks(msgspec.Struct, frozen=True, omit_defaults=True):
    """Notes for the reviewer of an item, from the ``source`` of its call.

    Attributes:
        timezone: time zone of dates without a time, which are stored as midnight there.
        provenance: who wrote the text of the item; ``None``: the hub is of an older release.
        found_by: a rule or a model; ``None`` likewise.
        counted: why fields have their days.
        line: number of the line in which the quote begins.
        marks: marks of the task list in which it was found: see ``own_marks``.
    """

    warnings: list[str] = []
    unresolved: list[Unresolved] = []
    changed: list[Changed] = []
    replaces: str | None = None
    timezone: str | None = None
    provenance: Provenance | None = None
    found_by: FoundBy | None = None
    counted: list[CountedDay] = []
    line: int | None = None
    marks: list[str] = []

    @property
    def own_marks(self) -> list[str]:
        """Marks that a rule found in a file of the owner: those of a model or of others are words."""
        is_own = self.found_by is FoundBy.RULE and author_of(self.provenance) == ""
        return self.marks if is_own else []


class Review(msgspec.Struct, frozen=True, kw_only=True):
    """Row that a hub wrote. *row* is ``None`` once its owner deleted it; *number* is permanent.

    *revision* starts with 1 and grows with each change that a hub made or proposed.
    """

    number: int
    revision: int
    table: DeviceTable
    row_id: str
    call_id: str
    row: Record | None
    state: RowState
    reported: RowState | None

    @property
    def label(self) -> str:
        """Label of this revision: ``7`` as inserted, later ``7.2``."""
        return label_of(self.number, self.revision)


_remarks: Final = msgspec.json.Decoder(Remarks)


def remarks_of(source: ItemSource | None) -> str | None:
    """Return the remarks of a source as JSON, or None if it has none."""
    if source is None:
        return None
    remarks = Remarks(*(getattr(source, name) for name in Remarks.__struct_fields__))
    return None if remarks == Remarks() else msgspec.json.encode(remarks).decode()


def read_remarks(stored: str | None) -> Remarks:
    """Decode remarks that ``remarks_of`` encoded."""
    return Remarks() if stored is None else _remarks.decode(stored)


def timezone_of(db: sqlite3.Connection, call_id: str) -> str | None:
    """Return the zone in which the days begin that a call wrote, or None if it named none."""
    found = db.execute("SELECT remarks FROM calls WHERE call_id = ?", (call_id,)).fetchone()
    return read_remarks(found["remarks"]).timezone if found else None


def seen_ahead(
    table: str,
    data: Mapping[str, object],
    quote: str,
    warnings: Iterable[str],
    *,
    titles: Mapping[str, str],
    marks: Sequence[str],
) -> str:
    """Return a digest of an item as its owner sees it before it comes.

    Args:
        data: with dates as texts.
        titles: those of the rows that it refers to.
    """
    values = {name: value for name, value in data.items() if name not in SUGGESTED and value is not None}
    more = filter(None, (titles, marks))
    shown = msgspec.json.encode((table, values, quote, sorted(warnings), *more), order="sorted")
    return hashlib.blake2b(shown, digest_size=16).hexdigest()


def is_approved_ahead(db: sqlite3.Connection, call_id: str, seen: str) -> bool:
    """Return True if the owner has approved the item that a call brings, as it was seen, or as any."""
    found = db.execute("SELECT 1 FROM approvals_ahead WHERE call_id = ? AND seen IN (?, '')", (call_id, seen))
    return found.fetchone() is not None


def note_written(
    db: sqlite3.Connection,
    table: DeviceTable,
    row_id: str,
    row: Record | None,
    call_id: str,
    *,
    hub: str = "",
) -> None:
    """Record that a hub wrote *row*; an earlier verdict concerns its previous content.

    Args:
        hub: key of the hub that inserted the row; an existing review keeps its hub.
    """
    db.execute(
        "INSERT INTO reviews (tbl, row_id, call_id, written, hub) VALUES (?1, ?2, ?3, ?4, ?5)"
        " ON CONFLICT (tbl, row_id) DO UPDATE SET call_id = ?3, written = ?4, reported = NULL",
        (table.name, row_id, call_id, _content(row), hub),
    )


def count_change(db: sqlite3.Connection, table: DeviceTable, row_id: str) -> None:
    """Increment a row's revision after a hub changed it or proposed a change; its label changes."""
    db.execute(
        "UPDATE reviews SET revision = revision + 1 WHERE tbl = ? AND row_id = ?", (table.name, row_id)
    )


def label_of(number: int, revision: int) -> str:
    """Return the label of an item's revision."""
    return str(number) if revision == 1 else f"{number}.{revision}"


def row_of(db: sqlite3.Connection, table: DeviceTable, label: str) -> str | None:
    """Return the id of the row of *table* with this label, or None."""
    labelled = "CASE revision WHEN 1 THEN CAST(number AS TEXT) ELSE number || '.' || revision END"
    found = db.execute(
        f"SELECT row_id FROM reviews WHERE tbl = ? AND {labelled} = ?", (table.name, label)
    ).fetchone()
    return None if found is None else str(found[0])


def forget(db: sqlite3.Connection, table: DeviceTable, ids: Iterable[str]) -> None:
    """Delete the reviews of rows that a hub deleted, so that they do not count as rejected."""
    db.executemany(
        "DELETE FROM reviews WHERE tbl = ? AND row_id = ?", [(table.name, row_id) for row_id in ids]
    )


def written_rows(db: sqlite3.Connection, table: DeviceTable, hub: str) -> dict[str, str]:
    """Return the content that *hub* last wrote to each of its rows of *table*, by row id."""
    query = "SELECT row_id, written FROM reviews WHERE tbl = ? AND hub = ?"
    return dict(db.execute(query, (table.name, hub)).fetchall())


def is_open(table: DeviceTable, row: Record, written: str | None) -> bool:
    """Return True if a hub wrote *row*, and its owner neither approved nor changed it since."""
    return written is not None and state_of(table, row, written) == "open"


def reviews(db: sqlite3.Connection, hub: str | None = None) -> Iterator[Review]:
    """Yield every row that *hub*, or any hub, wrote, by table in the order of insertion."""
    for table in tables_of(db).values():
        found = db.execute(
            "SELECT number, revision, row_id, call_id, written, reported FROM reviews"
            " WHERE tbl = ?1 AND (?2 IS NULL OR hub = ?2) ORDER BY number",
            (table.name, hub),
        )
        rows_by_id = {row["id"]: row for row in db.execute(f"SELECT * FROM {quoted(table.name)}")}
        for number, revision, row_id, call_id, written, reported in found.fetchall():
            stored = rows_by_id.get(row_id)
            row = None if stored is None else on_the_wire(table, stored)
            yield Review(
                number=number,
                revision=revision,
                table=table,
                row_id=row_id,
                call_id=call_id,
                row=row,
                state=state_of(table, row, written),
                reported=reported,
            )


def unreported(db: sqlite3.Connection, hub: str) -> list[RowVerdict]:
    """Return the owner's verdicts on rows of *hub* that it has not confirmed.

    One that was taken back is ``open`` if the hub has confirmed it, or may have it.
    """
    sent = {call_id for (call_id,) in db.execute("SELECT call_id FROM sent_verdicts")}
    return [
        RowVerdict(review.call_id, review.state)
        for review in reviews(db, hub)
        if review.state != (review.reported or "open") or (review.state == "open" and review.call_id in sent)
    ]


def note_sent(db: sqlite3.Connection, report: Sequence[RowVerdict]) -> None:
    """Record that a hub may have these verdicts from now on."""
    db.executemany(
        "INSERT OR IGNORE INTO sent_verdicts VALUES (?)", [(verdict.call_id,) for verdict in report]
    )


def note_reported(db: sqlite3.Connection, report: Sequence[RowVerdict]) -> None:
    """Record verdicts that a hub has confirmed. A later different verdict is reported again."""
    db.executemany(
        "UPDATE reviews SET reported = nullif(?, 'open') WHERE call_id = ?",
        [(verdict.verdict, verdict.call_id) for verdict in report],
    )
    db.executemany("DELETE FROM sent_verdicts WHERE call_id = ?", [(verdict.call_id,) for verdict in report])


def state_of(table: DeviceTable, row: Record | None, written: str) -> RowState:
    """Return the verdict on *row*, to which a hub wrote *written*; None for *row*: it was deleted."""
    if row is None:
        return "rejected"
    if _content(row) != written and _is_edited(table, row, written):
        return "edited"
    return "approved" if row["isApproved"] else "open"


def _is_edited(table: DeviceTable, row: Record, written: str) -> bool:
    """Return True if the owner changed the content that the hub wrote.

    A field that only a person fills, such as the project of an approved row, is an addition, not an edit.
    """
    before: Record = msgspec.json.decode(written)
    content: Record = msgspec.json.decode(_content(row))
    added = {
        column.name
        for column in table.columns
        if row["isApproved"] and column.filler is Filler.PERSON and before.get(column.name) is None
    }
    return any(value != before.get(name) for name, value in content.items() if name not in added)


def _content(row: Record | None) -> str:
    """Return a row's content as JSON, without flags and time stamps."""
    content = {name: value for name, value in (row or {}).items() if name not in _NO_CONTENT}
    return msgspec.json.encode(content).decode()

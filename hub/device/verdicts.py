"""What the owner of a device said to rows that a hub wrote: read off the rows themselves.

An owner needs no program of ours: whoever sets ``isApproved``, changes a field or
deletes a row in the device's file has said a word. Plain functions over a
connection, inside the caller's transaction.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, Literal

import msgspec

from hub.device import rows
from hub.device.schema import quoted
from protocol.frame import Record
from protocol.tables import TABLES, DeviceTable, Filler
from protocol.work import Changed, ItemSource, Unresolved

Word = Literal["approved", "edited", "rejected"]
Standing = Literal["open", "approved", "edited", "rejected"]

_STAMPS: Final = frozenset({"id", "createdAt", "updatedAt"})


class Verdict(msgspec.Struct, frozen=True):
    """The owner's word on what the call *call_id* wrote."""

    call_id: str
    verdict: Word


class Remarks(msgspec.Struct, frozen=True, omit_defaults=True):
    """Notes for the reviewer of an item, from the ``source`` of its call.

    Attributes:
        timezone: of dates without a time: midnight there is a date, and no time of day.
    """

    warnings: list[str] = []
    unresolved: list[Unresolved] = []
    changed: list[Changed] = []
    replaces: str | None = None
    timezone: str | None = None


class Review(msgspec.Struct, frozen=True, kw_only=True):
    """A row that a hub wrote. *row* is ``None`` once its owner deleted it; *number* stays the same.

    *revision* counts the row as inserted, and each change of it that a hub made or proposed.
    """

    number: int
    revision: int
    table: DeviceTable
    row_id: str
    call_id: str
    row: Record | None
    standing: Standing
    reported: Word | None

    @property
    def label(self) -> str:
        """What its owner calls this revision of the row: ``7`` as it was inserted, later ``7.2``."""
        return label_of(self.number, self.revision)


_remarks: Final = msgspec.json.Decoder(Remarks)


def remarks_of(source: ItemSource | None) -> str | None:
    """What is kept of a source besides its place, as JSON."""
    if source is None:
        return None
    told = Remarks(source.warnings, source.unresolved, source.changed, source.replaces, source.timezone)
    return None if told == Remarks() else msgspec.json.encode(told).decode()


def read_remarks(kept: str | None) -> Remarks:
    """What ``remarks_of`` kept."""
    return Remarks() if kept is None else _remarks.decode(kept)


def note_written(
    db: sqlite3.Connection, table: DeviceTable, ids: Iterable[str], call_id: str, *, hub: str = ""
) -> None:
    """A hub wrote these rows as they are now: whatever their owner said before was about something else.

    Args:
        hub: the key of the hub that made the rows; a row that there was keeps its own.
    """
    for row_id in ids:
        db.execute(
            "INSERT INTO reviews (tbl, row_id, call_id, written, hub) VALUES (?1, ?2, ?3, ?4, ?5)"
            " ON CONFLICT (tbl, row_id) DO UPDATE SET call_id = ?3, written = ?4, reported = NULL",
            (table.name, row_id, call_id, _content(table, rows.find(db, table, row_id)), hub),
        )


def count_change(db: sqlite3.Connection, table: DeviceTable, row_id: str) -> None:
    """A hub has changed this row, or proposes to: it has another label from now on."""
    db.execute(
        "UPDATE reviews SET revision = revision + 1 WHERE tbl = ? AND row_id = ?", (table.name, row_id)
    )


def label_of(number: int, revision: int) -> str:
    """Return what the owner calls a revision of an item."""
    return str(number) if revision == 1 else f"{number}.{revision}"


def row_of(db: sqlite3.Connection, table: DeviceTable, label: str) -> str | None:
    """Return the id of the row of *table* that a label names, if it names one."""
    labelled = "CASE revision WHEN 1 THEN CAST(number AS TEXT) ELSE number || '.' || revision END"
    found = db.execute(
        f"SELECT row_id FROM reviews WHERE tbl = ? AND {labelled} = ?", (table.name, label)
    ).fetchone()
    return None if found is None else str(found[0])


def forget(db: sqlite3.Connection, table: DeviceTable, ids: Iterable[str]) -> None:
    """A hub deleted these rows: that is no word of their owner."""
    db.executemany(
        "DELETE FROM reviews WHERE tbl = ? AND row_id = ?", [(table.name, row_id) for row_id in ids]
    )


def written_rows(db: sqlite3.Connection, table: DeviceTable, hub: str) -> dict[str, str]:
    """Return what *hub* wrote last into each row of *table* that it wrote, by the row's id."""
    query = "SELECT row_id, written FROM reviews WHERE tbl = ? AND hub = ?"
    return dict(db.execute(query, (table.name, hub)).fetchall())


def is_open(table: DeviceTable, row: Record, written: str | None) -> bool:
    """Return whether a hub wrote *row*, and its owner has said no word to it."""
    return written is not None and standing_of(table, row, written) == "open"


def reviews(db: sqlite3.Connection, hub: str | None = None) -> Iterator[Review]:
    """Return every row that *hub*, or some hub, wrote, table by table, in the order in which they came."""
    for table in TABLES.values():
        found = db.execute(
            "SELECT number, revision, row_id, call_id, written, reported FROM reviews"
            " WHERE tbl = ?1 AND (?2 IS NULL OR hub = ?2) ORDER BY number",
            (table.name, hub),
        )
        there = {row["id"]: row for row in db.execute(f"SELECT * FROM {quoted(table.name)}")}
        for number, revision, row_id, call_id, written, reported in found.fetchall():
            stored = there.get(row_id)
            row = None if stored is None else rows.on_the_wire(table, stored)
            yield Review(
                number=number,
                revision=revision,
                table=table,
                row_id=row_id,
                call_id=call_id,
                row=row,
                standing=standing_of(table, row, written),
                reported=reported,
            )


def unreported(db: sqlite3.Connection, hub: str) -> list[Verdict]:
    """Return words of the owner on rows of *hub* that it has not confirmed."""
    return [
        Verdict(review.call_id, review.standing)
        for review in reviews(db, hub)
        if review.standing != "open" and review.standing != review.reported
    ]


def note_reported(db: sqlite3.Connection, told: Sequence[Verdict]) -> None:
    """A hub has confirmed these. What the owner said since is reported anew."""
    db.executemany(
        "UPDATE reviews SET reported = ? WHERE call_id = ?", [(one.verdict, one.call_id) for one in told]
    )


def standing_of(table: DeviceTable, row: Record | None, written: str) -> Standing:
    """Return the owner's word on *row*, into which a hub wrote *written*; None: the row is deleted."""
    if row is None:
        return "rejected"
    # A row of the first version of this file is not known as it was written.
    if written != "null" and _content(table, row) != written and _is_edited(table, row, written):
        return "edited"
    return "approved" if row["isApproved"] else "open"


def _is_edited(table: DeviceTable, row: Record, written: str) -> bool:
    """Return whether a row says something else than its hub wrote.

    What only its owner can know, as the project of an approved row, is an addition and no correction.
    """
    before: Record = msgspec.json.decode(written)
    said: Record = msgspec.json.decode(_content(table, row))
    added = {
        column.name
        for column in table.columns
        if row["isApproved"] and column.filler is Filler.PERSON and before.get(column.name) is None
    }
    return any(value != before.get(name) for name, value in said.items() if name not in added)


def _content(table: DeviceTable, row: Record | None) -> str:
    """What a row says, without its flags and time stamps."""
    flags = {column.name for column in table.columns if column.filler is Filler.HUB}
    said = {name: value for name, value in (row or {}).items() if name not in _STAMPS | flags}
    return msgspec.json.encode(said).decode()

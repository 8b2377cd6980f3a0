"""Approved rows of a device as a sink reads them."""

import hashlib
import sqlite3
import time
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Final

import msgspec

from hub.device import declared_tables, rows, verdicts
from hub.device.owner import typed
from hub.device.schema import quoted
from hub.text.item_text import plain_lines, with_clean_title
from hub.text.rows.marks import MARKS
from hub.text.rows.row_keys import key_of
from protocol.frame import Field, Record
from protocol.tables import DeviceTable

DIGEST_CHARS: Final = 32
_REMARKS: Final = """
SELECT reviews.row_id, calls.remarks FROM reviews JOIN calls USING (call_id)
WHERE reviews.tbl = ? AND (calls.remarks LIKE '%timezone%' OR calls.remarks LIKE '%marks%')
"""


class ApprovedRow:
    """Approved row of the device.

    Args:
        stored: its columns, in the order of *names*.
        has_marks: its target writes marks of task lists: they are a field ``MARKS``.
        titles: titles of rows by column of *table* that refers to them, and by id.
    """

    def __init__(
        self,
        table: DeviceTable,
        names: Sequence[str],
        stored: tuple[str | int | float | None, ...],
        remarks: str | None,
        titles: Mapping[str, Mapping[Field, str]],
        *,
        has_marks: bool,
    ) -> None:
        self.table, self._names, self._stored = table, names, stored
        self._remarks, self._titles, self._has_marks = remarks, titles, has_marks

    @property
    def row_id(self) -> str:
        return str(self._row["id"])

    @property
    def at_ms(self) -> int:
        return int(str(self._row["updatedAt"]))

    @property
    def timezone(self) -> str | None:
        return verdicts.read_remarks(self._remarks).timezone

    @property
    def title(self) -> str:
        return self.fields.get(self.table.title, "")

    @property
    def _row(self) -> Record:
        return dict(zip(self._names, self._stored, strict=True))

    @property
    def _referred(self) -> Record:
        row = self._row if self._titles else {}
        return {name: titles.get(row[name]) for name, titles in self._titles.items()}

    @cached_property
    def fields(self) -> dict[str, str]:
        """Fields as texts."""
        row = with_clean_title(self.table, rows.on_the_wire(self.table, self._row)) | self._referred
        remarks = verdicts.read_remarks(self._remarks)
        marks = "\n".join(remarks.own_marks if self._has_marks else ())
        return {
            column.name: plain_lines(typed(column, row.get(column.name), remarks.timezone))
            for column in self.table.fields
        } | ({MARKS: marks} if marks else {})

    @property
    def digest(self) -> str:
        return _digest(msgspec.json.encode(self.fields))

    def digest_with(self, source: str) -> str:
        """Return a digest of all that decides the fields here, and at a target with this *source*."""
        here = msgspec.json.encode((self._stored, self._remarks, self._referred, time.tzname))
        return _digest(here + source.encode("utf-8", "surrogatepass"))


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:DIGEST_CHARS]


def approved_rows(
    db: sqlite3.Connection, names: Sequence[str], keys: Mapping[tuple[str, str], str], *, has_marks: bool
) -> dict[str, ApprovedRow]:
    """Return the approved rows of these tables by key.

    Args:
        keys: those known, by table and id.
        has_marks: the rows are for a target that writes marks of task lists.
    """
    found: dict[str, ApprovedRow] = {}
    declared = declared_tables.tables_of(db)
    for table in (declared[name] for name in names if name in declared):
        noted = dict(db.execute(_REMARKS, (table.name,)).fetchall())
        referring = {column.name: column.refers_to for column in table.fields if column.refers_to is not None}
        titles = {name: _titles(db, declared[other]) for name, other in referring.items()}
        cursor = db.cursor()
        cursor.row_factory = None
        cursor.execute(f"SELECT * FROM {quoted(table.name)} WHERE isApproved = 1")
        columns = [name for name, *_ in cursor.description]
        at = columns.index("id")
        for stored in cursor:
            row_id = stored[at]
            key = keys.get((table.name, row_id)) or key_of(table.name, row_id)
            remarks = noted.get(row_id)
            found[key] = ApprovedRow(table, columns, stored, remarks, titles, has_marks=has_marks)
    return found


def count_approved(db: sqlite3.Connection, table: str) -> int:
    """Return the number of approved rows of a table."""
    (count,) = db.execute(f'SELECT count(*) FROM {quoted(table)} WHERE "isApproved" = 1').fetchone()
    return int(count)


def _titles(db: sqlite3.Connection, table: DeviceTable) -> dict[Field, str]:
    return dict(db.execute(f"SELECT id, {quoted(table.title)} FROM {quoted(table.name)}").fetchall())

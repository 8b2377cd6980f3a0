"""Review inbox of a device's owner: list of waiting items, decisions, and their undo.

It works over the device's file, as ``hub.device.owner`` does. All functions block.
"""

import sqlite3
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Final, Literal, NamedTuple

from hub.base.system.files import stamp_of_file
from hub.device import proposals, rows
from hub.device.device_file import DeviceFileError, connect_shared
from hub.device.items import DeviceItem, read_items, shown_repeats
from hub.device.owner import OwnerDecisions, approve, edit, reject
from hub.device.rows import CallRefusal
from hub.device.schema import quoted, transaction
from protocol.frame import Record
from protocol.tables import DeviceTable

Verdict = Literal["approve", "edit", "reject"]
MAX_SAVED: Final = 10_000  # decisions that can be taken back
MAX_TITLES: Final = 200  # rows that an item may be put under


class NotDecided(DeviceFileError):
    """A decision that was refused; nothing was changed."""


class _Saved(NamedTuple):
    """A row before and after a decision; *after* is None where the row was removed."""

    table: DeviceTable
    before: Record
    after: Record | None


class Inbox:
    """Items of the device's file at *path*."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._saved: dict[int, list[_Saved]] = {}  # of an item, and of those settled with it
        self._known: tuple[object, list[DeviceItem]] | None = None

    @property
    def version(self) -> object:
        """A value that changes with the file."""
        return tuple(stamp_of_file(self.path.with_name(self.path.name + end)) for end in ("", "-wal"))

    def items(self) -> list[DeviceItem]:
        """Return all items, the newest first. Raises DeviceFileError."""
        version = self.version
        if self._known is None or self._known[0] != version:
            self._known = version, read_items(self.path)[::-1]
        return self._known[1]

    def judge(
        self,
        item: DeviceItem,
        verdict: Verdict,
        fields: Mapping[str, str] | None = None,
        *,
        at_ms: int,
        also: Collection[str] = (),
    ) -> str:
        """Decide about an item as it was listed. Return a sentence about what was done.

        Args:
            fields: values to fill in, as for ``owner.edit``.
            also: labels of items that were shown with it, as for ``owner.approve``.

        Raises:
            NotDecided: the decision is refused.
            DeviceFileError: the item has changed since, or the disk fails.
        """
        table = item.declaration
        others = shown_repeats(self.items(), item.number, also) if verdict == "approve" else []
        before = self._row(table, item.row_id)
        rows_of_others = [(other, self._row(other.declaration, other.row_id)) for other in others]
        if verdict == "approve":
            decided = approve(self.path, [item.label], at_ms=at_ms, fields=fields, also=also)
        elif verdict == "edit":
            decided = edit(self.path, [item.label], fields or {}, at_ms=at_ms)
        else:
            decided = reject(self.path, [item.label])
        self._known = None
        if before is not None and (item.proposal is None or verdict == "edit") and decided.done:
            settled = [
                _Saved(other.declaration, row, None)
                for other, row in rows_of_others
                if row is not None and self._row(other.declaration, other.row_id) is None
            ]
            self._saved[item.number] = [_Saved(table, before, self._row(table, item.row_id)), *settled]
            if len(self._saved) > MAX_SAVED:
                del self._saved[next(iter(self._saved))]
        elif decided.done:
            self._saved.pop(item.number, None)  # undo is of the last decision, or of none
        return _sentence(decided)

    def undo(self, number: int) -> None:
        """Take the last decision about an item back.

        Raises:
            NotDecided: there is none, or the item has been changed since.
            DeviceFileError: the disk fails.
        """
        saved = self._saved.pop(number, None)
        if saved is None:
            raise NotDecided("this decision cannot be taken back")
        with connect_shared(self.path) as db, transaction(db):
            for row in saved:
                _restore(db, row)
        self._known = None

    def titles(self, table: DeviceTable) -> list[tuple[str, str]]:
        """Return the ids and titles of the newest approved rows of *table*."""
        query = (
            f"SELECT id, {quoted(table.title)} FROM {quoted(table.name)} WHERE isApproved"
            " ORDER BY createdAt DESC LIMIT ?"
        )
        with connect_shared(self.path) as db:
            return [(row[0], row[1]) for row in db.execute(query, (MAX_TITLES,))]

    def _row(self, table: DeviceTable, row_id: str) -> Record | None:
        with connect_shared(self.path) as db:
            return rows.find(db, table, row_id)


def _restore(db: sqlite3.Connection, saved: _Saved) -> None:
    row_id = str(saved.before["id"])
    is_proposed = proposals.of_row(db, saved.table.name, row_id) is not None
    is_decided = is_proposed and not saved.before["isApproved"]
    if is_decided or rows.find(db, saved.table, row_id) != saved.after:
        raise NotDecided("the item has been changed since the decision")
    try:
        rows.restore(db, saved.table, saved.before)
    except CallRefusal as refusal:
        raise NotDecided(str(refusal)) from refusal


def _sentence(decided: OwnerDecisions) -> str:
    if decided.refused:
        raise NotDecided(decided.refused[0])
    return decided.done[0]

"""Agenda of a device: its approved tasks and events by their days (``rows.agenda``)."""

import hashlib
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from protocol.digests import digest_of
from protocol.frame import EpochMs, Id, Name, Record, Text
from protocol.tables import TABLES, DeviceTable, TableName, problem_of

AGENDA: Final = frozenset({"tasks", "timelines"})  # its tables, all of which ``rows.read`` has to name
NO_DAY: Final = 2**53  # place of an open row without a day: behind all days
_SHORT: Final = 2_000  # characters of the longest texts of a row of the agenda: no descriptions


Place = Annotated[int, Meta(ge=-NO_DAY, le=NO_DAY)]  # of a row among the others


class AgendaQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Request for approved tasks and events, also of other hubs, at most ``limit`` of the call.

    Open rows are ordered by *place*, which is their day; then those without a day come. Done rows are tasks
    that are done and events before *begin*, the newest change first: *place* is its negative instant.

    Attributes:
        begin: when today begins for the reader.
        text: only rows with these words in their title, whatever their case and accents.
        place, row_id: only rows behind this one.
    """

    begin: EpochMs
    is_done: bool = False
    text: Annotated[str, Meta(max_length=200)] = ""
    place: Place = -NO_DAY
    row_id: Text = ""


class AgendaRow(msgspec.Struct, frozen=True, kw_only=True):
    """Approved row. *data*: fields of ``agenda_fields``, a project by its name, and ``updatedAt``.

    *seen_row*: of all its values, also of those that are too long for *data*.
    """

    table: Name
    row_id: Id
    place: Place
    data: Record
    seen_row: Annotated[str, Meta(max_length=64)]


class AgendaPage(msgspec.Struct, frozen=True, kw_only=True):
    """Answer to ``rows.agenda``. *more*: rows follow the last one."""

    rows: Annotated[list[AgendaRow], Meta(max_length=1_000)]
    more: bool = False


def is_agenda_row(row: AgendaRow) -> bool:
    """Return whether a row is of a table of the agenda, and says when it was changed."""
    changed = next(column for column in TABLES[TableName.TASKS].columns if column.name == "updatedAt")
    return row.table in AGENDA and problem_of(changed, row.data.get(changed.name)) is None


def page_behind(page: AgendaPage, asked: AgendaQuery, limit: int) -> AgendaPage:
    """Return a page as it was asked for, whatever the device answered.

    Its rows are behind the place that was asked for, in order, each once, and at most *limit*.
    """
    rows = {(row.place, row.row_id): row for row in page.rows}
    seen = {(row.table, row.row_id): key for key, row in sorted(rows.items(), reverse=True)}
    keys = sorted(key for key in seen.values() if key > (asked.place, asked.row_id))
    more = bool(keys) and (page.more or len(keys) > limit)
    return AgendaPage(rows=[rows[key] for key in keys[:limit]], more=more)


def seen_row(table: DeviceTable, data: Record, *, is_sha256: bool = False) -> str:
    """Return a digest of all values of a row, to compare two states of it.

    Args:
        data: the rows that it refers to by their titles, as people see them.
        is_sha256: in the form of ``protocol.digests``; else BLAKE2b, as programs of release 0.2 expect.
    """
    values = [
        column.default if data.get(column.name) is None else data[column.name] for column in table.fields
    ]
    if is_sha256:
        return digest_of(values)
    return hashlib.blake2b(msgspec.json.encode(values), digest_size=16).hexdigest()


def is_as_seen(table: DeviceTable, data: Record, seen: str) -> bool:
    """Return whether *seen* is the digest of a row, in either form."""
    return seen in (seen_row(table, data), seen_row(table, data, is_sha256=True))


def agenda_fields(table: DeviceTable) -> list[str]:
    """Return the fields of a table that its rows have in an agenda."""
    return [column.name for column in table.fields if column.max_length <= _SHORT]

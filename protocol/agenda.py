"""Agenda of a device: its approved tasks and events by their days (``rows.agenda``)."""

import hashlib
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from protocol.frame import EpochMs, Id, Name, Record, Text
from protocol.tables import DeviceTable, Filler

AGENDA: Final = frozenset({"tasks", "timelines"})  # its tables, all of which ``rows.read`` has to name
NO_DAY: Final = 2**53  # place of an open row without a day: behind all days
_SHORT: Final = 2_000  # characters of the longest texts of a row of the agenda: no descriptions


class AgendaQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Request for approved tasks and events, also of other hubs, at most ``limit`` of the call.

    Open rows are ordered by *place*, which is their day; then those without a day come. Done rows are tasks
    that are done and events before *begin*, the newest change first: *place* is its negative instant.

    Attributes:
        begin: when today begins for the reader.
        text: only rows with these letters in their title.
        place, row_id: only rows behind this one.
    """

    begin: EpochMs
    is_done: bool = False
    text: Annotated[str, Meta(max_length=200)] = ""
    place: int = -NO_DAY
    row_id: Text = ""


class AgendaRow(msgspec.Struct, frozen=True, kw_only=True):
    """Approved row. *data*: fields of ``agenda_fields``, a project by its name, and ``updatedAt``."""

    table: Name
    row_id: Id
    place: int
    data: Record


class AgendaPage(msgspec.Struct, frozen=True, kw_only=True):
    """Answer to ``rows.agenda``. *more*: rows follow the last one."""

    rows: Annotated[list[AgendaRow], Meta(max_length=1_000)]
    more: bool = False


def seen_row(table: DeviceTable, data: Record) -> str:
    """Return a digest of the short values of a row that a document fills, to compare two states of it."""
    short = [column for column in table.fields if column.max_length <= _SHORT]
    values = [
        column.default if data.get(column.name) is None else data[column.name]
        for column in short
        if column.filler is Filler.MODEL
    ]
    return hashlib.blake2b(msgspec.json.encode(values), digest_size=16).hexdigest()


def agenda_fields(table: DeviceTable) -> list[str]:
    """Return the fields of a table that its rows have in an agenda."""
    return [column.name for column in table.fields if column.max_length <= _SHORT]

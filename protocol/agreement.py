"""Answers of a device to ``rows.list`` and ``rows.known``, by which hub and device agree about past rows."""

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from protocol.frame import MAX_RESULT_BYTES, Count, Id, Name, Path, Record, Sha256
from protocol.handshake import StoreMark
from protocol.tables import TableName

# Size of the rows of one page; the rest of the limit is for the surrounding object.
MAX_PAGE_BYTES: Final = MAX_RESULT_BYTES * 3 // 4
MAX_ASKED: Final = 500  # calls, and rows, in one rows.known

RowState = Literal["open", "approved", "edited", "rejected"]


class ListedRow(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Row that a hub wrote, with its owner's verdict; a row that its owner deleted is ``rejected``.

    Attributes:
        counter: the store's counter when the call was done, or the owner's verdict confirmed.
        call_id: the call that last wrote the row.
        inserted_by: the call that inserted the row, if it is a different one.
        path, sha256, quote, start, end, timezone: values of the call's ``source``.
        data: the fields that a ``query`` would return, as far as they fit; {}: none.
    """

    counter: Count
    call_id: Id
    table: TableName
    row_id: Id
    state: RowState
    inserted_by: Id | None = None
    agent_id: Id | None = None
    run_id: Id | None = None
    path: Path | None = None
    sha256: Sha256 | None = None
    quote: Annotated[str, Meta(max_length=2_000)] = ""
    start: Count = 0
    end: Count = 0
    timezone: Name | None = None
    data: Record = {}


class RowsPage(msgspec.Struct, frozen=True, kw_only=True):
    """Answer to ``rows.list``: rows with a counter above ``data.since``, by counter.

    *store*: the store's current counter; *more*: rows follow the last one of this page.
    """

    store: StoreMark
    rows: Annotated[list[ListedRow], Meta(max_length=1_000)]
    more: bool


class KnownToDevice(msgspec.Struct, frozen=True, kw_only=True):
    """Answer to ``rows.known``: those of the listed calls that are done, and of the rows that exist."""

    calls: list[Id]
    rows: list[Id]

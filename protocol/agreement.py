"""What a device answers to ``rows.list`` and ``rows.known``: by it hub and device agree about the past."""

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from protocol.frame import MAX_RESULT_BYTES, Count, Id, Path, Record, Sha256
from protocol.handshake import StoreMark
from protocol.tables import TableName

# What one page may take of an answer: the rest is for what stands around the rows.
MAX_PAGE_BYTES: Final = MAX_RESULT_BYTES * 3 // 4
MAX_ASKED: Final = 500  # calls, and rows, in one rows.known

RowState = Literal["open", "approved", "edited", "rejected"]


class ListedRow(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A row that a hub wrote, and what its owner said to it; one that its owner deleted is ``rejected``.

    Attributes:
        counter: of the store when the call was done, or the owner's word on it confirmed.
        call_id: of the call that wrote the row last.
        inserted_by: the call that made the row, where that is another one.
        path, sha256, quote, start, end: of the call's ``source``.
        data: the fields that a ``query`` would show, as far as there was room; {}: none.
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
    data: Record = {}


class RowsPage(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to ``rows.list``: rows with a counter above ``data.since``, by counter.

    *store* is how far the store has come; *more*: there are rows behind the last one of this page.
    """

    store: StoreMark
    rows: Annotated[list[ListedRow], Meta(max_length=1_000)]
    more: bool


class KnownToDevice(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to ``rows.known``: of what was asked, calls that are done and rows that are there."""

    calls: list[Id]
    rows: list[Id]

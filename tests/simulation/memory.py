"""Durable state of a simulated device: its rows, what it answered, and what its owner decided."""

from dataclasses import dataclass, field
from typing import NamedTuple

from protocol.calls import RowState
from protocol.ids import CallId
from protocol.tool_calls import Answer


@dataclass(frozen=True, slots=True)
class Row:
    """Row of an insert and its updates; *call_id* is the latest call."""

    row_id: str
    call_id: CallId
    agent_id: str
    run_id: str
    path: str
    sha256: str
    title: str  # without a model's additional words
    start: int = 0
    note: str | None = None  # written by its owner
    is_approved: bool = False

    @property
    def state(self) -> RowState:
        """Return what its owner decided, as the row shows it."""
        if self.note is not None:
            return "edited"
        return "approved" if self.is_approved else "open"


class Undoable(NamedTuple):
    """Newest verdict on a row that a hub brought, and the row before and after it, as JSON."""

    call_id: str
    before: str
    after: str


@dataclass(slots=True)
class Memory:
    """Durable state, which is stored before an answer is sent."""

    answers: dict[CallId, Answer] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    woken: list[CallId] = field(default_factory=list)  # slots of its agents' calendars
    untold: dict[CallId, str] = field(default_factory=dict)  # verdicts that no hub has confirmed
    removed: list[Row] = field(default_factory=list)  # rows that its owner did not want
    made: dict[str, CallId] = field(default_factory=dict)  # by row: the call that made it
    reviews: dict[CallId, Answer] = field(default_factory=dict)  # answers to verdicts that a hub brought
    undoable: dict[str, Undoable] = field(default_factory=dict)  # by row
    store_id: str = ""
    counter: int = 0
    counted: dict[CallId, int] = field(default_factory=dict)  # by call that changed a row

    @property
    def rejected(self) -> set[str]:
        """Return the titles of the rows that its owner removed."""
        return {row.title for row in self.removed}

    def count(self, call_id: CallId) -> None:
        """Count a call that changed a row, or a confirmed verdict of the owner."""
        self.counter += 1
        self.counted[call_id] = self.counter

    def find(self, row_id: str) -> Row | None:
        """Return the row with this id, if its owner has not removed it."""
        return next((row for row in self.rows if row.row_id == row_id), None)

    def put(self, row: Row | None, row_id: str) -> None:
        """Write a row as its owner decided: changed, removed (None), or brought back."""
        before = self.find(row_id)
        if before is not None and row is not None:
            self.rows[self.rows.index(before)] = row
        elif before is not None:
            self.rows.remove(before)
            self.removed.append(before)
        elif row is not None:
            self.removed = [other for other in self.removed if other.row_id != row_id]
            self.rows.append(row)

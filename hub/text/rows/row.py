"""Row to write, and the columns of its table as people see them. Fields are texts, as an owner types them."""

from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Final, NamedTuple

from hub.base.outbound.refusal_reach import RefusalScope
from protocol.calls import PlaceProblem
from protocol.errors import HubError
from protocol.tables import DeviceTable, Filler, Kind

LONG: Final = 2_000  # characters: longer texts stand apart from their row
Fields = Mapping[str, str]


class Put(NamedTuple):
    """Row to write to a place of a target. *key* identifies it there; *at_ms* is its latest change."""

    key: str
    table: DeviceTable
    fields: Fields
    place: str
    at_ms: int


class Shape:
    """Columns of a table by how they are shown to people.

    Attributes:
        title: the column that names a row.
        has_status: rows are open or done; the column is ``status``.
        has_priority: rows have a high, medium or low ``priority``.
        date: the first column of a date, if any.
        text: the first column of a long text, if any.
        others: columns that are none of these.
    """

    def __init__(self, table: DeviceTable) -> None:
        columns = {
            field.name: field for field in table.fields if field.filler in (Filler.MODEL, Filler.PERSON)
        }
        self.title = table.title
        self.has_status = "status" in columns and "done" in columns["status"].choices
        self.has_priority = "priority" in columns and {"high", "low"} <= {*columns["priority"].choices}
        self.date = next((column.name for column in columns.values() if column.kind is Kind.EPOCH_MS), None)
        long = (
            column for column in columns.values() if column.kind is Kind.TEXT and column.max_length > LONG
        )
        self.text = next((column.name for column in long if column.name != table.title), None)
        shown = {self.title, self.date, self.text}
        shown |= {"status"} if self.has_status else set()
        shown |= {"priority"} if self.has_priority else set()
        self.others = [column for column in columns.values() if column.name not in shown]

    @property
    def names(self) -> list[str]:
        """Names of all these columns, the title first."""
        named = [self.title, "status" if self.has_status else None, "priority" if self.has_priority else None]
        return [name for name in (*named, self.date, self.text) if name] + [
            other.name for other in self.others
        ]


@lru_cache(maxsize=64)
def shape_of(table: DeviceTable) -> Shape:
    """Return the shape of a table."""
    return Shape(table)


class LateFields(Mapping[str, str]):
    """Fields that are parsed when they are first used. A place has thousands of them: they are small."""

    __slots__ = ("_fields", "_parse")

    def __init__(self, parse: Callable[[], Fields]) -> None:
        self._parse = parse
        self._fields: Fields | None = None

    @property
    def _parsed(self) -> Fields:
        if self._fields is None:
            self._fields = self._parse()
        return self._fields

    def __getitem__(self, name: str) -> str:
        return self._parsed[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._parsed)

    def __len__(self) -> int:
        return len(self._parsed)


class TargetFailed(HubError):
    """Target that cannot be read or written now; rows that were written are found again by their keys.

    *why*: the reason that a hub gets; the message stays on this machine. *scope*: how far it reaches, if it
    was raised for one row. *of_row*: the message where the target accepts other rows; empty: the same.
    """

    of_row = ""
    why = PlaceProblem.FAILED
    scope = RefusalScope.PLACE

    def __init__(
        self, message: str, why: PlaceProblem | None = None, scope: RefusalScope | None = None
    ) -> None:
        super().__init__(message)
        self.why = why or self.why
        self.scope = scope or self.scope

    @property
    def is_of_all(self) -> bool:
        """True if other rows would have the same answer now."""
        return self.scope in (RefusalScope.ACCOUNT, RefusalScope.MOMENT)

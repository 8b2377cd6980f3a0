"""Lists in pages: the rows after a sort key, in the order of that key.

A page costs the same wherever it begins, and rows that are inserted or deleted between two pages neither
repeat nor hide other rows. The columns of a key are unique together and never NULL.
"""

from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

import sqlalchemy as sa

from protocol.errors import ErrorCode, HubError
from storage.kernel.rows import readable

R = TypeVar("R")
Key: TypeAlias = tuple[str | int, ...]


class ForeignKey(HubError):
    """Error: a sort key does not fit the columns that order the list."""

    code = ErrorCode.BAD_PARAMS

    def __init__(self) -> None:
        super().__init__("cursor: it came from another list; take it from next_cursor of the page before")


def paged(
    query: sa.Select[Any],
    *by: sa.ColumnElement[Any],
    limit: int | None = None,
    after: Key | None = None,
    descending: bool = False,
) -> sa.Select[Any]:
    """Order *query* by the columns *by*, and restrict it to *limit* rows after the sort key *after*.

    Raises:
        ForeignKey: *after* is a key of another list.
    """
    ordered = query.order_by(*(column.desc() if descending else column for column in by)).limit(limit)
    if after is None:
        return ordered
    if [type(part) for part in after] != [column.type.python_type for column in by]:
        raise ForeignKey
    row, key = sa.tuple_(*by), sa.tuple_(*map(sa.literal, after, (column.type for column in by)))
    return ordered.where(row < key if descending else row > key)


def readable_page(
    c: sa.Connection,
    convert: Callable[[Any], R],
    query: sa.Select[Any],
    limit: int | None,
) -> list[R]:
    """Return up to *limit* converted rows of a ``paged`` query; others take the places of unreadable ones."""
    most = limit
    while True:
        rows = c.execute(query.limit(most)).all()
        found = readable(convert, rows)
        if limit is None or most is None or len(found) >= limit or len(rows) < most:
            return found[:limit]
        most *= 2

"""Labels by which a model refers to rows of the device, as it never sees ids. Pure functions."""

from collections.abc import Iterable, Sequence
from typing import Final

from hub.extraction.items import Reference
from protocol.tables import TABLES, TableName

MOST_REFERENCES: Final = 50  # each costs the tokens of its title in every question

_LETTERS: Final[dict[TableName, str]] = {TableName.PROJECTS: "P", TableName.TASKS: "T"}


def labelled(references: Iterable[Reference], tables: Sequence[TableName]) -> dict[str, Reference]:
    """Return the rows to which records of *tables* can belong, by label: P1 for projects, T1 for tasks."""
    pointed_at = {column.refers_to for table in tables for column in TABLES[table].columns}
    rows: dict[str, Reference] = {}
    counts: dict[TableName, int] = {}
    for row in references:
        if row.table in pointed_at and row.table in _LETTERS and len(rows) < MOST_REFERENCES:
            counts[row.table] = counts.get(row.table, 0) + 1
            rows[f"{_LETTERS[row.table]}{counts[row.table]}"] = row
    return rows

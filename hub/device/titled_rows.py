"""Search of projects and tasks by title, for fields that refer to other rows."""

import sqlite3
from typing import Final

from hub.base.clock import IdFactory, SystemChance, SystemClock
from hub.device.rows import bad_record, find, insert, update
from hub.device.schema import quoted
from hub.device.verdicts import row_of
from protocol.frame import Record
from protocol.similar_names import nearest
from protocol.tables import (
    TABLES,
    DeviceTable,
    TableName,
)

_OWN: Final[Record] = {"isAiSuggested": 0, "isApproved": 1}


_SHOWN: Final = 80  # characters of the text that a message quotes


def row_called(
    db: sqlite3.Connection, table: DeviceTable, text: str, at_ms: int, *, by_title_alone: bool = False
) -> tuple[str, str]:
    """Return the id of the row of *table* that *text* names, and a report of a created project.

    The report may also be about a project that was approved; it is empty otherwise.

    Args:
        by_title_alone: *text* is no review number and no id.

    Raises:
        Refusal: no row, or several, are called so.
    """
    title = quoted(table.title)
    candidates = db.execute(f"SELECT id, {title}, isApproved FROM {quoted(table.name)}").fetchall()
    ids = () if by_title_alone else (text, row_of(db, table, text))
    found = (
        [row for row in candidates if row["id"] in ids]
        or [row for row in candidates if row[1] == text]
        or [row for row in candidates if row[1].casefold() == text.casefold()]
    )
    # A suggestion, whose words may be of others, takes no name of an approved row.
    found = [row for row in found if row["isApproved"]] or found
    if len(found) > 1:
        raise bad_record(f"{len(found)} {table.name} are called {cut(text)}: name one by its number or id")
    is_made = table.name is TableName.PROJECTS
    if not found and is_made:
        row_id = IdFactory(SystemClock(), SystemChance()).fresh()
        insert(db, table, row_id, {table.title: text}, at_ms, flags=_OWN)
        return row_id, f"; the project {cut(text)} is new"
    if not found:
        near = nearest(text, [row[1] for row in candidates])
        hint = f"did you mean {cut(near)}?" if near else "'hub review ls --all' lists those there are"
        raise bad_record(f"{table.name}: there is no {cut(text)}; {hint}")
    (row,) = found
    if is_made and not row["isApproved"]:
        update(db, table, row["id"], {"isApproved": 1}, at_ms)
        return row["id"], f"; the project {cut(row[1])} is approved with it"
    return row["id"], ""


def titles_of_referred(db: sqlite3.Connection, table: DeviceTable, row: Record) -> dict[str, str]:
    """Return the titles of the rows that a row refers to, by column."""
    titles: dict[str, str] = {}
    for column in table.columns:
        if column.refers_to is None or (id := row.get(column.name)) is None:
            continue
        referred = TABLES[column.refers_to]
        if (found := find(db, referred, str(id))) is not None:
            titles[column.name] = str(found[referred.title])
    return titles


def cut(text: str) -> str:
    """Return the beginning of a text in quotation marks."""
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…")

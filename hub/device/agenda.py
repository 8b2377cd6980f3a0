"""Approved tasks and events of a device's file by their days, a page at a time.

Plain functions over a connection, inside the caller's transaction. A page reads the day and the title of each
approved row, and the other values of its own rows alone.
"""

import sqlite3
from itertools import islice
from typing import Final

import msgspec

from hub.device import rows
from hub.device.titled_rows import titles_of_referred
from protocol.agenda import NO_DAY, AgendaPage, AgendaQuery, AgendaRow, agenda_fields, seen_row
from protocol.calls import MAX_PAGE_BYTES
from protocol.items import has_each, sought_in
from protocol.tables import TABLES
from protocol.tool_calls import ToolCall

_ROWS: Final = f"""
SELECT tbl, id, title, place FROM (
    SELECT 'tasks' AS tbl, id, title, status IS 'done' AS is_done,
        iif(status IS 'done', -updatedAt, coalesce(dueDate, {NO_DAY})) AS place
    FROM tasks WHERE isApproved
    UNION ALL
    SELECT 'timelines', id, title, date < :begin, iif(date < :begin, -date, date)
    FROM timelines WHERE isApproved
) WHERE is_done = :is_done AND (place, id) > (:place, :row_id) ORDER BY place, id
"""


def answer(db: sqlite3.Connection, call: ToolCall) -> AgendaPage:
    """Return the page that a call asks for. Raises Refusal if it asks for something else."""
    try:
        return page_of(db, msgspec.convert(call.data, AgendaQuery), call.limit)
    except msgspec.ValidationError as error:
        raise rows.bad_record(str(error)) from None


def page_of(db: sqlite3.Connection, asked: AgendaQuery, limit: int) -> AgendaPage:
    """Return a page of approved rows."""
    sought, size = sought_in(asked.text), 0
    listed = db.execute(_ROWS, msgspec.structs.asdict(asked))
    chosen = list(islice((row for row in listed if has_each(sought, [row["title"]])), limit + 1))
    found: list[AgendaRow] = []
    for tbl, row_id, _, place in chosen[:limit]:
        table = TABLES[tbl]
        data = rows.find(db, table, row_id) or {}
        data |= titles_of_referred(db, table, data)
        short = {name: data[name] for name in (*agenda_fields(table), "updatedAt") if data[name] is not None}
        row = AgendaRow(
            table=table.name, row_id=row_id, place=place, data=short, seen_row=seen_row(table, data)
        )
        size += len(msgspec.json.encode(row))
        if found and size > MAX_PAGE_BYTES:
            break
        found.append(row)
    return AgendaPage(rows=found, more=len(found) < len(chosen))

"""Rules for CSV with a meaningful header: each row is an item. Pure functions.

A header counts only if it is unambiguous: each field has one column, and one table matches more columns than
any other. All else is left to the model, as are rows with content that yield no item; these are read with the
header.
"""

import csv
import re
from collections.abc import Iterator
from typing import Final

import msgspec

from hub.document import Document
from hub.extraction.chunk import Passage
from hub.extraction.forms import Form, lines_of, make_item
from hub.extraction.items import ExtractionOptions, Item
from hub.extraction.when import date_ms
from protocol.frame import Field
from protocol.tables import TableName

_DELIMITERS: Final = (",", ";", "\t", "|")

# Usual column names by field; compared without case, blanks and signs.
_TITLES: Final = ("title", "name", "summary", "subject")
_TASK_COLUMNS: Final[dict[str, tuple[str, ...]]] = {
    "title": (*_TITLES, "task", "todo", "action", "actionitem", "taskname"),
    "description": ("description", "details", "notes", "note", "comment", "comments"),
    "status": ("status", "state", "done", "completed"),
    "priority": ("priority", "prio", "importance"),
    "assignee": ("assignee", "assignees", "assignedto", "owner", "responsible", "who"),
    "dueDate": ("due", "duedate", "dueon", "dueby", "deadline"),
}
_EVENT_COLUMNS: Final[dict[str, tuple[str, ...]]] = {
    "title": (*_TITLES, "event", "milestone"),
    "date": ("date", "when", "start", "starts", "startdate", "startsat"),
}
_NOTE_COLUMNS: Final[dict[str, tuple[str, ...]]] = {
    "title": (*_TITLES, "topic"),
    "content": ("content", "note", "notes", "text", "body"),
}
_TABLES: Final = (
    (TableName.TASKS, _TASK_COLUMNS, ("status", "priority", "assignee", "dueDate")),
    (TableName.TIMELINES, _EVENT_COLUMNS, ("date",)),
    (TableName.NOTES, _NOTE_COLUMNS, ("content",)),
)
_STATUS: Final[dict[str, str]] = {
    **dict.fromkeys(("todo", "open", "new", "notstarted", "pending", "backlog", "no", "false"), "todo"),
    **dict.fromkeys(("inprogress", "doing", "started", "wip", "active"), "in_progress"),
    **dict.fromkeys(("done", "complete", "completed", "closed", "finished", "yes", "true", "x"), "done"),
}
_PRIORITY: Final[dict[str, str]] = {
    **dict.fromkeys(("high", "urgent", "critical", "highest", "p1"), "high"),
    **dict.fromkeys(("medium", "normal", "p2"), "medium"),
    **dict.fromkeys(("low", "lowest", "minor", "p3"), "low"),
}


class _Columns(msgspec.Struct, frozen=True):
    """Interpretation of a header: the table, and the column of each field."""

    table: TableName
    fields: dict[str, int]


def read_spreadsheet(document: Document, options: ExtractionOptions) -> Form | None:
    """Convert the rows of a table to items; ``None`` if its header is not understood."""
    text = document.text
    first = next((line.text for line in lines_of(text) if line.text.strip()), "")
    delimiter = max(_DELIMITERS, key=first.count)
    try:
        rows = list(_rows(text, delimiter))
    except csv.Error:
        return None
    columns = _columns(rows[0].cells) if rows else None
    if columns is None or any(len(row.cells) > len(rows[0].cells) for row in rows):
        return None
    header = (text[rows[0].start : rows[0].end],)
    items: list[Item] = []
    prose: list[Passage] = []
    for row in rows[1:]:
        item = make_item(columns.table, _fields(columns, row, options), text, row.start, row.end, options)
        if item is not None:
            items.append(item)
        elif columns.table in options.data_types:  # for example without a title, or with an informal date
            # Adjacent rows are merged, because each passage needs a question.
            is_next = bool(prose) and not text[prose[-1].end : row.start].strip()
            prose.append(Passage(prose.pop().start if is_next else row.start, row.end, header))
    return Form(items=items, prose=prose, date=document.modified_at)


class _Row(msgspec.Struct, frozen=True):
    cells: list[str]
    start: int
    end: int


def _rows(text: str, delimiter: str) -> Iterator[_Row]:
    """Yield the non-empty rows with their places; a quoted cell may span several lines."""
    lines = list(lines_of(text))
    reader = csv.reader((text[line.start : line.after] for line in lines), delimiter=delimiter, strict=True)
    taken = 0
    for cells in reader:
        first, last = lines[taken], lines[reader.line_num - 1]
        taken = reader.line_num
        if any(cell.strip() for cell in cells):
            source = text[first.start : last.end]
            start = first.start + len(source) - len(source.lstrip())
            yield _Row([cell.strip() for cell in cells], start, first.start + len(source.rstrip()))


def _columns(header: list[str]) -> _Columns | None:
    """Return the table that matches more of *header* than any other; ``None`` if it is ambiguous."""
    names = [_plain(name) for name in header]
    fitting: list[_Columns] = []
    for table, spellings, significant in _TABLES:
        found = {
            field: [place for place, name in enumerate(names) if name in known]
            for field, known in spellings.items()
        }
        is_clear = all(len(places) <= 1 for places in found.values())
        if is_clear and found["title"] and any(found[field] for field in significant):
            fitting.append(_Columns(table, {field: places[0] for field, places in found.items() if places}))
    return next((one for one in fitting if all(_takes_more(one, other) for other in fitting)), None)


def _takes_more(one: _Columns, other: _Columns) -> bool:
    return one is other or set(one.fields.values()) > set(other.fields.values())


def _fields(columns: _Columns, row: _Row, options: ExtractionOptions) -> dict[str, Field]:
    """Return the row's cells by field; invalid values are appended to the description."""
    values: dict[str, Field] = {}
    unread: list[str] = []
    for field, place in columns.fields.items():
        cell = row.cells[place] if place < len(row.cells) else ""
        values[field] = _value(field, cell, options)
        if cell and values[field] is None:
            unread.append(f"{field}: {cell}")
    if unread and columns.table is TableName.TASKS:
        values["description"] = "\n".join([*filter(None, [str(values.get("description") or "")]), *unread])
    return values


def _value(field: str, cell: str, options: ExtractionOptions) -> Field:
    match field:
        case "status":
            return _STATUS.get(_plain(cell))
        case "priority":
            return _PRIORITY.get(_plain(cell))
        case "assignee":
            return [name.strip() for name in re.split(r"[;/]", cell) if name.strip()]
        case "dueDate" | "date":
            return date_ms(cell, options.timezone)
        case _:
            return cell


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", "", name.lower())

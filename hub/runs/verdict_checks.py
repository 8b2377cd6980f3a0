"""Validation of a verdict's edited fields by the item's table."""

from collections.abc import Mapping
from typing import Any, Final

from hub.extraction.quote_support import has_words
from protocol.frame import Record
from protocol.tables import DeviceTable, Filler, Tables, problems_of
from storage.runs.item_verdicts import NewVerdict
from storage.runs.items import ItemRow

MAX_PROBLEMS: Final = 20  # in one message
MAX_TITLE: Final = 500  # characters
_FILLERS: Final = frozenset({Filler.MODEL, Filler.PERSON})


def _problems_with_titles(table: DeviceTable, data: dict[str, Any]) -> list[str]:
    """Return the problems of rows that are named by ``{"title": ...}``."""
    problems: list[str] = []
    for name, value in data.items():
        if not isinstance(value, dict):
            continue
        column, title = table.column(name), value.get("title")
        if column is None or column.refers_to is None:
            problems.append(f"{table.name}.{name}: refers to no row, and takes no title")
        elif value.keys() != {"title"} or not isinstance(title, str) or not title.strip():
            problems.append(f'{table.name}.{name}: expected an id, or {{"title": "..."}}')
        elif len(title) > MAX_TITLE:
            problems.append(f"{table.name}.{name}: a title has at most {MAX_TITLE} characters")
    return problems


def lacking(table: DeviceTable, data: Record) -> tuple[str, ...]:
    """Return the fields that a row of *table* needs before it can be approved, and does not have."""
    needed = (column.name for column in table.columns if column.required_to_approve)
    return tuple(name for name in needed if data.get(name) in (None, "", []))


def problem_with(item: ItemRow, new: NewVerdict, tables: Tables) -> str | None:
    """Return why an item cannot have the verdict, by the schema of its table, or None.

    Of a table that is not declared any more, only its device knows the fields.
    """
    table = tables.of(item.target_table)
    if new.verdict in ("reject", "undo"):
        return f"data: '{new.verdict}' takes none" if new.data else None
    if new.verdict == "edit" and not new.data:
        return "data: 'edit' needs the values to write"
    problems = _problems_with_titles(table, new.data)
    plain = {name: value for name, value in new.data.items() if not isinstance(value, dict)}
    problems += problems_of(table, plain, _FILLERS, is_partial=True)
    emptied = [
        column.name
        for column in table.columns
        if column.required and new.data.get(column.name, "-") in (None, "")
    ]
    lacks = lacking(table, item.data | new.data) if new.verdict == "approve" else ()
    problems += [f"{table.name}.{name}: is required" for name in (*emptied, *lacks)]
    return "; ".join(problems[:MAX_PROBLEMS]) or None


def unsupported(new: Mapping[str, Any], before: Mapping[str, Any], quote: str) -> tuple[str, ...]:
    """Return the fields of *new* whose words neither *before* nor the quote of an item has."""
    texts = {name: (_text(value), _text(before.get(name))) for name, value in new.items()}
    return tuple(name for name, (text, known) in texts.items() if not has_words(text, quote, known))


def _text(value: object) -> str:
    """Return the words of a value, of a row by its title."""
    if isinstance(value, dict):
        value = value.get("title")
    return " ".join(map(str, value)) if isinstance(value, list) else "" if value is None else str(value)

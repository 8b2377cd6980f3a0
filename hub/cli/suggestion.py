"""Pure: a suggestion as its owner is to judge it, as lines of text."""

import textwrap
from collections.abc import Iterator, Mapping
from typing import Final

from hub.clock import from_epoch_ms
from hub.device.inserts import DeviceItem
from hub.printable import one_line
from protocol.frame import Field, Record
from protocol.tables import SUGGESTED, TABLES, Column, Kind, TableName

_INDENT: Final = 4
_SHOWN: Final = frozenset({"dueDate", "date", "assignee", "status", "priority", "author"})
_WARNINGS: Final = {
    "instruction": "its words give orders to a reader: look at the file before you trust it",
    "hidden_characters": "there are characters in its words that nobody can see",
    "approximate_quote": "the model quoted it in other words than the file's",
    "cut_answer": "the model's answer was cut off; there may be more in the file",
}


def lines_of(item: DeviceItem, width: int | None) -> Iterator[str]:
    """An item as it is to be judged: what it says, the words that say it, and what to know about them.

    *width*: of the terminal; ``None``: no line is broken.
    """
    columns = TABLES[TableName(item.table)].columns
    fields = [
        f"{column.name} {_spelt(column, item.data[column.name])}"
        for column in columns
        if column.name in item.data and column.name in _SHOWN
    ]
    words = f'"{item.quote}"' if item.quote else "no words were told"
    yield from _lines(f"{item.label}  {item.table}  {item.title}", width)
    below = (
        ", ".join(fields),
        f"{item.source_path or 'no file'}: {words}",
        *(f"! {remark}" for remark in _remarks(item)),
    )
    for line in filter(None, below):
        yield from _lines(" " * _INDENT + line, width)


def _lines(text: str, width: int | None) -> list[str]:
    text = one_line(text)
    if width is None:
        return [text]
    return textwrap.wrap(text, width, subsequent_indent=" " * _INDENT, break_on_hyphens=False)


def _remarks(item: DeviceItem) -> list[str]:
    """What to know before approving it."""
    remarks = item.remarks
    columns = {column.name: column for column in TABLES[TableName(item.table)].columns}
    told = [_WARNINGS.get(warning, warning) for warning in remarks.warnings]
    told += [f"{one.field}: cannot tell what {one.words!r} means" for one in remarks.unresolved]
    told += [
        f"{one.field} was {_spelt(columns.get(one.field), one.before)},"
        f" is {_spelt(columns.get(one.field), one.after)}"
        for one in remarks.changed
    ]
    if item.proposal is not None:
        told += _proposed(item, item.proposal.data, columns)
    if remarks.replaces is not None:
        told.append(f"stands for the row {remarks.replaces}")
    return told


def _proposed(item: DeviceItem, data: Record | None, columns: Mapping[str, Column]) -> Iterator[str]:
    """Describe the change, or the deletion, that a hub proposes for a row of its owner."""
    if data is None:
        yield "the hub would delete it"
        return
    for name, value in data.items():
        if name not in SUGGESTED:
            before = _spelt(columns.get(name), item.data.get(name))
            yield f"the hub would change {name} from {before} to {_spelt(columns.get(name), value)}"


def _spelt(column: Column | None, value: Field) -> str:
    """A value as people write it; times in this machine's zone, and a day alone where it is midnight."""
    if value is None or value == []:
        return "empty"
    if column is not None and column.kind is Kind.EPOCH_MS and isinstance(value, int):
        at = from_epoch_ms(value).astimezone()
        return f"{at:%Y-%m-%d}" if (at.hour, at.minute) == (0, 0) else f"{at:%Y-%m-%d %H:%M}"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return repr(value) if isinstance(value, str) and " " in value else str(value)

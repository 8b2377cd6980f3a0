"""Helpers for rules: lines with positions, and the construction of items. Pure functions."""

import re
from collections.abc import Iterator
from datetime import datetime
from typing import Final

import msgspec

from hub.extraction.chunk import Passage
from hub.extraction.folding import shown
from hub.extraction.items import ExtractionOptions, Item
from protocol.frame import Field, Record
from protocol.tables import TABLES, DeviceTable, Filler, TableName, problem_of, problems_of

_BY_RULE: Final = frozenset({Filler.MODEL})  # a rule fills the same fields as a model
_MOST_NAMES: Final = 50  # a longer list does not name assignees
_LINE: Final = re.compile(r"([^\r\n]*)(\r\n|\r|\n|$)")


class Form(msgspec.Struct, frozen=True, kw_only=True):
    """Result of the rules for a document.

    Attributes:
        items: items found by rules, in the order of the text.
        prose: passages left to a model.
        date: date of the document, from its content or its file.
        view: the text for the model, of the same length, if it differs from the document's text.
    """

    items: list[Item] = []
    prose: list[Passage] = []
    date: datetime | None = None
    view: str | None = None


class Line(msgspec.Struct, frozen=True):
    """Line without its end: ``text == document.text[start:end]``; *after* is the start of the next line."""

    text: str
    start: int
    end: int
    after: int


def lines_of(text: str) -> Iterator[Line]:
    """Yield the lines of *text* with any kind of line end; an unterminated empty last line is skipped."""
    at = 0
    while at < len(text):
        match = _LINE.match(text, at)
        assert match is not None  # the pattern matches everywhere
        yield Line(match.group(1), at, match.end(1), match.end())
        at = match.end()


def make_item(
    table: TableName, fields: dict[str, Field], text: str, start: int, end: int, options: ExtractionOptions
) -> Item | None:
    """Create an item of a rule; ``None`` if its table is not selected or a required field is missing.

    Empty and invalid optional fields are omitted. A title that is too long is shortened, and kept whole in a
    field with more space.
    """
    if table not in options.data_types:
        return None
    shape = TABLES[table]
    data = _shortened(shape, {name: _clean(value) for name, value in fields.items()})
    for name in [name for name in data if _is_unfit(shape, name, data[name])]:
        del data[name]
    if problems_of(shape, data, _BY_RULE):
        return None
    return Item(table=table, data=data, quote=text[start:end], start=start, end=end, origin="rule")


def _clean(value: Field) -> Field:
    if isinstance(value, list):
        return value[:_MOST_NAMES]
    return shown(value).strip() if isinstance(value, str) else value


def _is_unfit(table: DeviceTable, name: str, value: Field) -> bool:
    column = table.column(name)
    return column is None or value in (None, "", []) or problem_of(column, value) is not None


def _shortened(table: DeviceTable, data: Record) -> Record:
    column, title = table.column(table.title), data.get(table.title)
    if column is None or not isinstance(title, str) or len(title) <= column.max_length:
        return data
    more = next((name for name in ("description", "content") if table.column(name)), None)
    short = title[: column.max_length - 1].rsplit(maxsplit=1)[0] + "\u2026"
    if more is None or more == table.title:
        return data | {table.title: short}
    return data | {table.title: short, more: f"{title}\n{data.get(more) or ''}".strip()}

"""Pure: suggestions as lines of text, for review by their owner."""

import json
import re
import textwrap
from collections.abc import Iterator, Mapping
from typing import Final

from hub.clock import from_epoch_ms, moment_text
from hub.dates import day_at
from hub.device.inbox import DeviceItem, SourceState
from hub.device.owner import lacking, remedy
from hub.printable import spelled
from hub.text.excerpt import Excerpt, lines_around, spoken
from protocol.frame import Field, Record
from protocol.tables import SUGGESTED, TABLES, Column, Filler, Kind
from protocol.work import MARKS, FoundBy, Provenance, ProvenanceOrigin

_INDENT: Final = 4
_FOLDED: Final = 8  # columns before a continued line, more than before any other line
_MOST_LINES: Final = 5  # of a text, unless it is shown whole
_MOST_CHARACTERS: Final = 400
_MOST_OF_A_LINE: Final = 1_000
_LONG: Final = 2_000  # a column that allows more may have many lines
_LINE: Final = 120
_PLAIN: Final = re.compile(r"[\w.@+/-]+")  # needs no quotation marks
_SHOWN: Final = frozenset({"dueDate", "date", "assignee", "status", "priority", "author"})
_LOST: Final = {
    SourceState.FILE_MISSING: "the file was deleted, moved or renamed",
    SourceState.WORDS_MISSING: "the quoted text is no longer in the file",
}


def lines_of(
    item: DeviceItem,
    width: int | None,
    *,
    whole: bool = False,
    with_status: bool = False,
    excerpt: Excerpt | None = None,
) -> Iterator[str]:
    """Yield the lines of an item for review: its title, fields, quote and warnings.

    Text of documents never begins a line: its line feeds are escaped, or its lines begin with ``|``.

    Args:
        width: columns of the terminal; ``None``: no line is broken.
        whole: show texts completely.
        with_status: show the decision of the owner, and the project or task of the item.
        excerpt: lines around the quote, to be shown with it.
    """
    columns = item.declaration.columns
    fields = [
        f"{column.name} {_spelt(column, item.data[column.name], item.remarks.timezone)}"
        for column in columns
        if column.name in item.data and (column.name in _SHOWN or _is_short(item, column))
    ]
    quote = _quoted(spoken(item.quote)) if item.quote else "no quote"
    around = [] if excerpt is None else list(lines_around(excerpt, item.quote or ""))
    yield from _lines(f"{item.label}  {item.table}  {_title(item)}", width)
    below = (
        origin_of(item.remarks.provenance),
        ", ".join(_status(item)) if with_status else "",
        ", ".join(fields),
        "found by a rule" if item.remarks.found_by is FoundBy.RULE else "",
        *_texts(item, whole=whole),
        f"{_named(item.source_path) if item.source_path else 'no file'}: {'' if around else quote}".rstrip(),
        *around,
        *(f"! {remark}" for remark in _remarks(item)),
    )
    for line in filter(None, below):
        shown = line if whole or len(line) <= _MOST_OF_A_LINE else f"{line[:_MOST_OF_A_LINE]}… (ls --whole)"
        yield from _lines(" " * _INDENT + shown, width)


def origin_of(provenance: Provenance | None) -> str:
    """Return who wrote the text of an item, for its reviewer; empty for the owner's own files."""
    if provenance is None or (provenance.trusted and provenance.origin is ProvenanceOrigin.OWN):
        return ""
    by = f", {provenance.author}" if provenance.author else ""
    return f"from: {provenance.origin}{by}{'' if provenance.trusted else ', not verified'}"


def _status(item: DeviceItem) -> Iterator[str]:
    """Yield the decision of the owner, and the project or task that the item belongs to."""
    yield "approved" if item.data.get("isApproved") else "suggestion"
    if item.verdict == "edited":
        yield "changed by you"
    for column, title in item.belongs_to.items():
        yield f"{column.removesuffix('Id')} {_named(title)}"


def _title(item: DeviceItem) -> str:
    """Return the title; of a comment, which is its own title, only the beginning."""
    is_cut = len(item.title) > _LINE and any(column.name == "content" for column in _long(item))
    return f"{item.title[:_LINE]}…" if is_cut and item.title == item.data.get("content") else item.title


def _is_short(item: DeviceItem, column: Column) -> bool:
    """Return True for a field of an operator's table that fits into a line."""
    is_own = item.table not in TABLES and column.filler is Filler.MODEL
    return is_own and column.name != item.declaration.title and column.max_length <= _LONG


def _long(item: DeviceItem) -> list[Column]:
    """Return the columns whose texts may have many lines."""
    columns = item.declaration.columns
    return [column for column in columns if column.kind is Kind.TEXT and column.max_length > _LONG]


def _texts(item: DeviceItem, *, whole: bool) -> Iterator[str]:
    """Yield the first lines of long texts, as of a note's content, each after a bar."""
    for column in _long(item):
        text = str(item.data.get(column.name, "")).rstrip().replace("\r\n", "\n").expandtabs(4)
        if column.name in _SHOWN or not text or text == _title(item):
            continue
        shown = text if whole else "\n".join(text[:_MOST_CHARACTERS].split("\n")[:_MOST_LINES])
        yield from (f"| {line}" for line in shown.split("\n"))
        if len(shown) < len(text):
            yield f"| … {len(text) - len(shown)} more characters: hub review ls --whole"


def _lines(text: str, width: int | None) -> list[str]:
    text = spelled(text)
    if width is None:
        return [text]
    return textwrap.wrap(text, width, subsequent_indent=" " * _FOLDED, break_on_hyphens=False)


def _remarks(item: DeviceItem) -> list[str]:
    """Return the warnings and changes that the owner reads before approving an item."""
    remarks = item.remarks
    table = item.declaration
    columns = {column.name: column for column in table.columns}
    lines = [MARKS.get(warning, warning) for warning in remarks.warnings]
    if (column := lacking(table, item.data)) is not None and not item.data.get("isApproved"):
        lines.append(remedy(column, item.label))
    lines += [f"{one.field}: the meaning of {one.words!r} is unclear" for one in remarks.unresolved]
    lines += [
        f"{one.field} was {_spelt(columns.get(one.field), one.before, remarks.timezone)},"
        f" is {_spelt(columns.get(one.field), one.after, remarks.timezone)}"
        for one in remarks.changed
        if not item.data.get("isApproved")  # the owner has seen the change
    ]
    if item.proposal is not None:
        lines += _proposed(item, item.proposal.data, columns)
    if item.source_state is not None:
        lines.append(_LOST[item.source_state])
    if remarks.replaces is not None:
        lines.append(f"replaces the row {remarks.replaces}")
    return lines


def _proposed(item: DeviceItem, data: Record | None, columns: Mapping[str, Column]) -> Iterator[str]:
    """Describe the change, or the deletion, that a hub proposes for a row of its owner."""
    if data is None:
        yield "the hub would delete it"
        return
    zone = item.remarks.timezone
    for name, value in data.items():
        if name not in SUGGESTED:
            before = _spelt(columns.get(name), item.data.get(name), zone)
            yield f"the hub would change {name} from {before} to {_spelt(columns.get(name), value, zone)}"


def _spelt(column: Column | None, value: Field, zone: str | None) -> str:
    """Return a value as people write it; *zone* is where a day without a time begins."""
    if value is None or value == []:
        return "empty"
    if column is not None and column.kind is Kind.EPOCH_MS and isinstance(value, int):
        if (day := day_at(value, zone)) is not None:
            return day.isoformat()
        return moment_text(from_epoch_ms(value))
    if isinstance(value, list):
        return ", ".join(map(_named, value))
    return _named(value) if isinstance(value, str) else str(value)


def _named(text: str) -> str:
    """Return a name or path; in quotation marks unless it is a plain word."""
    return text if _PLAIN.fullmatch(text) else _quoted(text)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)

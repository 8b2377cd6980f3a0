"""Rules for tables: CSV, and the tables of Markdown in any text. Pure functions.

A header counts only if it is unambiguous: each field has one column, and one table matches more columns than
any other. Rows with content that yield no item are left to the model, with the header.
"""

import csv
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final

import msgspec

from hub.document import Document
from hub.extraction.chunk import Passage, Table, trimmed
from hub.extraction.dating import PassageDates
from hub.extraction.items import ExtractionOptions, Form, Item, lines_of, make_item
from hub.extraction.when.language import has_han
from hub.extraction.when.resolve import Anchor, date_ms, resolve
from protocol.frame import Field
from protocol.tables import TABLES, Column, DeviceTable, Filler, Kind, TableName, plain_choice

_DELIMITERS: Final = (",", ";", "\t", "|")

# Usual column names by field, in six languages; compared without case, blanks and signs.
_TITLES: Final = (
    *("title", "name", "summary", "subject", "titel", "betreff", "bezeichnung", "titre", "nom", "objet"),
    *("título", "nombre", "asunto", "название", "тема", "标题", "名称", "主题"),
)
_WORKS: Final = (
    *("task", "todo", "action", "actionitem", "taskname", "what", "aufgabe", "was", "maßnahme", "todos"),
    *("tâche", "quoi", "tarea", "acción", "qué", "задача", "дело", "что", "任务", "事项", "待办", "工作"),
)
_TASK_COLUMNS: Final[dict[str, tuple[str, ...]]] = {
    "title": (*_TITLES, *_WORKS),
    "description": (
        *("description", "details", "notes", "note", "comment", "comments", "beschreibung", "bemerkung"),
        *("kommentar", "notiz", "notizen", "remarque", "commentaire", "descripción", "comentario", "nota"),
        *("описание", "комментарий", "примечание", "说明", "备注"),
    ),
    "status": (
        *("status", "state", "done", "completed", "stand", "erledigt", "statut", "état", "fait", "estado"),
        *("hecho", "статус", "готово", "状态"),
    ),
    "priority": (
        *("priority", "prio", "importance", "priorität", "priorité", "prioridad", "приоритет", "优先级"),
    ),
    "assignee": (
        *("assignee", "assignees", "assignedto", "owner", "responsible", "who", "wer", "verantwortlich"),
        *("zuständig", "qui", "responsable", "quién", "encargado", "кто", "ответственный", "исполнитель"),
        *("负责人", "责任人", "谁"),
    ),
    "dueDate": (
        *(
            "due",
            "duedate",
            "dueon",
            "dueby",
            "deadline",
            "by",
            "bywhen",
            "bis",
            "biswann",
            "fällig",
            "frist",
        ),
        *("fälligam", "échéance", "pourle", "avantle", "datelimite", "plazo", "fechalímite", "vencimiento"),
        *("срок", "дедлайн", "截止", "截止日期", "截止时间", "期限"),
    ),
}
_EVENT_COLUMNS: Final[dict[str, tuple[str, ...]]] = {
    "title": (
        *_TITLES,
        *("event", "milestone", "veranstaltung", "ereignis", "événement", "evento", "событие", "活动"),
    ),
    "date": (
        *("date", "when", "start", "starts", "startdate", "startsat", "datum", "wann", "beginn", "quand"),
        *("début", "fecha", "cuándo", "inicio", "дата", "когда", "начало", "日期", "时间"),
    ),
}
_NOTE_COLUMNS: Final[dict[str, tuple[str, ...]]] = {
    "title": (*_TITLES, "topic", "thema"),
    "content": ("content", "note", "notes", "text", "body", "inhalt", "contenu", "contenido", "内容"),
}
_TABLES: Final = (
    (TableName.TASKS, _TASK_COLUMNS, ("status", "priority", "assignee", "dueDate")),
    (TableName.TIMELINES, _EVENT_COLUMNS, ("date",)),
    (TableName.NOTES, _NOTE_COLUMNS, ("content",)),
)
_LEAST_WORDS: Final = 3  # of a cell that rules for prose read
_FENCE: Final = re.compile(r"^[ \t>]{0,40}(?:```|~~~)", re.MULTILINE)
_QUOTED: Final = re.compile(r"[ \t]*(?:>[ \t]?)*")
_SENTENCE_ENDS: Final = (".", "!", "?", "\u2026", "\u3002", "\uff01", "\uff1f")
_EMPHASIS: Final = re.compile(r"\*\*|`")
_PIPE: Final = re.compile(r"(?<!\\)\|")
_RULE: Final = re.compile(r":?[-+=]+:?")
_TABLE: Final = re.compile(  # three lines with a pipe, or a border between rows
    r"(?:^(?:[^|\r\n]*+\|[^\r\n]*+|[ \t>]*+\+[-+=]++[ \t]*+)(?:\r?\n|\Z)){3,}+", re.MULTILINE
)
_MOST_DATES: Final = 1_000  # different words for dates in one file that are parsed, 2 ms each
_CELL_STATUS: Final[dict[str, str]] = {
    **dict.fromkeys(("todo", "open", "new", "notstarted", "pending", "backlog", "no", "false"), "todo"),
    **dict.fromkeys(("inprogress", "doing", "started", "wip", "active"), "in_progress"),
    **dict.fromkeys(("done", "complete", "completed", "closed", "finished", "yes", "true", "x"), "done"),
}
_CELL_PRIORITY: Final[dict[str, str]] = {
    **dict.fromkeys(("high", "urgent", "critical", "highest", "p1"), "high"),
    **dict.fromkeys(("medium", "normal", "p2"), "medium"),
    **dict.fromkeys(("low", "lowest", "minor", "p3"), "low"),
}


class _Columns(msgspec.Struct, frozen=True):
    """Interpretation of a header: the table, and the column of each field."""

    table: DeviceTable
    fields: dict[str, int]


class _Row(msgspec.Struct, frozen=True):
    cells: list[str]
    start: int
    end: int


def read_spreadsheet(document: Document, options: ExtractionOptions) -> Form | None:
    """Convert the rows of a table to items; ``None`` if its header is not understood."""
    text = document.text
    first = next((line.text for line in lines_of(text) if line.text.strip()), "")
    delimiter = max(_DELIMITERS, key=first.count)
    try:
        rows = list(_rows(text, delimiter))
    except csv.Error:
        return None
    columns = _columns(rows[0].cells, options) if rows else None
    if columns is None or any(len(row.cells) > len(rows[0].cells) for row in rows):
        return None
    header = (text[rows[0].start : rows[0].end],)
    dates = _Dates(document.modified_at, options)
    items, prose = _read_rows(text, columns, rows[1:], dates, header, options)
    places = [(row.start, row.end) for row in rows]
    return Form(items=items, prose=prose, date=document.modified_at, apart=places)


def read_pipe_tables(document: Document, form: Form, options: ExtractionOptions) -> Form:
    """Convert the rows of the tables in a form's prose to items, for tables with an understood header."""
    text = form.view or document.text
    if "|" not in text:
        return form
    items, prose, apart = list(form.items), list[Passage](), list(form.apart)
    dates = _Dates(document.modified_at, options)
    days: PassageDates | None = None
    for passage in form.prose:
        at = passage.start
        for table in _pipe_tables(text, passage):
            rows = list(_pipe_rows(text, table))
            apart += [(row.start, row.end) for row in rows]
            if len(rows) < 2 or (columns := _columns(rows[0].cells, options)) is None:
                continue
            days = days or PassageDates(document, date=form.date, timezone=options.timezone)
            dates.anchor = days.at(table.start)
            headings = (*passage.headings, text[rows[0].start : rows[0].end])
            # A row that is one sentence is no title.
            rows = [msgspec.structs.replace(row, cells=[]) if _is_sentence(row) else row for row in rows]
            found, left = _read_rows(text, columns, rows[1:], dates, headings, options)
            if text is not document.text:
                found = [
                    msgspec.structs.replace(item, quote=document.text[item.start : item.end])
                    for item in found
                ]
            before = Passage(at, table.start, passage.headings)
            items, prose, at = items + found, [*prose, before, *left], table.end
        prose.append(Passage(at, passage.end, passage.headings))
    prose = [one for one in prose if text[one.start : one.end].strip()]
    items.sort(key=lambda item: item.start)
    return msgspec.structs.replace(form, items=items, prose=prose, apart=sorted(apart))


def without_pipe_tables(text: str, passages: Iterable[Passage]) -> Iterator[Passage]:
    """Yield the passages without their tables, and each cell of several words as a passage of its own."""
    for passage in passages:
        at = passage.start
        is_left = bool(passage.headings) and "|" in passage.headings[-1]  # rows without an item
        rows = [Table(at, at, passage.end)] if is_left else list(_pipe_tables(text, passage))
        for table in rows:
            yield Passage(at, table.start, passage.headings)
            for row in islice(_pipe_rows(text, table), 0 if is_left else 1, None):
                for cell in re.finditer(r"[^|\r\n]+", text[row.start : row.end]):
                    if len(cell.group().split()) >= _LEAST_WORDS or has_han(cell.group()):
                        yield Passage(row.start + cell.start(), row.start + cell.end(), passage.headings)
            at = table.end
        yield Passage(at, passage.end, passage.headings)


def _pipe_tables(text: str, passage: Passage) -> Iterator[Table]:
    """Yield the tables in a passage whose cells are divided by pipes, except in blocks of code."""
    if "|" not in text:
        return
    fences = [match.start() for match in _FENCE.finditer(text, passage.start, passage.end)]
    for match in _TABLE.finditer(text, passage.start, passage.end):
        if not bisect_right(fences, match.start()) % 2:
            yield Table(match.start(), match.start(), match.end())


def _pipe_rows(text: str, table: Table) -> Iterator[_Row]:
    """Yield the rows of a table, without the line below its header."""
    for line in lines_of(text[table.start : table.end]):
        marks = _QUOTED.match(line.text)
        start, end = trimmed(line.text, marks.end() if marks else 0, len(line.text))
        row = line.text[start:end].removeprefix("|")
        row = row if row.endswith(r"\|") else row.removesuffix("|")
        cells = [_EMPHASIS.sub("", cell).replace(r"\|", "|").strip(" \t*_") for cell in _PIPE.split(row)]
        if not all(map(_RULE.fullmatch, map(str.strip, _PIPE.split(row)))):
            yield _Row(cells, table.start + line.start + start, table.start + line.start + end)


def _is_sentence(row: _Row) -> bool:
    words = list(filter(None, row.cells))
    return len(words) == 1 and words[0].endswith(_SENTENCE_ENDS)


def _read_rows(
    text: str,
    columns: _Columns,
    rows: Iterable[_Row],
    dates: "_Dates",
    headings: tuple[str, ...],
    options: ExtractionOptions,
) -> tuple[list[Item], list[Passage]]:
    """Return the items of *rows*, and passages of the rows without one, below *headings*."""
    items: list[Item] = []
    prose: list[Passage] = []
    for row in rows:
        fields, name = _row_fields(columns, row, dates), columns.table.name
        item = None if fields is None else make_item(name, fields, text, row.start, row.end, options)
        if item is not None:
            items.append(item)
        elif name in options.data_types:  # for example without a title, or with an informal date
            # Adjacent rows are merged, because each passage needs a question.
            is_next = bool(prose) and not text[prose[-1].end : row.start].strip()
            prose.append(Passage(prose.pop().start if is_next else row.start, row.end, headings))
    return items, prose


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


def _columns(header: list[str], options: ExtractionOptions) -> _Columns | None:
    """Return the table that matches more of *header* than any other; ``None`` if it is ambiguous.

    A column for any day is a deadline in a table that has a column for work.
    """
    names = [_plain(name) for name in header]
    fitting: list[_Columns] = []
    own = [(table, *_own_spellings(table)) for table in options.own_tables]
    built_in = [(options.tables[name], spelled, marks) for name, spelled, marks in _TABLES]
    for table, spellings, significant in (*built_in, *own):
        found = {
            field: [place for place, name in enumerate(names) if name in known]
            for field, known in spellings.items()
        }
        if table.name == TableName.TASKS and not found["dueDate"] and set(names) & set(_WORKS):
            found["dueDate"] = [place for place, name in enumerate(names) if name in _EVENT_COLUMNS["date"]]
        is_clear = all(len(places) <= 1 for places in found.values())
        if is_clear and found[table.title] and any(found[field] for field in significant):
            fitting.append(_Columns(table, {field: places[0] for field, places in found.items() if places}))
    for one in fitting:
        used = set(one.fields.values())
        if all(one is other or used > set(other.fields.values()) for other in fitting):
            return one
    return None


class _Dates:
    """Dates in cells: in figures, or in words that count from *anchor*, the date of their table."""

    def __init__(self, anchor: Anchor | None, options: ExtractionOptions) -> None:
        self.anchor = anchor
        self._timezone = options.timezone
        self._known: dict[tuple[str, bool, Anchor | None], int | None] = {}

    def at_ms(self, cell: str, *, is_due: bool) -> int | None:
        """Return the date of a cell, or None if its words do not tell a day."""
        in_figures = date_ms(cell, self._timezone)
        key = (cell, is_due, self.anchor)
        if in_figures is not None or not cell or (key not in self._known and len(self._known) >= _MOST_DATES):
            return in_figures
        if key not in self._known:
            moment = resolve(cell, anchor=self.anchor, timezone=self._timezone, is_due=is_due)
            self._known[key] = moment.at_ms if moment is not None else None
        return self._known[key]


def _own_spellings(table: DeviceTable) -> tuple[dict[str, tuple[str, ...]], tuple[str, ...]]:
    """Return the spellings of the columns of an operator's table, and the columns besides its title."""
    names = [column.name for column in table.columns if column.filler is Filler.MODEL]
    return {name: (_plain(name),) for name in names}, tuple(name for name in names if name != table.title)


def _row_fields(columns: _Columns, row: _Row, dates: _Dates) -> dict[str, Field] | None:
    """Return the row's cells by field; invalid values of a task are appended to its description.

    The result is None for invalid values of an operator's table.
    """
    values: dict[str, Field] = {}
    unread: list[str] = []
    for field, place in columns.fields.items():
        cell = row.cells[place] if place < len(row.cells) else ""
        column = columns.table.column(field)
        if column is not None and columns.table.name not in TABLES:
            values[field] = _own_value(column, cell, dates)
        else:
            values[field] = _value(field, cell, dates)
        if cell and values[field] is None:
            unread.append(f"{field}: {cell}")
    if unread and columns.table.name not in TABLES:
        return None
    if unread and columns.table.name == TableName.TASKS:
        values["description"] = "\n".join([*filter(None, [str(values.get("description") or "")]), *unread])
    return values


_YES: Final = frozenset(("yes", "true", "x", "1"))
_NO: Final = frozenset(("no", "false", "0"))
_PLAIN_NUMBER: Final = re.compile(r"[+-]?\d{1,15}(?:\.\d{1,15})?")


def _own_value(column: Column, cell: str, dates: _Dates) -> Field:
    """Return the value of a cell by the type of its column; None if it is empty or of another type."""
    match column.kind:
        case Kind.NUMBER:
            return float(cell) if _PLAIN_NUMBER.fullmatch(cell) else None
        case Kind.FLAG:
            word = cell.lower()
            return 1 if word in _YES else 0 if word in _NO else None
        case Kind.NAMES:
            return [name.strip() for name in cell.split(";") if name.strip()] or None
        case Kind.EPOCH_MS:
            return dates.at_ms(cell, is_due=False)
        case _ if column.choices:
            return next((one for one in column.choices if plain_choice(one) == plain_choice(cell)), None)
        case _:
            return cell or None


def _value(field: str, cell: str, dates: _Dates) -> Field:
    match field:
        case "status":
            return "todo" if cell == "[ ]" else _CELL_STATUS.get(_plain(cell))
        case "priority":
            return _CELL_PRIORITY.get(_plain(cell))
        case "assignee":
            return [name.strip() for name in re.split(r"[;/]", cell) if name.strip()]
        case "dueDate" | "date":
            return dates.at_ms(cell, is_due=field == "dueDate")
        case _:
            return cell


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", "", name.lower())

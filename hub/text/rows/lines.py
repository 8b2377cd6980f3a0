"""Formats of rows as text lines: Markdown for Obsidian, and todo.txt; writing and reading back.

In Markdown a row ends with its block id, ``^hub-…``. A row of a table with a status has a box; dates and
priorities have the signs of the Tasks plug-in, other columns are inline fields, ``[assignee:: Anna]``. A text
of several lines follows indented below its row. Words of a row are escaped; Markdown that its owner writes
instead stays. In todo.txt a row has ``id:hub-…``. Signs and tags of others on a line stay; words of its text
are its title. Marks in the last line of a description are marks on the line of a new row: see ``marks``.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Final, NamedTuple

from hub.base.clock import from_epoch_ms
from hub.text.rows.markdown_escapes import escape, unescape, unescape_former
from hub.text.rows.marks import MARK, MARKS, in_tasks, in_todo_txt, project_mark, split_marks
from hub.text.rows.row import LateFields, Put, Shape, shape_of
from hub.text.rows.row_format import Format, Piece
from protocol.tables import Column, DeviceTable

_BOXES: Final = {"todo": " ", "in_progress": "/", "done": "x"}
_STATES: Final = {" ": "todo", "/": "in_progress", "x": "done", "X": "done"}
_SIGNS: Final = {"high": "⏫", "low": "🔽"}
_PRIORITIES: Final = {"🔺": "high", "⏫": "high", "🔼": "medium", "🔽": "low", "⏬": "low"}
_LEAD: Final = re.compile(r"(?P<lead>[ \t>]*+(?:[-*+]|\d{1,9}[.)])[ \t]++)(?:\[(?P<box>[^\n])\][ \t]++)?")
_END: Final = re.compile(r"(?<!\\)\^(hub-[a-z0-9]*+)[ \t]*+(?:\n|\Z)")
_DATE: Final = re.compile(r"📅\ufe0f?[ \t]*(\d{4}-\d\d-\d\d)(?:[ \t]+⏰[ \t]*(\d\d:\d\d))?", re.ASCII)
_INLINE: Final = re.compile(r"\[([A-Za-z][A-Za-z0-9]{0,39}):: ([^\[\]\n]*)\]")
_PRIORITY: Final = re.compile("[🔺⏫🔼🔽⏬]\ufe0f?")
# Other signs of the Tasks plug-in, with their values: they stay.
_OTHERS: Final = re.compile(
    r"(?:[🛫⏳✅\u2795❌]\ufe0f?[ \t]*[0-9]{4}(?:-[0-9]{2}){2}"
    r"|🔁[ \t]*every [a-z0-9 ,]{1,60}?(?=[ \t]*(?:$|[^\w ,])))"
)
_BLANKS: Final = re.compile(r"[ \t]+")
_ROUND: Final = str.maketrans("[]", "()")  # brackets would end an inline field
_LETTERS: Final = {"high": "A", "low": "C"}


def _cell(text: str) -> str:
    """Return a text for the middle of a line."""
    return " ".join(text.split()).strip("\ufeff")  # at the start of a file it would be its byte order mark


def _label(column: Column) -> str:
    """Return the name of an inline field: that of a referred row has no ``Id``."""
    return column.name.removesuffix("Id") if column.refers_to else column.name


class _RowLine(NamedTuple):
    """Line of Markdown that is a row, from *start* to *end*, with its end."""

    start: int
    end: int
    lead: str
    box: str | None
    rest: str
    key: str

    @property
    def indent(self) -> int:
        """Number of columns by which lines that belong to the row are indented."""
        return len(self.lead) - len(self.lead.lstrip(" \t>")) + 2


def _rows(text: str, start: int = 0, stop: int | None = None) -> Iterator[_RowLine]:
    for end in _END.finditer(text, start, len(text) if stop is None else stop):
        begin = text.rfind("\n", 0, end.start()) + 1
        if lead := _LEAD.match(text, begin, end.start()):
            rest = text[lead.end() : end.start()].strip(" \t")
            yield _RowLine(begin, end.end(), lead["lead"], lead["box"], rest, end[1])


class Markdown(Format):
    """Lists of a Markdown file."""

    kind = "markdown"

    def pieces(self, text: str, tables: Mapping[str, DeviceTable]) -> Iterator[Piece]:
        for row in _rows(text):
            if (table := tables.get(row.key)) is not None:
                shape = shape_of(table)
                below, end = _below(text, row.end, row.indent) if shape.text else ("", row.end)
                words = partial(self._fields, shape, row, below)
                fields = LateFields(partial(words, unescape))
                yield Piece(row.key, row.start, end, fields, LateFields(partial(words, unescape_former)))

    def _fields(self, shape: Shape, row: _RowLine, below: str, words: Callable[[str], str]) -> dict[str, str]:
        """Return the fields of a row; *words* removes the escapes of Markdown."""
        fields: dict[str, str] = {}
        if shape.has_status:
            fields |= {"status": _STATES[row.box]} if row.box in _STATES else {}
        if shape.date is not None:
            date = _DATE.search(row.rest)
            fields[shape.date] = " ".join(filter(None, date.groups())) if date else ""
        if shape.has_priority:
            sign = _PRIORITY.search(row.rest)
            fields["priority"] = _PRIORITIES[sign[0][0]] if sign else "medium"
        values = {name: words(value) for name, value in _INLINE.findall(row.rest)}
        fields |= {column.name: values.get(_label(column), "") for column in shape.others}
        if shape.text is not None:
            fields[shape.text] = words(below)
        title = words(_title(shape, row.rest))
        return fields | ({shape.title: title} if title else {})

    def rendered(self, put: Put, text: str, piece: Piece | None) -> str:
        shape, fields = shape_of(put.table), put.fields
        row = None if piece is None else next(_rows(text, piece.start, piece.end), None)
        lead = row.lead if row else "- "
        box = _BOXES.get(fields.get("status", ""), " ") if shape.has_status else None
        # A sign of another program's state stays until the row is begun or done.
        if row and row.box and (box is None or _STATES.get(row.box, "todo") == fields.get("status")):
            box = row.box
        title = _cell(fields.get(shape.title, ""))
        has_same_title = row is not None and piece is not None and piece.fields.get(shape.title) == title
        parts = [
            f"[{box}]" if box else "",
            _title(shape, row.rest) if row and has_same_title else escape(title),
        ]
        inline = ((_label(column), fields.get(column.name, "")) for column in shape.others)
        inline = ((label, escape(_cell(value).translate(_ROUND))) for label, value in inline)
        parts += [f"[{label}:: {value}]" for label, value in inline if value]
        if shape.has_priority:
            parts.append(_SIGNS.get(fields.get("priority", ""), ""))
        text_of_row = fields.get(shape.text, "").strip("\n") if shape.text else ""
        named = fields.get(MARKS, "") if shape.has_status else ""
        below, marks = split_marks(text_of_row, named, in_tasks)
        has_words = piece is None or split_marks(piece.fields.get(shape.text or "", ""), named, in_tasks)[1]
        others = _OTHERS.findall(row.rest) if row else []
        parts += others or (marks if has_words else [])
        if shape.date is not None and (value := fields.get(shape.date, "")):
            day, _, time = value.partition(" ")
            parts.append(f"📅 {day}" + (f" ⏰ {time[:5]}" if time else ""))
        line = f"{lead}{' '.join(filter(None, parts))} ^{put.key}\n"
        if shape.text and row and piece and piece.fields.get(shape.text) == below:
            return line + text[row.end : piece.end]
        indent = " " * (row.indent if row else 2)
        lines = escape(below).split("\n") if below else []
        indented = "".join(f"{indent}{words}\n" if words.strip() else "\n" for words in lines).strip("\n")
        return line + indented + "\n" * bool(indented)


def _title(shape: Shape, rest: str) -> str:
    """Return the words of a row as they are written, without its marks and fields."""
    labels = {_label(column) for column in shape.others}
    rest = _DATE.sub(" ", rest) if shape.date is not None else rest
    rest = _PRIORITY.sub(" ", rest) if shape.has_priority else rest
    rest = _INLINE.sub(lambda field: "" if field[1] in labels else field[0], rest)
    return _BLANKS.sub(" ", _OTHERS.sub(" ", rest)).strip()


def _below(text: str, start: int, indent: int) -> tuple[str, int]:
    """Return the indented lines after *start* without their indent, and where they end.

    A list item or another row among them is no part of the text above it.
    """
    lines, end, at = [], start, start
    while at < len(text):
        stop = text.find("\n", at) + 1 or len(text)
        line = text[at:stop].rstrip("\n")
        if line.strip() and (not line.startswith(" " * indent) or any(_rows(text, at, stop))):
            break
        lines.append(line[indent:])
        at = stop
        end = at if line.strip() else end
    return "\n".join(lines).strip("\n"), end


_TODO: Final = re.compile(
    r"^(?P<lead>(?:x[ \t]+(?:\d{4}-\d\d-\d\d[ \t]+)?)?)(?:\((?P<letter>[A-Z])\)[ \t]+)?"
    r"(?P<dates>(?:\d{4}-\d\d-\d\d[ \t]+){0,2})(?P<rest>[^\n]*)(?:\n|\Z)",
    re.MULTILINE,
)
_TODO_KEY: Final = re.compile(r"(?:^|(?<=[ \t]))id:(hub-[a-z0-9]*)(?=[ \t]|$)")
_TODO_DUE: Final = re.compile(r"(?:^|(?<=[ \t]))due:(\d{4}-\d\d-\d\d)(?:T(\d\d:\d\d))?(?=[ \t]|$)")
_TODO_PRIORITY: Final = re.compile(r"(?:^|(?<=[ \t]))pri:([A-Z])(?=[ \t]|$)")
# Words of a title that programs obey: projects, contexts, values of keys, and marks at the start of a line. A
# backslash takes their meaning; words that the owner wrote on the line keep theirs.
_TODO_WORD: Final = re.compile(r"(?<=[^\W\d_])(?=\\*:(?!//)\S)|\A(?=\\*[+@]\S)")
_TODO_START: Final = re.compile(r"\A(?=\\*(?:[xX]|\([A-Z]\)|\d{4}-\d\d-\d\d)(?: |\Z))")
_TODO_ESCAPED: Final = re.compile(
    r"(?<=[^\W\d_])\\(?=\\*:(?!//)\S)|(?:\A|(?<= ))\\(?=\\*[+@]\S)"
    r"|\A\\(?=\\*(?:[xX]|\([A-Z]\)|\d{4}-\d\d-\d\d)(?: |\Z))"
)


class TodoTxt(Format):
    """Tasks of a todo.txt, one a line. Contexts, projects and repetitions follow the key, and stay there."""

    kind = "todo.txt"

    def pieces(self, text: str, tables: Mapping[str, DeviceTable]) -> Iterator[Piece]:
        for row in _TODO.finditer(text):
            key = _TODO_KEY.search(row["rest"])
            if key is not None and (table := tables.get(key[1])) is not None:
                fields = LateFields(partial(self._fields, table, row))
                former = LateFields(partial(self._former, table, row))
                yield Piece(key[1], row.start(), row.end(), fields, former)

    def _fields(self, table: DeviceTable, row: re.Match[str]) -> dict[str, str]:
        shape = shape_of(table)
        due = _TODO_DUE.search(row["rest"])
        fields = {"status": "done"} if row["lead"] else {"status": "todo"}
        if shape.date is not None:
            fields[shape.date] = " ".join(filter(None, due.groups())) if due else ""
        letter = _letter_on(row)
        if letter or not row["lead"]:  # programs take the letter from a done task
            fields["priority"] = "medium" if letter in (None, "B") else "high" if letter == "A" else "low"
        title = _TODO_ESCAPED.sub("", _words_on(row))
        known = {name: value for name, value in fields.items() if table.column(name) is not None}
        return known | ({table.title: title} if title else {})

    def _former(self, table: DeviceTable, row: re.Match[str]) -> dict[str, str]:
        """Return the title as of releases in which all words on the line were part of a title."""
        return {table.title: _TODO_ESCAPED.sub("", _title_in(row["rest"]))}

    def rendered(self, put: Put, text: str, piece: Piece | None) -> str:
        shape, fields = shape_of(put.table), put.fields
        row = None if piece is None else _TODO.match(text, piece.start)
        is_done = fields.get("status") == "done"
        dates, was_done = (row["dates"].split(), bool(row["lead"])) if row else ([], False)
        lead = row["lead"] if row and was_done and is_done else "x " * is_done
        if was_done and not is_done:
            dates = dates[-1:]  # behind a letter, the first of two is that of completion
        elif dates and is_done and not was_done:  # a single one would be that of completion
            lead += f"{from_epoch_ms(put.at_ms).astimezone().date()} "
        level = fields.get("priority")
        letter = _LETTERS.get(level or "", "")
        if row and piece and piece.fields.get("priority", level) == level:
            letter = _letter_on(row) or ("" if was_done and is_done else letter)
        is_first = not is_done or bool(row and was_done and row["letter"])
        due = fields.get(shape.date, "")[: len("2026-11-30")] if shape.date else ""  # programs know days
        own = {word for word in _words_on(row).split(" ") if "\\" not in word} if row else set()
        words = _cell(fields.get(shape.title, "")).split(" ")
        title = " ".join(word if word in own else _TODO_WORD.sub(r"\\", word) for word in words)
        title = _TODO_START.sub(r"\\", title)
        parts = [f"({letter})" if letter and is_first else "", *dates, title]
        _, marks = split_marks(fields.get(shape.text or "", ""), fields.get(MARKS, ""), in_todo_txt)
        marks = _marks_on(row) if row else [*dict.fromkeys((*marks, project_mark(fields)))]
        parts += [f"due:{due}" if due else "", f"id:{put.key}"]
        parts += ["" if is_first or not letter else f"pri:{letter}", *marks]
        return lead + " ".join(filter(None, parts)) + "\n"


def with_other_tick(line: str, at_ms: int) -> tuple[bool, str]:
    """Return whether a line of todo.txt is done, and the line as an open one, or as one done at *at_ms*."""
    row = _TODO.match(line)
    assert row is not None
    is_done, letter, rest = bool(row["lead"]), _letter_on(row), row["rest"]
    if is_done:
        rest = _TODO_PRIORITY.sub("", rest).rstrip()
        return True, (f"({letter}) " if letter else "") + row["dates"] + rest
    done = from_epoch_ms(at_ms).astimezone().date()
    return False, f"x {done} {row['dates']}{rest}" + (f" pri:{letter}" if letter else "")


def _letter_on(row: re.Match[str]) -> str | None:
    """Return the letter of a priority; that of a done task is a value, since programs take the sign away."""
    done = _TODO_PRIORITY.search(row["rest"]) if row["lead"] else None
    return row["letter"] or (done[1] if done else None)


def _words_on(row: re.Match[str]) -> str:
    """Return the words on a line of todo.txt that are a title: marks behind the key are none."""
    marks = {*_marks_on(row)}
    rest = _TODO_PRIORITY.sub("", row["rest"]) if row["lead"] else row["rest"]
    key = _TODO_KEY.search(rest)
    end = key.start() if key else len(rest)
    others = [word for word in rest[end:].split() if word not in marks]
    return _title_in(" ".join([rest[:end], *others]))


def _title_in(words: str) -> str:
    return _BLANKS.sub(" ", _TODO_DUE.sub("", _TODO_KEY.sub("", words))).strip()


def _marks_on(row: re.Match[str]) -> list[str]:
    """Return the marks behind the key of a line of todo.txt."""
    key = _TODO_KEY.search(row["rest"])
    return [word for word in row["rest"][key.end() :].split() if MARK.fullmatch(word)] if key else []

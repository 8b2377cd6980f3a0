"""Rules for lists of tasks: check boxes in Markdown, todo.txt and TaskPaper. Pure functions.

``x 2026-03-02 2026-02-01 (A) Call the plumber +house @phone due:2026-03-09`` ``- Call the plumber
@due(2026-03-09)`` below ``House:``

All other text of Markdown is prose under its headings. A check box may be nested, numbered or quoted, and
continue over indented lines. Its own date overrides the date in the front matter. Check boxes in code blocks
are ignored.
"""

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from hub.clock import epoch_ms
from hub.document import Document
from hub.extraction.chunk import Passage
from hub.extraction.conventions import BOXES, MARKDOWN, TASKPAPER, TODO_TXT, ParsedLine, fields_of
from hub.extraction.items import ExtractionOptions, Form, Item, Line, lines_of, make_item
from hub.extraction.when import read_date
from protocol.frame import Field
from protocol.tables import TableName

_TODO: Final = re.compile(
    r"(?P<done>x[ \t]+)?(?:\((?P<priority>[A-Z])\)[ \t]+)?(?:\d{4}-\d{2}-\d{2}[ \t]+){0,2}(?P<value>\S.*)"
)
_LEVELS: Final = {"A": "high", "B": "medium"}  # C to Z: low
_TASK: Final = re.compile(r"(?P<indent>[ \t]*)[-*+][ \t]+(?P<value>\S.*)")
_PROJECT: Final = re.compile(r"[ \t]*(?P<name>[^\s:].*?):(?:[ \t]+@[^\s()]+(?:\([^()]*\))?)*[ \t]*")

_BOX: Final = re.compile(
    r"(?P<indent>[ \t]*(?:>[ \t]*)*)(?:[-*+]|\d{1,9}[.)])[ \t]+"
    rf"\[(?P<mark>[{re.escape(''.join(BOXES))}])\][ \t]+(?P<value>\S.*)"
)
_BEGUN: Final = "/"
_LIST_ITEM: Final = re.compile(r"[ \t]*(?:>[ \t]*)*(?:[-*+]|\d{1,9}[.)])[ \t]")
_HEADING: Final = re.compile(r" {0,3}(#{1,6})[ \t]+")
_CODE_FENCE: Final = re.compile(r" {0,3}(`{3,}|~{3,})")

_MAX_FRONT_LINES: Final = 100
_FRONT_FIELD: Final = re.compile(r"([A-Za-z][\w -]*+)[ \t]*+:[ \t]++(.+)")
_FRONT_REMARK: Final = re.compile(r"(?<!\s)\s++#.*$")
_DATE_KEYS: Final = ("date", "created", "updated", "modified")
_DUE_KEYS: Final = ("due", "duedate", "deadline")


def read_todo_txt(document: Document, options: ExtractionOptions) -> Form:
    """Extract the tasks of a list and the projects it names; no prose remains."""
    items: list[Item] = []
    projects: set[str] = set()
    for line in lines_of(document.text):
        match = _TODO.fullmatch(line.text.strip())
        if match is None:
            continue
        parsed = TODO_TXT.read(match["value"])
        parsed.is_done = match["done"] is not None
        if match["priority"]:
            parsed.priority = _LEVELS.get(match["priority"], "low")
        fields = fields_of(parsed, match["value"], options.timezone)
        items += _item(TableName.TASKS, fields, document.text, *_bounds(line), options)
        for name in parsed.projects:
            if name not in projects:
                projects.add(name)
                start = line.start + line.text.index(f"+{name}")
                end = start + 1 + len(name)
                items += _item(TableName.PROJECTS, {"name": name}, document.text, start, end, options)
    return Form(items=items, date=document.modified_at)


def read_taskpaper(document: Document, options: ExtractionOptions) -> Form:
    """Extract the tasks and projects of an outline. Notes below a task belong to it; others are prose."""
    items: list[Item] = []
    prose: list[Passage] = []
    lines = list(lines_of(document.text))
    at = 0
    while at < len(lines):
        line, at = lines[at], at + 1
        if (task := _TASK.fullmatch(line.text)) is not None:
            first = at
            while at < len(lines) and _is_note_of(task, lines[at]):
                at += 1
            parsed = TASKPAPER.read(task["value"])
            if not parsed.is_given_up:
                notes = [note.text.strip() for note in lines[first:at]]
                fields = fields_of(parsed, task["value"], options.timezone, more=notes)
                start, end = _bounds(line)[0], _bounds(lines[at - 1])[1]
                items += _item(TableName.TASKS, fields, document.text, start, end, options)
        elif (project := _PROJECT.fullmatch(line.text)) is not None:
            if not _is_over(TASKPAPER.read(line.text)):
                name = {"name": project["name"]}
                items += _item(TableName.PROJECTS, name, document.text, *_bounds(line), options)
        elif line.text.strip():
            prose.append(Passage(line.start, line.end))
    return Form(items=items, prose=prose, date=document.modified_at)


def _is_note_of(task: re.Match[str], line: Line) -> bool:
    """Return True if a line belongs to the task above: indented deeper, and neither task nor project."""
    text = line.text
    indent = len(text) - len(text.lstrip(" \t"))
    return (
        bool(text.strip())
        and indent > len(task["indent"])
        and not _TASK.fullmatch(text)
        and not _PROJECT.fullmatch(text)
    )


def _is_over(parsed: ParsedLine) -> bool:
    return parsed.is_done or parsed.is_given_up


def _bounds(line: Line) -> tuple[int, int]:
    """Return start and end of the line's text without surrounding blanks."""
    start = line.start + len(line.text) - len(line.text.lstrip())
    return start, line.start + len(line.text.rstrip())


def _item(
    table: TableName, fields: dict[str, Field], text: str, start: int, end: int, options: ExtractionOptions
) -> list[Item]:
    item = make_item(table, fields, text, start, end, options)
    return [] if item is None else [item]


def read_markdown(document: Document, options: ExtractionOptions) -> Form:
    """Extract the tasks of a Markdown text, and its prose without front matter, headings and check boxes."""
    lines = list(lines_of(document.text))
    front, body = _front_matter(lines)
    reading = _Reading(document.text, options, _due_ms(front, options))
    if title := front.get("title"):
        reading.entitle(title)
    at = body
    while at < len(lines):
        at = reading.take(lines, at)
    reading.close_passage(len(document.text))
    return Form(
        items=reading.items, prose=reading.prose, date=_own_date(front, options) or document.modified_at
    )


class _Reading:
    def __init__(self, text: str, options: ExtractionOptions, due_ms: int | None) -> None:
        self._text = text
        self._options = options
        self._due_ms = due_ms
        self._headings: list[tuple[int, str]] = []
        self._passage_from: int | None = None
        self._code_fence = ""
        self.items: list[Item] = []
        self.prose: list[Passage] = []

    def entitle(self, title: str) -> None:
        """Set the document's title, which is above all headings."""
        self._headings = [(0, title)]

    def take(self, lines: Sequence[Line], at: int) -> int:
        """Parse the block that starts at line *at*; return the index of the next line."""
        line = lines[at]
        fence = _CODE_FENCE.match(line.text)
        if fence and (not self._code_fence or fence.group(1).startswith(self._code_fence)):
            self._code_fence = "" if self._code_fence else fence.group(1)
        elif not self._code_fence and (box := _BOX.fullmatch(line.text)):
            return self._take_box(lines, at, box)
        elif not self._code_fence and (heading := _HEADING.match(line.text)):
            self.close_passage(line.start)
            level = len(heading.group(1))
            self._headings = [(above, title) for above, title in self._headings if above < level]
            self._headings.append((level, _without_hashes(line.text[heading.end() :])))
            return at + 1
        if self._passage_from is None:
            self._passage_from = line.start
        return at + 1

    def close_passage(self, end: int) -> None:
        """End the current passage at *end*, under the current headings."""
        if self._passage_from is not None:
            if self._text[self._passage_from : end].strip():
                headings = tuple(title for _, title in self._headings if title)
                self.prose.append(Passage(self._passage_from, end, headings))
            self._passage_from = None

    def _take_box(self, lines: Sequence[Line], at: int, box: re.Match[str]) -> int:
        self.close_passage(lines[at].start)
        depth = len(box["indent"].expandtabs(4))
        after = at + 1
        while after < len(lines) and _goes_on(lines[after], depth):
            after += 1
        start = lines[at].start + box.start("value")
        last = lines[after - 1]
        end = last.start + len(last.text.rstrip())
        more = [line.text.strip(" \t>") for line in lines[at + 1 : after]]
        fields = self._fields(box["value"].strip(), more, box["mark"])
        if fields is not None:
            item = make_item(TableName.TASKS, fields, self._text, start, end, self._options)
            self.items += [item] if item else []
        return after

    def _fields(self, title: str, more: list[str], mark: str) -> dict[str, Field] | None:
        """Return the fields of a check box's task; ``None`` if it was cancelled."""
        while more and more[0][:1].islower():  # a sentence continued on the next line
            title = f"{title} {more.pop(0)}"
        box, parsed = BOXES[mark], MARKDOWN.read(title)
        for line in map(MARKDOWN.read, more):  # text is kept as is; its marks count, too
            parsed.due = parsed.due or line.due
            parsed.priority = parsed.priority or line.priority
            parsed.people += [name for name in line.people if name not in parsed.people]
        if box.is_given_up or parsed.is_given_up:
            return None
        parsed.is_done = parsed.is_done or box.is_done
        parsed.priority = parsed.priority or box.priority
        fields = fields_of(parsed, title, self._options.timezone, more=more)
        if mark == _BEGUN and not parsed.is_done:
            fields["status"] = "in_progress"
        return fields if parsed.due else fields | {"dueDate": self._due_ms}


def _without_hashes(heading: str) -> str:
    """Strip closing signs from a heading; a regular expression would backtrack on long runs of blanks."""
    heading = heading.rstrip(" \t")
    bare = heading.rstrip("#")
    return bare.rstrip(" \t") if bare.endswith((" ", "\t")) else heading


def _goes_on(line: Line, depth: int) -> bool:
    """Return True if a line continues the check box above: indented deeper, and not a list item."""
    content = line.text.lstrip(" \t>")
    indent = len(line.text.expandtabs(4)) - len(line.text.expandtabs(4).lstrip(" >"))
    return (
        bool(content)
        and indent > depth
        and not _LIST_ITEM.match(line.text)
        and not _CODE_FENCE.match(line.text)
    )


def _front_matter(lines: Sequence[Line]) -> tuple[dict[str, str], int]:
    """Parse the ``key: value`` lines of the front matter; return them with the index of the next line."""
    if not lines or lines[0].text.lstrip("\ufeff").rstrip() != "---":
        return {}, 0
    fields: dict[str, str] = {}
    for number, line in enumerate(lines[1:_MAX_FRONT_LINES], start=1):
        if line.text.rstrip() in ("---", "..."):
            return fields, number + 1
        if match := _FRONT_FIELD.fullmatch(line.text):
            value = _FRONT_REMARK.sub("", match.group(2)).rstrip(" \t").strip("\"'")
            fields[re.sub(r"[\s_-]", "", match.group(1)).lower()] = value
    return {}, 0


def _own_date(front: dict[str, str], options: ExtractionOptions) -> datetime | None:
    dates = (read_date(front[key], options.timezone) for key in _DATE_KEYS if key in front)
    return next(filter(None, dates), None)


def _due_ms(front: dict[str, str], options: ExtractionOptions) -> int | None:
    dates = (read_date(front[key], options.timezone) for key in _DUE_KEYS if key in front)
    return next((epoch_ms(date) for date in dates if date), None)

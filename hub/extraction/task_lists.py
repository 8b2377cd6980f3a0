"""Rules for lists of tasks, one per line: todo.txt and TaskPaper. Pure functions.

``x 2026-03-02 2026-02-01 (A) Call the plumber +house @phone due:2026-03-09`` ``- Call the plumber
@due(2026-03-09)`` below ``House:``
"""

import re
from typing import Final

from hub.document import Document
from hub.extraction.chunk import Passage
from hub.extraction.conventions import TASKPAPER, TODO_TXT, Said, fields_of
from hub.extraction.forms import Form, Line, lines_of, make_item
from hub.extraction.items import Item, Wanted
from protocol.frame import Field
from protocol.tables import TableName

_TODO: Final = re.compile(
    r"(?P<done>x[ \t]+)?(?:\((?P<priority>[A-Z])\)[ \t]+)?(?:\d{4}-\d{2}-\d{2}[ \t]+){0,2}(?P<said>\S.*)"
)
_LEVELS: Final = {"A": "high", "B": "medium"}  # C to Z: low
_TASK: Final = re.compile(r"(?P<indent>[ \t]*)[-*+][ \t]+(?P<said>\S.*)")
_PROJECT: Final = re.compile(r"[ \t]*(?P<name>[^\s:].*?):(?:[ \t]+@[^\s()]+(?:\([^()]*\))?)*[ \t]*")


def read_todo_txt(document: Document, wanted: Wanted) -> Form:
    """Extract the tasks of a list and the projects it names; no prose remains."""
    items: list[Item] = []
    projects: set[str] = set()
    for line in lines_of(document.text):
        match = _TODO.fullmatch(line.text.strip())
        if match is None:
            continue
        said = TODO_TXT.read(match["said"])
        said.is_done = match["done"] is not None
        if match["priority"]:
            said.priority = _LEVELS.get(match["priority"], "low")
        fields = fields_of(said, match["said"], wanted.timezone)
        items += _item(TableName.TASKS, fields, document.text, *_bounds(line), wanted)
        for name in said.projects:
            if name not in projects:
                projects.add(name)
                start = line.start + line.text.index(f"+{name}")
                end = start + 1 + len(name)
                items += _item(TableName.PROJECTS, {"name": name}, document.text, start, end, wanted)
    return Form(items=items, date=document.modified_at)


def read_taskpaper(document: Document, wanted: Wanted) -> Form:
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
            said = TASKPAPER.read(task["said"])
            if not said.is_given_up:
                notes = [note.text.strip() for note in lines[first:at]]
                fields = fields_of(said, task["said"], wanted.timezone, more=notes)
                start, end = _bounds(line)[0], _bounds(lines[at - 1])[1]
                items += _item(TableName.TASKS, fields, document.text, start, end, wanted)
        elif (project := _PROJECT.fullmatch(line.text)) is not None:
            if not _is_over(TASKPAPER.read(line.text)):
                name = {"name": project["name"]}
                items += _item(TableName.PROJECTS, name, document.text, *_bounds(line), wanted)
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


def _is_over(said: Said) -> bool:
    return said.is_done or said.is_given_up


def _bounds(line: Line) -> tuple[int, int]:
    """Return start and end of the line's text without surrounding blanks."""
    start = line.start + len(line.text) - len(line.text.lstrip())
    return start, line.start + len(line.text.rstrip())


def _item(
    table: TableName, fields: dict[str, Field], text: str, start: int, end: int, wanted: Wanted
) -> list[Item]:
    item = make_item(table, fields, text, start, end, wanted)
    return [] if item is None else [item]

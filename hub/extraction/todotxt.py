"""Pure: todo.txt. One line is one task, in the format's own order.

``x 2026-03-02 2026-02-01 (A) Call the plumber +house @phone due:2026-03-09``
"""

import re
from typing import Final

from hub.document import Document
from hub.extraction.forms import Form, Line, lines_of, make_item
from hub.extraction.items import Item, Wanted
from hub.extraction.when import date_ms
from protocol.frame import Field
from protocol.tables import TableName

_TASK: Final = re.compile(
    r"(?P<done>x[ \t]+)?(?:\((?P<priority>[A-Z])\)[ \t]+)?(?:\d{4}-\d{2}-\d{2}[ \t]+){0,2}(?P<said>\S.*)"
)
_TAG: Final = re.compile(r"(?:^|(?<=\s))([+@])(\S+)")
_PAIR: Final = re.compile(r"(?:^|(?<=\s))(due|pri|t|rec|h|id|p):(\S+)")
_LEVELS: Final = {"A": "high", "B": "medium"}  # C to Z: low


def read(document: Document, wanted: Wanted) -> Form:
    """The tasks of a list, and the projects it names; nothing of it is prose."""
    items: list[Item] = []
    projects: set[str] = set()
    for line in lines_of(document.text):
        match = _TASK.fullmatch(line.text.strip())
        if match is None:
            continue
        start = line.start + len(line.text) - len(line.text.lstrip())
        end = line.start + len(line.text.rstrip())
        task = make_item(TableName.TASKS, _fields(match, wanted), document.text, start, end, wanted)
        items += [task] if task else []
        items += _projects(line, projects, document.text, wanted)
    return Form(items=items, date=document.modified_at)


def _fields(match: re.Match[str], wanted: Wanted) -> dict[str, Field]:
    said = match["said"]
    pairs = dict(_PAIR.findall(said))
    priority = match["priority"] or pairs.get("pri")
    plain = _TAG.sub("", _PAIR.sub("", said))
    return {
        "title": " ".join(plain.split()) or said,
        "description": " ".join(sign + name for sign, name in _TAG.findall(said)),
        "status": "done" if match["done"] else "todo",
        "priority": _LEVELS.get(priority, "low") if priority else None,
        "dueDate": date_ms(pairs.get("due", ""), wanted.timezone),
    }


def _projects(line: Line, seen: set[str], text: str, wanted: Wanted) -> list[Item]:
    """The projects a line is the first to name."""
    found: list[Item] = []
    for match in _TAG.finditer(line.text):
        if match.group(1) == "+" and match.group(2) not in seen:
            seen.add(match.group(2))
            start, end = line.start + match.start(), line.start + match.end()
            item = make_item(TableName.PROJECTS, {"name": match.group(2)}, text, start, end, wanted)
            found += [item] if item else []
    return found

"""Marks of task lists that rows have no field for: contexts, projects, repetition, start, planned day.

A reader of task lists puts them into the last line of a description, and names them apart. A format writes
those that were named and that it knows on the line of the row, in its own spelling. All else stays words: of
a model, of a mail, of a document, and a line with any other word.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Final

_DAY: Final = r"\d{4}-\d\d-\d\d"
_UNITS: Final = {"d": "day", "w": "week", "m": "month", "y": "year"}
_EVERY: Final = r"every(?: (?P<often>\d{1,3}))? (?P<unit>day|week|month|year)s?(?P<done> when done)?"
MARKS: Final = " marks"  # field of a row, no column: the marks that were named, one a line
KINDS: Final = frozenset({"markdown", "todo.txt"})  # of targets that write marks
_NAME: Final = r"[\w][\w./-]{0,59}"
MARK: Final = re.compile(
    rf"(?P<context>@{_NAME})|(?P<project>\+{_NAME})|rec:(?P<strict>\+?)(?P<times>\d{{1,3}})(?P<letter>[dwmy])"
    rf"|t:(?P<begins>{_DAY})|🛫\ufe0f? ?(?P<starts>{_DAY})|⏳\ufe0f? ?(?P<planned>{_DAY})|🔁\ufe0f? ?{_EVERY}"
)
Spelling = Callable[[re.Match[str]], str]


def _repeats(mark: re.Match[str]) -> tuple[int, str, bool] | None:
    """Return number and letter of the unit, and whether days count from the last one that was due."""
    if mark["letter"]:
        return int(mark["times"]), mark["letter"], mark["strict"] == "+"
    return None if mark["unit"] is None else (int(mark["often"] or 1), mark["unit"][0], mark["done"] is None)


def repetition_in(marks: Iterable[str]) -> str:
    """Return the mark by which a task list repeats a row; empty if there is none."""
    return next((mark for mark in marks if (found := MARK.fullmatch(mark)) and _repeats(found)), "")


def in_todo_txt(mark: re.Match[str]) -> str:
    """Return a mark as on a line of todo.txt; empty if there is none."""
    if repeats := _repeats(mark):
        return f"rec:{'+' * repeats[2]}{repeats[0]}{repeats[1]}"
    begins = mark["begins"] or mark["starts"]
    return f"t:{begins}" if begins else mark["context"] or mark["project"] or ""


def in_tasks(mark: re.Match[str]) -> str:
    """Return a mark as the Tasks plug-in of Obsidian writes it; empty if there is none."""
    if repeats := _repeats(mark):
        number, letter, is_strict = repeats
        unit = f"{number} {_UNITS[letter]}s" if number > 1 else _UNITS[letter]
        return f"🔁 every {unit}{'' if is_strict else ' when done'}"
    begins = mark["begins"] or mark["starts"]
    return f"🛫 {begins}" if begins else f"⏳ {mark['planned']}" if mark["planned"] else ""


def split_marks(text: str, named: str, spelling: Spelling) -> tuple[str, list[str]]:
    """Return a description without those *named* marks that a format knows, and these in its spelling."""
    above, _, last = text.rstrip().rpartition("\n")
    spelled = [(mark[0], spelling(mark)) for mark in MARK.finditer(last)]
    if MARK.sub("", last).strip() or not {mark for mark, _ in spelled} <= {*named.split("\n")}:
        return text, []
    words = " ".join(mark for mark, known in spelled if not known)
    return "\n".join(filter(None, (above, words))), [known for _, known in spelled if known]


def project_mark(fields: Mapping[str, str]) -> str:
    """Return the project of a row as a mark of todo.txt; empty if it has none, or one of other signs."""
    name = "-".join(fields.get("projectId", "").split())
    return f"+{name}" if re.fullmatch(_NAME, name) else ""

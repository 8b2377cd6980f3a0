"""Pure: Markdown. Check boxes become tasks; everything else is prose under its headings.

A check box may be nested, numbered or quoted, and go on over indented lines. Its own
date wins over the one the front matter gives for the whole document. Code blocks
hold no check boxes.
"""

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from hub.clock import epoch_ms
from hub.document import Document
from hub.extraction.chunk import Passage
from hub.extraction.forms import Form, Line, lines_of, make_item
from hub.extraction.items import Item, Wanted
from hub.extraction.when import date_ms, read_date
from protocol.frame import Field
from protocol.tables import TableName

_BOX: Final = re.compile(
    r"(?P<indent>[ \t]*(?:>[ \t]*)*)(?:[-*+]|\d{1,9}[.)])[ \t]+\[(?P<mark>[ xX/-])\][ \t]+(?P<said>\S.*)"
)
_STATUS: Final = {" ": "todo", "/": "in_progress", "x": "done", "X": "done"}  # "-": given up, no task
_LIST_ITEM: Final = re.compile(r"[ \t]*(?:>[ \t]*)*(?:[-*+]|\d{1,9}[.)])[ \t]")
_HEADING: Final = re.compile(r" {0,3}(#{1,6})[ \t]+")
_CODE_FENCE: Final = re.compile(r" {0,3}(`{3,}|~{3,})")

_MAX_FRONT_LINES: Final = 100
_FRONT_FIELD: Final = re.compile(r"([A-Za-z][\w -]*+)[ \t]*+:[ \t]++(.+)")
_FRONT_REMARK: Final = re.compile(r"(?<!\s)\s++#.*$")
_DATE_KEYS: Final = ("date", "created", "updated", "modified")
_DUE_KEYS: Final = ("due", "duedate", "deadline")

_DAY: Final = r"(\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2})?)"
_DUE_TAG: Final = re.compile(
    rf"(?<!\s)\s*+(?:\U0001f4c5\ufe0f?\s*|[(\[]?(?:@due|due|deadline)\s*[:(]\s*){_DAY}[)\]]*"
)
_DUE_WORDS: Final = re.compile(
    rf"\b(?:due|by|before|until|till|deadline)\b(?:\s+(?:on|by|is))?\s+{_DAY}", re.I
)
_MENTION: Final = re.compile(r"(?<![\w@.])@([^\W\d_][\w-]*(?:\.[\w-]+)*)(?!\()")
_PRIORITY: Final = {
    "\U0001f53a": "high",
    "\u23eb": "high",
    "\U0001f53c": "medium",
    "\U0001f53d": "low",
    "\u23ec": "low",
}


def read(document: Document, wanted: Wanted) -> Form:
    """The tasks of a Markdown text, and its prose without front matter, headings and check boxes."""
    lines = list(lines_of(document.text))
    front, body = _front_matter(lines)
    reading = _Reading(document.text, wanted, _due_ms(front, wanted))
    if title := front.get("title"):
        reading.entitle(title)
    at = body
    while at < len(lines):
        at = reading.take(lines, at)
    reading.close_passage(len(document.text))
    return Form(
        items=reading.items, prose=reading.prose, date=_own_date(front, wanted) or document.modified_at
    )


class _Reading:
    def __init__(self, text: str, wanted: Wanted, due_ms: int | None) -> None:
        self._text = text
        self._wanted = wanted
        self._due_ms = due_ms
        self._headings: list[tuple[int, str]] = []
        self._passage_from: int | None = None
        self._code_fence = ""
        self.items: list[Item] = []
        self.prose: list[Passage] = []

    def entitle(self, title: str) -> None:
        """The document's own title stands above all headings."""
        self._headings = [(0, title)]

    def take(self, lines: Sequence[Line], at: int) -> int:
        """Read what begins at line *at*; returns the line after it."""
        line = lines[at]
        fence = _CODE_FENCE.match(line.text)
        if fence and (not self._code_fence or fence.group(1).startswith(self._code_fence)):
            self._code_fence = "" if self._code_fence else fence.group(1)
        elif not self._code_fence and (box := _BOX.fullmatch(line.text)):
            return self._take_box(lines, at, box)
        elif not self._code_fence and (heading := _HEADING.match(line.text)):
            self.close_passage(line.start)
            level = len(heading.group(1))
            self._headings = [(above, said) for above, said in self._headings if above < level]
            self._headings.append((level, _without_hashes(line.text[heading.end() :])))
            return at + 1
        if self._passage_from is None:
            self._passage_from = line.start
        return at + 1

    def close_passage(self, end: int) -> None:
        """What was prose up to *end* is a passage under the headings of now."""
        if self._passage_from is not None:
            if self._text[self._passage_from : end].strip():
                headings = tuple(said for _, said in self._headings if said)
                self.prose.append(Passage(self._passage_from, end, headings))
            self._passage_from = None

    def _take_box(self, lines: Sequence[Line], at: int, box: re.Match[str]) -> int:
        self.close_passage(lines[at].start)
        depth = len(box["indent"].expandtabs(4))
        after = at + 1
        while after < len(lines) and _goes_on(lines[after], depth):
            after += 1
        start = lines[at].start + box.start("said")
        last = lines[after - 1]
        end = last.start + len(last.text.rstrip())
        status = _STATUS.get(box["mark"])
        if status is not None:
            more = [line.text.strip(" \t>") for line in lines[at + 1 : after]]
            item = make_item(
                TableName.TASKS, self._fields(box["said"], more, status), self._text, start, end, self._wanted
            )
            self.items += [item] if item else []
        return after

    def _fields(self, said: str, more: list[str], status: str) -> dict[str, Field]:
        title = said.strip()
        while more and more[0][:1].islower():  # the same sentence, broken by a margin
            title = f"{title} {more.pop(0)}"
        whole = " ".join([title, *more])
        due = _DUE_TAG.search(whole) or _DUE_WORDS.search(whole)
        priority = next((level for sign, level in _PRIORITY.items() if sign in whole), None)
        for sign in _PRIORITY:
            title = title.replace(sign, "")
        plain = _DUE_TAG.sub("", title).strip() or title
        return {
            "title": " ".join(plain.split()),
            "description": "\n".join(more),
            "status": status,
            "priority": priority,
            "assignee": list(dict.fromkeys(_MENTION.findall(whole))),
            "dueDate": date_ms(due.group(1), self._wanted.timezone) if due else self._due_ms,
        }


def _without_hashes(said: str) -> str:
    """A heading without the signs that may close it; a pattern for them would try every row of blanks."""
    said = said.rstrip(" \t")
    bare = said.rstrip("#")
    return bare.rstrip(" \t") if bare.endswith((" ", "\t")) else said


def _goes_on(line: Line, depth: int) -> bool:
    """Whether a line belongs to the check box above it: indented deeper, and no list item of its own."""
    said = line.text.lstrip(" \t>")
    indent = len(line.text.expandtabs(4)) - len(line.text.expandtabs(4).lstrip(" >"))
    return (
        bool(said) and indent > depth and not _LIST_ITEM.match(line.text) and not _CODE_FENCE.match(line.text)
    )


def _front_matter(lines: Sequence[Line]) -> tuple[dict[str, str], int]:
    """Its plain ``key: value`` lines, and the number of the line after it; nothing when there is none."""
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


def _own_date(front: dict[str, str], wanted: Wanted) -> datetime | None:
    dates = (read_date(front[key], wanted.timezone) for key in _DATE_KEYS if key in front)
    return next(filter(None, dates), None)


def _due_ms(front: dict[str, str], wanted: Wanted) -> int | None:
    dates = (read_date(front[key], wanted.timezone) for key in _DUE_KEYS if key in front)
    return next((epoch_ms(date) for date in dates if date), None)

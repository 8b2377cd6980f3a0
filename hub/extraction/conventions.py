"""Conventions for task lines, as a table of marks, with their parser. Pure functions.

A convention is a sequence of marks: a pattern and its meaning. The first mark that matches a piece of the
line takes it. Every mark has cases, lines with the expected result; a test parses all of them. Text without a
field is kept as written. Names keep their spelling.
"""

import re
from collections.abc import Sequence
from enum import Enum, auto
from typing import Any, Final

import msgspec

from hub.extraction.when import date_ms
from protocol.frame import Field

_DAY: Final = r"(\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2})?)"
_NUMBERED: Final = {"1": "high", "2": "medium"}  # 3 and more: low
_LETTERED: Final = {"a": "high", "b": "medium"}  # C to Z: low
_NAMED: Final = {"highest": "high", "urgent": "high", "normal": "medium", "lowest": "low"}

# Tags of TaskPaper's guide and contexts of Getting Things Done: where "@" marks people, these are not names.
KNOWN_TAGS: Final = (
    *("done", "due", "start", "today", "tomorrow", "flag", "flagged", "priority", "next", "waiting"),
    *("cancelled", "canceled", "someday", "maybe", "project", "search", "repeat", "context"),
    *("home", "work", "office", "phone", "call", "calls", "email", "mail", "computer", "online"),
    *("errand", "errands", "agenda", "anywhere", "read", "review", "high", "medium", "low"),
)


class Sense(Enum):
    """Meaning of a mark."""

    DUE = auto()  # the value is the day
    PRIORITY = auto()  # the value is the level, or the mark has one
    DONE = auto()
    GIVEN_UP = auto()
    PERSON = auto()
    PROJECT = auto()  # the value is the name; also kept as written
    UNMAPPED = auto()  # no field exists: kept as written
    CUT = auto()  # irrelevant for others: the date of writing, an id


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """Mark of a convention.

    Attributes:
        pattern: group 1, if any, is the value.
        level: level of a priority without a value.
        stays: the mark is a part of the sentence, and stays in the title.
        cases: lines with the expected non-empty fields of ``ParsedLine``.
    """

    pattern: str
    sense: Sense
    level: str | None = None
    stays: bool = False
    cases: dict[str, dict[str, Any]]


class ParsedLine(msgspec.Struct, omit_defaults=True):
    """Parsed line. *due* is the day as written; *unmapped* has the pieces without a field, in order."""

    title: str = ""
    due: str | None = None
    priority: str | None = None
    is_done: bool = False
    is_given_up: bool = False
    people: list[str] = []
    projects: list[str] = []
    unmapped: list[str] = []


class Convention:
    """Marks of one kind of file, in order of precedence."""

    def __init__(self, *marks: Mark) -> None:
        self.marks = marks
        self._patterns = [(mark, re.compile(mark.pattern, re.IGNORECASE)) for mark in marks]

    def read(self, line: str) -> ParsedLine:
        """Parse the marks of *line*; the rest of the line is the title."""
        parsed = ParsedLine()
        taken = bytearray(len(line))
        cut: list[tuple[int, int]] = []
        unmapped: list[tuple[int, str]] = []
        for mark, pattern in self._patterns:
            for match in pattern.finditer(line):
                start, end = match.span()
                if any(taken[start:end]):
                    continue
                taken[start:end] = b"\1" * (end - start)
                if not mark.stays:
                    cut.append((start, end))
                value = match.group(1) if pattern.groups else None
                if not _note(parsed, mark, (value or "").strip()):
                    unmapped.append((start, match.group().strip()))
        parsed.unmapped = [piece for _, piece in sorted(unmapped)]
        parsed.title = " ".join(_without(line, cut).split())
        return parsed


def _note(parsed: ParsedLine, mark: Mark, value: str) -> bool:
    """Store the value of *mark* in its field. Return False if no field exists or it has a value."""
    match mark.sense:
        case Sense.DUE if parsed.due is None:
            parsed.due = value
        case Sense.PRIORITY if parsed.priority is None and (level := mark.level or _level(value)):
            parsed.priority = level
        case Sense.DONE:
            parsed.is_done = True
        case Sense.GIVEN_UP:
            parsed.is_given_up = True
        case Sense.PERSON:
            parsed.people += [] if value in parsed.people else [value]
        case Sense.PROJECT:
            parsed.projects.append(value)
            return False
        case Sense.CUT:
            pass
        case _:
            return mark.stays  # a mark that stays in the title is not lost
    return True


def _level(value: str) -> str | None:
    """Return the level for *value*: a number, a letter or a word."""
    plain = value.lower()
    if plain.isdecimal():
        return _NUMBERED.get(plain, "low")
    if len(plain) == 1 and plain.isalpha():
        return _LETTERED.get(plain, "low")
    return plain if plain in ("high", "medium", "low") else _NAMED.get(plain)


def _without(line: str, pieces: list[tuple[int, int]]) -> str:
    rest, at = [], 0
    for start, end in sorted(pieces):
        rest.append(line[at:start])
        at = end
    return " ".join([*rest, line[at:]])


def _sign(signs: str, value: str = "") -> str:
    return rf"[{signs}]\ufe0f?{value}"


# --- Obsidian Tasks: emoji, and the fields of Dataview ---

_OBSIDIAN: Final = (
    Mark(
        pattern=_sign("\U0001f4c5\U0001f4c6\U0001f5d3", rf"\s*+{_DAY}"),
        sense=Sense.DUE,
        cases={
            "Pay \U0001f4c5 2026-03-04 today": {"title": "Pay today", "due": "2026-03-04"},
            "Pay \U0001f5d3\ufe0f2026-03-04": {"title": "Pay", "due": "2026-03-04"},
        },
    ),
    *(
        Mark(
            pattern=_sign(sign),
            sense=Sense.PRIORITY,
            level=level,
            cases={f"Pay {sign} rent": {"title": "Pay rent", "priority": level}},
        )
        for sign, level in (
            ("\U0001f53a", "high"),
            ("\u23eb", "high"),
            ("\U0001f53c", "medium"),
            ("\U0001f53d", "low"),
            ("\u23ec", "low"),
        )
    ),
    Mark(
        pattern=_sign("\u2705", rf"\s*+{_DAY}"),
        sense=Sense.DONE,
        cases={"Pay \u2705 2026-03-04": {"title": "Pay", "is_done": True}},
    ),
    Mark(
        pattern=_sign("\u274c", rf"\s*+{_DAY}"),
        sense=Sense.GIVEN_UP,
        cases={"Pay \u274c 2026-03-04": {"title": "Pay", "is_given_up": True}},
    ),
    Mark(
        pattern=_sign("\u2795", rf"\s*+{_DAY}"),
        sense=Sense.CUT,
        cases={"Pay \u2795 2026-01-01": {"title": "Pay"}},
    ),
    Mark(
        pattern=_sign("\U0001f194", r"\s*+([\w-]++)"),
        sense=Sense.CUT,
        cases={"Pay \U0001f194 dcf64c": {"title": "Pay"}},
    ),
    Mark(
        pattern=_sign("\u23f3\u231b\U0001f6eb", rf"\s*+{_DAY}"),
        sense=Sense.UNMAPPED,
        cases={
            "Pay \u23f3 2026-03-01": {"title": "Pay", "unmapped": ["\u23f3 2026-03-01"]},
            "Pay \U0001f6eb 2026-03-01": {"title": "Pay", "unmapped": ["\U0001f6eb 2026-03-01"]},
        },
    ),
    Mark(
        pattern=_sign("\U0001f501", r"[a-z0-9, !]++"),
        sense=Sense.UNMAPPED,
        cases={
            "Pay \U0001f501 every month when done \U0001f4c5 2026-03-04": {
                "title": "Pay",
                "due": "2026-03-04",
                "unmapped": ["\U0001f501 every month when done"],
            }
        },
    ),
    Mark(
        pattern=_sign("\u26d4\U0001f3c1", r"\s*+[\w,-]++"),
        sense=Sense.UNMAPPED,
        cases={"Pay \u26d4 dcf64c,0h17ye": {"title": "Pay", "unmapped": ["\u26d4 dcf64c,0h17ye"]}},
    ),
    Mark(
        pattern=rf"[\[(]due::\s*+{_DAY}\s*+[\])]",
        sense=Sense.DUE,
        cases={"Pay [due:: 2026-03-04]": {"title": "Pay", "due": "2026-03-04"}},
    ),
    Mark(
        pattern=r"[\[(]priority::\s*+(\w++)\s*+[\])]",
        sense=Sense.PRIORITY,
        cases={"Pay (priority:: highest)": {"title": "Pay", "priority": "high"}},
    ),
    Mark(
        pattern=rf"[\[(]completion::\s*+{_DAY}\s*+[\])]",
        sense=Sense.DONE,
        cases={"Pay [completion:: 2026-03-04]": {"title": "Pay", "is_done": True}},
    ),
    Mark(
        pattern=rf"[\[(]cancelled::\s*+{_DAY}\s*+[\])]",
        sense=Sense.GIVEN_UP,
        cases={"Pay [cancelled:: 2026-03-04]": {"title": "Pay", "is_given_up": True}},
    ),
    Mark(
        pattern=rf"[\[(](?:created::\s*+{_DAY}|id::\s*+[\w-]++)\s*+[\])]",
        sense=Sense.CUT,
        cases={"Pay [created:: 2026-01-01] (id:: a1)": {"title": "Pay"}},
    ),
    Mark(
        pattern=r"[\[(](?:scheduled|start|repeat|dependsOn|onCompletion)::[^\])\r\n]*+[\])]",
        sense=Sense.UNMAPPED,
        cases={"Pay [repeat:: every day]": {"title": "Pay", "unmapped": ["[repeat:: every day]"]}},
    ),
)

# --- TaskPaper: tags with and without a value ---

_AT: Final = r"(?<![\w@.])@"
_TAGS: Final = (
    Mark(
        pattern=rf"{_AT}(?:due|deadline)\(\s*+{_DAY}\s*+\)",
        sense=Sense.DUE,
        cases={
            "Pay @due(2026-12-01)": {"title": "Pay", "due": "2026-12-01"},
            "Pay @due(2026-12-01 09:30) soon": {"title": "Pay soon", "due": "2026-12-01 09:30"},
        },
    ),
    Mark(
        pattern=rf"{_AT}priority(?:\((\w++)\))",
        sense=Sense.PRIORITY,
        cases={
            "Pay @priority(1)": {"title": "Pay", "priority": "high"},
            "Pay @priority(2)": {"title": "Pay", "priority": "medium"},
            "Pay @priority(9)": {"title": "Pay", "priority": "low"},
            "Pay @priority(high)": {"title": "Pay", "priority": "high"},
            "Pay @priority(soon)": {"title": "Pay", "unmapped": ["@priority(soon)"]},
        },
    ),
    Mark(
        pattern=rf"{_AT}priority(?![\w(.-])",
        sense=Sense.PRIORITY,
        level="high",
        cases={"Pay @priority": {"title": "Pay", "priority": "high"}},
    ),
    Mark(
        pattern=rf"{_AT}done(?:\([^()\r\n]*+\)|(?![\w(.-]))",
        sense=Sense.DONE,
        cases={
            "Pay @done": {"title": "Pay", "is_done": True},
            "Pay @done(2026-03-04)": {"title": "Pay", "is_done": True},
            "Pay @due(2026-12-01) @done": {"title": "Pay", "due": "2026-12-01", "is_done": True},
        },
    ),
    Mark(
        pattern=rf"{_AT}cancell?ed(?:\([^()\r\n]*+\)|(?![\w(.-]))",
        sense=Sense.GIVEN_UP,
        cases={"Pay @cancelled(2026-03-04)": {"title": "Pay", "is_given_up": True}},
    ),
    Mark(
        pattern=rf"{_AT}[\w.-]++\([^()\r\n]*+\)",
        sense=Sense.UNMAPPED,
        cases={
            "Pay @start(2026-11-01)": {"title": "Pay", "unmapped": ["@start(2026-11-01)"]},
            "Pay @due(next week)": {"title": "Pay", "unmapped": ["@due(next week)"]},
            "Pay @Anna(2)": {"title": "Pay", "unmapped": ["@Anna(2)"]},
        },
    ),
)
_PERSON: Final = r"(?<![\w@.])@([^\W\d_][\w-]*+(?:\.[\w-]++)*+)(?!\()"

MARKDOWN: Final = Convention(
    *_OBSIDIAN,
    *_TAGS,
    Mark(
        pattern=rf"[(\[]?(?:due|deadline)\s*+[:(]\s*+{_DAY}[)\]]*+",
        sense=Sense.DUE,
        cases={
            "Pay (due: 2026-03-04)": {"title": "Pay", "due": "2026-03-04"},
            "Pay deadline: 2026-03-04": {"title": "Pay", "due": "2026-03-04"},
        },
    ),
    Mark(
        pattern=rf"\b(?:due|by|before|until|till|deadline)\b(?:\s++(?:on|by|is))?\s++{_DAY}",
        sense=Sense.DUE,
        stays=True,
        cases={"Pay by 2026-03-04": {"title": "Pay by 2026-03-04", "due": "2026-03-04"}},
    ),
    Mark(
        pattern=rf"{_AT}(?:{'|'.join(KNOWN_TAGS)})(?![\w(.-])",
        sense=Sense.UNMAPPED,
        stays=True,
        cases={
            "Pay @home": {"title": "Pay @home"},
            "Pay @Today @flag": {"title": "Pay @Today @flag"},
            "Ask @homer": {"title": "Ask @homer", "people": ["homer"]},
        },
    ),
    Mark(
        pattern=_PERSON,
        sense=Sense.PERSON,
        stays=True,
        cases={
            "Ask @Anna-Maria and @bob.o": {
                "title": "Ask @Anna-Maria and @bob.o",
                "people": ["Anna-Maria", "bob.o"],
            },
            "Write to bob@example.org": {"title": "Write to bob@example.org"},
            "Ask @O": {"title": "Ask @O", "people": ["O"]},
            "Ask @anna and @anna": {"title": "Ask @anna and @anna", "people": ["anna"]},
        },
    ),
)

TASKPAPER: Final = Convention(
    *_TAGS,
    Mark(
        pattern=r"(?:^|(?<=\s))@[^\s()]++",
        sense=Sense.UNMAPPED,
        cases={
            "Pay @today @flag": {"title": "Pay", "unmapped": ["@today", "@flag"]},
            "Pay @anna": {"title": "Pay", "unmapped": ["@anna"]},  # every @ is a tag there
        },
    ),
)

_WORD: Final = r"(?:^|(?<=\s))"
TODO_TXT: Final = Convention(
    Mark(
        pattern=rf"{_WORD}due:{_DAY}(?!\S)",
        sense=Sense.DUE,
        cases={"Pay due:2026-03-04": {"title": "Pay", "due": "2026-03-04"}},
    ),
    Mark(
        pattern=rf"{_WORD}pri:([a-z])(?!\S)",
        sense=Sense.PRIORITY,
        cases={"Pay pri:B": {"title": "Pay", "priority": "medium"}},
    ),
    Mark(
        pattern=rf"{_WORD}\+(\S++)",
        sense=Sense.PROJECT,
        cases={"Pay +House": {"title": "Pay", "projects": ["House"], "unmapped": ["+House"]}},
    ),
    Mark(
        pattern=rf"{_WORD}@\S++",
        sense=Sense.UNMAPPED,
        cases={"Pay @home": {"title": "Pay", "unmapped": ["@home"]}},
    ),
    Mark(
        pattern=rf"{_WORD}(?:t|rec|due|pri):\S++",
        sense=Sense.UNMAPPED,
        cases={
            "Pay t:2026-03-01 rec:+1m": {"title": "Pay", "unmapped": ["t:2026-03-01", "rec:+1m"]},
            "Pay due:soon": {"title": "Pay", "unmapped": ["due:soon"]},
        },
    ),
    Mark(
        pattern=rf"{_WORD}(?:h|id|p|uuid):\S++",
        sense=Sense.CUT,
        cases={"Pay h:1 id:7": {"title": "Pay"}},
    ),
)

# Characters between the brackets of a check box. Others do not mark a task: the line is prose.
BOXES: Final[dict[str, ParsedLine]] = {
    " ": ParsedLine(),
    "/": ParsedLine(),
    ">": ParsedLine(),  # deferred
    "<": ParsedLine(),
    "?": ParsedLine(),
    "!": ParsedLine(priority="high"),
    "x": ParsedLine(is_done=True),
    "X": ParsedLine(is_done=True),
    "-": ParsedLine(is_given_up=True),
    "~": ParsedLine(is_given_up=True),  # not applicable, at GitLab
}
CONVENTIONS: Final = {"markdown": MARKDOWN, "taskpaper": TASKPAPER, "todo.txt": TODO_TXT}


def fields_of(parsed: ParsedLine, line: str, timezone: str, *, more: Sequence[str] = ()) -> dict[str, Field]:
    """Return the fields of a task from a parsed *line*. *more*: lines of its description."""
    return {
        "title": parsed.title or line.strip(),
        "description": "\n".join(filter(None, [*more, " ".join(parsed.unmapped)])),
        "status": "done" if parsed.is_done else "todo",
        "priority": parsed.priority,
        "assignee": list(parsed.people),
        "dueDate": date_ms(parsed.due or "", timezone),
    }

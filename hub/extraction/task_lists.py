"""Rules for task lists: check boxes, todo.txt, TaskPaper and Org. Pure.

``x 2026-03-02 2026-02-01 (A) Call the plumber +house @phone due:2026-03-09`` ``- Call the plumber
@due(2026-03-09)`` below ``House:``

A convention for such lines is a sequence of marks: a pattern and its meaning. The first mark that matches a
piece of the line takes it. Text without a field is kept as written. Names keep their spelling.

All other text of Markdown is prose under its headings. A check box may be nested, numbered or quoted, and
continue over indented lines. Its own date overrides the date in the front matter.
"""

import html
import re
from collections.abc import Sequence
from datetime import datetime
from functools import cached_property
from itertools import islice, takewhile
from typing import Final, Literal, NamedTuple

import msgspec

from hub.document import Document
from hub.extraction.blocks import COVER, PLACEHOLDER, view_of_markdown, view_of_org
from hub.extraction.chunk import Passage
from hub.extraction.items import (
    MAX_NAMES,
    DocumentLine,
    Evidence,
    ExtractionOptions,
    Item,
    RowItems,
    RulesForm,
    front_matter,
    lines_of,
)
from hub.extraction.outline import People, known_people, people_above
from hub.extraction.tokens import without
from hub.extraction.when.resolve import date_ms, read_date
from hub.extraction.wording.languages import is_label, languages_in, script_of
from hub.extraction.wording.names import is_person, names_in
from hub.extraction.work_sections import SectionState, WorkSections, heading_state, name_state, rows_below
from hub.text.files import PLAIN
from hub.text.places import Place, merged, place_at
from hub.text.rows.marks import MARK
from protocol.frame import Field
from protocol.tables import TableName

_DAY: Final = r"(\d{4}-\d{1,2}-\d{1,2}(?:[T ]\d{1,2}:\d{2})?)"
_VALUE: Final = r"\s*+([^\s()\[\]](?:[^()\[\]\r\n]{0,60}[^\s()\[\]])?)\s*+"  # a day, or words for one
_STAMP: Final = r"[<\[](\d{4}-\d{2}-\d{2}[^<>\[\]\r\n]{0,60}+)[>\]]"  # of Org: <2026-12-04 Fri 10:30 +1w>
# Parts of a day as written: "2026-12-4", "20261204", "2026-12-04 Fri 10:30 +1w".
_PARTS: Final = re.compile(
    r"(\d{4})(?:-(\d{1,2})-(\d{1,2})|(\d\d)(\d\d))(?!\d)(?:[^\d+-]{1,20}(\d{1,2}:\d{2}))?"
)
_NUMBERED: Final = {"1": "high", "2": "medium"}  # 3 and more: low
_LETTERED: Final = {"a": "high", "b": "medium"}  # C to Z: low
_NAMED: Final = {
    word: level
    for level, words in (
        ("high", "highest high urgent hoch dringend haute urgente alta срочно высокий 高 紧急"),
        ("medium", "medium normal mittel moyenne media средний 中"),
        ("low", "low lowest niedrig basse baja низкий 低"),
    )
    for word in words.split()
}

# Tags of TaskPaper's guide and contexts of Getting Things Done: where "@" marks people, these are not names.
KNOWN_TAGS: Final = (
    *("done", "due", "start", "today", "tomorrow", "flag", "flagged", "priority", "next", "waiting"),
    *("cancelled", "canceled", "someday", "maybe", "project", "search", "repeat", "context"),
    *("home", "work", "office", "phone", "call", "calls", "email", "mail", "computer", "online"),
    *("errand", "errands", "agenda", "anywhere", "read", "review", "high", "medium", "low"),
)


class Mark(NamedTuple):
    """Mark of a convention.

    Attributes:
        pattern: group 1, if any, is the value.
        field: of the parsed line; ``cut``: irrelevant for others, as the date of writing or an id.
        value: level of a priority without a value; a state.
        stays: the mark is a part of the sentence, and stays in the title.
    """

    pattern: str
    field: Literal["due", "priority", "state", "people", "unmapped", "cut"]
    value: str = ""
    stays: bool = False


class ParsedLine(msgspec.Struct, omit_defaults=True):
    """Parsed line.

    Attributes:
        due: the day as written.
        state: value of the status, or ``cancelled``. By the alphabet, a state that is more final is first.
        unmapped: the pieces without a field, in order.
    """

    title: str = ""
    due: str | None = None
    priority: str | None = None
    state: str = "todo"
    people: list[str] = []
    unmapped: list[str] = []


class Convention:
    """Marks of one kind of file, in order of precedence.

    Args:
        signs: a pattern that every line with a mark contains: most lines have none.
    """

    def __init__(self, *marks: Mark, signs: str = "") -> None:
        self.marks = marks
        self._signs = re.compile(signs)

    @cached_property
    def _patterns(self) -> Sequence[tuple[Mark, re.Pattern[str]]]:
        return [(mark, re.compile(mark.pattern, re.IGNORECASE)) for mark in self.marks]

    def read(self, line: str) -> ParsedLine:
        """Parse the marks of *line*; the rest of the line is the title."""
        if self._signs.search(line) is None:
            return ParsedLine(title=" ".join(line.split()))
        parsed = ParsedLine()
        taken, cut = bytearray(len(line)), list[Place]()
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
        parsed.title = " ".join((without(line, cut) if cut else line).split())
        return parsed


def _note(parsed: ParsedLine, mark: Mark, value: str) -> bool:
    """Store the value of *mark* in its field. Return False if no field exists or it has a value."""
    match mark.field:
        case "due" if parsed.due is None:
            parsed.due = _written_day(value)
        case "priority" if parsed.priority is None and (level := mark.value or _level(value)):
            parsed.priority = level
        case "state":
            parsed.state = min(parsed.state, mark.value)
        case "people":
            parsed.people += [] if value in parsed.people or len(parsed.people) == MAX_NAMES else [value]
        case "cut":
            pass
        case _:
            return mark.stays  # a mark that stays in the title is not lost
    return True


def _written_day(value: str) -> str:
    """Return the day of a stamp in ISO 8601, and its time if it has one; words for a day as they are."""
    match = _PARTS.match(value)
    if match is None:
        return value
    year, month, day = filter(None, match.groups()[:5])
    return f"{year}-{month:0>2}-{day:0>2}" + (f" {match[6]:0>5}" if match[6] else "")


def _level(value: str) -> str | None:
    """Return the level for *value*: a number, a letter or a word."""
    plain = value.lower()
    if plain.isdecimal():
        return _NUMBERED.get(plain, "low")
    if len(plain) == 1 and plain.isalpha():
        return _LETTERED.get(plain, "low")
    return _NAMED.get(plain)


def _sign(signs: str, value: str = "") -> str:
    return rf"[{signs}]\ufe0f?{value}"


# --- Obsidian Tasks: emoji, and the fields of Dataview ---

_BOARD_DAY: Final = r"(\d{4}-\d{2}-\d{2}(?:\}\s*+@@\{\d{1,2}:\d{2})?)"  # of Kanban: @{2026-12-04} @@{17:30}
_OBSIDIAN: Final = (
    Mark(_sign("\U0001f4c5\U0001f4c6\U0001f5d3", rf"\s*+{_DAY}"), "due"),
    Mark(_sign("\U0001f53a\u23eb"), "priority", "high"),
    Mark(_sign("\U0001f53c"), "priority", "medium"),
    Mark(_sign("\U0001f53d\u23ec"), "priority", "low"),
    Mark(_sign("\u2705", rf"\s*+{_DAY}"), "state", "done"),
    Mark(_sign("\u274c", rf"\s*+{_DAY}"), "state", "cancelled"),
    Mark(_sign("\u2795", rf"\s*+{_DAY}"), "cut"),
    Mark(_sign("\U0001f194", r"\s*+([\w-]++)"), "cut"),
    Mark(_sign("\u23f3\u231b\U0001f6eb", rf"\s*+{_DAY}"), "unmapped"),
    Mark(_sign("\U0001f501", r"[a-z0-9, !]++"), "unmapped"),
    Mark(_sign("\u26d4\U0001f3c1", r"\s*+[\w,-]++"), "unmapped"),
    Mark(rf"@\{{?{_BOARD_DAY}\}}*+", "due"),
    Mark(rf"[\[(](?:due|[\U0001f4c5\U0001f4c6\U0001f5d3]\ufe0f?)::{_VALUE}[\])]", "due"),
    Mark(rf"[\[(](?:assignee|owner|who)::{_VALUE}[\])]", "people"),
    Mark(r"[\[(]priority::\s*+(\w++)\s*+[\])]", "priority"),
    Mark(rf"[\[(](?:completion|\u2705\ufe0f?)::\s*+{_DAY}\s*+[\])]", "state", "done"),
    Mark(rf"[\[(](?:cancelled|\u274c\ufe0f?)::\s*+{_DAY}\s*+[\])]", "state", "cancelled"),
    Mark(rf"[\[(](?:(?:created|\u2795\ufe0f?)::\s*+{_DAY}|id::\s*+[\w-]++)\s*+[\])]", "cut"),
    Mark(
        r"[\[(](?:scheduled|start|repeat|dependsOn|onCompletion|[\u23f3\u231b\U0001f6eb\U0001f501]\ufe0f?)"
        r"::[^\])\r\n]{0,200}+[\])]",
        "unmapped",
    ),
)

# --- Org and Logseq: stamps of planning, and words for states ---

_PLANNED: Final = (
    Mark(rf"\bDEADLINE:[ \t]*+{_STAMP}", "due"),
    Mark(rf"\bSCHEDULED:[ \t]*+{_STAMP}", "unmapped"),
    Mark(rf"\bCLOSED:[ \t]*+{_STAMP}", "cut"),
    Mark(r"(?:^|(?<=\s))\[#([A-Z])\]", "priority"),
)

# --- TaskPaper: tags with and without a value ---

_AT: Final = r"(?<![\w@.])@"
_TAGS: Final = (
    Mark(rf"{_AT}(?:due|deadline)\({_VALUE}\)", "due"),
    Mark(rf"{_AT}priority(?:\((\w++)\))", "priority"),
    Mark(rf"{_AT}priority(?![\w(.-])", "priority", "high"),
    Mark(rf"{_AT}done(?:\([^()\r\n]*+\)|(?![\w(.-]))", "state", "done"),
    Mark(rf"{_AT}cancell?ed(?:\([^()\r\n]*+\)|(?![\w(.-]))", "state", "cancelled"),
    Mark(rf"{_AT}[\w.-]++\([^()\r\n]*+\)", "unmapped"),
)
_WORD: Final = r"(?:^|(?<=\s))"
_LEVEL_WORDS: Final = "|".join(_NAMED)
MARKDOWN: Final = Convention(
    *_OBSIDIAN,
    *_PLANNED,
    *_TAGS,
    Mark(rf"[(\[]?(?:due|deadline)\s*+[:(]\s*+{_DAY}[)\]]*+", "due"),
    Mark(rf"\b(?:due|by|before|until|till|deadline)\b(?:\s++(?:on|by|is))?\s++{_DAY}", "due", stays=True),
    Mark(rf"{_AT}(?:{'|'.join(KNOWN_TAGS)})(?![\w(.-])", "unmapped", stays=True),
    Mark(r"(?<![\w@.])@([^\W\d_][\w-]*+(?>(?:\.[\w-]++)*))(?!\()", "people", stays=True),
    Mark(rf"{_WORD}#p?(?:rio(?:rity)?)?[-/]?({_LEVEL_WORDS})(?![\w/-])", "priority"),
    Mark(rf"{_WORD}\*{{0,2}}\[({_LEVEL_WORDS})\]\*{{0,2}}(?!\S)", "priority"),
    Mark(rf"{_WORD}(?:!{{2,3}}|[\u2757\u203c]\ufe0f?)(?!\S)", "priority", "high"),
    Mark(r"(?:^(?=p\d\s)|(?<=\s)(?=p\d(?:\s*$|\s+[^\w\s])))p([1-4])", "priority"),  # of Todoist
    Mark(rf"{_WORD}#(?:task|todo)(?![\w/-])", "cut"),
    # An emoji, a tag, a field of Dataview, a day, a priority.
    signs=r"[@#!\x80-\U0010ffff]|::|\d{4}-|\[\w|\b[pP]\d",
)
TASKPAPER: Final = Convention(*_TAGS, Mark(r"(?:^|(?<=\s))@[^\s()]++", "unmapped"))  # every @ is a tag

_PROJECT_MARK: Final = re.compile(rf"{_WORD}\+(\S++)")
TODO_TXT: Final = Convention(
    Mark(rf"{_WORD}due:(\S++)", "due"),
    Mark(rf"{_WORD}pri:([a-z])(?!\S)", "priority"),
    Mark(r"(?<=\s)[+@]\S++(?=[ \t]+[^\W\d_][^\s:]*+(?:\s|$))", "unmapped", stays=True),  # in a sentence
    Mark(rf"{_WORD}[+@]\S++", "unmapped"),
    Mark(rf"{_WORD}(?:t|rec|pri):\S++", "unmapped"),
    Mark(rf"{_WORD}(?:h|id|p|uuid):\S++", "cut"),
)

# Words before a task of Org and Logseq, and characters between the brackets of a check box. With others,
# a line is prose.
STATES: Final[dict[str, ParsedLine]] = {
    word: state
    for words, state in (
        ("TODO NEXT LATER WAITING WAIT HOLD", ParsedLine()),
        (
            "DOING NOW STARTED IN-PROGRESS REVIEW CURSO EN-COURS IN-ARBEIT РАБОТА 进行中",
            ParsedLine(state="in_progress"),
        ),
        ("DONE ERLEDIGT FAIT HECHO ГОТОВО СДЕЛАНО 已完成", ParsedLine(state="done")),
        ("CANCELLED CANCELED KILL", ParsedLine(state="cancelled")),
    )
    for word in words.split()
}
BOXES: Final[dict[str, ParsedLine]] = {
    " ": ParsedLine(),
    "/": ParsedLine(state="in_progress"),
    ">": ParsedLine(),  # deferred
    "<": ParsedLine(),
    "?": ParsedLine(),
    "!": ParsedLine(priority="high"),
    "x": ParsedLine(state="done"),
    "X": ParsedLine(state="done"),
    "-": ParsedLine(state="cancelled"),
    "~": ParsedLine(state="cancelled"),  # not applicable, at GitLab
    **dict.fromkeys(("", "\u2610", "\u25a1"), ParsedLine()),
    **dict.fromkeys("\u2611\u2713\u2714", ParsedLine(state="done")),
    **dict.fromkeys("\u2612\u2717\u2718", ParsedLine(state="cancelled")),
}
_OF_SECTION: Final[dict[SectionState, str]] = {"over": "cancelled", "begun": "in_progress"}
_INBOXES: Final = frozenset(
    ("inbox", "eingang", "boîte de réception", "bandeja de entrada", "входящие", "收件箱")
)


class _TaskRows(RowItems):
    """Tasks of a text, from the marks of its rows."""

    def add_task(
        self,
        parsed: ParsedLine,
        place: Place,
        evidence: Evidence,
        more: Sequence[str] = (),
        owners: Sequence[str] = (),
    ) -> None:
        """Add a task, unless it was cancelled, is struck out or without words.

        Words for the day when it is due are left to be resolved.

        Args:
            more: lines of its description.
            owners: people that lines above name, if the row names none.
        """
        is_over = parsed.state == "cancelled" or _STRUCK.fullmatch(parsed.title)
        if is_over or not any(map(str.isalnum, parsed.title)):
            return
        title, names = (parsed.title, parsed.people) if parsed.people else _without_owner(parsed.title)
        due_at = date_ms(parsed.due or "", self.options.timezone)
        fields: dict[str, Field] = {
            "title": title,
            "description": "\n".join(filter(None, [*more, " ".join(parsed.unmapped)])),
            "status": parsed.state,
            "priority": parsed.priority,
            "assignee": [*(names or owners)],
            "dueDate": due_at,
        }
        unresolved = {"dueDate": parsed.due} if parsed.due and due_at is None else {}
        marks = tuple(filter(MARK.fullmatch, parsed.unmapped))
        self.add(TableName.TASKS, fields, place, evidence, unresolved=unresolved, marks=marks)

    def add_row(
        self,
        title: str,
        more: Sequence[str],
        place: Place,
        evidence: Evidence,
        *,
        state: ParsedLine = STATES["TODO"],
        section: SectionState = "",
        owners: Sequence[str] = (),
    ) -> None:
        """Add a row with marks of Markdown.

        Args:
            more: the lines below. Their text is kept as it is, and their marks count, too.
            state: what the box or the word before the title says.
            section: what its heading says.
            owners: people that lines above name.
        """
        continued = list(takewhile(lambda line: line[:1].islower(), more))  # a sentence of several lines
        title = " ".join([title, *continued]).replace(COVER, "")
        parsed, description = MARKDOWN.read(_without_emphasis(html.unescape(title))), list[str]()
        for line in more[len(continued) :]:
            marks = MARKDOWN.read(line)
            parsed.due = parsed.due or marks.due
            parsed.priority = parsed.priority or marks.priority
            parsed.people = list(dict.fromkeys([*parsed.people, *marks.people]))[:MAX_NAMES]
            description += [line] if marks.title else marks.unmapped
        parsed.state = min(parsed.state, state.state, _OF_SECTION.get(section, "todo"))
        parsed.priority = parsed.priority or state.priority
        self.add_task(parsed, place, evidence, description, owners)


def _without_owner(title: str) -> tuple[str, list[str]]:
    """Return a title without the names of people before or behind it, and these names."""
    for pattern in (_OWNER, _OWNER_BEHIND):
        if (match := pattern.search(title)) is None:
            continue
        label = next(filter(None, match.groups()))
        names = names_in(label) or [label]
        is_topic = any(is_label(lexicon, label) for lexicon in languages_in(script_of(label)))
        if all(map(is_person, names)) and not is_topic:
            return (title[: match.start()] + title[match.end() :]).strip(), names
    return title, []


_TODO_TXT_LINE: Final = Evidence(mark="form", rule="todotxt.line")
_TASKPAPER_LINE: Final = Evidence(mark="form", rule="taskpaper.line")
_ORG_KEYWORD: Final = Evidence(mark="keyword", rule="org.keyword")
_ORG_STAMP: Final = Evidence(mark="field", rule="org.stamp")
_KEYWORD: Final = Evidence(mark="keyword", rule="logseq.keyword")
_BOX_MARK: Final = Evidence(mark="box", rule="markdown.box")
_ROW: Final = Evidence(mark="heading", rule="list.row")
_LABELLED: Final = Evidence(mark="keyword", rule="label.action")

_DATES: Final = r"(?:\d{4}-\d{2}-\d{2}[ \t]+){0,2}"
_TODO_COUNTS: Final = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:[ \t]+\d+){2}$"  # of its report.txt
_TODO: Final = re.compile(
    rf"(?!{_TODO_COUNTS})(?P<done>x[ \t]+)?{_DATES}(?:\((?P<priority>[A-Z])\)[ \t]+)?{_DATES}(?P<value>\S.*)"
)
# Lines of todo.txt: done, with a priority, with keys or a project; and those with a day or a context alone.
_TODO_SURE: Final = re.compile(
    rf"{_TODO_COUNTS}|(?![-*+#>|\[])(?:x[ \t]+(?:\(|\d{{4}}-|(?=[^\W\d_]))|\([A-Z]\)[ \t]"
    r"|.*?[ \t](?:\+[^\W\d_][\w-]*(?!\S)|(?:due|rec|pri|t|h):\w))"
)
_TODO_LIKELY: Final = re.compile(
    r"(?![-*+#>|\[])(?:\d{4}-\d\d-\d\d[ \t]+[^\W\d_]|.*[ \t]@[^\W\d_]\w*[ \t]*$)"
)
_TASK: Final = re.compile(r"[ \t]*[-*+][ \t]+(?P<value>\S.*)")
_SEARCH: Final = re.compile(r"(?<![\w@.])@search\(")
_PROJECT: Final = re.compile(r"[ \t]*(?P<name>[^\s:].*?):(?:[ \t]+@[^\s()]+(?:\([^()]*\))?)*[ \t]*")
_ENTRY: Final = re.compile(f"{_TASK.pattern}|{_PROJECT.pattern}")

_BULLET: Final = r"(?:[-*+]|\d{1,9}[.)])"
_BOX: Final = re.compile(
    r"(?P<indent>[ \t]*(?:>[ \t]*)*)"
    rf"(?:(?:{_BULLET}[ \t]*)?"
    r"(?:[*_]{0,2}\[(?P<mark>.?)\]|(?P<glyph>[\u2610-\u2612\u25a1\u2713-\u2718]|\([ xX]\)))"
    rf"|{_BULLET}[ \t]+(?P<state>{'|'.join(STATES)}):?)(?:[ \t]+(?P<value>\S.*)|[ \t]*)"
)
_BOXES_IN: Final = re.compile(
    rf"^[ \t]*(?:{_BULLET}[ \t]*)?(?:\[[ xX]?\]|[\u2610\u2611])[ \t]+\S", re.MULTILINE
)
_LIST_ITEM: Final = re.compile(r"[ \t]*(?:>[ \t]*)*(?:[-*+]|\d{1,9}[.)])[ \t]")
# A label in front of work, which may name a person: "Action:", "**TODO:**", "Action item (Ben):", "AI:".
_LABEL: Final = re.compile(
    rf"[ \t]*(?:{_BULLET}[ \t]+)?(?P<label>[*_]{{0,3}}(?:AI|(?i:action(?: items?| point| required)?)"
    r"|(?i:to-?do|aufgabe|maßnahme|à faire|tarea|acción|pendiente|задача|поручение)|行动项?|待办)"
    r"(?:[ \t]?[(\[](?P<who>[^()\[\]]{1,40})[)\]]|[ \t]#?\d{1,3})?"
    r"(?:[*_]{1,3}[ \t]?[:：]|[:：][*_]{0,3}))[ \t]*(?P<what>[^\s:/].*)"  # noqa: RUF001
)
# A label without a colon: "TODO" before any words, others before a verb of work, with which no list begins.
_BARE_LABEL: Final = re.compile(
    rf"[ \t]*(?P<bullet>{_BULLET}[ \t]+)?(?P<label>[*_]{{0,3}}(?:(?P<sure>TODO)"
    r"|(?i:to[ -]?do|aufgabe|à faire|tarea|pendiente|待办))[*_]{0,3})[ \t]+(?P<who>)"
    r"(?P<what>(?!(?i:lists?|liste|lista|for|für|pour|para|this|next|diese|nächste)\b)"
    r"[^\W\d_](?:[\u4e00-\u9fff]|\S*[ \t]+\S).*)"
)
_ADDRESS: Final = re.compile(r"\w{2,10}://\S+")
_ROW_LABEL: Final = re.compile(rf"{_LIST_ITEM.pattern}[ \t*_]*(?P<label>[^\W\d_].{{0,80}})$")
_HEADING: Final = re.compile(r" {0,3}(#{1,6}|[-=*_~]{3,20}+(?=[ \t]+[^\W\d_]))[ \t]+")
_UNDERLINE: Final = re.compile(r" {0,3}(={3,}|-{3,})[ \t]*")  # of a heading
_NO_TITLE: Final = re.compile(rf"^{_LIST_ITEM.pattern}|[.!?]\s*$")
_EMPHASIS: Final = re.compile(
    r"\*\*(?=\S)(?P<strong>[^*]{1,400}+)\*\*|__(?=\S)(?P<bold>[^_]{1,400}+)__|==(?=\S)(?P<marked>[^=]{1,400}+)=="
    r"|(?<![\w*])\*(?=[^\s*])(?P<slanted>[^*]{1,400}+)\*(?![\w*])|(?<!\w)_(?=\S)(?P<italic>[^_]{1,400}+)_(?!\w)"
    r"|`(?P<code>[^`]{1,400}+)`"
)
_STRUCK: Final = re.compile(r"~~.*~~|\+\S.*\+")  # of Markdown, and of Org
_OWNER: Final = re.compile(r"^(?P<who>[^\s:：][^:：]{0,40}?)[ \u00a0]?(?::\s+|：\s*)(?=\S)")  # noqa: RUF001
_OWNER_BEHIND: Final = re.compile(
    r"(?<=[^ \t])[ \t]++(?:[(](?P<in>[^()]{1,40})[)]"
    r"|(?:[\u2013\u2014]|--?>?|\u2192)[ \t]+(?P<after>[^()]{1,40}))[ \t]*$"
)
_FILE_TEMPLATE: Final = re.compile(r"template|vorlage|mod[eè]le|plantilla|шаблон|模板", re.IGNORECASE)
_TO_FILL_IN: Final = re.compile(rf"{PLACEHOLDER.pattern}|<[a-z]{{2,20}} [a-z ]{{2,40}}>")

_ORG_HEADING: Final = re.compile(r"(?P<stars>\*+)[ \t]+(?P<value>\S.*)")
_ORG_STATES: Final = re.compile(r"^#\+(?:SEQ_|TYP_)?TODO:[ \t]*([^\r\n]+)", re.MULTILINE)
_ORG_DAY: Final = re.compile(r"<(\d{4}-\d{2}-\d{2}[^<>\r\n]{0,60}+)>(?:--<[^<>\r\n]{0,60}+>)?")
_ORG_NOTED: Final = re.compile(r"\[\d{4}-\d{2}-\d{2}[^\[\]\r\n]{0,60}+\]")
_ORG_TAGS: Final = re.compile(r"[ \t]:[^\s:]++:(?>(?:[^\s:]++:)*)$")
_ORG_PLAN: Final = re.compile(r"[ \t]*(?:DEADLINE|SCHEDULED|CLOSED):[ \t]*[<\[]\d{4}-.*")

_OVER: Final = ("cancelled", "done")


def is_todo_txt(text: str, *, is_named: bool = False) -> bool:
    """Return True if most lines have the marks of todo.txt, and a part of them marks that prose has not.

    Args:
        is_named: its file is named as such; then lines are, unless more of them are of Markdown.
    """
    lines = [line for line in text.lstrip("\ufeff").splitlines() if line.strip()]
    unsure = [line for line in lines if _TODO_SURE.match(line) is None]
    sure = len(lines) - len(unsure)
    if is_named:
        listed = sum((_LIST_ITEM.match(line) or _HEADING.match(line)) is not None for line in lines)
        return listed < max(sure, 1)
    marked = sure + sum(map(bool, map(_TODO_LIKELY.match, unsure)))
    return len(lines) > 1 and 3 * marked > 2 * len(lines) and 3 * sure > len(lines)


def read_todo_txt(document: Document, options: ExtractionOptions) -> RulesForm:
    """Extract the tasks of a list and the projects it names; no prose remains."""
    found = _TaskRows(document.text, options)
    lines = [*lines_of(document.text)]
    for line in lines:
        match = _TODO.fullmatch(line.text.strip(" \t\ufeff"))
        if match is None:
            continue
        parsed = TODO_TXT.read(match["value"])
        parsed.state = "done" if match["done"] else "todo"
        parsed.priority = _level(match["priority"] or "") or parsed.priority
        found.add_task(parsed, _bounds(line), _TODO_TXT_LINE)
        for mark in () if match["done"] else _PROJECT_MARK.finditer(line.text):
            place = line.start + mark.start(), line.start + mark.end()
            found.add_project(mark[1], place, _TODO_TXT_LINE)
    apart = [(line.start, line.end) for line in lines]
    return RulesForm(items=found.found, date=document.modified_at, apart=apart)


class _Project(msgspec.Struct):
    """Project of an outline. *is_open*: a task below it is to be done."""

    depth: float
    line: DocumentLine
    name: str
    is_over: bool
    is_open: bool = False


def read_taskpaper(document: Document, options: ExtractionOptions) -> RulesForm:
    """Extract the tasks of an outline, and projects with open ones. Notes below a task belong to it.

    Other notes are prose, if their project has open tasks. What is done or archived, or a search, is none.
    """
    found = _TaskRows(document.text, options)
    notes: list[tuple[DocumentLine, list[_Project]]] = []
    around: list[_Project] = []
    projects: list[_Project] = []
    lines = list(lines_of(document.text))
    at = 0
    while at < len(lines):
        line, at = lines[at], at + 1
        if not line.text.strip() or _SEARCH.search(line.text):
            continue
        task = _TASK.fullmatch(line.text)
        project = None if task else _PROJECT.fullmatch(line.text)
        around = [above for above in around if above.depth < line.indent - 0.5 * bool(project)]
        is_over = any(heading.is_over for heading in around)
        if task is not None:
            first, at = at, rows_below(lines, at - 1, _ENTRY.fullmatch)
            parsed, below = TASKPAPER.read(task["value"]), [note.text.strip() for note in lines[first:at]]
            if not is_over:
                place = _bounds(line)[0], _bounds(lines[at - 1])[1]
                found.add_task(parsed, place, _TASKPAPER_LINE, below)
                for heading in around:
                    heading.is_open = heading.is_open or parsed.state not in _OVER
        elif project is not None:
            is_archive = heading_state(project["name"]) == "over"
            is_over = is_over or is_archive or TASKPAPER.read(line.text).state in _OVER
            # An archive encloses also lines of its own indentation.
            around.append(_Project(line.indent - 0.5 * is_archive, line, project["name"], is_over))
            projects.append(around[-1])
        elif not is_over:
            notes.append((line, list(around)))
    for heading in projects:
        if heading.is_open and heading.name.lower() not in _INBOXES:
            found.add_project(heading.name, _bounds(heading.line), _TASKPAPER_LINE)
    prose = [
        Passage(line.start, line.end) for line, above in notes if all(heading.is_open for heading in above)
    ]
    items = sorted(found.found, key=lambda item: item.start)
    return RulesForm(items=items, prose=prose, date=document.modified_at)


def read_org(document: Document, options: ExtractionOptions) -> RulesForm:
    """Extract headings of an Org file with a state or a planned day, those with a day, and check boxes.

    A heading with a day that is not planned is an event. Check boxes are read as in Markdown.
    """
    view = view_of_org(document.text, list(lines_of(document.text)))
    lines = list(lines_of(view))
    sections = WorkSections(lines, is_org=True)
    found = _TaskRows(document.text, options)
    reading = _TaskListReader(found, view, sections.states)
    reading.boxes = BOXES | {"-": ParsedLine(state="in_progress")}  # a part of the boxes below is ticked
    states = STATES | _org_states(document.text)
    over = 0  # level of the heading that is done or given up, with all below it
    is_entry = False  # the lines below a task describe it
    at = 0
    while at < len(lines):
        line, at = lines[at], at + 1
        heading = _ORG_HEADING.fullmatch(line.text)
        if heading is None:
            if is_entry and not _BOX.fullmatch(line.text):
                reading.close_passage(line.start)
            elif not over:
                at = reading.read_block(lines, at - 1)
            continue
        level = len(heading["stars"])
        over = 0 if level <= over else over
        below = lines[at] if at < len(lines) else line
        word, _, rest = heading["value"].partition(" ")
        state, is_planned = states.get(word), _ORG_PLAN.fullmatch(below.text) is not None
        title = _ORG_TAGS.sub("", (heading["value"] if state is None else rest).rstrip())
        day = _ORG_DAY.search(title) or _ORG_DAY.match(below.text.strip())
        bare = " ".join(_ORG_NOTED.sub("", _ORG_DAY.sub("", title)).split())
        is_entry = state is not None
        last = below if is_planned or (day is not None and day.string != title) else line
        words = heading["value"] if state is None else rest.lstrip()
        start, end = line.start + len(line.text) - len(words), _bounds(last)[1]
        if (state is not None or is_planned) and not over:
            plan = [below.text] if is_planned else [f"DEADLINE: {day[0]}"] if day else []
            state, section = state or STATES["TODO"], sections.states[at - 1]
            found.add_row(bare, plan, (start, end), _ORG_KEYWORD, state=state, section=section)
            over = level if state.state in _OVER else 0
        elif day is not None and not over:
            at_ms = date_ms(_written_day(day[1]), options.timezone)
            found.add(TableName.TIMELINES, {"title": bare, "date": at_ms}, (start, end), _ORG_STAMP)
        reading.begin_section(line, level, bare)
        at += last is below
    reading.close_passage(len(document.text))
    return RulesForm(items=found.found, prose=reading.prose, date=document.modified_at, view=view)


def _org_states(text: str) -> dict[str, ParsedLine]:
    """Return the states that a file declares: ``#+TODO: OPEN(o) WAITING | SHIPPED(s)``."""
    found: dict[str, ParsedLine] = {}
    for line in _ORG_STATES.findall(text):
        words = [word.partition("(")[0] for word in line.split()]
        ends = words.index("|") if "|" in words else len(words) - 1
        for nth, word in enumerate(words):
            found[word] = STATES.get(word) or (ParsedLine() if nth < ends else STATES["DONE"])
    return found


def _bounds(line: DocumentLine) -> tuple[int, int]:
    """Return start and end of the line's text without surrounding blanks."""
    start = line.start + len(line.text) - len(line.text.lstrip())
    return start, line.start + len(line.text.rstrip())


def read_boxes(document: Document, options: ExtractionOptions) -> RulesForm | None:
    """Extract the tasks of a text with check boxes as from Markdown; return ``None`` without any."""
    has_boxes = _BOXES_IN.search(document.text) is not None
    return read_markdown(document, options, is_plain=True) if has_boxes else None


def read_markdown(document: Document, options: ExtractionOptions, *, is_plain: bool = False) -> RulesForm:
    """Extract the tasks of a Markdown text, and its prose without front matter, headings and check boxes.

    A template has none: its days and names are left to be filled in.
    """
    written = list(lines_of(document.text))
    front, body = front_matter(written)
    view = view_of_markdown(document.text, written[body:], is_plain=is_plain)
    lines = written if view == document.text else list(lines_of(view))
    date = _front_date(front, ("date", "created", "updated", "modified"), options) or document.modified_at
    titles = [line.text for nth, line in enumerate(written) if nth < body or _HEADING.match(lines[nth].text)]
    is_named = _FILE_TEMPLATE.search(document.unit_key) and _TO_FILL_IN.search(document.text)
    if is_named or any(map(PLACEHOLDER.search, titles)):
        return RulesForm(date=date)
    sections = WorkSections(lines)  # an open box counts whatever its file is called
    found = _TaskRows(document.text, options)
    reading = _TaskListReader(found, view, sections.states, front.get("title"))
    due = next(
        (front[key] for key in ("due", "duedate", "deadline") if _front_date(front, [key], options)), None
    )
    boxes = [line.start for line in lines[body:] if _BOX.fullmatch(line.text)]
    reading.people = people_above(view, lines[body].start, boxes) if boxes else reading.people
    at = body
    top = [*islice((nth for nth in range(body, len(lines)) if lines[nth].text.strip()), 2)]
    if is_plain and [_BOX.fullmatch(lines[nth].text) is not None for nth in top] == [False, True]:
        reading.begin_section(lines[top[0]], 1, lines[top[0]].text.strip())  # the title of a list
        at = top[0] + 1
    while at < len(lines):
        at = reading.read_block(lines, at)
    reading.close_passage(len(document.text))
    return RulesForm(items=found.found, prose=reading.prose, date=date, view=view, due=due)


class _TaskListReader:
    def __init__(
        self, found: _TaskRows, view: str, states: Sequence[SectionState], title: str | None = None
    ) -> None:
        self._found = found
        self._view = view
        self._states = states  # of the sections of its lines
        self.boxes = BOXES
        self._headings = [(0, title)] if title else []  # the document's title is above all headings
        self._passage_from: int | None = None
        self.people = People({}, frozenset(), frozenset())  # named by the lines above check boxes
        self._named: set[str] = set()  # by rows without a check box
        self.prose: list[Passage] = []

    def read_block(self, lines: Sequence[DocumentLine], at: int) -> int:
        """Parse the block that starts at line *at*; return the index of the next line."""
        line = lines[at]
        if box := _BOX.fullmatch(line.text):
            return self._take_box(lines, at, box)
        if heading := _HEADING.match(line.text):
            self.begin_section(line, len(heading.group(1)), _without_hashes(line.text[heading.end() :]))
            return at + 1
        underline = _UNDERLINE.fullmatch(lines[at + 1].text) if at + 1 < len(lines) else None
        is_alone = bool(line.text.strip()) and not (at and lines[at - 1].text.strip())
        if underline and is_alone and not _NO_TITLE.search(line.text):
            self.begin_section(line, 1 if underline[1][0] == "=" else 2, line.text.strip())
            return at + 2
        is_no_prose = line.text.isspace() and not self._found.text[line.start : line.end].isspace()
        is_no_prose = is_no_prose or (self._states[at] == "over" and line.text.strip() != "")
        if word := _ROW_LABEL.match(line.text):
            place = line.start + word.start("label")
            if place in self.people.labels:
                self._named.update(names_in(word["label"]))
            is_above = at + 1 < len(lines) and _BOX.fullmatch(lines[at + 1].text) is not None
            is_no_prose |= is_above and (place in self.people.labels or place in self.people.topics)
        if is_no_prose:
            self.close_passage(line.start)
        elif self._passage_from is None:
            self._passage_from = line.start
        return at + 1

    def begin_section(self, line: DocumentLine, level: int, title: str) -> None:
        """End the current passage before the heading of a section."""
        self.close_passage(line.start)
        self._headings = [(above, heading) for above, heading in self._headings if above < level]
        self._headings.append((level, title))

    def close_passage(self, end: int) -> None:
        """End the current passage at *end*, under the current headings."""
        if self._passage_from is not None:
            if not self._view[self._passage_from : end].isspace():
                headings = tuple(title for _, title in self._headings if title)
                self.prose.append(Passage(self._passage_from, end, headings))
            self._passage_from = None

    def _take_box(self, lines: Sequence[DocumentLine], at: int, box: re.Match[str]) -> int:
        self.close_passage(lines[at].start)
        after = below = at + 1
        while below < len(lines):
            if lines[below].text.strip() and not _goes_on(lines[below], box["indent"]):
                break
            below += 1
            after = below if lines[below - 1].text.strip() else after
        last = lines[after - 1]
        end = last.start + len(last.text.rstrip())
        is_left_open = PLACEHOLDER.search(self._found.text, lines[at].start, last.end)
        sign = box["glyph"] if box["mark"] is None else box["mark"]
        state = STATES[box["state"]] if box["state"] else self.boxes.get(sign or "")
        start, labels = lines[at].start + box.start("value"), self.people.labels
        is_label = labels and not labels.isdisjoint(range(start, end)) and known_people(box["value"] or "")
        if box["value"] and state is not None and not (is_left_open or is_label):
            self._found.add_row(
                box["value"].strip(),
                [line.text.lstrip(" \t>").rstrip() for line in lines[at + 1 : after]],
                (start, end),
                _KEYWORD if box["state"] else _BOX_MARK,
                state=state,
                section=self._states[at],
                owners=self._owners(lines[at].start),
            )
        return after

    def _owners(self, place: int) -> list[str]:
        heading = self._headings[-1][1] if self._headings else ""
        names = self.people.by_place.get(place, [])
        is_known = bool(names) and all(is_person(name) or name in self._named for name in names)
        return [*(names if is_known else known_people(heading))]


def _without_emphasis(title: str) -> str:
    """Return a title without marks of emphasis and of code, whose words stay."""
    title = _EMPHASIS.sub(lambda found: found[found.lastgroup or 0], title)
    return title.replace("**", "") if title.count("**") == 1 else title


def _without_hashes(heading: str) -> str:
    """Strip closing signs from a heading; a regular expression would backtrack on long runs of blanks."""
    heading = heading.rstrip(" \t")
    bare = heading.rstrip("#")
    return bare.rstrip(" \t") if bare.endswith((" ", "\t")) else heading


def _goes_on(line: DocumentLine, indent: str) -> bool:
    """Return True if a line continues the box with *indent*: indented deeper, and not a list item."""
    prefix = line.text[: len(line.text) - len(line.text.lstrip(" \t>"))]
    is_entry = _LIST_ITEM.match(line.text) or _BOX.fullmatch(line.text)
    is_quoted_alike = prefix.count(">") == indent.count(">")
    return is_quoted_alike and len(prefix.expandtabs(4)) > len(indent.expandtabs(4)) and not is_entry


def _front_date(front: dict[str, str], keys: Sequence[str], options: ExtractionOptions) -> datetime | None:
    dates = (read_date(front[key], options.timezone) for key in keys if key in front)
    return next(filter(None, dates), None)


class WorkLines(NamedTuple):
    """Lines of a text that announce work by their place or their label.

    Attributes:
        items: tasks of these lines, by place; each is its whole line.
        over: places below headings of what is done.
        labels: places of labels such as "Action:", which are no words of a sentence.
    """

    items: Sequence[Item]
    over: Sequence[Place]
    labels: Sequence[Place]


def read_work_lines(
    document: Document, view: str, passages: Sequence[Passage], options: ExtractionOptions
) -> WorkLines:
    """Extract the rows of lists of work, and lines that a label marks as work.

    Args:
        view: text that is read, of the same length as the document's.
        passages: places of it in which rows count.
    """
    lines = list(lines_of(view))
    is_org = document.unit_key.lower().endswith((".org", ".org_archive"))
    is_named = name_state(document.unit_key) == "work" and not is_org
    sections = WorkSections(lines, root="work" if is_named else "", is_org=is_org)
    is_plain = is_named and document.media_type in (None, PLAIN)
    is_loose = is_plain and not any(
        _UNDERLINE.fullmatch(line.text) or _LIST_ITEM.match(line.text) for line in lines
    )
    found, labels = _TaskRows(document.text, options), list[Place]()
    read = merged((passage.start, passage.end) for passage in passages)
    inside = [place_at(read, line.start) is not None for line in lines]
    for row in sections.rows(is_loose=is_loose):
        first, last = lines[row.first], lines[row.after - 1]
        if inside[row.first] and not (_LABEL.match(first.text) or _bare_label(first.text)):
            start, end = first.start + row.start, last.start + len(last.text.rstrip())
            more = [line.text.strip() for line in lines[row.first + 1 : row.after]]
            title = view[start : first.end].rstrip()
            if any(map(str.isalpha, _ADDRESS.sub("", title))):
                found.add_row(title, more, (start, end), _ROW)
    for nth in filter(inside.__getitem__, range(len(lines))):
        line = lines[nth]
        label = _LABEL.match(line.text) or _bare_label(line.text, lines[nth + 1 : nth + 2])
        if label is not None and sections.states[nth] != "over":
            start, end = line.start + label.start("what"), line.start + len(line.text.rstrip())
            owners = names_in(label["who"] or "")
            found.add_row(label["what"].rstrip(), [], (start, end), _LABELLED, owners=owners)
            labels.append((line.start + label.start("label"), start))
    over = [
        (line.start, line.after)
        for line, state in zip(lines, sections.states, strict=True)
        if state == "over"
    ]
    return WorkLines(sorted(found.found, key=lambda item: item.start), merged(over), labels)


def _bare_label(text: str, below: Sequence[DocumentLine] = ()) -> re.Match[str] | None:
    """Return the label of work without a colon before a line, unless the line is the title of a list."""
    label = _BARE_LABEL.match(text)
    if label is None or (not label["bullet"] and any(_LIST_ITEM.match(line.text) for line in below)):
        return None
    lexicons = languages_in(script_of(label["what"]))
    is_row = not text.rstrip().endswith((".", "\u3002"))  # "Todo comer bien fue difícil."
    is_work = is_row and any(lexicon.match("listed", label["what"]) for lexicon in lexicons)
    return label if label["sure"] or is_work else None

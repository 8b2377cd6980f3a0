"""What people write into a task's line besides its words: every case of the table, and its files."""

from typing import Any, Final

import msgspec
import pytest

from hub.extraction.task_lists import MARKDOWN, TASKPAPER, TODO_TXT, Convention
from protocol.tables import TableName
from tests.hub.extraction.test_structured import EVERYTHING, berlin, read, suggested
from tests.support.families import each

_TAGS: Final[dict[str, dict[str, object]]] = {
    "Pay @due(2026-12-01)": {"title": "Pay", "due": "2026-12-01"},
    "Pay @due(2026-12-01 09:30) soon": {"title": "Pay soon", "due": "2026-12-01 09:30"},
    "Pay @priority(1)": {"title": "Pay", "priority": "high"},
    "Pay @priority(2)": {"title": "Pay", "priority": "medium"},
    "Pay @priority(9)": {"title": "Pay", "priority": "low"},
    "Pay @priority(high)": {"title": "Pay", "priority": "high"},
    "Pay @priority(soon)": {"title": "Pay", "unmapped": ["@priority(soon)"]},
    "Pay @priority": {"title": "Pay", "priority": "high"},
    "Pay @done": {"title": "Pay", "state": "done"},
    "Pay @done(2026-03-04)": {"title": "Pay", "state": "done"},
    "Pay @due(2026-12-01) @done": {"title": "Pay", "due": "2026-12-01", "state": "done"},
    "Pay @cancelled(2026-03-04)": {"title": "Pay", "state": "cancelled"},
    "Pay @start(2026-11-01)": {"title": "Pay", "unmapped": ["@start(2026-11-01)"]},
    "Pay @due(next week)": {"title": "Pay", "due": "next week"},
    "Pay @due(2026-12-1 9:30)": {"title": "Pay", "due": "2026-12-01 09:30"},
    "Pay @Anna(2)": {"title": "Pay", "unmapped": ["@Anna(2)"]},
}
CASES: Final[dict[str, dict[str, dict[str, object]]]] = {
    "markdown": {
        **_TAGS,
        "Pay \U0001f4c5 2026-03-04 today": {"title": "Pay today", "due": "2026-03-04"},
        "Pay \U0001f5d3\ufe0f2026-03-04": {"title": "Pay", "due": "2026-03-04"},
        "Pay \U0001f53a rent": {"title": "Pay rent", "priority": "high"},
        "Pay \u23eb rent": {"title": "Pay rent", "priority": "high"},
        "Pay \U0001f53c rent": {"title": "Pay rent", "priority": "medium"},
        "Pay \U0001f53d rent": {"title": "Pay rent", "priority": "low"},
        "Pay \u23ec rent": {"title": "Pay rent", "priority": "low"},
        "Pay \u2705 2026-03-04": {"title": "Pay", "state": "done"},
        "Pay \u274c 2026-03-04": {"title": "Pay", "state": "cancelled"},
        "Pay \u2795 2026-01-01": {"title": "Pay"},
        "Pay \U0001f194 dcf64c": {"title": "Pay"},
        "Pay \u23f3 2026-03-01": {"title": "Pay", "unmapped": ["\u23f3 2026-03-01"]},
        "Pay \U0001f6eb 2026-03-01": {"title": "Pay", "unmapped": ["\U0001f6eb 2026-03-01"]},
        "Pay \U0001f501 every month when done \U0001f4c5 2026-03-04": {
            "title": "Pay",
            "due": "2026-03-04",
            "unmapped": ["\U0001f501 every month when done"],
        },
        "Pay \u26d4 dcf64c,0h17ye": {"title": "Pay", "unmapped": ["\u26d4 dcf64c,0h17ye"]},
        "Pay [due:: 2026-03-04]": {"title": "Pay", "due": "2026-03-04"},
        "Pay [due:: tomorrow]": {"title": "Pay", "due": "tomorrow"},
        "Pay [owner:: Anna]": {"title": "Pay", "people": ["Anna"]},
        "Pay @{2026-03-04} @@{9:30}": {"title": "Pay", "due": "2026-03-04 09:30"},
        "Pay !!": {"title": "Pay", "priority": "high"},
        "Pay \u203c\ufe0f rent": {"title": "Pay rent", "priority": "high"},
        "p2 Pay": {"title": "Pay", "priority": "medium"},
        "Pay p3 #home": {"title": "Pay #home", "priority": "low"},
        "Pay p3 of the book": {"title": "Pay p3 of the book"},
        "Pay #urgent": {"title": "Pay", "priority": "high"},
        "Pay #high-street": {"title": "Pay #high-street"},
        "**[low]** Pay": {"title": "Pay", "priority": "low"},
        "#task Pay": {"title": "Pay"},
        "Pay (priority:: highest)": {"title": "Pay", "priority": "high"},
        "Pay [completion:: 2026-03-04]": {"title": "Pay", "state": "done"},
        "Pay [cancelled:: 2026-03-04]": {"title": "Pay", "state": "cancelled"},
        "Pay [created:: 2026-01-01] (id:: a1)": {"title": "Pay"},
        "Pay [\U0001f4c5:: 2026-03-04]": {"title": "Pay", "due": "2026-03-04"},
        "Pay (\u2705::2026-03-04)": {"title": "Pay", "state": "done"},
        "Pay [\u274c:: 2026-03-04]": {"title": "Pay", "state": "cancelled"},
        "Pay [\u2795:: 2026-03-04]": {"title": "Pay"},
        "Pay [\u23f3::2026-03-04]": {"title": "Pay", "unmapped": ["[\u23f3::2026-03-04]"]},
        "Pay [repeat:: every day]": {"title": "Pay", "unmapped": ["[repeat:: every day]"]},
        "Pay (due: 2026-03-04)": {"title": "Pay", "due": "2026-03-04"},
        "Pay deadline: 2026-03-04": {"title": "Pay", "due": "2026-03-04"},
        "Pay DEADLINE: <2026-03-04 Wed 10:30 +1w>": {"title": "Pay", "due": "2026-03-04 10:30"},
        "DEADLINE: <2026-03-04 mer. +1m>": {"due": "2026-03-04"},
        "Pay SCHEDULED: <2026-03-04>": {"title": "Pay", "unmapped": ["SCHEDULED: <2026-03-04>"]},
        "Pay CLOSED: [2026-03-04 Wed 10:00]": {"title": "Pay"},
        "[#A] Pay": {"title": "Pay", "priority": "high"},
        "Pay by 2026-03-04": {"title": "Pay by 2026-03-04", "due": "2026-03-04"},
        "Pay @home": {"title": "Pay @home"},
        "Pay @Today @flag": {"title": "Pay @Today @flag"},
        "Ask @homer": {"title": "Ask @homer", "people": ["homer"]},
        "Ask @Anna-Maria and @bob.o": {
            "title": "Ask @Anna-Maria and @bob.o",
            "people": ["Anna-Maria", "bob.o"],
        },
        "Write to bob@example.org": {"title": "Write to bob@example.org"},
        "Ask @O": {"title": "Ask @O", "people": ["O"]},
        "Ask @anna and @anna": {"title": "Ask @anna and @anna", "people": ["anna"]},
    },
    "taskpaper": {
        **_TAGS,
        "Pay @today @flag": {"title": "Pay", "unmapped": ["@today", "@flag"]},
        "Pay @anna": {"title": "Pay", "unmapped": ["@anna"]},
    },
    "todo.txt": {
        "Pay due:2026-03-04": {"title": "Pay", "due": "2026-03-04"},
        "Pay pri:B": {"title": "Pay", "priority": "medium"},
        "Pay +House": {"title": "Pay", "unmapped": ["+House"]},
        "Pay @home": {"title": "Pay", "unmapped": ["@home"]},
        "Ask @anna about +house plans": {"title": "Ask @anna about +house plans"},
        "Pay t:2026-03-01 rec:+1m": {"title": "Pay", "unmapped": ["t:2026-03-01", "rec:+1m"]},
        "Pay due:soon": {"title": "Pay", "due": "soon"},
        "Pay due:20260304": {"title": "Pay", "due": "2026-03-04"},
        "Pay h:1 id:7": {"title": "Pay"},
    },
}
CONVENTIONS: Final = {"markdown": MARKDOWN, "taskpaper": TASKPAPER, "todo.txt": TODO_TXT}


@pytest.mark.parametrize("name", CONVENTIONS)
def test_task_list_convention_reads_each_case_as_expected(name: str) -> None:
    for line, expected in CASES[name].items():
        assert msgspec.to_builtins(CONVENTIONS[name].read(line)) == expected, line


def test_every_mark_of_a_task_list_convention_is_needed_by_a_case() -> None:
    for name, convention in CONVENTIONS.items():
        for mark in convention.marks:
            others = Convention(*(other for other in convention.marks if other is not mark))
            assert any(
                msgspec.to_builtins(others.read(line)) != expected for line, expected in CASES[name].items()
            ), mark.pattern


def test_task_tag_is_no_assignee_and_an_assignee_name_is_unchanged() -> None:
    lines = ("- [ ] Pay @due(2026-12-01)", "- [x] Call @done", "- [ ] Ask @Zoë.M @home @start(2026-11-01)")
    form = read("a.md", "\n".join(lines))
    assert [item.data for item in form.items] == [
        {"title": "Pay", "status": "todo", "dueDate": berlin("2026-12-01")},
        {"title": "Call", "status": "done"},
        {
            "title": "Ask @Zoë.M @home",
            "status": "todo",
            "assignee": ["Zoë.M"],
            "description": "@start(2026-11-01)",
        },
    ]


@pytest.mark.parametrize(
    ("marks", "status"), [(" ><?!", "todo"), ("/", "in_progress"), ("xX", "done"), ("-~", None)]
)
def test_sign_in_a_check_box_sets_the_task_status(marks: str, status: str | None) -> None:
    form = read("a.md", "".join(f"- [{mark}] Pay rent\n" for mark in marks))
    assert [item.data["status"] for item in form.items] == [status] * (len(marks) if status else 0)
    assert form.prose == []


OUTLINE = """\
House: @today
\t- Call the plumber @due(2026-12-01) @anna
\t\tHis number is in the book.
\t- Pay rent @done(2026-03-01)
\tA thought about the house.
Old garden: @done
- Buy stamps @priority(1)
- Never mind @cancelled
"""


def test_an_outline_of_taskpaper_has_projects_tasks_and_notes() -> None:
    form = read("a.taskpaper", OUTLINE)
    assert [item.data for item in form.items if item.table == TableName.PROJECTS] == [{"name": "House"}]
    assert [item.data for item in form.items if item.table == TableName.TASKS] == [
        {
            "title": "Call the plumber",
            "description": "His number is in the book.\n@anna",
            "status": "todo",
            "dueDate": berlin("2026-12-01"),
        },
        {"title": "Pay rent", "status": "done"},
        {"title": "Buy stamps", "status": "todo", "priority": "high"},
    ]
    assert [OUTLINE[span.start : span.end].strip() for span in form.prose] == ["A thought about the house."]


def test_todo_txt_context_and_unknown_keys_are_read_into_the_description() -> None:
    form = read("todo.txt", "(B) Pay rent @home due:2026-02-01 t:2026-01-20 rec:+1m\n", EVERYTHING)
    (item,) = form.items
    assert item.data == {
        "title": "Pay rent",
        "description": "@home t:2026-01-20 rec:+1m",
        "status": "todo",
        "priority": "medium",
        "dueDate": berlin("2026-02-01"),
    }


def test_task_list_line_of_only_signs_is_parsed_quickly() -> None:
    for sign in ("@", "@a(", "@a.", "\U0001f4c5", "[due:: ", "\U0001f501 ", "due:"):
        for convention in CONVENTIONS.values():
            convention.read(sign * 8_000)


DUE: Final = {"due": "2026-12-04"}
HIGH: Final = {"priority": "high"}
OPEN: Final[dict[str, str]] = {}
NONE: Final = None

# By dialect: the name of a file, and by field, the line and what is suggested of "call the roofer" in it.
DIALECTS: Final[dict[str, tuple[str, dict[str, tuple[str, dict[str, Any] | None]]]]] = {
    "todo.txt": (
        "todo.txt",
        {
            "open": ("call the roofer", OPEN),
            "done": ("x call the roofer", NONE),
            "done date": ("x 2026-11-24 2026-11-20 call the roofer", NONE),
            "done with priority": ("x 2026-11-24 (A) call the roofer", NONE),
            "struck out": ("(A) ~~call the roofer~~ @phone", NONE),
            "created": ("2026-11-20 call the roofer", OPEN),
            "due": ("call the roofer due:2026-12-04", DUE),
            "due, short": ("call the roofer due:2026-12-4", DUE),
            "due, figures": ("call the roofer due:20261204", DUE),
            "due, time": ("call the roofer due:2026-12-04T18:00", {"due": "2026-12-04T18:00"}),
            "due, words": ("call the roofer due:tomorrow", {"due": "2026-11-26"}),
            "due, no day": ("call the roofer due:2026-13-01", {"words": "2026-13-01"}),
            "start": ("call the roofer t:2026-12-01", {"description": "t:2026-12-01"}),
            "priority": ("(A) call the roofer", HIGH),
            "priority behind a day": ("2026-11-20 (B) call the roofer", {"priority": "medium"}),
            "priority before a day": ("(C) 2026-11-20 call the roofer", {"priority": "low"}),
            "priority, key": ("call the roofer pri:A", HIGH),
            "repeat": ("call the roofer rec:+1w", {"description": "rec:+1w"}),
            "project": ("call the roofer +house", {"project": "house", "description": "+house"}),
            "context": ("call the roofer @phone", {"description": "@phone"}),
            "person": ("Ravi: call the roofer", {"who": ["Ravi"]}),
            "id": ("call the roofer id:7 h:1", OPEN),
        },
    ),
    "TaskPaper": (
        "list.taskpaper",
        {
            "open": ("- call the roofer", OPEN),
            "done": ("- call the roofer @done", NONE),
            "done date": ("- call the roofer @done(2026-11-24 11:20)", NONE),
            "cancelled": ("- call the roofer @cancelled", NONE),
            "struck out": ("- ~~call the roofer~~ @due(2026-12-04)", NONE),
            "due": ("- call the roofer @due(2026-12-04)", DUE),
            "due, time": ("- call the roofer @due(2026-12-04 17:00)", {"due": "2026-12-04T17:00"}),
            "due, words": ("- call the roofer @due(tomorrow)", {"due": "2026-11-26"}),
            "due in the sentence": ("- call the roofer by Friday", {"due": "2026-11-27"}),
            "start": ("- call the roofer @start(2026-12-01)", {"description": "@start(2026-12-01)"}),
            "priority": ("- call the roofer @priority(1)", HIGH),
            "project": ("House:\n\t- call the roofer", {"project": "House"}),
            "archive": ("Archive:\n\t- call the roofer", NONE),
            "archive in another language": ("Archiv:\n- call the roofer", NONE),
            "project that is done": ("House: @done(2026-11-01)\n\t- call the roofer", NONE),
            "inbox": ("Inbox:\n\t- call the roofer", OPEN),
            "search": ("Searches:\n\tcall the roofer @search(@today and not @done)", NONE),
            "context": ("- call the roofer @phone", {"description": "@phone"}),
            "person": ("- Ravi: call the roofer", {"who": ["Ravi"]}),
        },
    ),
    "Obsidian Tasks": (
        "note.md",
        {
            "open": ("- [ ] #task call the roofer", OPEN),
            "begun": ("- [/] call the roofer", {"status": "in_progress"}),
            "done": ("- [x] call the roofer", NONE),
            "done date": ("- [ ] call the roofer \u2705 2026-11-24", NONE),
            "cancelled": ("- [-] call the roofer", NONE),
            "cancelled date": ("- [ ] call the roofer \u274c 2026-11-24", NONE),
            "struck out": ("- [ ] ~~call the roofer~~", NONE),
            "created": ("- [ ] call the roofer \u2795 2026-11-20", OPEN),
            "due": ("- [ ] call the roofer \U0001f4c5 2026-12-04", DUE),
            "scheduled": (
                "- [ ] call the roofer \u23f3 2026-12-01",
                {"description": "\u23f3 2026-12-01"},
            ),
            "start": (
                "- [ ] call the roofer \U0001f6eb 2026-12-01",
                {"description": "\U0001f6eb 2026-12-01"},
            ),
            "priority": ("- [ ] call the roofer \u23eb", HIGH),
            "repeat": (
                "- [ ] call the roofer \U0001f501 every week \U0001f4c5 2026-12-04",
                DUE | {"description": "\U0001f501 every week"},
            ),
            "id": ("- [ ] call the roofer \U0001f194 r00f", OPEN),
            "remark": ('- ["] call the roofer', NONE),
            "empty": ("- [ ] ", NONE),
        },
    ),
    "Dataview": (
        "note.md",
        {
            "done": ("- [ ] call the roofer [completion:: 2026-11-24]", NONE),
            "cancelled": ("- [ ] call the roofer [cancelled:: 2026-11-24]", NONE),
            "created": ("- [ ] call the roofer (created:: 2026-11-20)", OPEN),
            "due": ("- [ ] call the roofer [due:: 2026-12-04]", DUE),
            "due, link": ("- [ ] call the roofer [due::[[2026-12-04]]]", DUE),
            "due, words": ("- [ ] call the roofer (due:: in nine days)", DUE),
            "scheduled": (
                "- [ ] call the roofer [scheduled:: 2026-12-01]",
                {"description": "[scheduled:: 2026-12-01]"},
            ),
            "priority": ("- [ ] call the roofer [priority:: high]", HIGH),
            "person": ("- [ ] call the roofer [assignee:: Ravi]", {"who": ["Ravi"]}),
            "id": ("- [ ] call the roofer [id:: r00f]", OPEN),
        },
    ),
    "Logseq": (
        "2026_11_25.md",
        {
            "open": ("- TODO call the roofer", OPEN),
            "later": ("- LATER call the roofer", OPEN),
            "waiting": ("- WAITING call the roofer", OPEN),
            "begun": ("- DOING call the roofer", {"status": "in_progress"}),
            "now": ("- NOW call the roofer", {"status": "in_progress"}),
            "done": ("- DONE call the roofer", NONE),
            "cancelled": ("- CANCELED call the roofer", NONE),
            "struck out": ("- TODO ~~call the roofer~~", NONE),
            "due": ("- TODO call the roofer\n  DEADLINE: <2026-12-04 Fri>", DUE),
            "due, words": ("- TODO call the roofer before Monday", {"due": "2026-11-30"}),
            "due, link": ("- TODO call the roofer until [[Dec 4th, 2026]]", DUE),
            "scheduled": (
                "- LATER call the roofer\n  SCHEDULED: <2026-12-01 Tue .+1w>",
                {"description": "SCHEDULED: <2026-12-01 Tue .+1w>"},
            ),
            "priority": ("- TODO [#A] call the roofer", HIGH),
            "person": ("- TODO [[Ravi]]: call the roofer", {"who": ["Ravi"]}),
            "id": ("- TODO call the roofer\n  id:: 655a9d10-3c1e-49ab-9e61-aa01bb02cc03", OPEN),
            "template": ("- Visit\n  template:: visit\n\t- TODO call the roofer", NONE),
            "quotation": ("- #+BEGIN_QUOTE\n  Ravi must call the roofer.\n  #+END_QUOTE", NONE),
            "quotation of a line": ("- > Ravi must call the roofer by Friday.", NONE),
            "property": ("- a\n  \u0437\u0430\u0434\u0430\u0447\u0430:: call the roofer", NONE),
            "mark in a book": ("- hl-page:: 12\n  ls-type:: annotation\n  Ravi must call the roofer.", NONE),
            "name of a page": ("- [[Call the roofer]]\n- [[Call the painter]] #house", NONE),
            "empty": ("- TODO", NONE),
        },
    ),
    "Org": (
        "house.org",
        {
            "open": ("* TODO call the roofer", OPEN),
            "begun": ("#+TODO: TODO CURSO | HECHO\n* CURSO call the roofer", {"status": "in_progress"}),
            "done": ("* DONE call the roofer\n  CLOSED: [2026-11-24 Tue 16:40]", NONE),
            "cancelled": ("* CANCELLED call the roofer", NONE),
            "struck out": ("* TODO +call the roofer+ :house:", NONE),
            "below what is done": ("* DONE repair the house\n** TODO call the roofer\n- [ ] call", NONE),
            "due": (
                "* TODO call the roofer\n  DEADLINE: <2026-12-04 Fri 09:00 -3d>",
                {"due": "2026-12-04T09:00"},
            ),
            "due, words": ("* TODO call the roofer by Friday", {"due": "2026-11-27"}),
            "scheduled": (
                "* TODO call the roofer\n  SCHEDULED: <2026-12-01 Tue>",
                {"description": "SCHEDULED: <2026-12-01 Tue>"},
            ),
            "priority": ("* TODO [#B] call the roofer", {"priority": "medium"}),
            "box": ("* House\n- [ ] call the roofer", OPEN),
            "box with boxes below": ("* House\n- [-] call the roofer", {"status": "in_progress"}),
            "time of writing": ("* Visit\n  [2026-12-01 Tue 09:00]--[2026-12-01 Tue 10:00]", NONE),
            "archive": ("* Old :ARCHIVE:\n** TODO call the roofer", NONE),
            "person": ("* TODO Ravi: call the roofer", {"who": ["Ravi"]}),
        },
    ),
    "GitHub": (
        "TODO.md",
        {
            "open": ("1. [ ] call the roofer", OPEN),
            "begun": ("## In progress\n- [ ] call the roofer", {"status": "in_progress"}),
            "begun, line below": (
                "In progress\n-----------\n\n- [ ] call the roofer",
                {"status": "in_progress"},
            ),
            "heading": ("Ravi calls the roofer by Friday\n======\n\nRain.", NONE),
            "query": ("Open tasks: `= length(this.file.tasks)` or `- [ ] call the roofer`", NONE),
            "begun, German": ("## In Arbeit\n- [ ] call the roofer", {"status": "in_progress"}),
            "done": ("## Done\n- [ ] call the roofer", NONE),
            "struck out": ("- ~~Ravi must call the roofer by Friday~~ done", NONE),
            "deleted": ("<del>- [ ] call the roofer</del>", NONE),
            "due": ("- [ ] call the roofer (due: 2026-12-04)", DUE),
            "due, words": ("- [ ] call the roofer until 4 December 2026", DUE),
            "due in an address": ("- [ ] call the roofer https://a.example/?due=2026-12-04", OPEN),
            "due of a link": ("- [ ] [call the roofer](https://a.example/?due=2026-12-04)", OPEN),
            "priority": ("- [ ] **[high]** call the roofer", HIGH),
            "priority, sign": ("- [ ] call the roofer !!", HIGH),
            "priority, letter": ("- [ ] p1 call the roofer", HIGH),
            "priority, tag": ("- [ ] call the roofer #low", {"priority": "low"}),
            "priority, tag in Spanish": ("- [ ] call the roofer #prio/alta", HIGH),
            "person": ("- [ ] call the roofer @ravi", {"who": ["ravi"]}),
            "person in front": ("- [ ] Ravi: call the roofer", {"who": ["Ravi"]}),
            "person in brackets": ("- [ ] call the roofer (Ravi)", {"who": ["Ravi"]}),
            "person behind a dash": ("- [ ] call the roofer &ndash; Ravi", {"who": ["Ravi"]}),
            "person in Chinese": ("- [ ] \u738b\u82b3\uff1acall the roofer", {"who": ["\u738b\u82b3"]}),
            "text below": (
                "- [ ] call the roofer\n\n  Ravi must\n\n      make\n\n  pay by Friday.\n\n`LATER call`",
                {"description": "Ravi must\npay by Friday."},
            ),
            "example": ("So: `- [ ] call the roofer by 2026-12-04`", NONE),
            "topic in front": ("- [ ] House: call the roofer", {"title": "House: call the"}),
            "definition of a link": ('[a]: https://a.example "call the roofer by 2026-12-04"', NONE),
            "to fill in": ("- [ ] call the roofer {{date}}", NONE),
            "template": ("# {{title}}\n- [ ] call the roofer", NONE),
        },
    ),
    "Kanban": (
        "Board.md",
        {
            "open": ("---\nkanban-plugin: board\n---\n## To do\n- [ ] call the roofer", OPEN),
            "begun": ("## Doing\n- [ ] call the roofer", {"status": "in_progress"}),
            "done": ("## Fertig\n- [ ] call the roofer", NONE),
            "archive": ("***\n\n## Archive\n- [ ] 2026-11-01 call the roofer", NONE),
            "due": ("- [ ] call the roofer @{2026-12-04}", DUE),
            "due, time": ("- [ ] call the roofer @{2026-12-04} @@{17:30}", {"due": "2026-12-04T17:30"}),
            "due, link": ("- [ ] call the roofer @[[2026-12-04]]", DUE),
        },
    ),
    "plain boxes": (
        "list.txt",
        {
            "open": ("- [ ] call the roofer", OPEN),
            "open, no list": ("[ ] call the roofer", OPEN),
            "open, no blank": ("-[ ] call the roofer", OPEN),
            "open, nothing inside": ("* [] call the roofer\n[ ] b", OPEN),
            "open, indented": ("a\n\n      [ ] call the roofer", OPEN),
            "open, sign": ("\u2610 call the roofer", OPEN),
            "done": ("[x] call the roofer", NONE),
            "struck out": ("- ~~Ravi must call the roofer by Friday~~", NONE),
            "done, sign": ("\u2611 call the roofer", NONE),
            "title": ("Friday + house\n\n- [ ] call the roofer", OPEN),
            "another sign": ("[x] b\n[1] call the roofer", NONE),
            "radio": ("[x] b\n( ) call the roofer", NONE),
            "due": ("[ ] call the roofer before 18/12/2026", {"due": "2026-12-18"}),
            "priority": ("[!] call the roofer\n[ ] b", HIGH),
        },
    ),
}
DIALECT_FIELDS: Final = [(dialect, field) for dialect, (_, rows) in DIALECTS.items() for field in rows]


@each(("dialect", "field"), DIALECT_FIELDS)
def test_each_field_of_a_dialect_is_read(dialect: str, field: str) -> None:
    name, rows = DIALECTS[dialect]
    text, expected = rows[field]
    items = suggested(name, text)
    found = [item for item in items if "roofer" in str(item.data.get("title"))]
    if expected is None:
        assert items == []
        return
    (task,) = found
    due = expected.get("due")
    data = {
        "title": expected.get("title", "call the roofer"),
        "status": expected.get("status", "todo"),
        "priority": expected.get("priority"),
        "assignee": expected.get("who"),
        "description": expected.get("description"),
        "dueDate": due and berlin(due),
    }
    got = {name: task.data.get(name) for name in data}
    got["title"] = str(got["title"])[: len("call the roofer")]  # behind it are words that became fields
    assert got == data
    assert task.unresolved == ({"dueDate": expected["words"]} if "words" in expected else {})
    projects = [item.data["name"] for item in items if item.table == TableName.PROJECTS]
    assert projects == ([expected["project"]] if "project" in expected else [])


@pytest.mark.parametrize(
    ("row", "title"),
    [
        ("Pay the rent (\U0001f4c5 2026-12-04)", "Pay the rent"),
        ("Water the plants (@2026-12-05)", "Water the plants"),
        ("Put the bins out \U0001f4c5 2026-12-03, then sweep", "Put the bins out, then sweep"),
        ("Call Ann (twice) \U0001f4c5 2026-12-03", "Call Ann (twice)"),
    ],
)
def test_title_of_a_row_keeps_no_empty_brackets_of_a_field(row: str, title: str) -> None:
    assert MARKDOWN.read(row).title == title

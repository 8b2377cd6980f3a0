"""What people write into a task's line besides its words: every case of the table, and its files."""

from typing import Final

import msgspec
import pytest

from hub.extraction.task_lists import MARKDOWN, TASKPAPER, TODO_TXT, Convention
from protocol.tables import TableName
from tests.hub.extraction.test_structured import EVERYTHING, berlin, read

_TAGS: Final[dict[str, dict[str, object]]] = {
    "Pay @due(2026-12-01)": {"title": "Pay", "due": "2026-12-01"},
    "Pay @due(2026-12-01 09:30) soon": {"title": "Pay soon", "due": "2026-12-01 09:30"},
    "Pay @priority(1)": {"title": "Pay", "priority": "high"},
    "Pay @priority(2)": {"title": "Pay", "priority": "medium"},
    "Pay @priority(9)": {"title": "Pay", "priority": "low"},
    "Pay @priority(high)": {"title": "Pay", "priority": "high"},
    "Pay @priority(soon)": {"title": "Pay", "unmapped": ["@priority(soon)"]},
    "Pay @priority": {"title": "Pay", "priority": "high"},
    "Pay @done": {"title": "Pay", "is_done": True},
    "Pay @done(2026-03-04)": {"title": "Pay", "is_done": True},
    "Pay @due(2026-12-01) @done": {"title": "Pay", "due": "2026-12-01", "is_done": True},
    "Pay @cancelled(2026-03-04)": {"title": "Pay", "is_given_up": True},
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
        "Pay \u2705 2026-03-04": {"title": "Pay", "is_done": True},
        "Pay \u274c 2026-03-04": {"title": "Pay", "is_given_up": True},
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
        "Pay [completion:: 2026-03-04]": {"title": "Pay", "is_done": True},
        "Pay [cancelled:: 2026-03-04]": {"title": "Pay", "is_given_up": True},
        "Pay [created:: 2026-01-01] (id:: a1)": {"title": "Pay"},
        "Pay [\U0001f4c5:: 2026-03-04]": {"title": "Pay", "due": "2026-03-04"},
        "Pay (\u2705::2026-03-04)": {"title": "Pay", "is_done": True},
        "Pay [\u274c:: 2026-03-04]": {"title": "Pay", "is_given_up": True},
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
def test_each_case_of_the_table_reads_as_it_says(name: str) -> None:
    for line, expected in CASES[name].items():
        assert msgspec.to_builtins(CONVENTIONS[name].read(line)) == expected, line


def test_every_mark_has_a_case_that_needs_it() -> None:
    for name, convention in CONVENTIONS.items():
        for mark in convention.marks:
            others = Convention(*(other for other in convention.marks if other is not mark))
            assert any(
                msgspec.to_builtins(others.read(line)) != expected for line, expected in CASES[name].items()
            ), mark.pattern


def test_a_tag_is_no_person_and_a_name_keeps_its_letters() -> None:
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
def test_the_sign_in_a_check_box_is_its_status(marks: str, status: str | None) -> None:
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


def test_a_context_of_todo_txt_is_no_person_and_its_keys_are_kept() -> None:
    form = read("todo.txt", "(B) Pay rent @home due:2026-02-01 t:2026-01-20 rec:+1m\n", EVERYTHING)
    (item,) = form.items
    assert item.data == {
        "title": "Pay rent",
        "description": "@home t:2026-01-20 rec:+1m",
        "status": "todo",
        "priority": "medium",
        "dueDate": berlin("2026-02-01"),
    }


def test_a_line_of_nothing_but_signs_is_read_soon() -> None:
    for sign in ("@", "@a(", "@a.", "\U0001f4c5", "[due:: ", "\U0001f501 ", "due:"):
        for convention in CONVENTIONS.values():
            convention.read(sign * 20_000)

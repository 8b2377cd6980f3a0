"""What people write into a task's line besides its words: every case of the table, and its files."""

import msgspec
import pytest

from hub.extraction.conventions import CONVENTIONS, Convention
from protocol.tables import TableName
from tests.hub.extraction.test_structured import EVERYTHING, berlin, read

CASES = [
    pytest.param(convention, line, expected, id=f"{name}: {line}")
    for name, convention in CONVENTIONS.items()
    for mark in convention.marks
    for line, expected in mark.cases.items()
]


@pytest.mark.parametrize(("convention", "line", "expected"), CASES)
def test_each_case_of_the_table_reads_as_it_says(
    convention: Convention, line: str, expected: dict[str, object]
) -> None:
    assert msgspec.to_builtins(convention.read(line)) == expected


def test_every_mark_has_a_case_that_needs_it() -> None:
    for convention in CONVENTIONS.values():
        for mark in convention.marks:
            others = Convention(*(other for other in convention.marks if other is not mark))
            assert any(
                msgspec.to_builtins(others.read(line)) != expected for line, expected in mark.cases.items()
            ), mark.pattern


def test_a_tag_is_nobody_and_a_name_keeps_its_letters() -> None:
    lines = ("- [ ] Pay @due(2026-12-01)", "- [x] Call @done", "- [ ] Ask @Zoë.M @home @start(2026-11-01)")
    form = read("a.md", "\n".join(lines))
    pay, call, ask = (item.data for item in form.items)
    assert pay == {"title": "Pay", "status": "todo", "dueDate": berlin("2026-12-01")}
    assert call == {"title": "Call", "status": "done"}
    assert ask == {
        "title": "Ask @Zoë.M @home",
        "status": "todo",
        "assignee": ["Zoë.M"],
        "description": "@start(2026-11-01)",
    }


@pytest.mark.parametrize(
    ("marks", "status"), [(" ><?!", "todo"), ("/", "in_progress"), ("xX", "done"), ("-~", None)]
)
def test_what_stands_in_a_check_box_says_how_far_it_is(marks: str, status: str | None) -> None:
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


def test_a_context_of_todo_txt_is_nobody_and_its_keys_are_kept() -> None:
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

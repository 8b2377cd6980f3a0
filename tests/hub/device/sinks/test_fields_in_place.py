"""Each field of a task in a todo.txt and a calendar: read, written new, ticked in place, undone."""

from hub.text.rows.calendar import CalendarFormat
from hub.text.rows.lines import TodoTxt
from hub.text.rows.row import Put
from hub.text.rows.row_format import Format
from protocol.tables import TABLES
from tests.support.families import each

TASKS = TABLES["tasks"]
KEY = "hub-aaaaaaaaaaaaaaaa"
AT = 1_795_867_200_000  # 2026-11-28, at noon
NEW = {"title": "Call", "status": "todo", "priority": "medium", "dueDate": "", "description": ""}


def read(form: Format, text: str) -> dict[str, str]:
    (piece,) = form.pieces(text, {KEY: TASKS})
    return dict(piece.fields)


def written(form: Format, text: str, **changes: str) -> str:
    """Return the text with the row as it is there, with the values of a row here and *changes*."""
    (piece,) = form.pieces(text, {KEY: TASKS})
    return form.rendered(Put(KEY, TASKS, {**NEW, **piece.fields, **changes}, "", AT), text, piece)


LINES = [
    # on the line, as it is read, written new, ticked, undone
    ("Call", {}, "Call {id}", "x Call {id}", "Call {id}"),
    ("(A) Call", {"priority": "high"}, "(A) Call {id}", "x Call {id} pri:A", "(A) Call {id}"),
    ("(B) Call", {"priority": "medium"}, "Call {id}", "x Call {id} pri:B", "(B) Call {id}"),
    ("(D) Call", {"priority": "low"}, "(C) Call {id}", "x Call {id} pri:D", "(D) Call {id}"),
    ("(Z) Call", {"priority": "low"}, "(C) Call {id}", "x Call {id} pri:Z", "(Z) Call {id}"),
    (
        "2026-11-01 Call",
        {},
        "Call {id}",
        "x 2026-11-28 2026-11-01 Call {id}",
        "2026-11-01 Call {id}",
    ),
    (
        "(E) 2026-11-01 Call",
        {"priority": "low"},
        "(C) Call {id}",
        "x 2026-11-28 2026-11-01 Call {id} pri:E",
        "(E) 2026-11-01 Call {id}",
    ),
    (
        "Call due:2026-12-05",
        {"dueDate": "2026-12-05"},
        "Call due:2026-12-05 {id}",
        "x Call due:2026-12-05 {id}",
        "Call due:2026-12-05 {id}",
    ),
    ("Call {id} rec:+1w @phone", {}, "Call {id}", "x Call {id} rec:+1w @phone", "Call {id} rec:+1w @phone"),
    ("x 2026-11-27 2026-11-01 Call {id}", {"status": "done"}, "x Call {id}", "", "2026-11-01 Call {id}"),
    ("x 2026-11-27 Call {id}", {"status": "done"}, "x Call {id}", "", "Call {id}"),
    (
        "x 2026-11-27 2026-11-01 Call {id} pri:D",
        {"status": "done", "priority": "low"},
        "x Call {id} pri:C",
        "",
        "(D) 2026-11-01 Call {id}",
    ),
    (
        "x (D) 2026-11-27 2026-11-01 Call {id}",
        {"status": "done", "priority": "low"},
        "x Call {id} pri:C",
        "",
        "(D) 2026-11-01 Call {id}",
    ),
]


@each(("line", "fields", "new", "ticked", "undone"), LINES)
def test_field_of_a_todo_txt_line_survives_reading_writing_a_tick_and_its_undoing(
    line: str, fields: dict[str, str], new: str, ticked: str, undone: str
) -> None:
    form, name = TodoTxt(), f"id:{KEY}"
    line = line if "{id}" in line else f"{line} {{id}}"
    text, new, ticked, undone = (
        f"{shown.format(id=name)}\n" for shown in (line, new, ticked or line, undone)
    )
    found = read(form, text)
    assert {**NEW, **found} == {**NEW, **fields}
    assert form.insert("", Put(KEY, TASKS, {**NEW, **fields}, "", AT)) == new
    assert written(form, text) == text, "a row that is as it was stays as it is"
    tick = written(form, text, status="done")
    assert (tick, {**NEW, **read(form, tick)}) == (ticked, {**NEW, **fields, "status": "done"})
    assert written(form, tick, status="todo") == undone
    assert written(form, text, title="Call Bo") == text.replace("Call", "Call Bo")


SAME = "stays"
PROPERTIES = [
    # of the component, as the row has it, written new, ticked, undone
    ("SUMMARY:Call", {}, "SUMMARY:Call", SAME, SAME),
    ("DESCRIPTION:by phone", {"description": "by phone"}, "DESCRIPTION:by phone", SAME, SAME),
    ("PRIORITY:1", {"priority": "high"}, "PRIORITY:1", SAME, SAME),
    ("PRIORITY:3", {"priority": "high"}, "PRIORITY:1", SAME, SAME),
    ("PRIORITY:0", {"priority": "medium"}, "PRIORITY:5", SAME, SAME),
    ("PRIORITY:7", {"priority": "low"}, "PRIORITY:9", SAME, SAME),
    ("DUE;VALUE=DATE:20261205", {"dueDate": "2026-12-05"}, "DUE;VALUE=DATE:20261205", SAME, SAME),
    (
        "STATUS:IN-PROCESS",
        {"status": "in_progress"},
        "STATUS:IN-PROCESS",
        "STATUS:COMPLETED",
        "STATUS:NEEDS-ACTION",
    ),
    ("COMPLETED:20261127T100000Z", {"status": "done"}, "STATUS:COMPLETED", SAME, ""),
    ("PERCENT-COMPLETE:50", {}, "", "PERCENT-COMPLETE:100", ""),
    ("RRULE:FREQ=WEEKLY;INTERVAL=2", {}, "", SAME, SAME),
    ("CREATED:20261101T100000Z", {}, "", SAME, SAME),
    ("LOCATION:Garden", {}, "", SAME, SAME),
    ("CATEGORIES:home,flat", {}, "", SAME, SAME),
    ("X-APPLE-SORT-ORDER:7", {}, "", SAME, SAME),
]


@each(("line", "fields", "new", "ticked", "undone"), PROPERTIES)
def test_property_of_a_calendar_survives_reading_writing_a_tick_and_its_undoing(
    line: str, fields: dict[str, str], new: str, ticked: str, undone: str
) -> None:
    form = CalendarFormat()
    summary = "" if line.startswith("SUMMARY") else "SUMMARY:Call\n"
    text = f"BEGIN:VTODO\nUID:{KEY}\nDTSTAMP:20261101T100000Z\n{summary}{line}\nEND:VTODO\n"
    assert {**NEW, **read(form, text)} == {**NEW, **fields}
    assert new in form.insert("", Put(KEY, TASKS, {**NEW, **fields}, "", AT)).split("\n") or not new
    tick = written(form, text, status="done")
    name = line.partition(":")[0].partition(";")[0]
    for after, expected in ((tick, ticked), (written(form, tick, status="todo"), undone)):
        lines = [found for found in after.split("\n") if found.startswith(name)]
        assert lines == ([line] if expected == SAME else [expected] if expected else [])
    done = written(form, tick).split("\n")
    assert [found for found in done if found.startswith(("COMPLETED", "STATUS"))] == [
        line if line.startswith("COMPLETED") else "COMPLETED:20261128T120000Z",
        "STATUS:COMPLETED",
    ]
    assert read(form, written(form, tick, status="todo"))["status"] == "todo"


def test_zone_of_a_time_stays_until_the_row_has_another_time() -> None:
    form, due = CalendarFormat(), "DUE;TZID=Asia/Tokyo:20261205T180000"
    text = f"BEGIN:VTODO\nUID:{KEY}\nSUMMARY:Call\n{due}\nEND:VTODO\n"
    assert due in written(form, text, status="done")
    assert "DUE;VALUE=DATE:20261206" in written(form, text, dueDate="2026-12-06")

"""Columns of lists of tasks, as their owners and other programs name them, and the fields that they hold."""

from pathlib import Path

import pytest

from hub.device.sinks.remarks import remarks_on
from hub.device.sinks.sink import Sink
from hub.device.sinks.text_file import TextFile
from hub.text.rows.records import Csv, columns_of
from protocol.tables import TABLES
from tests.hub.device.sinks.bench import SinkBench
from tests.support.families import each

# Header, and the columns in the order of title, status, priority, dueDate, description, assignee, projectId.
HEADERS = [
    ("id,title,status,priority,dueDate,description,assignee,projectId", "1,2,3,4,5,6,7"),
    ("id,Title,STATUS,Priority,Due Date,Description,Assignee,Project", "1,2,3,4,5,6,7"),
    ("mine,due_date,id,Title", "3,,,1,,,"),
    ("id,task,state,deadline,notes,owner", "1,2,,3,4,5,"),
    ("id,due,title,title,deadline", "2,,,1,,,"),
    ("id,deadline,Due date,name", "3,,,2,,,"),  # its own name goes before a usual one
    ("id,Aufgabe,Fällig,erledigt,Titel", ",,,,,,"),
    ("Task ID,Created At,Name,Section/Column,Assignee,Due Date,Tags,Notes,Projects", "2,,,5,7,4,"),
    ("TYPE,CONTENT,DESCRIPTION,PRIORITY,RESPONSIBLE,DATE,TIMEZONE", ",,3,5,2,4,"),
    ("Task Name,Progress,Priority,Assigned To,Created By,Due date,Labels,Description", "0,,2,5,7,3,"),
    ("Subject,Start Date,Due Date,% Complete,Notes,Owner,Priority,Schedule+ Priority,Status", "0,8,6,2,4,5,"),
    ("Summary,Issue key,Issue id,Status,Priority,Assignee,Due date,Description", "0,3,4,6,7,5,"),
    ("Title,URL,Assignees,Status,Labels", "0,3,,,,2,"),
    ("Name,Assign,Date Created,Due,Priority,Status,Tags", "0,5,4,3,,,"),
    ("Folder Name,Title,Kind,Content,Start Date,Due Date,Repeat,Priority,Status", "1,8,7,5,3,,"),
    ("Card ID,Card Name,Card Description,Labels,Members,Due Date", ",,,5,,,"),
    ("Task ID,Type,Name,Status,Project,Context,Due Date,Flagged,Notes,Tags", "2,3,,6,8,,4"),
]
FIELDS = ("title", "status", "priority", "dueDate", "description", "assignee", "projectId")


@each(("header", "columns"), HEADERS)
def test_column_is_found_by_the_name_of_the_field_or_a_usual_name(header: str, columns: str) -> None:
    found = columns_of(tuple(header.split(",")), TABLES["tasks"])
    assert ",".join(str(found.get(name, "")) for name in FIELDS) == columns


OWN = "id;Title;Due Date;mine;mine;Fällig\n1;of others;2026-01-01;a;b;c\n"


def test_row_in_a_file_with_columns_of_the_owner_is_written_and_read_by_column_meaning(
    bench: SinkBench, tmp_path: Path
) -> None:
    path = tmp_path / "list.csv"
    path.write_bytes(OWN.replace("\n", "\r\n").encode())
    target = TextFile(path, Csv())
    row = bench.approve({"title": "Call Ana", "dueDate": bench.at_ms, "description": "about"})
    bench.synchronize(target)
    before, line = path.read_bytes().decode().split("\r\n")[:-1][:2], path.read_text().splitlines()[2]
    assert "\r\n".join([*before, ""]) == OWN.replace("\n", "\r\n")
    assert (line.split(";")[1], line.split(";")[2][:4], line.split(";")[3:]) == (
        "Call Ana",
        "2026",
        ["", "", ""],
    )
    bench.clock.advance(60)
    edited = line.replace("Call Ana", "Call Bo").removesuffix(";;;") + ";7;8;9;beyond"
    path.write_bytes(path.read_bytes().replace(line.encode(), edited.encode()))
    assert bench.synchronize(target).taken_back == 1
    assert (bench.row(row)["title"], bench.row(row)["description"]) == ("Call Bo", "about")
    bench.clock.advance(60)
    bench.change(row, {"title": "Call Cy", "dueDate": None})
    assert bench.synchronize(target).problem == ""
    assert path.read_text().splitlines()[2].split(";")[1:] == ["Call Cy", "", "7", "8", "9", "beyond"]


# Cell of a column that is a field by now, description here; then both, or both as they were, with a problem.
NEW_CELLS = [("", "", ""), ("of mine", "", "of mine"), ("", "about", "about"), ("of mine", "about", None)]


@pytest.mark.parametrize("edit", ["none", "title here", "title there"])
@pytest.mark.parametrize(("cell", "text", "both"), NEW_CELLS)
def test_column_becoming_a_field_replaces_no_words_on_either_side(
    cell: str, text: str, both: str | None, edit: str, bench: SinkBench, tmp_path: Path
) -> None:
    path = tmp_path / "list.csv"
    path.write_text("id,title,mine\n")
    target = TextFile(path, Csv())
    row = bench.approve({"title": "Call Ana", "description": text})
    bench.synchronize(target)
    bench.synchronize(target)
    bench.clock.advance(60)
    (key,) = (line.split(",")[0] for line in path.read_text().splitlines()[1:])
    title = "Call Bo" if edit == "title there" else "Call Ana"
    path.write_text(f"id,title,Notes\n{key},{title},{cell}\n")
    if edit == "title here":
        bench.change(row, {"title": "Call Bo"})
    results = [bench.synchronize(target) for _ in range(3)]
    words = path.read_text().splitlines()[1].split(",")[1:], bench.row(row)["description"] or ""
    title = "Call Ana" if edit == "none" else "Call Bo"
    assert words == ([title, cell if both is None else both], text if both is None else both)
    problem = f"{path}: {title}: description: there is 'of mine', here is 'about': write the same in both;"
    assert results[-1].problem.startswith(problem) if both is None else not results[-1].problem
    assert not both or bench.history() in ([], ["taken back"])


def test_words_of_a_new_field_follow_once_a_side_is_empty(bench: SinkBench, tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text("id,title,mine\n")
    target = TextFile(path, Csv())
    row = bench.approve({"title": "Call Ana", "description": "about"})
    bench.synchronize(target)
    bench.synchronize(target)
    empty = path.read_text().replace("mine", "Notes")
    path.write_text(empty.replace("Ana,", "Ana,of mine"))
    assert bench.synchronize(target).problem
    path.write_text(empty)
    assert not bench.synchronize(target).problem
    assert path.read_text() == empty.replace("Ana,", "Ana,about")
    assert bench.row(row)["description"] == "about"


def test_refused_date_stays_in_the_cell_while_another_field_is_written(
    bench: SinkBench, tmp_path: Path
) -> None:
    path = tmp_path / "list.csv"
    path.write_text("id,title,due\n")
    target = TextFile(path, Csv())
    row = bench.approve({"title": "Call Ana", "dueDate": bench.at_ms})
    bench.synchronize(target)
    bench.synchronize(target)
    bench.clock.advance(60)
    key, *_ = path.read_text().splitlines()[1].split(",")
    path.write_text(f"id,title,due\n{key},Call Ana,24.12.2026\n")
    bench.change(row, {"title": "Call Bo"})
    problems = [bench.synchronize(target).problem for _ in range(3)]
    assert path.read_text() == f"id,title,due\n{key},Call Bo,24.12.2026\n"
    assert all("dueDate: expected a time" in problem for problem in problems)


def test_file_without_a_column_of_titles_is_refused(bench: SinkBench, tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text("id,Aufgabe\n")
    bench.approve({"title": "Call Ana"})
    assert bench.synchronize(TextFile(path, Csv())).problem == (
        "its first line has no column 'title': add one, anywhere"
    )
    assert path.read_text() == "id,Aufgabe\n"


@pytest.mark.parametrize(
    ("header", "remark"),
    [
        ("", ""),
        ("id,title,status,priority,dueDate,description,assignee,projectId\n", ""),
        (
            "id,Task,state,prio,Due,Notes,Owner,Project,Priority\n",
            "columns without a field of tasks stay: 'prio'",
        ),
        ("id,title,Fällig\n1,a,b\n", "columns without a field of tasks stay: 'Fällig'"),
    ],
)
def test_columns_without_a_field_and_fields_without_a_column_are_named(
    header: str, remark: str, bench: SinkBench, tmp_path: Path
) -> None:
    path = tmp_path / "list.csv"
    path.write_text(header)
    sink = Sink("list", TextFile(path, Csv()), ("tasks",), kind="csv")
    with bench.open() as db:
        found = remarks_on(db, [sink], bench.clock.now()).get("sinks.list", "")
    expected = remark.replace(" stay:", " stay as they are:")
    missing = "" if "Fällig" not in header else "; fields without a column are not written: status, priority"
    assert found.startswith(f"{path}: {expected}{missing}" if remark else "")
    assert bool(found) == bool(remark)


# Tables of the sinks, approved rows by table, and the tables that are named.
PLACES = [
    ((), {"tasks": 1, "timelines": 2}, []),  # without a sink, rows are to stay here
    ((("tasks",),), {"tasks": 1}, []),
    ((("tasks",),), {"timelines": 2, "notes": 1}, ["1 approved notes", "2 approved timelines"]),
    ((("tasks",), ("timelines",)), {"timelines": 2, "tasks": 1}, []),
    ((("notes",),), {"tasks": 3, "notes": 1}, ["3 approved tasks"]),
    ((("tasks",),), {"projects": 1, "tasks": 1}, []),  # the title of a project goes with its tasks
    ((("timelines",),), {"tasks": 1}, ["1 approved tasks"]),
    ((("taks",),), {"tasks": 1}, ["1 approved tasks"]),
]
TITLES = {"projects": "name"}


@pytest.mark.parametrize(("sinks", "approved", "named"), PLACES)
def test_approved_rows_of_a_table_without_a_sink_are_named(
    sinks: tuple[tuple[str, ...], ...],
    approved: dict[str, int],
    named: list[str],
    bench: SinkBench,
    tmp_path: Path,
) -> None:
    for table, count in approved.items():
        for number in range(count):
            extra = {"date": bench.at_ms} if table == "timelines" else {}
            bench.approve({TITLES.get(table, "title"): f"Call {number}", **extra}, table)
    current = [
        Sink(f"list{number}", TextFile(tmp_path / f"{number}.jsonl", Csv()), tables)
        for number, tables in enumerate(sinks)
    ]
    with bench.open() as db:
        remarks = remarks_on(db, current, bench.clock.now())
    assert [remark.partition(" go to no place: add ")[0] for remark in remarks.values()] == named

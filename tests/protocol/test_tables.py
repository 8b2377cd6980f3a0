"""The five tables of a device."""

import pytest

from protocol.frame import Field
from protocol.tables import SUGGESTED, TABLES, Column, Filler, Kind, TableName, problem_of, problems_of
from tests.support.families import each

EVERYBODY = frozenset(Filler)
MODEL = frozenset({Filler.MODEL})
each_table = pytest.mark.parametrize("name", TableName)


@each_table
def test_every_table_has_an_id_two_flags_two_stamps_and_a_title(name: TableName) -> None:
    table = TABLES[name]
    names = [column.name for column in table.columns]
    assert (names[0], names[-4:]) == ("id", ["isAiSuggested", "isApproved", "createdAt", "updatedAt"])
    assert len(names) == len(set(names))
    assert table.column(table.title) is not None


@each_table
def test_a_model_fills_neither_ids_nor_flags_nor_foreign_keys(name: TableName) -> None:
    columns = [column for column in TABLES[name].columns if column.filler is Filler.MODEL]
    assert not any(one.name == "id" or one.kind is Kind.FLAG or one.refers_to is not None for one in columns)
    assert all(column.refers_to in (None, *TABLES) for column in TABLES[name].columns)


@each_table
def test_suggestion_flags_mark_a_row_as_ai_suggested_and_unapproved(name: TableName) -> None:
    flags = {column.name for column in TABLES[name].columns if column.filler is Filler.HUB}
    assert (SUGGESTED, flags) == ({"isAiSuggested": 1, "isApproved": 0}, set(SUGGESTED))


def test_a_good_task_has_no_problems() -> None:
    task: dict[str, Field] = {
        "title": "Send the invoice",
        "priority": "high",
        "assignee": ["Ada"],
        "dueDate": 1_767_603_600_000,
        "description": None,
    }
    assert problems_of(TABLES[TableName.TASKS], task, MODEL) == []


@each(
    ("data", "problem"),
    [
        ({}, "tasks.title: is required"),
        ({"title": ""}, "tasks.title: is required"),
        ({"title": None}, "tasks.title: is required"),
        ({"title": 5}, "tasks.title: expected text, got int"),
        ({"title": "x" * 501}, "tasks.title: longer than 500 characters"),
        ({"title": "x", "colour": "red"}, "tasks.colour: there is no such field"),
        ({"title": "x", "id": "1"}, "tasks.id: filled by the device, not here"),
        ({"title": "x", "isApproved": 1}, "tasks.isApproved: filled by the hub, not here"),
        ({"title": "x", "projectId": "p"}, "tasks.projectId: filled by the person, not here"),
        ({"title": "x", "status": "later"}, "tasks.status: expected one of todo, in_progress, done"),
        ({"title": "x", "assignee": [5]}, "tasks.assignee: expected a list of names"),
        ({"title": "x", "assignee": ["x" * 201]}, "tasks.assignee: a name is longer than 200"),
        ({"title": "x", "dueDate": "tomorrow"}, "tasks.dueDate: expected a whole number, got str"),
        ({"title": "x", "dueDate": True}, "tasks.dueDate: expected a whole number, got bool"),
        ({"title": "x", "dueDate": -1}, "tasks.dueDate: expected UTC epoch milliseconds"),
    ],
)
def test_problem_of_a_task_names_the_field(data: dict[str, Field], problem: str) -> None:
    (found,) = problems_of(TABLES[TableName.TASKS], data, MODEL)
    assert found.startswith(problem)


def test_all_problems_of_a_row_are_listed_at_once() -> None:
    problems = problems_of(TABLES[TableName.TASKS], {"status": 1, "colour": 2}, EVERYBODY)
    assert [line.split(":")[0] for line in problems] == [
        "tasks.status",
        "tasks.colour",
        "tasks.id",
        "tasks.title",
        "tasks.createdAt",
        "tasks.updatedAt",
    ]


@pytest.mark.parametrize(("value", "good"), [(0, True), (1, True), (2, False), ("1", False)])
def test_flag_is_0_or_1(value: Field, good: bool) -> None:
    assert (problem_of(Column(name="isApproved", kind=Kind.FLAG), value) is None) == good


def test_single_name_is_accepted_for_a_column_of_names() -> None:
    assert problem_of(Column(name="assignee", kind=Kind.NAMES), "Ada") is None

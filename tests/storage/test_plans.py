"""Statements that get slower as tables grow are found."""

import pkgutil

from storage.schema import metadata
from tests.support.families import each
from tests.support.plans import ALLOWED, AT_WORK, SHORT, WHOLE, Plans, Statement

SCAN = "SELECT items.id \nFROM items \nWHERE items.target_table = ?"
SORT = "SELECT items.id \nFROM items \nWHERE items.call_id = ? ORDER BY items.created_at\n LIMIT ?"


def _found(text: str, function: str = "runs.items.new") -> list[str]:
    plans = Plans()
    plans.add(Statement(text, function, "sqlite", ()))
    return plans.findings()


@each(
    ("text", "found"),
    [
        (SCAN, "SCAN items"),
        (SORT, "it sorts all rows for a part of them"),
        ("SELECT other.id \nFROM items AS other", "SCAN other"),
        (
            "SELECT runs.id \nFROM runs \nWHERE runs.task_id > ? ORDER BY runs.created_at, runs.id\n LIMIT ?",
            "",
        ),
    ],
)
def test_statement_scanning_a_growing_table_is_reported(text: str, found: str) -> None:
    assert found in " ".join(_found(text)) and _found(text)


@each(
    "text",
    [
        "SELECT items.id \nFROM items \nWHERE items.call_id = ?",
        "SELECT runs.id \nFROM runs ORDER BY runs.created_at, runs.id\n LIMIT ?",
        "SELECT connectors.id \nFROM connectors \nWHERE connectors.account = ?",
        "SELECT runs.id \nFROM runs \nWHERE runs.state = 'QUEUED'",
    ],
)
def test_statements_with_an_index_or_about_few_rows_are_not_reported(text: str) -> None:
    assert _found(text) == []


def test_allowed_exceptions_name_existing_functions() -> None:
    assert _found(SCAN, next(iter(ALLOWED))) == []
    for name in [*ALLOWED, *WHOLE]:
        found = pkgutil.resolve_name(f"storage.{name}")
        assert callable(found), name


def test_excluded_tables_and_indexes_exist_in_the_schema() -> None:
    assert metadata.tables.keys() >= SHORT
    assert {index.name for table in metadata.tables.values() for index in table.indexes} >= AT_WORK

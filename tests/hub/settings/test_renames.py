"""A key that has a new name is understood under its old one, for a while."""

from pathlib import Path

import pytest

from hub.settings import renames
from hub.settings.locate import KeyPath
from hub.settings.reading import check_text
from hub.settings.schema import names_at

REALLY_RENAMED = renames.RENAMED
RENAMED: dict[KeyPath, KeyPath] = {
    ("limits", "parallel_runs"): ("limits", "runs"),
    ("server", "name"): ("hub", "name"),
}


@pytest.fixture(autouse=True)
def _renamed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renames, "RENAMED", RENAMED)


def test_an_old_name_is_understood_with_a_warning_that_says_the_new_one() -> None:
    read = check_text("[limits]\nparallel_runs = 5\n", Path("hub.toml"))
    assert read.usable().limits.runs == 5
    assert [str(problem) for problem in read.problems] == [
        "hub.toml:2:1: warning: limits.parallel_runs: is called limits.runs now"
        " - rename it; the next minor version knows the new name alone"
    ]


def test_what_is_wrong_with_the_value_is_told_where_it_stands() -> None:
    read = check_text("[limits]\nparallel_runs = 0\n", Path("hub.toml"))
    assert "hub.toml:2:17: error: limits.runs: must be at least 1 - as in runs = 32" in map(
        str, read.problems
    )


def test_both_names_at_once_are_an_error() -> None:
    read = check_text("[limits]\nparallel_runs = 5\nruns = 6\n", Path("hub.toml"))
    assert [str(problem) for problem in read.problems] == [
        "hub.toml:2:1: error: limits.parallel_runs: is called limits.runs now,"
        " which is set as well - remove it"
    ]


def test_a_table_that_is_left_empty_by_a_rename_is_no_mistake() -> None:
    read = check_text("[server]\nname = 'x'\n", Path("hub.toml"))
    assert read.usable().hub.name == "x"


def test_every_new_name_is_a_key_of_the_file_and_no_old_one_is() -> None:
    for old, new in REALLY_RENAMED.items():
        assert new[-1] in names_at(new[:-1])
        assert old[-1] not in names_at(old[:-1])

"""An edit of hub.toml changes the lines that it is about, and no others."""

import tomllib
from difflib import ndiff
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.settings.edits import CannotEdit, edited
from tests.support.families import each

SAMPLE = (Path(__file__).parents[3] / "hub.toml").read_text()


def lines_changed(before: str, after: str) -> list[str]:
    return [line for line in ndiff(before.splitlines(), after.splitlines()) if line[0] in "+-"]


def test_a_value_is_changed_in_its_line_and_the_comment_stays() -> None:
    after = edited(SAMPLE, {"hub.name": "cabin"})
    removed, added = lines_changed(SAMPLE, after)
    assert removed == '- name = "home"                       # name of the hub'
    assert added.startswith('+ name = "cabin"')
    assert added.endswith("# name of the hub")


def test_a_new_key_is_written_after_the_others_of_its_table() -> None:
    after = edited(SAMPLE, {"agents.notes.priority": 3})
    assert lines_changed(SAMPLE, after) == ["+ priority = 3"]
    assert "and of dates without one\npriority = 3\n# description" in after


def test_a_new_table_is_added_at_the_end() -> None:
    assert edited("[hub]\n", {"limits.runs": 40, "limits.run_files": 9}) == (
        "[hub]\n\n[limits]\nruns = 40\nrun_files = 9\n"
    )


def test_a_new_table_within_an_inline_table_is_inline_too() -> None:
    after = edited('[listen]\ndevices = { address = "a" }\n', {"listen.devices.tls.key": "k"})
    assert tomllib.loads(after) == {"listen": {"devices": {"address": "a", "tls": {"key": "k"}}}}


def test_a_setting_that_is_commented_out_is_set_in_its_line_and_its_table_with_it() -> None:
    after = edited(SAMPLE, {"limits.connections": 5, "limits.runs": 7})
    changed = lines_changed(SAMPLE, after)
    assert [line for line in changed if line[0] == "+"] == [
        "+ [limits]",
        "+ connections = 5               # also bounded by the limit of open files",
        *(line for line in changed if line.startswith("+ runs = 7")),
    ]
    assert tomllib.loads(after)["limits"] == {"connections": 5, "runs": 7}
    assert lines_changed(after, edited(after, {"limits.runs": 8}))[0].startswith("- runs = 7")


def test_a_commented_value_of_several_lines_stays_a_comment() -> None:
    text = '# [model]\n# name = """\n# a"""\n'
    assert edited(text, {"model.name": "b"}) == '[model]\nname = "b"\n# name = """\n# a"""\n'


def test_a_key_that_is_left_out_takes_its_line_along() -> None:
    after = edited(SAMPLE, {}, ["agents.notes.schedule", "limits.runs"])
    (removed,) = lines_changed(SAMPLE, after)
    assert removed.startswith('- schedule = "0 7 * * 1-5"')


def test_a_reference_to_a_secret_is_written_in_one_line() -> None:
    text = f'{SAMPLE}\n[model]\napi_key = {{ env = "KEY" }} # mine\n'
    after = edited(text, {"model.api_key": {"file": "key"}})
    assert tomllib.loads(after)["model"]["api_key"] == {"file": "key"}
    assert len(lines_changed(text, after)) == 2


def test_line_ends_stay_what_they_are() -> None:
    text = SAMPLE.replace("\n", "\r\n")
    assert edited(text, {"hub.name": "x", "hub.more": 1}).count("\r\n") == text.count("\r\n") + 1
    assert edited(text, {"hub.name": "x"}).count("\n") == text.count("\n")


@each(
    ("key", "told"),
    [
        ("runs", "'runs' is no key; a key is TABLE.NAME"),
        ("limits..runs", "is no key"),
        ("agents.notes", "can only be added, with its name, or removed"),
        ("agents.mail.prompt", "no agent of hub.toml is named mail"),
        ("hub.name.first", "hub.name.first: name is no table"),
    ],
)
def test_a_key_that_leads_nowhere_is_refused(key: str, told: str) -> None:
    with pytest.raises(CannotEdit, match=told):
        edited(SAMPLE, {key: 1})


@each("value", [None, {"a": None}, [None]])
def test_a_value_that_toml_does_not_have_is_refused(value: object) -> None:
    with pytest.raises(CannotEdit):
        edited(SAMPLE, {"hub.name": value})


NAMES = st.sampled_from(["a", "b", "c", "with space", "ü", "x.y"]).filter(lambda name: "." not in name)
VALUES = st.one_of(
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    st.lists(st.integers(0, 9), max_size=3),
)


@pytest.mark.slow
@given(
    table=st.sampled_from(["hub", "listen.devices", "limits", "storage", "model", "agents.notes", "new"]),
    name=NAMES,
    value=VALUES,
)
def test_whatever_is_set_is_read_back_and_nothing_else_changes(table: str, name: str, value: Any) -> None:
    after = edited(SAMPLE, {f"{table}.{name}": value})
    doc, expected = tomllib.loads(after), tomllib.loads(SAMPLE)
    here: Any = expected
    for part in table.replace("agents.notes", "agents").split("."):
        here = here.setdefault(part, {}) if part != "agents" else here["agents"][0]
    here[name] = value
    assert doc == expected
    assert [line for line in lines_changed(SAMPLE, after) if line.startswith("-")] in ([], [f"- # [{table}]"])
    assert tomllib.loads(edited(after, {}, [f"{table}.{name}"])).keys() >= tomllib.loads(SAMPLE).keys()

"""``hub agents create | edit | delete | validate`` and ``hub templates``."""

import json
from pathlib import Path

import pytest

from tests.hub.cli.conftest import Hub, ends
from tests.support.hub import ServedHub

TEMPLATE = """\
type = "AUDITOR"
prompt = "Look at {{ thing }}."
[configuration_schema]
required = ["thing"]
"""
SAID = ("--device", "desk", "--path", "books", "--data-type", "tasks")


@pytest.fixture
def auditor(hub: Hub, served: ServedHub, tmp_path: Path) -> Path:
    """A template of that name, and the file that it was written from."""
    file = tmp_path / "auditor.toml"
    file.write_text(TEMPLATE)
    put = hub("templates", "put", "auditor", "--file", str(file))
    assert put.exit_code == 0, put.output
    return file


def test_a_template_is_written_listed_shown_and_removed(hub: Hub, auditor: Path) -> None:
    assert hub("templates").stdout.splitlines()[1].split()[:5] == ["auditor", "AUDITOR", "0", "the", "API"]
    assert "Look at {{ thing }}." in hub("templates", "show", "auditor").stdout
    shown = json.loads(hub("templates", "show", "auditor", "--json").stdout)
    assert (shown["schema"], shown["configuration_schema"]) == ("hub.template/1", {"required": ["thing"]})
    assert "is removed" in hub("templates", "rm", "auditor").stderr
    assert "no template" in hub("templates").stderr


def test_an_agent_is_made_changed_and_removed(hub: Hub, auditor: Path) -> None:
    ends(
        hub("agents", "create", "books", *SAID, "--template", "auditor", "--config", "thing=money"),
        0,
        "hub run books",
    )
    assert hub("templates").stdout.splitlines()[1].split()[2] == "1"
    edited = hub("agents", "edit", "books", "--set", "priority=3", "--unset", "schedule", "--json")
    assert json.loads(edited.stdout)["config_rev"] > 1
    ends(
        hub("agents", "edit", "books", "--prompt", "Find {{ it }}."), 1, "there is no variable 'it'", "thing"
    )
    assert "is deleted" in hub("agents", "delete", "books", "--yes").stderr


def test_an_agent_may_stand_in_a_file_and_options_go_before_it(
    hub: Hub, auditor: Path, tmp_path: Path
) -> None:
    file = tmp_path / "books.toml"
    file.write_text(
        'device = "desk"\npaths = ["books"]\ndata_types = ["tasks"]\nprompt = "x"\n'
        "schedule = { at = 2030-01-01T09:00:00Z }\n"
    )
    made = hub("agents", "create", "books", "--file", str(file), "--path", "ledgers", "--json")
    assert made.exit_code == 0, made.output
    assert (json.loads(made.stdout)["paths"], json.loads(made.stdout)["prompt"]) == (["ledgers"], "x")


def test_a_trial_names_who_would_break_and_changes_nothing(hub: Hub, auditor: Path) -> None:
    hub("agents", "create", "books", *SAID, "--template", "auditor", "--config", "thing=money")
    auditor.write_text(TEMPLATE.replace('["thing"]', '["owner"]'))
    ends(
        hub("agents", "validate", "--template", "auditor", "--file", str(auditor)),
        1,
        stdout=("agent books of owner", "$: missing: owner"),
    )
    assert hub("agents", "validate", "books").exit_code == 0
    ends(hub("templates", "put", "auditor", "--file", str(auditor)), 1, "agent books")
    assert hub("templates", "put", "auditor", "--file", str(auditor), "--force").exit_code == 0
    judged = hub("agents", "validate", "books", "--json")
    assert (judged.exit_code, json.loads(judged.stdout)["ok"]) == (1, False)


def test_contradictory_options_are_a_usage_error(hub: Hub, auditor: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.toml"
    broken.write_text("= 1")
    for words, said in (
        (("agents", "edit", "books"), "nothing to change"),
        (("agents", "create", "books", *SAID, "--set", "priority"), "KEY=VALUE"),
        (("agents", "create", "books", "--file", str(broken)), "cannot read"),
        (("agents", "validate", "--file", str(auditor)), "--template"),
    ):
        ends(hub(*words), 2, said)

"""``hub agents config``: configs listed, set, removed and taken back, by people and by programs."""

import json
from typing import Any

import pytest
from anyio.from_thread import BlockingPortal

from tests.hub.api.test_agent_configs import an_agent
from tests.hub.cli.conftest import Hub, ends
from tests.support.hub import ServedHub


@pytest.fixture
def config(hub: Hub, served: ServedHub, portal: BlockingPortal) -> Hub:
    """``hub agents config inbox``."""
    portal.call(served.store.write, an_agent)

    def run(*words: str, **given: str) -> Any:
        return hub("agents", "config", "inbox", *words, **given)

    return run


def test_what_was_set_is_listed_with_its_type(config: Hub) -> None:
    ends(
        config("set", "limit=5", "share=0.5", "is_on=true", 'where={"a": 1}', "name=5 o'clock", "e="),
        0,
        "changed e, is_on, limit, name, share, where",
    )
    told = [line.split()[:4] for line in config().stdout.splitlines()]
    assert told[0] == ["config", "type", "value", "source"]
    assert ["folder", "string", "in", "hub.toml"] in told
    assert ["limit", "integer", "5", "the"] in told
    assert ["is_on", "boolean", "true", "the"] in told
    assert [line[:2] for line in told if line[0] in ("where", "name", "share")] == [
        ["name", "string"],
        ["share", "float"],
        ["where", "json"],
    ]


def test_a_config_has_its_earlier_type_unless_another_is_given(config: Hub) -> None:
    config("set", "--type", "string", "code=007")
    assert config("get", "code").stdout == "007\n"
    config("set", "code=008")
    assert config("get", "code").stdout == "008\n", "a text, though it looks like a number"
    config("set", "limit=5")
    ends(config("set", "limit=five"), 2, "limit: expected integer, not the text 'five'", "--type")
    assert config("set", "--type", "string", "limit=five").exit_code == 0
    assert config("get", "limit").stdout == "five\n"


def test_numbers_that_json_lacks_are_texts(config: Hub) -> None:
    assert config("set", "a=NaN", "b=-Infinity").exit_code == 0
    assert (config("get", "a").stdout, config("get", "b").stdout) == ("NaN\n", "-Infinity\n")


def test_an_invalid_value_is_refused_and_nothing_is_set(config: Hub) -> None:
    for words, exit_code, said in (
        (("set", "limit"), 2, "'limit': expected KEY=VALUE"),
        (("set", "=5"), 2, "'=5': expected KEY=VALUE"),
        (("set", "a=1", "9=2"), 1, "begins with a letter"),
        (("set", "folder=out"), 1, "config 'folder' is managed by /"),
        (("unset", "gone"), 1, "has no config 'gone'"),
        (("get", "gone"), 1, "agent inbox has no config 'gone'"),
        (("revert", "--to", "99"), 1, "cannot go back to change 99"),
    ):
        wrong = config(*words)
        assert (wrong.exit_code, said in wrong.stderr) == (exit_code, True), (words, wrong.output)
    assert json.loads(config("--json").stdout)["configuration"] == {"folder": "in"}


def test_configs_are_removed_and_taken_back(config: Hub) -> None:
    config("set", "a=1", "b=2")
    assert "changed a, b" in config("unset", "a", "b", "a").stderr
    assert "changed a, b" in config("revert", "--to", "3").stderr
    assert config("get", "b").stdout == "2\n"
    assert "nothing changed" in config("revert", "--to", "3").stderr or config("get", "a").stdout == "1\n"


def test_the_history_has_the_author_of_each_change(config: Hub) -> None:
    config("set", "a=1")
    config("set", "a=2")
    lines = config("history", "a").stdout.splitlines()
    assert lines[0].split()[0] == "change"
    assert [line.split()[3:6] for line in lines[1:]] == [["a", "1", "2"], ["a", "-", "1"]]
    assert all("operator:" in line for line in lines[1:])


@pytest.mark.parametrize(
    ("words", "schema"),
    [
        ((), "hub.agent_config/1"),
        (("get", "folder"), "hub.agent_config_value/1"),
        (("history",), "hub.agent_config_history/1"),
        (("set", "a=1"), "hub.agent_config_changed/1"),
    ],
    ids=["list", "get", "history", "set"],
)
def test_programs_get_json(config: Hub, words: tuple[str, ...], schema: str) -> None:
    assert json.loads(config(*words, "--json").stdout)["schema"] == schema


def test_an_unknown_agent_has_no_configs(hub: Hub, served: ServedHub) -> None:
    ends(hub("agents", "config", "nobody", "set", "a=1"), 1, "nobody")

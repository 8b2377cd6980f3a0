"""What goes before the file: the environment, and before that the command line."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from hub.settings.problems import NotAnOverride, Place, on_command_line, value_of
from hub.settings.reading import Reading, check_settings
from hub.settings.values import SecretRef
from tests.support.families import each

Read = Callable[..., Reading]
FILE = '[hub]\nname = "home"\n[limits]\nruns = 4\n'


@pytest.fixture
def read(tmp_path: Path) -> Read:
    def reading(*words: str, text: str = FILE, **environ: str) -> Reading:
        file = tmp_path / "hub.toml"
        file.write_text(text)
        return check_settings(file, environ=environ, given=tuple(on_command_line(words)))

    return reading


def test_the_command_line_goes_before_the_environment_that_before_the_file_and_that_before_defaults(
    read: Read, tmp_path: Path
) -> None:
    found = read("limits.runs=9", HUB__LIMITS__RUNS="8", HUB__LIMITS__RUN_FILES="7")
    limits = found.usable().limits
    assert (limits.runs, limits.run_files, limits.connector_runs) == (9, 7, 8)
    assert found.places is not None
    origins = [found.places.origin(("limits", name)) for name in ("runs", "run_files", "connector_runs")]
    assert origins == [Place("--set limits.runs"), Place("HUB__LIMITS__RUN_FILES"), None]
    assert str(found.places.origin(("hub", "name"))) == f"{tmp_path}/hub.toml:2"


@pytest.mark.parametrize(
    ("variable", "text", "path", "value"),
    [
        ("HUB__HUB__NAME", "5", "hub.name", "5"),
        ("HUB__HUB__NAME", "true", "hub.name", "true"),
        ("HUB__LISTEN__DEVICES__ADDRESS", "127.0.0.1:9", "listen.devices.address.port", 9),
        ("HUB__LISTEN__DEVICES__ORIGINS", '["https://a"]', "listen.devices.origins", ("https://a",)),
        ("HUB__LISTEN__DEVICES__COMPRESSION", "true", "listen.devices.compression", True),
        ("HUB__LIMITS__RUN_WALL_S", "90.5", "limits.run_wall_s", 90.5),
        ("HUB__STORAGE__URL", '{ env = "URL" }', "storage.url", SecretRef(env="URL")),
    ],
)
def test_a_variable_is_read_as_what_its_field_is(
    read: Read, variable: str, text: str, path: str, value: object
) -> None:
    found: Any = read(**{variable: text, "URL": "sqlite://"}).usable()
    for part in path.split("."):
        found = getattr(found, part)
    assert found == value


@pytest.mark.parametrize(
    ("variable", "text", "told"),
    [
        ("HUB__LIMITS__RUNS", "many", "limits.runs: a whole number is expected"),
        ("HUB__LIMTS__RUNS", "1", "limts: unknown table - did you mean 'limits'?"),
        ("HUB__LIMITS__RUNN", "1", "limits.runn: unknown key - did you mean 'runs'?"),
        ("HUB__LIMITS", "1", "limits: a table is expected"),
        ("HUB__AGENTS__NOTES__PROMPT", "x", "agents: a list is expected - write [[agents]]"),
        ("HUB__MODEL__API_KEY", "hunter2", "model.api_key: a secret must not be written in this file"),
    ],
)
def test_a_mistake_in_a_variable_is_reported_with_its_name(
    read: Read, variable: str, text: str, told: str
) -> None:
    problems = [str(problem) for problem in read(**{variable: text}).problems]
    assert any(problem.startswith(f"{variable}: error: {told}") for problem in problems), problems


@pytest.mark.parametrize("text", ["home", '"home"', "'home'"])
def test_a_text_may_stand_in_quotes_as_in_the_file(read: Read, text: str) -> None:
    assert read(HUB__HUB__NAME=text).usable().hub.name == "home"


def test_a_hint_for_a_variable_does_not_speak_of_quotes(read: Read) -> None:
    (problem,) = read(HUB__LIMITS__RUNS="many").problems
    assert str(problem) == "HUB__LIMITS__RUNS: error: limits.runs: a whole number is expected"


def test_a_misspelt_key_is_not_reported_as_set_because_a_variable_sets_it(read: Read) -> None:
    (problem,) = read(text="[limits]\nrusn = 4\n", HUB__LIMITS__RUNS="8").problems
    assert problem.hint == "did you mean 'runs'?"


def test_other_variables_of_the_hub_are_none_of_these(read: Read) -> None:
    assert read(HUB_DEVICE_TOKEN="x", HUB__="1", HUB__A____B="1", HUBNAME="y").problems == []


@each("word", ["limits.runs", "=5", ".runs=5", "limits..runs=5"])
def test_a_word_that_sets_nothing_is_refused(word: str) -> None:
    with pytest.raises(NotAnOverride, match="is not TABLE"):
        list(on_command_line([word]))


@each(
    ("text", "value"),
    [
        ("5", 5),
        ("1.5", 1.5),
        ("true", True),
        ('"5"', "5"),
        ("five", "five"),
        ("[1, 2]", [1, 2]),
        ("2026-12-01T09:00:00Z", datetime(2026, 12, 1, 9, tzinfo=UTC)),
        ("1\ny = 2", "1\ny = 2"),
        ("[" * 5_000, "[" * 5_000),
        ("", ""),
    ],
)
def test_a_value_is_what_it_would_be_in_the_file_and_else_a_text(text: str, value: object) -> None:
    assert value_of(text) == value

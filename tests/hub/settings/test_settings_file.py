"""The settings file, what overrides it, and the database that it names."""

import stat
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from hub.base.atomic_file import write_atomically
from hub.base.toml.origins import TomlPosition
from hub.base.toml.problems import SettingsInvalid
from hub.base.toml.values import SecretMissing, SecretRef
from hub.settings.overrides import NotAnOverride, on_command_line, value_of
from hub.settings.reading import (
    LAST_GOOD,
    OpenedSettings,
    ParsedSettings,
    check_settings,
    keep_last_good,
    last_file,
    last_good,
    open_settings,
)
from hub.settings.settings import Settings, StorageSettings
from tests.support.families import each
from tests.support.served_settings import load_settings
from tests.support.settings import TEXT, SettingsBench, files_of_at_most

BROKEN = "[limits]\nruns = 0\n"


@pytest.fixture
def bench(tmp_path: Path) -> SettingsBench:
    return SettingsBench(tmp_path)


def in_environment(bench: SettingsBench, **environ: str) -> OpenedSettings:
    """What a start with these variables would use now."""
    return open_settings(replace(bench.file, environ=environ), bench.state)


def test_valid_settings_file_is_used_instead_of_the_last_good_file(bench: SettingsBench) -> None:
    keep_last_good(bench.state, TEXT.replace("4", "5"), bench.path)
    opened = bench.opened()
    assert (opened.settings.limits.runs, opened.refused) == (4, ())


async def test_broken_settings_file_starts_the_hub_on_the_last_good_settings(bench: SettingsBench) -> None:
    await bench.reloader.begin()
    bench.path.write_text(BROKEN)
    opened = bench.opened()
    assert opened.settings.limits.runs == 4
    assert [str(problem) for problem in opened.refused] == [
        f"{bench.path}:2:8: error: limits.runs: must be at least 1 - as in runs = 32"
    ]
    with pytest.raises(SettingsInvalid):
        bench.opened(strict=True)


async def test_last_good_settings_remain_until_a_valid_file_is_loaded(
    tmp_path: Path,
) -> None:
    first = SettingsBench(tmp_path)
    await first.reloader.begin()
    kept = (first.state / LAST_GOOD).read_bytes()
    first.path.write_text(BROKEN)
    bench = SettingsBench(tmp_path, BROKEN)
    assert bench.reloader.on_last_good
    await bench.reloader.begin()
    assert (bench.state / LAST_GOOD).read_bytes() == kept
    assert bench.metrics.registry.get_sample_value("hub_config_last_reload_successful") == 0
    bench.path.write_text(TEXT.replace("4", "5"))
    await bench.reloader.reload(actor="operator:7")
    assert (bench.reloader.on_last_good, bench.reloader.refused) == (False, ())
    assert bench.reloader.current.limits.runs == 5
    assert "5" in (bench.state / LAST_GOOD).read_text()


@pytest.mark.parametrize(
    "comment",
    ["# file: notes about my files\n[storage]\n", '# file: "a"\n[storage]\n', "# file: 7\n", "# file: x"],
)
def test_settings_that_an_older_release_kept_are_whole(comment: str, tmp_path: Path) -> None:
    (tmp_path / LAST_GOOD).write_text(text := f"[hub]\n{comment}")
    assert (last_good(tmp_path), last_file(tmp_path)) == (text, None)
    strange = tmp_path / "a\n# file: b"
    strange.touch()
    keep_last_good(tmp_path, text, strange)
    assert (last_good(tmp_path), last_file(tmp_path)) == (text, strange)


@pytest.mark.parametrize("kept", [None, BROKEN, "\udcff"])
def test_hub_without_valid_or_last_good_settings_does_not_start(
    bench: SettingsBench, kept: str | None
) -> None:
    bench.path.write_text(BROKEN)
    if kept is not None:
        (bench.state / LAST_GOOD).write_bytes(kept.encode(errors="surrogateescape"))
    with pytest.raises(SettingsInvalid, match=f"{bench.path}:2:8"):
        bench.opened()


MOVED = '[storage]\nurl = "postgresql://hub@db/hub"\n'
TYPO = "[limits]\nruns = 4 4\n"  # no TOML


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(MOVED + BROKEN, id="a typo elsewhere"),
        pytest.param(TYPO + MOVED, id="no TOML, before the address"),
        pytest.param(MOVED.replace("]", ""), id="in the head"),
        pytest.param(MOVED.replace("storage", "stroage"), id="the head is misspelt"),
        pytest.param(MOVED.replace("storage", "database"), id="the head is another word"),
        pytest.param('[database]\nurl = { env = "HUB_DB" }\n', id="no address is to be seen"),
        pytest.param(MOVED.replace('hub"', "hub'"), id="in the address"),
        pytest.param('storage.url = "postgresql://hub@db/hub"\n' + TYPO, id="a dotted key"),
        pytest.param("", id="empty"),
    ],
)
@pytest.mark.parametrize("before", [TEXT, f'{TEXT}[storage]\nurl = "sqlite:///hub.db"\n'])
def test_broken_file_with_another_database_prevents_the_start(
    bench: SettingsBench, before: str, text: str
) -> None:
    keep_last_good(bench.state, before, bench.path)
    bench.path.write_text(text)
    with pytest.raises(SettingsInvalid, match=r"does not start with the last good settings.* \[storage\]"):
        bench.opened()


@pytest.mark.parametrize("storage", [TEXT, MOVED, '[storage]\nurl = { env = "HUB_DB" }  # the server\n'])
@pytest.mark.parametrize(
    "broken", [BROKEN, TYPO, "[limts]\nruns = 4\n", "[[gatway]]\nname = 1\n", "[limits]\n\udcff\n"]
)
def test_broken_file_with_the_same_database_starts_on_the_last_good_settings(
    bench: SettingsBench, storage: str, broken: str
) -> None:
    keep_last_good(bench.state, storage, bench.path)
    text = broken + storage.replace("  # the server", "\t# the new server")
    bench.path.write_bytes(text.encode(errors="surrogateescape"))
    assert in_environment(bench, HUB_DB="postgresql://hub@db/hub").refused


def test_database_override_applies_despite_a_broken_file(bench: SettingsBench) -> None:
    keep_last_good(bench.state, TEXT, bench.path)
    bench.path.write_text(MOVED + BROKEN)
    assert in_environment(bench, HUB__STORAGE__URL="sqlite://").settings.storage.resolved() == "sqlite://"


def test_missing_settings_file_prevents_the_start_despite_last_good_settings(bench: SettingsBench) -> None:
    keep_last_good(bench.state, TEXT, bench.path)
    bench.path.unlink()
    with pytest.raises(SettingsInvalid, match="'hub init' writes one"):
        bench.opened()


def test_relative_secret_of_last_good_settings_is_found_beside_the_file(
    bench: SettingsBench,
) -> None:
    (bench.path.parent / "url").write_text("sqlite://")
    storage = '[storage]\nurl = { file = "url" }\n'
    keep_last_good(bench.state, storage, bench.path)
    bench.path.write_text(BROKEN + storage)
    assert bench.opened().settings.storage.resolved() == "sqlite://"


def test_last_good_settings_are_readable_only_by_the_user(bench: SettingsBench) -> None:
    keep_last_good(bench.state, TEXT, bench.path)
    assert stat.S_IMODE((bench.state / LAST_GOOD).stat().st_mode) == 0o600


def test_atomic_write_on_a_full_disk_leaves_only_the_old_file(tmp_path: Path) -> None:
    file = tmp_path / "hub.toml"
    file.write_text(TEXT)
    with files_of_at_most(10), pytest.raises(OSError, match="File too large"):
        write_atomically(file, b"x" * 100, mode=0o644)
    assert (file.read_text(), list(tmp_path.iterdir())) == (TEXT, [file])


def test_settings_write_replaces_the_link_target_and_preserves_the_mode(
    bench: SettingsBench, tmp_path: Path
) -> None:
    bench.path.chmod(0o640)
    real = bench.path.rename(tmp_path / "real.toml")
    bench.path.symlink_to(real)
    bench.file.write("# new\n")
    assert bench.path.is_symlink()
    assert real.read_text() == "# new\n"
    assert stat.S_IMODE(real.stat().st_mode) == 0o640


Read = Callable[..., ParsedSettings]
FILE = '[hub]\nname = "home"\n[limits]\nruns = 4\n'


@pytest.fixture
def read(tmp_path: Path) -> Read:
    def reading(*words: str, text: str = FILE, **environ: str) -> ParsedSettings:
        file = tmp_path / "hub.toml"
        file.write_text(text)
        return check_settings(file, environ=environ, given=tuple(on_command_line(words)))

    return reading


def test_settings_precedence_is_command_line_environment_file_default(read: Read, tmp_path: Path) -> None:
    found = read("limits.runs=9", HUB__LIMITS__RUNS="8", HUB__LIMITS__RUN_FILES="7")
    limits = found.usable().limits
    assert (limits.runs, limits.run_files, limits.connector_runs) == (9, 7, 8)
    assert found.places is not None
    origins = [found.places.origin(("limits", name)) for name in ("runs", "run_files", "connector_runs")]
    assert origins == [TomlPosition("--set limits.runs"), TomlPosition("HUB__LIMITS__RUN_FILES"), None]
    assert str(found.places.origin(("hub", "name"))) == f"{tmp_path}/hub.toml:2"


@each(
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
def test_settings_variable_is_converted_to_the_type_of_the_field(
    read: Read, variable: str, text: str, path: str, value: object
) -> None:
    found: Any = read(**{variable: text, "URL": "sqlite://"}).usable()
    for part in path.split("."):
        found = getattr(found, part)
    assert found == value


@each(
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
def test_invalid_settings_variable_is_reported_with_the_variable_name(
    read: Read, variable: str, text: str, told: str
) -> None:
    problems = [str(problem) for problem in read(**{variable: text}).problems]
    assert any(problem.startswith(f"{variable}: error: {told}") for problem in problems), problems


@each("text", ["home", '"home"', "'home'"])
def test_settings_variable_text_may_be_quoted(read: Read, text: str) -> None:
    assert read(HUB__HUB__NAME=text).usable().hub.name == "home"


def test_problem_of_a_settings_variable_has_no_hint_about_quotes(read: Read) -> None:
    (problem,) = read(HUB__LIMITS__RUNS="many").problems
    assert str(problem) == "HUB__LIMITS__RUNS: error: limits.runs: a whole number is expected"


def test_misspelt_file_key_gets_a_suggestion_despite_a_variable(read: Read) -> None:
    (problem,) = read(text="[limits]\nrusn = 4\n", HUB__LIMITS__RUNS="8").problems
    assert problem.hint == "did you mean 'runs'?"


def test_variables_without_a_settings_path_are_ignored(read: Read) -> None:
    assert read(HUB_DEVICE_TOKEN="x", HUB__="1", HUB__A____B="1", HUBNAME="y").problems == []


@each("word", ["limits.runs", "=5", ".runs=5", "limits..runs=5"])
def test_invalid_set_argument_of_the_command_line_is_refused(word: str) -> None:
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
def test_override_value_is_parsed_as_toml_or_else_as_text(text: str, value: object) -> None:
    assert value_of(text) == value


SERVER = "postgresql://hub:correct-horse@db/hub"
VARIABLE = 'url = { env = "HUB_DATABASE_URL" }'


def told(file: Path, line: str, *, serving: bool = True, **environ: str) -> list[str]:
    """The problems of a ``[storage]`` with this line."""
    file.write_text(f"[storage]\n{line}\n")
    problems = check_settings(file, environ=environ, serving=serving).problems
    return [str(problem).removeprefix(f"{file}:") for problem in problems]


def test_secret_file_path_is_absolute_after_loading_relative_settings(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (file.parent / "database").write_text("sqlite:///hub.db")
    file.write_text('[storage]\nurl = { file = "database" }\n')
    monkeypatch.chdir(file.parent.parent)
    relative = file.relative_to(file.parent.parent)
    for environ in ({}, {"HUB__STORAGE__URL": '{ file = "database" }'}):
        url = load_settings(relative, environ=environ).storage.url
        assert isinstance(url, SecretRef)
        assert url.file == file.parent / "database"


def test_default_database_is_a_sqlite_file() -> None:
    assert Settings().storage.resolved({}) == "sqlite:///hub.db"


@each(
    "url",
    ["sqlite:////var/lib/hub.db", "postgresql://hub@db/hub", "postgresql://db:5433/hub?sslmode=verify-full"],
)
def test_database_address_without_a_password_is_accepted_in_the_file(file: Path, url: str) -> None:
    assert (told(file, f'url = "{url}"'), load_settings(file).storage.resolved({})) == ([], url)


@each(
    "url",
    [
        SERVER,
        "postgresql://hub:correct/horse@db/hub",
        "postgresql://hub:correct@horse@db/hub",
        "postgresql://db/hub?user=hub&password=correct-horse",
    ],
)
def test_database_password_in_the_file_is_refused_without_the_password(file: Path, url: str) -> None:
    (problem,) = told(file, f'url = "{url}"')
    assert problem == (
        "2:7: error: storage.url: a secret must not be written in this file"
        ' - name where it is: { env = "NAME" } or { file = "PATH" }'
    )


def test_database_address_with_a_password_is_read_from_environment_or_file(file: Path) -> None:
    assert told(file, VARIABLE, HUB_DATABASE_URL=SERVER) == []
    found = load_settings(file, environ={"HUB_DATABASE_URL": SERVER}).storage
    assert found.url == SecretRef(env="HUB_DATABASE_URL")
    assert found.resolved({"HUB_DATABASE_URL": SERVER}) == SERVER

    secret = file.with_name("database.url")
    secret.write_text(SERVER + "\n")
    secret.chmod(0o600)
    assert told(file, 'url = { file = "database.url" }') == []
    assert load_settings(file).storage.resolved({}) == SERVER
    secret.chmod(0o644)
    assert told(file, 'url = { file = "database.url" }') == [
        f"2:7: warning: storage.url: others may read {secret} - chmod 600 {secret}"
    ]


def test_missing_database_address_is_an_error_when_serving_else_a_warning(file: Path) -> None:
    assert told(file, VARIABLE) == [
        "2:7: error: storage.url: the environment variable HUB_DATABASE_URL is not set;"
        " set it where the hub starts, and restart the hub; or name a { file = PATH }"
    ]
    assert told(file, VARIABLE, serving=False)[0].startswith("2:7: warning")


def test_an_invalid_database_address_is_reported_and_not_repeated(file: Path) -> None:
    (problem,) = told(file, VARIABLE, HUB_DATABASE_URL="correct-horse")
    assert problem.endswith("HUB_DATABASE_URL does not hold the address of a database")
    assert "correct" not in problem
    with pytest.raises(SecretMissing, match="does not hold"):
        StorageSettings(url=SecretRef(env="X")).resolved({"X": "mysql://db"})


def test_unknown_database_address_option_is_a_problem_in_file_and_variable(file: Path) -> None:
    url = f"{SERVER}?sslmode=foo"
    fault = "sslmode=foo of the address is not known; known are disable, allow,"
    assert fault in told(file, VARIABLE, HUB_DATABASE_URL=url)[0]
    assert fault in told(file, f'url = "{url.replace(":correct-horse", "")}"')[0]

"""The command ``hub`` itself: help, cost, options, failures."""

import errno
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from hub.api.http.listening import listen_on_tcp, listen_on_unix
from hub.base.listen_errors import AnotherHub, CannotListen
from hub.base.toml.values import HostPort
from hub.cli.agents import CONFIG_TYPES, VOCABULARIES
from hub.cli.app import COMMANDS, LazyGroup
from hub.cli.errors import Exit, as_failure
from hub.cli.options import state_folder
from hub.cli.show import duration
from protocol.configs import ConfigType
from protocol.errors import CATALOGUE, ErrorCode, HubError
from protocol.status_vocabularies import Vocabulary
from storage.kernel.database import DatabaseUnavailable
from tests.hub.cli.conftest import Hub, ends

HEAVY = (
    "pydantic",
    "httpx2",
    "rich",
    "starlette",
    "uvicorn",
    "openai",
    "sqlalchemy",
    "websockets",
    "msgspec",
    "anyio",
)


def test_help_command_imports_no_heavy_modules() -> None:
    code = (
        "import contextlib, io, sys, click, hub.cli.app as app\n"
        f"def heavy(): return sorted(set({HEAVY!r}) & set(sys.modules))\n"
        "def load(group):\n"
        "    for name in group.list_commands(click.Context(group)):\n"
        "        command = group.get_command(click.Context(group), name)\n"
        "        if isinstance(command, click.Group): load(command)\n"
        "shown = io.StringIO()\n"
        "for words in (['--help'], ['help', 'settings']):\n"
        "    with contextlib.redirect_stdout(shown), contextlib.suppress(SystemExit): app.main(words)\n"
        "    print(heavy(), end='')\n"
        "assert 'Usage: hub' in shown.getvalue() and '# Settings' in shown.getvalue()\n"
        "load(app.hub)\n"
        "print(heavy())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]['anyio']['anyio']"  # anyio imports its own modules when they are used


def test_choices_of_options_equal_the_choices_of_the_protocol() -> None:
    assert (list(Vocabulary), list(ConfigType)) == (list(VOCABULARIES), list(CONFIG_TYPES))


def test_every_command_exists_with_the_help_in_the_overview() -> None:
    group = LazyGroup("hub")
    ctx = click.Context(group)
    for name, told in COMMANDS.items():
        command = group.get_command(ctx, name)
        assert command is not None and command.name == name
        assert (command.help or "").splitlines()[0] == told.help


def test_every_command_help_ends_with_a_valid_example() -> None:
    for path, command in _commands("hub", LazyGroup("hub")):
        if path == "hub":
            continue
        example = (command.epilog or "").rpartition("Example:")[2].strip()
        words = shlex.split(example)
        others = iter(words)
        assert all(word in others for word in path.split()), f"{path} --help has the example {example!r}"
        assert _understood(LazyGroup("hub"), words[1:]), example


def _commands(path: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        ctx = click.Context(command)
        for name in command.list_commands(ctx):
            found = command.get_command(ctx, name)
            assert found is not None
            yield from _commands(f"{path} {name}", found)


def _understood(command: click.Command, words: list[str]) -> bool:
    """Return whether all words are subcommands, known options, and as many arguments as are needed."""
    ctx = click.Context(command, **command.context_settings)
    parser = command.make_parser(ctx)
    parser.allow_interspersed_args = not isinstance(command, click.Group)
    values, rest, _ = parser.parse_args(list(words))
    if any(one.required and not values.get(one.name or "") for one in command.params):
        return False
    if not isinstance(command, click.Group) or not rest:
        return not rest
    found = command.get_command(ctx, rest[0])
    return found is not None and _understood(found, rest[1:])


@pytest.mark.parametrize(
    ("typed", "meant"), [("sttaus", "status"), ("stop", "Did you mean 'hub down'"), ("start", "'hub up'")]
)
def test_a_misspelt_command_is_a_usage_error_with_a_suggestion(hub: Hub, typed: str, meant: str) -> None:
    ends(hub(typed), 2, meant)


def test_the_version_is_printed(hub: Hub) -> None:
    assert hub("--version").stdout.startswith("hub, version ")


@pytest.mark.parametrize(
    ("given", "folder"),
    [
        ({"STATE_DIRECTORY": "/var/lib/hub:/x", "XDG_STATE_HOME": "/xdg"}, "/var/lib/hub"),
        ({"XDG_STATE_HOME": "/xdg"}, "/xdg/hub"),
        ({"LOCALAPPDATA": "/appdata"}, "/appdata/hub"),
        ({"HOME": "/home/anna"}, "/home/anna/.local/state/hub"),
    ],
)
def test_state_folder_is_of_the_service_manager_or_else_of_the_user(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], folder: str
) -> None:
    for name in ("STATE_DIRECTORY", "XDG_STATE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert (state_folder(), state_folder("/elsewhere")) == (Path(folder), Path("/elsewhere"))


@pytest.mark.parametrize("name", ["STATE_DIRECTORY", "XDG_STATE_HOME", None])
def test_a_relative_state_folder_begins_in_the_working_directory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str | None
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    if name is not None:
        monkeypatch.setenv(name, "kept")
    folder = state_folder("kept" if name is None else None)
    assert folder == tmp_path / "kept" / ("hub" if name == "XDG_STATE_HOME" else "")


def test_an_unexpected_error_is_a_sentence_unless_debug_is_asked_for(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("boom")

    monkeypatch.setattr("hub.settings.reading.check_settings", broken)
    ends(hub("check"), 1, "RuntimeError: boom", "--debug")
    assert isinstance(hub("--debug", "check").exception, RuntimeError)


def test_hub_error_is_shown_with_hint_and_exit_code() -> None:
    class Busy(HubError):
        code = ErrorCode.DATABASE_BUSY

    failure = as_failure(ExceptionGroup("tasks", [Busy("the database is locked")]))
    assert failure.exit_code == Exit.TRY_AGAIN
    assert failure.format_message() == (
        f"the database is locked\n  {CATALOGUE[ErrorCode.DATABASE_BUSY].hint}"
    )
    full = as_failure(DatabaseUnavailable("the disk is full", "full"))
    assert full.next_step == "free some space"  # and no hub continues by itself


def test_start_failure_names_the_setting_or_option_to_change(tmp_path: Path) -> None:
    with listen_on_tcp(HostPort("127.0.0.1", 0)) as taken:
        address = HostPort("127.0.0.1", taken.getsockname()[1])
        with pytest.raises(CannotListen) as in_use, listen_on_tcp(address, "operator"):
            pass
    (tmp_path / "hub.sock").touch()
    with pytest.raises(CannotListen) as not_a_socket, listen_on_unix(tmp_path / "hub.sock"):
        pass
    read_only = OSError(errno.EROFS, "Read-only file system", str(tmp_path / "node_id"))
    for error, remedy in (
        (in_use.value, "change address in [listen.operator]"),
        (AnotherHub(tmp_path / "a b"), f"hub drain --state '{tmp_path}/a b'; or name another folder"),
        (read_only, "mount it for writing, or name another folder: --state DIR"),
        (OSError(errno.ENOSPC, "No space left on device"), "free some room"),
        (not_a_socket.value, "move it away, or name another folder: --state DIR"),
    ):
        failure = as_failure(error)
        assert failure.exit_code == Exit.UNAVAILABLE
        assert remedy in failure.next_step


def test_durations_have_two_units() -> None:
    assert [duration(s) for s in (0.4, 61, 3_600, 90_061)] == ["0 s", "1 min 1 s", "1 h", "1 d 1 h"]

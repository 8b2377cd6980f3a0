"""Commands on single settings: showing them with where they come from, and changing them in the file."""

import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from hub.cli import show
from hub.cli.check import say_taken_up
from hub.cli.completion import setting_keys
from hub.cli.failure import Exit, Failure
from hub.cli.options import example, hub_option, json_option
from hub.cli.talk import talk
from hub.cli.values import keys_of

if TYPE_CHECKING:
    from hub.settings.locate import KeyPath

PATH: Final = "/v1/config"
DEFAULT: Final = "default"


@click.group(epilog=example("hub config show --origin"))
def config() -> None:
    """Show the settings, and change them in the file.

    Of the running hub. Without one: edit the file, and look at it with hub check.
    """


@config.command("show", epilog=example("hub config show --origin"))
@click.option("--origin", is_flag=True, help="Say where each value was given.")
@json_option
@hub_option
def show_settings(origin: bool, as_json: bool, state: Path) -> None:
    """Show every setting in use, with defaults. Secrets are shown as references."""
    with talk(state) as hub:
        told = hub.get(PATH)
    _say_state(told)
    if as_json:
        show.print_json("config", {name: told[name] for name in told if name != "text"})
        return
    keys = dict(keys_of(told["settings"]))
    if origin:
        rows = [(key, _shown(value), _origin(told, key)) for key, value in keys.items()]
        show.print_table(("setting", "value", "from"), rows)
    else:
        for key, value in keys.items():
            show.out(f"{key} = {_shown(value)}")


@config.command(epilog=example("hub config get limits.runs"))
@click.argument("key", shell_complete=setting_keys)
@json_option
@hub_option
def get(key: str, as_json: bool, state: Path) -> None:
    """Print one setting, or all settings of a table."""
    with talk(state) as hub:
        told = hub.get(PATH)
    found = _at(told["settings"], key)
    if found is None and not as_json:
        show.say(f"{key} is not set")
        return
    if as_json:
        show.print_json("config.get", {"key": key, "value": found, "origin": _origin(told, key)})
        return
    if not isinstance(found, dict):
        show.out(_shown(found))
        return
    for inner, value in keys_of(found):
        show.out(f"{inner} = {_shown(value)}")


@config.command("set", epilog=example("hub config set limits.runs=8"))
@click.argument("assignments", metavar="KEY=VALUE...", nargs=-1, required=True)
@json_option
@hub_option
def set_(assignments: tuple[str, ...], as_json: bool, state: Path) -> None:
    """Write settings into the file, and apply them.

    As in limits.runs=40, agents.notes.priority=3, hub.name=home. KEY= takes the key out of
    the file, so that its default is used. Comments and order stay.
    """
    from hub.settings.overrides import value_of
    from hub.settings.shape import is_text

    values: dict[str, Any] = {}
    without: list[str] = []
    for word in assignments:
        key, equals, text = word.partition("=")
        if not equals:
            raise Failure(f"{word!r} is not KEY=VALUE", Exit.USAGE, next_step="as in limits.runs=40")
        if not text:
            without.append(key)
            continue
        values[key] = text if is_text(_path(key)) else _plain(value_of(text))
    with talk(state) as hub:
        tag = hub.get(PATH)["tag"]
        told = hub.patch(PATH, {"values": values, "without": without}, headers={"if-match": tag})
    if as_json:
        show.print_json("reload", told)
        return
    say_taken_up(told, nothing="no value in use has changed")


@config.command(epilog=example("hub config edit"))
@hub_option
def edit(state: Path) -> None:
    """Edit the settings in $VISUAL or $EDITOR; they are checked before they are written.

    With a mistake in it, it can be edited again or given up, and the hub goes on as it was.
    """
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR")
    if editor is None and not sys.stdin.isatty():
        raise Failure(
            "there is no terminal to edit the file in",
            Exit.USAGE,
            next_step="hub config set KEY=VALUE; or say in $EDITOR what edits without one",
        )
    with talk(state) as hub:
        before = hub.get(PATH)
        text = before["text"]
        while True:
            text = _edited(text, editor or "vi")
            if text == before["text"]:
                show.say("nothing has changed")
                return
            told = hub.post(f"{PATH}/check", {"text": text})
            if told["ok"]:
                done = hub.patch(PATH, {"text": text}, headers={"if-match": before["tag"]})
                say_taken_up(done)
                return
            for one in told["problems"]:
                show.say(_line(one))
            if not click.confirm("edit it again? (otherwise nothing is changed)", default=True, err=True):
                raise Failure("not written", Exit.SETTINGS)


def _path(key: str) -> "KeyPath":
    """Where a key stands in the tree of settings; any agent's is that of the first."""
    first, *rest = key.split(".")
    return (first, 0, *rest[1:]) if first == "agents" else (first, *rest)


def _edited(text: str, editor: str) -> str:
    """*text* as it comes back from the person's editor."""
    with tempfile.TemporaryDirectory(prefix="hub-") as folder:
        file = Path(folder) / "hub.toml"
        file.write_text(text, "utf-8")
        try:
            done = subprocess.run([*shlex.split(editor), str(file)], check=False)
        except OSError as error:
            raise Failure(
                f"cannot start {editor}: {error.strerror}", Exit.UNAVAILABLE, next_step="set $EDITOR"
            ) from error
        if done.returncode:
            raise Failure(f"{editor} ended with {done.returncode}: nothing was changed", Exit.FAILED)
        return file.read_text("utf-8")


def _say_state(told: Mapping[str, Any]) -> None:
    """What a person should know before reading on."""
    if told["on_last_good"]:
        show.say(f"{told['file']} was broken at the start: these are the settings that were good last")
    elif told["refused"]:
        show.say(f"{told['file']} as it is now was refused; these are the settings before that")
    for one in told["refused"]:
        show.say(_line(one))
    for key in told["waiting"]:
        show.say(f"{key}: waits for a restart")


def _line(problem: Mapping[str, Any]) -> str:
    at = f"{problem['file']}:{problem['line']}:{problem['column']}" if problem["line"] else problem["file"]
    hint = f" - {problem['hint']}" if problem["hint"] else ""
    path = f"{problem['path']}: " if problem["path"] else ""
    return f"{at}: {problem['severity']}: {path}{problem['message']}{hint}"


def _at(settings: Mapping[str, Any], key: str) -> Any:
    """The value of *key*; ``None``: there may be one, and none was given. Raises Failure."""
    from hub.settings.shape import names_at

    here: Any = settings
    for part in key.split("."):
        if isinstance(here, list):
            here = {one["name"]: one for one in here}
        if not isinstance(here, dict) or part not in here:
            *table, name = _path(key)
            if name in names_at(tuple(table)):
                return None
            raise Failure(
                f"there is no setting {key}", Exit.FAILED, next_step="see them all: hub config show"
            )
        here = here[part]
    return here


def _origin(told: Mapping[str, Any], key: str) -> str:
    """Where the value of *key*, or the whole that it is part of, was given."""
    origins: Mapping[str, str] = told["origins"]
    while key:
        if key in origins:
            return origins[key]
        key = key.rpartition(".")[0]
    return DEFAULT


def _shown(value: Any) -> str:
    """A value as TOML has it."""
    import tomlkit

    shown: str = tomlkit.item(value).as_string()
    return shown


def _plain(value: Any) -> Any:
    """A value that JSON can bear; a date becomes its text."""
    return value if isinstance(value, str | int | float | bool | list | dict) else str(value)

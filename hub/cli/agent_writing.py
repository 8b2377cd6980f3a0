"""Agents made, changed, removed and looked over: ``hub agents create | edit | delete | validate``."""

import json
import tomllib
from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar
from urllib.parse import quote

import click

from hub.cli import show
from hub.cli.completion import agent_names
from hub.cli.failure import Exit, Failure
from hub.cli.options import example, hub_option, json_option
from hub.cli.talk import talk

Command = TypeVar("Command", bound=Callable[..., Any])

_FILE: Final = click.Path(exists=True, dir_okay=False, path_type=Path)
_FIELDS: Final = ("device", "prompt", "template", "schedule", "timezone", "description")
_LISTS: Final = {"path": "paths", "extension": "file_extensions", "data_type": "data_types"}


def _said_option(command: Command) -> Command:
    """All that says what an agent is."""
    for option in (
        click.option("--config", multiple=True, metavar="KEY=VALUE", help="One of its configs."),
        click.option(
            "--set",
            "sets",
            multiple=True,
            metavar="KEY=VALUE",
            help="Any other key of [[agents]]; the value is JSON, or a text as it is.",
        ),
        click.option("--description", metavar="TEXT", help="What it is for, for people."),
        click.option("--timezone", metavar="ZONE", help="Where its schedule's time of day is meant."),
        click.option("--schedule", metavar="CRON", help='When it runs by itself, as in "0 9 * * 1-5".'),
        click.option("--template", metavar="NAME", help="The template it is made from."),
        click.option("--prompt", metavar="TEXT", help="What the model is asked to find."),
        click.option("--data-type", multiple=True, metavar="TABLE", help="A kind of record it finds."),
        click.option("--extension", multiple=True, metavar=".EXT", help="Which files it reads."),
        click.option("--path", multiple=True, metavar="PATH", help="What it reads on the device."),
        click.option("--device", metavar="NAME", help="The device it works on."),
        click.option(
            "--file", type=_FILE, metavar="FILE", help="A TOML or JSON table, as one of [[agents]]."
        ),
    ):
        command = option(command)
    return command


@click.command("create", epilog=example("hub agents create notes --device desk --path notes"))
@click.argument("name", shell_complete=agent_names)
@_said_option
@click.option("--paused", is_flag=True, help="It does not work before: hub agents resume NAME.")
@hub_option
@json_option
def create(name: str, paused: bool, state: Path, as_json: bool, **given: Any) -> None:
    """Create an agent in addition to those of hub.toml."""
    body = {"name": name, **_said(given)} | ({"start": False} if paused else {})
    with talk(state) as hub:
        made = hub.post("/v1/agents", body)
    if as_json:
        show.print_json("agent", made)
        return
    show.say(f"agent {made['name']} on {made['device']} is {made['lifecycle']}")
    follows = f"hub agents resume {name}" if paused else f"hub run {name}"
    show.say(f"look at it: hub agents show {name}; let it work: {follows}")


@click.command("edit", epilog=example("hub agents edit notes --schedule '0 7 * * *'"))
@click.argument("name", shell_complete=agent_names)
@_said_option
@click.option("--unset", multiple=True, metavar="KEY", help="A key that it is to have no longer.")
@hub_option
@json_option
def edit(name: str, unset: tuple[str, ...], state: Path, as_json: bool, **given: Any) -> None:
    """Change an agent; options that are left out stay as they are."""
    changes = _said(given) | dict.fromkeys(unset)
    if not changes:
        raise Failure("nothing to change", Exit.USAGE, next_step="say what: hub agents edit --help")
    with talk(state) as hub:
        changed = hub.patch(_path(name), changes)
    if as_json:
        show.print_json("agent", changed)
    else:
        show.say(f"agent {changed['name']} is changed; its runs from now on are made so")


@click.command("delete", epilog=example("hub agents delete notes --yes"))
@click.argument("name", shell_complete=agent_names)
@click.option("--yes", is_flag=True, help="Do not ask.")
@hub_option
@json_option
def delete(name: str, yes: bool, state: Path, as_json: bool) -> None:
    """Pause an agent and archive it. Its waiting runs are cancelled, its history stays."""
    with talk(state) as hub:
        if not yes:
            show.confirm(f"remove agent {name}, and cancel its runs that wait?")
        removed = hub.delete(_path(name))
    if as_json:
        show.print_json("agent", removed)
    else:
        show.say(f"agent {name} is removed; an agent of its name has its history again")


@click.command("validate", epilog=example("hub agents validate notes"))
@click.argument("name", required=False, shell_complete=agent_names)
@click.option("--template", metavar="NAME", help="Judge a template, and all agents that are made from it.")
@click.option(
    "--file", type=_FILE, metavar="FILE", help="What that template is to say; by default what it says."
)
@hub_option
@json_option
def validate(name: str | None, template: str | None, file: Path | None, state: Path, as_json: bool) -> None:
    """List the agents that do not match their template. Changes nothing.

    Of all agents, of agent NAME, or of those of a template, as it is or as FILE would have it.
    """
    if (file is not None and template is None) or (name is not None and template is not None):
        raise Failure("--file says what --template NAME is to be", Exit.USAGE)
    with talk(state) as hub:
        if template is not None:
            body = None if file is None else table_in(file)
            verdicts = {
                f"template {template}": hub.post(f"/v1/templates/{quote(template, safe='')}/validate", body)
            }
        else:
            names = [name] if name else [one["name"] for one in hub.get_all("/v1/agents", "agents")["agents"]]
            verdicts = {f"agent {one}": hub.post(f"{_path(one)}/validate") for one in names}
    wrong = [
        *(f"{who}: {problem}" for who, told in verdicts.items() for problem in told["problems"]),
        *(
            f"agent {one['agent']} of {one['user']}: {problem}"
            for told in verdicts.values()
            for one in told["broken"]
            for problem in one["problems"]
        ),
    ]
    if as_json:
        show.print_json("validate", {"ok": not wrong, "verdicts": verdicts})
    else:
        for line in wrong:
            show.out(line)
        show.say(f"{len(verdicts)} looked at, {len(wrong) or 'no'} problem{'s' if len(wrong) != 1 else ''}")
    if wrong:
        raise click.exceptions.Exit(Exit.FAILED)


def table_in(file: Path) -> dict[str, Any]:
    """The table in a TOML or JSON file.

    Raises:
        Failure: there is none.
    """
    try:
        text = file.read_text("utf-8")
        told = json.loads(text) if file.suffix == ".json" else tomllib.loads(text)
    except (OSError, ValueError) as error:
        raise Failure(f"cannot read {file}: {error}", Exit.USAGE) from error
    if not isinstance(told, dict):
        raise Failure(f"{file} has no table", Exit.USAGE)
    return {key: _plain(value) for key, value in told.items()}


def _plain(value: Any) -> Any:
    """Points in time as text, which JSON has."""
    match value:
        case dict():
            return {key: _plain(inner) for key, inner in value.items()}
        case list():
            return [_plain(inner) for inner in value]
        case date():
            return value.isoformat()
    return value


def _said(given: Mapping[str, Any]) -> dict[str, Any]:
    """What the options say of an agent; each goes before what stands in the file."""
    said = {} if given["file"] is None else table_in(given["file"])
    said |= {key: given[key] for key in _FIELDS if given[key] is not None}
    said |= {key: list(given[option]) for option, key in _LISTS.items() if given[option]}
    said |= _pairs("--set", given["sets"])
    if given["config"]:
        said["config"] = said.get("config", {}) | _pairs("--config", given["config"])
    return said


def _pairs(option: str, given: tuple[str, ...]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for pair in given:
        key, sign, value = pair.partition("=")
        if not key or not sign:
            raise Failure(f"{option} {pair}: expected KEY=VALUE", Exit.USAGE)
        try:
            found[key] = json.loads(value, parse_constant=_no_number)
        except ValueError:
            found[key] = value
    return found


def _no_number(told: str) -> NoReturn:
    """NaN and its like are no JSON. Raises ValueError."""
    raise ValueError(told)


def _path(name: str) -> str:
    return f"/v1/agents/{quote(name, safe='')}"

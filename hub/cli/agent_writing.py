"""Commands ``hub agents create | edit | delete | validate``."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar
from urllib.parse import quote

import click

from hub.cli import show
from hub.cli.completion import agent_names
from hub.cli.failure import Exit, Failure
from hub.cli.options import example, hub_option, json_option
from hub.cli.talk import talk
from hub.cli.values import table_in

Command = TypeVar("Command", bound=Callable[..., Any])

_FILE: Final = click.Path(exists=True, dir_okay=False, path_type=Path)
_FIELDS: Final = ("device", "prompt", "template", "schedule", "timezone", "description")
_LISTS: Final = {"path": "paths", "extension": "file_extensions", "data_type": "data_types"}


def _agent_options(command: Command) -> Command:
    """Add the options that describe an agent."""
    for option in (
        click.option(
            "--config",
            multiple=True,
            metavar="KEY=VALUE",
            help="A config of the agent; may be given several times.",
        ),
        click.option(
            "--set",
            "sets",
            multiple=True,
            metavar="KEY=VALUE",
            help="Any other key of [[agents]]; VALUE is JSON or plain text.",
        ),
        click.option("--description", metavar="TEXT", help="Description of the agent."),
        click.option("--timezone", metavar="ZONE", help="Time zone of its schedule, as in Europe/Berlin."),
        click.option("--schedule", metavar="CRON", help='Schedule of its runs, as in "0 9 * * 1-5".'),
        click.option("--template", metavar="NAME", help="Template of the agent."),
        click.option("--prompt", metavar="TEXT", help="Prompt: what the model is to find."),
        click.option(
            "--data-type", multiple=True, metavar="TABLE", help="Table of records to find, as in tasks."
        ),
        click.option(
            "--extension", multiple=True, metavar=".EXT", help="Extension of files to read, as in .md."
        ),
        click.option("--path", multiple=True, metavar="PATH", help="Path to read on the device."),
        click.option("--device", metavar="NAME", help="Device that the agent works on."),
        click.option(
            "--file", type=_FILE, metavar="FILE", help="TOML or JSON file with a table as in [[agents]]."
        ),
    ):
        command = option(command)
    return command


@click.command("create", epilog=example("hub agents create notes --device desk --path notes"))
@click.argument("name", shell_complete=agent_names)
@_agent_options
@click.option("--paused", is_flag=True, help="Create it paused; start it later: hub agents resume NAME.")
@hub_option
@json_option
def create(name: str, paused: bool, state: Path, as_json: bool, **options: Any) -> None:
    """Create an agent in addition to those of hub.toml."""
    body = {"name": name, **_fields(options)} | ({"start": False} if paused else {})
    with talk(state) as hub:
        made = hub.post("/v1/agents", body)
    if as_json:
        show.print_json("agent", made)
        return
    show.say(f"agent {made['name']} on {made['device']} is {made['lifecycle']}")
    follows = f"hub agents resume {name}" if paused else f"hub run {name}"
    show.say(f"show it: hub agents show {name}; start it: {follows}")


@click.command("edit", epilog=example("hub agents edit notes --schedule '0 7 * * *'"))
@click.argument("name", shell_complete=agent_names)
@_agent_options
@click.option("--unset", multiple=True, metavar="KEY", help="Key to remove; may be given several times.")
@hub_option
@json_option
def edit(name: str, unset: tuple[str, ...], state: Path, as_json: bool, **options: Any) -> None:
    """Change an agent; options that are left out stay as they are."""
    changes = _fields(options) | dict.fromkeys(unset)
    if not changes:
        raise Failure(
            "nothing to change",
            Exit.USAGE,
            next_step="give an option for each change: hub agents edit --help",
        )
    with talk(state) as hub:
        changed = hub.patch(_path(name), changes)
    if as_json:
        show.print_json("agent", changed)
    else:
        show.say(f"agent {changed['name']} is changed; new runs use the change")


@click.command("validate", epilog=example("hub agents validate notes"))
@click.argument("name", required=False, shell_complete=agent_names)
@click.option("--template", metavar="NAME", help="Validate a template and all agents that use it.")
@click.option(
    "--file", type=_FILE, metavar="FILE", help="New content of the template [default: its present content]."
)
@hub_option
@json_option
def validate(name: str | None, template: str | None, file: Path | None, state: Path, as_json: bool) -> None:
    """List the agents that do not match their template. Changes nothing.

    Checks all agents, agent NAME, or the agents of a template: with its present content, or with FILE's.
    """
    if (file is not None and template is None) or (name is not None and template is not None):
        raise Failure(
            "--file needs --template, and --template takes no agent NAME",
            Exit.USAGE,
            next_step="hub agents validate NAME, or: hub agents validate --template NAME --file FILE",
        )
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
        *(f"{who}: {problem}" for who, verdict in verdicts.items() for problem in verdict["problems"]),
        *(
            f"agent {one['agent']} of {one['user']}: {problem}"
            for verdict in verdicts.values()
            for one in verdict["broken"]
            for problem in one["problems"]
        ),
    ]
    if as_json:
        show.print_json("validate", {"ok": not wrong, "verdicts": verdicts})
    else:
        for line in wrong:
            show.out(line)
        show.say(f"{len(verdicts)} checked, {len(wrong) or 'no'} problem{'s' if len(wrong) != 1 else ''}")
    if wrong:
        raise click.exceptions.Exit(Exit.FAILED)


def _fields(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of an agent; options override the fields of the file."""
    fields = {} if options["file"] is None else table_in(options["file"])
    fields |= {key: options[key] for key in _FIELDS if options[key] is not None}
    fields |= {key: list(options[option]) for option, key in _LISTS.items() if options[option]}
    fields |= _pairs("--set", options["sets"])
    if options["config"]:
        fields["config"] = fields.get("config", {}) | _pairs("--config", options["config"])
    return fields


def _pairs(option: str, pairs: tuple[str, ...]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for pair in pairs:
        key, sign, value = pair.partition("=")
        if not key or not sign:
            raise Failure(f"{option} {pair}: expected KEY=VALUE", Exit.USAGE)
        try:
            found[key] = json.loads(value, parse_constant=_no_number)
        except ValueError:
            found[key] = value
    return found


def _no_number(constant: str) -> NoReturn:
    """Reject NaN and Infinity: Python's parser accepts them, JSON does not. Raises ValueError."""
    raise ValueError(constant)


def _path(name: str) -> str:
    return f"/v1/agents/{quote(name, safe='')}"

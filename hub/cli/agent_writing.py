"""Commands that write agents: create, edit, validate, and their configs."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar

import click

from hub.cli import show
from hub.cli.declared import GIVEN
from hub.cli.failure import Exit, Failure
from hub.cli.formats import changed, config_value
from hub.cli.options import (
    NAME,
    FilePath,
    ListOfOne,
    example,
    hub_option,
    json_option,
    machine_zone,
    table_in,
)
from hub.cli.talk import Responses, Talk, agent_names, hub_command, path_of, talk

Command = TypeVar("Command", bound=Callable[..., Any])

CONFIG_TYPES: Final = ("string", "integer", "float", "boolean", "json")  # as in protocol.configs.ConfigType
_FILE: Final = FilePath(exists=True, dir_okay=False)
_FIELDS: Final = ("title", "device", "prompt", "template", "schedule", "timezone", "description")
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
        click.option("--title", metavar="TEXT", help="Name for people, with blanks."),
        click.option("--description", metavar="TEXT", help="Description of the agent."),
        click.option(
            "--timezone", metavar="ZONE", help="Time zone of schedule and dates, as in Europe/Berlin."
        ),
        click.option("--schedule", metavar="CRON", help='Schedule of its runs, as in "0 9 * * 1-5".'),
        click.option("--template", type=NAME, metavar="NAME", help="Template of the agent."),
        click.option("--prompt", metavar="TEXT", help="Prompt: what the model is to find."),
        click.option(
            "--data-type", multiple=True, metavar="TABLE", help="Table of records to find, as in tasks."
        ),
        click.option(
            "--extension", multiple=True, metavar=".EXT", help="Extension of files to read, as in .md."
        ),
        click.option("--path", multiple=True, metavar="PATH", help="Path to read on the device."),
        click.option("--device", type=NAME, metavar="NAME", help="Device that the agent works on."),
        click.option(
            "--file", type=_FILE, metavar="FILE", help="TOML or JSON file with a table as in [[agents]]."
        ),
    ):
        command = option(command)
    return command


@click.command(
    "create",
    epilog=example(
        "hub agents create notes --device desk --path notes --data-type tasks --prompt 'Find tasks.'"
    ),
)
@click.argument("name", shell_complete=agent_names)
@_agent_options
@click.option("--paused", is_flag=True, help="Create it paused; start it later: hub agents resume NAME.")
@hub_command
def create(hub: Talk, name: str, paused: bool, **options: Any) -> Responses:
    """Create an agent in addition to those of hub.toml.

    Only runs need a device, a path or a mailbox, a data type and a prompt. Without --timezone, it
    uses the time zone of the machine where the command is typed.
    """
    asked = {"name": name, "timezone": machine_zone()[0], **_fields(options)}
    made = hub.post("/v1/agents", asked | ({"start": False} if paused else {}))
    yield "agent", made
    place = f" on {made['device']}" if made["device"] else ""
    show.report(f"agent {made['name']}{place} is {made['lifecycle']}")
    follows = f"start it: hub run {name}"
    if paused:
        follows = f"start it: hub agents resume {name}"
    elif not made["device"]:
        follows = f"report that it is online: hub agents heartbeat {name}"
    show.report(f"show it: hub agents show {name}; {follows}")


@click.command("edit", epilog=example("hub agents edit notes --schedule '0 7 * * *'"))
@click.argument("name", shell_complete=agent_names)
@_agent_options
@click.option("--unset", multiple=True, metavar="KEY", help="Key to remove; may be given several times.")
@hub_command
def edit(hub: Talk, name: str, unset: tuple[str, ...], **options: Any) -> Responses:
    """Change an agent; options that are left out stay as they are."""
    changes = _fields(options) | dict.fromkeys(unset)
    if not changes:
        raise Failure(
            "nothing to change",
            Exit.USAGE,
            next_step="give an option for each change: hub agents edit --help",
        )
    changed = hub.send("PATCH", path_of("agents", name), body=changes)
    yield "agent", changed
    show.report(f"agent {changed['name']} is changed; new runs use the change")


@click.command("validate", epilog=example("hub agents validate notes"))
@click.argument("name", required=False, shell_complete=agent_names)
@click.option("--template", type=NAME, metavar="NAME", help="Validate a template and all agents that use it.")
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
            verdicts = {f"template {template}": hub.post(path_of("templates", template, "validate"), body)}
        else:
            names = [name] if name else [one["name"] for one in hub.get_all("/v1/agents", "agents")["agents"]]
            verdicts = {f"agent {one}": hub.post(path_of("agents", one, "validate")) for one in names}
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
        for who, verdict in verdicts.items():
            if verdict["missing_for_runs"]:
                show.report(f"{who}: runs cannot start without {', '.join(verdict['missing_for_runs'])}")
        show.report(f"{len(verdicts)} checked, {len(wrong) or 'no'} problem{'s' if len(wrong) != 1 else ''}")
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


@click.group("config", cls=ListOfOne, epilog=example("hub agents config notes"))
@click.argument("name", shell_complete=agent_names)
@click.pass_context
def config(ctx: click.Context, name: str) -> None:
    """List, get, set, unset and revert the configs of an agent."""
    ctx.meta[GIVEN] = {"name": name}


@config.command("ls", epilog=example("hub agents config notes ls"))
@hub_command
def list_configs(hub: Talk) -> Responses:
    """List the configs, and the defaults of the agent's template."""
    response = hub.get(_config_path())
    yield "agent_config", response
    rows = [
        (one["key"], one["type"], config_value(one["value"]), show.origin(one["source"]), one["description"])
        for one in response["configs"]
    ]
    own = {one["key"] for one in response["configs"]}
    rows += [
        (key, show.NOTHING, config_value(value), "template", None)
        for key, value in response["configuration"].items()
        if key not in own
    ]
    show.print_table(("config", "type", "value", "source", "description"), rows)
    if not rows:
        show.report(f"no configs; set one: hub agents config {response['agent']} set KEY=VALUE")


@config.command("get", epilog=example("hub agents config notes get language"))
@click.argument("key", type=NAME)
@hub_command
def get(hub: Talk, key: str) -> Responses:
    """Print the value of KEY: texts as they are, all other types as JSON."""
    response = hub.get(_config_path())
    if key not in response["configuration"]:
        raise Failure(
            f"agent {response['agent']} has no config {key!r}",
            Exit.FAILED,
            next_step=f"list its configs: hub agents config {response['agent']} ls",
        )
    value = response["configuration"][key]
    yield "agent_config_value", {"agent": response["agent"], "key": key, "value": value}
    show.out(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


@config.command("set", epilog=example("hub agents config notes set language=en"))
@click.argument("assignments", nargs=-1, required=True, metavar="KEY=VALUE...")
@click.option("--type", "type_name", type=click.Choice(CONFIG_TYPES), help="Type of the values.")
@click.option("--description", metavar="TEXT", help="Description of the configs.")
@hub_command
def put(hub: Talk, assignments: Sequence[str], type_name: str | None, description: str | None) -> Responses:
    """Set configs, all or none.

    Without --type, a known config keeps its type. A new config is a number, a boolean or JSON
    if VALUE can be read as such, and text otherwise.
    """
    present = hub.get(_config_path())
    known = {one["key"]: one["type"] for one in present["configs"]}
    configs = {}
    for assignment in assignments:
        key, _, text = assignment.partition("=")
        if not key or "=" not in assignment:
            raise Failure(
                f"invalid assignment {assignment!r}: expected KEY=VALUE",
                Exit.USAGE,
                next_step=f"as in: hub agents config {present['agent']} set language=en",
            )
        configs[key] = _config(key, text, type_name or known.get(key), description)
    yield from _changed(hub.send("PATCH", _config_path(), body={"configs": configs}))


@config.command("unset", epilog=example("hub agents config notes unset language"))
@click.argument("keys", nargs=-1, required=True, metavar="KEY...")
@hub_command
def unset(hub: Talk, keys: Sequence[str]) -> Responses:
    """Remove configs, all or none; defaults of the template apply again."""
    yield from _changed(hub.send("PATCH", _config_path(), body={"unset": list(dict.fromkeys(keys))}))


def _changed(response: Mapping[str, Any]) -> Responses:
    yield "agent_config_changed", response
    show.report(f"agent {response['agent']}: {changed(response['changed'])}; revision {response['rev']}")


def _config(key: str, text: str, type: str | None, description: str | None) -> dict[str, Any]:
    from protocol.configs import BadConfig, ConfigType, parse_value

    try:
        value = _guessed(text) if type is None else parse_value(key, ConfigType(type), text)
    except BadConfig as bad:
        raise Failure(str(bad), Exit.USAGE, next_step="choose another type: --type") from bad
    about = {"type": type, "description": description}
    return {"value": value} | {name: text for name, text in about.items() if text is not None}


def _guessed(text: str) -> Any:
    """Parse *text* as JSON. Return *text* itself if it is not JSON, or a JSON string."""
    try:
        value = json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError):
        return text
    return text if isinstance(value, str) else value


def _config_path() -> str:
    """Return the path of the configs of the agent that the group's argument names."""
    return path_of("agents", click.get_current_context().meta[GIVEN]["name"], "config")

"""Commands on the configs of an agent: list, get, set, unset, history, revert."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import click

from hub.cli import show
from hub.cli.completion import agent_names
from hub.cli.declared import GIVEN
from hub.cli.failure import Exit, Failure
from hub.cli.options import ListOfOne, example, hub_option, json_option
from hub.cli.talk import talk
from protocol.configs import BadConfig, ConfigType, parse_value

VALUE_WIDTH: Final = 60  # characters of a value in a table


@click.group("config", cls=ListOfOne, epilog=example("hub agents config notes"))
@click.argument("name", shell_complete=agent_names)
@click.pass_context
def config(ctx: click.Context, name: str) -> None:
    """List, get, set, unset and revert the configs of an agent."""
    ctx.meta[GIVEN] = {"name": name}


@config.command("ls", epilog=example("hub agents config notes ls"))
@hub_option
@json_option
@click.pass_context
def list_configs(ctx: click.Context, state: Path, as_json: bool) -> None:
    """List the configs, and the defaults of the agent's template."""
    name = ctx.meta[GIVEN]["name"]
    with talk(state) as hub:
        response = hub.get(_path(name))
    if as_json:
        show.print_json("agent_config", response)
        return
    rows = [
        (one["key"], one["type"], _short(one["value"]), show.origin(one["source"]), one["description"])
        for one in response["configs"]
    ]
    own = {one["key"] for one in response["configs"]}
    rows += [
        (key, show.NOTHING, _short(value), "template", None)
        for key, value in response["configuration"].items()
        if key not in own
    ]
    show.print_table(("config", "type", "value", "source", "description"), rows)
    if not rows:
        show.say(f"no configs; set one: hub agents config {name} set KEY=VALUE")


@config.command("get", epilog=example("hub agents config notes get language"))
@click.argument("key")
@hub_option
@json_option
@click.pass_context
def get(ctx: click.Context, key: str, state: Path, as_json: bool) -> None:
    """Print the value of KEY: texts as they are, all other types as JSON."""
    with talk(state) as hub:
        response = hub.get(_path(ctx.meta[GIVEN]["name"]))
    if key not in response["configuration"]:
        raise Failure(
            f"agent {response['agent']} has no config {key!r}",
            Exit.FAILED,
            next_step=f"list its configs: hub agents config {response['agent']} ls",
        )
    value = response["configuration"][key]
    if as_json:
        show.print_json("agent_config_value", {"agent": response["agent"], "key": key, "value": value})
    else:
        show.out(_formatted(value))


@config.command("set", epilog=example("hub agents config notes set language=en"))
@click.argument("assignments", nargs=-1, required=True, metavar="KEY=VALUE...")
@click.option(
    "--type", "type_name", type=click.Choice(list(map(str, ConfigType))), help="Type of the values."
)
@click.option("--description", metavar="TEXT", help="Description of the configs.")
@hub_option
@json_option
@click.pass_context
def put(
    ctx: click.Context,
    assignments: Sequence[str],
    type_name: str | None,
    description: str | None,
    state: Path,
    as_json: bool,
) -> None:
    """Set configs, all or none.

    Without --type, a known config keeps its type. A new config is a number, a boolean or JSON
    if VALUE can be read as such, and text otherwise.
    """
    name = ctx.meta[GIVEN]["name"]
    with talk(state) as hub:
        known = {one["key"]: one["type"] for one in hub.get(_path(name))["configs"]}
        configs = {}
        for assignment in assignments:
            key, _, text = assignment.partition("=")
            if not key or "=" not in assignment:
                raise Failure(
                    f"invalid assignment {assignment!r}: expected KEY=VALUE",
                    Exit.USAGE,
                    next_step=f"as in: hub agents config {name} set language=en",
                )
            configs[key] = _config(key, text, type_name or known.get(key), description)
        response = hub.patch(_path(name), {"configs": configs})
    _print_result(response, as_json=as_json)


@config.command("unset", epilog=example("hub agents config notes unset language"))
@click.argument("keys", nargs=-1, required=True, metavar="KEY...")
@hub_option
@json_option
@click.pass_context
def unset(ctx: click.Context, keys: Sequence[str], state: Path, as_json: bool) -> None:
    """Remove configs, all or none; defaults of the template apply again."""
    with talk(state) as hub:
        response = hub.patch(_path(ctx.meta[GIVEN]["name"]), {"unset": list(dict.fromkeys(keys))})
    _print_result(response, as_json=as_json)


def _config(key: str, text: str, type: str | None, description: str | None) -> dict[str, Any]:
    try:
        value = _guessed(text) if type is None else parse_value(key, ConfigType(type), text)
    except BadConfig as bad:
        raise Failure(str(bad), Exit.USAGE, next_step="choose another type: --type") from bad
    config: dict[str, Any] = {"value": value}
    if type is not None:
        config["type"] = type
    if description is not None:
        config["description"] = description
    return config


def _guessed(text: str) -> Any:
    """Parse *text* as JSON. Return *text* itself if it is not JSON, or a JSON string."""
    try:
        value = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return text
    return text if isinstance(value, str) else value


def _refuse(constant: str) -> Any:
    """Reject NaN and Infinity: Python's parser accepts them, JSON does not. Raises ValueError."""
    raise ValueError(constant)


def _print_result(response: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        show.print_json("agent_config_changed", response)
    elif response["changed"]:
        show.say(
            f"agent {response['agent']}: changed {', '.join(response['changed'])}; revision {response['rev']}"
        )
    else:
        show.say(f"agent {response['agent']}: nothing changed; revision {response['rev']}")


def _formatted(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _short(value: Any) -> str:
    text = _formatted(value)
    return text if len(text) <= VALUE_WIDTH else f"{text[: VALUE_WIDTH - 3]}..."


def _agent(name: str) -> str:
    return f"/v1/agents/{quote(name, safe='')}"


def _path(name: str) -> str:
    return f"{_agent(name)}/config"

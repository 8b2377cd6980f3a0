"""Commands on the capabilities of an agent: list, register, remove."""

from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import click

from hub.cli import show
from hub.cli.completion import agent_names
from hub.cli.options import ListOfOne, example, hub_option, json_option
from hub.cli.talk import talk
from hub.cli.values import object_option

_NAME: Final = "hub.agent"  # key of ctx.meta: the agent whose capabilities are meant


@click.group("capabilities", cls=ListOfOne, epilog=example("hub agents capabilities notes"))
@click.argument("name", shell_complete=agent_names)
@click.pass_context
def capabilities(ctx: click.Context, name: str) -> None:
    """List, register and remove the capabilities of an agent."""
    ctx.meta[_NAME] = name


@capabilities.command("ls", epilog=example("hub agents capabilities notes ls"))
@hub_option
@json_option
@click.pass_context
def list_capabilities(ctx: click.Context, state: Path, as_json: bool) -> None:
    """List the capabilities by name, the newest version first."""
    with talk(state) as hub:
        response = hub.get(_path(ctx))
    if as_json:
        show.print_json("capabilities", response)
        return
    show.print_table(
        ("capability", "version", "enabled", "source", "description"),
        (
            (one["name"], one["version"], one["enabled"], show.origin(one["source"]), one["description"])
            for one in response["capabilities"]
        ),
    )
    if not response["capabilities"]:
        name = ctx.meta[_NAME]
        show.say(
            f"no capabilities except its device's; register one: hub agents capabilities {name} put --help"
        )


@capabilities.command("put", epilog=example("hub agents capabilities notes put file.read 1.2.0 --enable"))
@click.argument("capability")
@click.argument("version")
@click.option(
    "--enable/--disable",
    "enabled",
    default=None,
    help="Enable this version, or not [default: if it is the newest].",
)
@object_option("--config", help="Configuration of the capability, as JSON.")
@click.option("--description", metavar="TEXT", help="Description of the capability.")
@hub_option
@json_option
@click.pass_context
def put(
    ctx: click.Context,
    capability: str,
    version: str,
    enabled: bool | None,
    config: dict[str, Any] | None,
    description: str | None,
    state: Path,
    as_json: bool,
) -> None:
    """Register CAPABILITY in VERSION. Enabling it disables its other versions."""
    body = {"enabled": enabled, "config": config or {}, "description": description}
    with talk(state) as hub:
        response = hub.put(_path(ctx, capability, version), body)
    if as_json:
        show.print_json("capability", response)
        return
    is_now = "enabled" if response["capability"]["enabled"] else "not enabled"
    instead = f"; replaces {response['disabled']}" if response["disabled"] else ""
    show.say(f"{capability} {response['capability']['version']} is {is_now}{instead}")


@capabilities.command("rm", epilog=example("hub agents capabilities notes rm file.read 1.2.0"))
@click.argument("capability")
@click.argument("version", required=False)
@hub_option
@json_option
@click.pass_context
def remove(ctx: click.Context, capability: str, version: str | None, state: Path, as_json: bool) -> None:
    """Remove CAPABILITY in VERSION, or in all its versions."""
    with talk(state) as hub:
        response = hub.delete(_path(ctx, *filter(None, (capability, version))))
    if as_json:
        show.print_json("capabilities_removed", response)
    else:
        removed = ", ".join(f"{one['name']} {one['version']}" for one in response["removed"])
        show.say(f"removed: {removed}")


def _path(ctx: click.Context, *parts: str) -> str:
    named = (ctx.meta[_NAME], "capabilities", *parts)
    return "/v1/agents/" + "/".join(quote(part, safe="") for part in named)

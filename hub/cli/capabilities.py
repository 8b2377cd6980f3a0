"""What an agent can do: listed, registered, removed."""

from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import click

from hub.cli import show
from hub.cli.completion import agent_names
from hub.cli.options import ListOfOne, example, hub_option, json_option
from hub.cli.talk import talk
from hub.cli.values import object_option

_NAME: Final = "hub.agent"  # in the context: whose capabilities are meant


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
        told = hub.get(_path(ctx))
    if as_json:
        show.print_json("capabilities", told)
        return
    show.print_table(
        ("capability", "version", "enabled", "from", "about"),
        (
            (one["name"], one["version"], one["enabled"], show.origin(one["source"]), one["description"])
            for one in told["capabilities"]
        ),
    )
    if not told["capabilities"]:
        name = ctx.meta[_NAME]
        show.say(f"none beside what its device can do; register one: hub agents capabilities {name} put")


@capabilities.command("put", epilog=example("hub agents capabilities notes put file.read 1.2.0 --enable"))
@click.argument("capability")
@click.argument("version")
@click.option("--enable/--disable", "enabled", default=None, help="By default the newest version is enabled.")
@object_option("--config", help="What its program knows it by, as JSON.")
@click.option("--description", metavar="TEXT", help="What it is, for people.")
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
    wanted = {"enabled": enabled, "config": config or {}, "description": description}
    with talk(state) as hub:
        told = hub.put(_path(ctx, capability, version), wanted)
    if as_json:
        show.print_json("capability", told)
        return
    is_now = "enabled" if told["capability"]["enabled"] else "not enabled"
    instead = f", in the place of {told['disabled']}" if told["disabled"] else ""
    show.say(f"{capability} {told['capability']['version']} is {is_now}{instead}")


@capabilities.command("rm", epilog=example("hub agents capabilities notes rm file.read 1.2.0"))
@click.argument("capability")
@click.argument("version", required=False)
@hub_option
@json_option
@click.pass_context
def remove(ctx: click.Context, capability: str, version: str | None, state: Path, as_json: bool) -> None:
    """Remove CAPABILITY in VERSION, or in all its versions."""
    with talk(state) as hub:
        told = hub.delete(_path(ctx, *filter(None, (capability, version))))
    if as_json:
        show.print_json("capabilities_removed", told)
    else:
        gone = ", ".join(f"{one['name']} {one['version']}" for one in told["removed"])
        show.say(f"removed: {gone}")


def _path(ctx: click.Context, *parts: str) -> str:
    named = (ctx.meta[_NAME], "capabilities", *parts)
    return "/v1/agents/" + "/".join(quote(part, safe="") for part in named)

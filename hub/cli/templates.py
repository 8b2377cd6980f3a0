"""Commands on the templates of agents: list, show, write, remove."""

import json
from pathlib import Path
from typing import Final
from urllib.parse import quote

import click

from hub.cli import show
from hub.cli.agent_writing import table_in
from hub.cli.completion import template_names
from hub.cli.options import ListByDefault, example, hub_option, json_option
from hub.cli.talk import talk

_FILE: Final = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group(cls=ListByDefault, epilog=example("hub templates show mail"))
def templates() -> None:
    """List, show, write and remove the templates of agents."""


@templates.command("ls", epilog=example("hub templates ls"))
@hub_option
@json_option
def list_templates(state: Path, as_json: bool) -> None:
    """List the templates, with the agents that use them."""
    with talk(state) as hub:
        response = hub.get_all("/v1/templates", "templates")
    if as_json:
        show.print_json("templates", response)
        return
    show.print_table(
        ("template", "type", "agents", "source", "version", "description"),
        (
            (
                one["name"],
                one["type"],
                len(one["agents"]),
                show.origin(one["source"]),
                one["version"],
                one["description"],
            )
            for one in response["templates"]
        ),
    )
    if not response["templates"]:
        show.say("no templates; write one: hub templates put NAME --file FILE, or [[templates]] in hub.toml")


@templates.command("show", epilog=example("hub templates show mail"))
@click.argument("name", shell_complete=template_names)
@hub_option
@json_option
def show_template(name: str, state: Path, as_json: bool) -> None:
    """Show a template: schema, defaults and prompt."""
    with talk(state) as hub:
        response = hub.get(_path(name))
    if as_json:
        show.print_json("template", response)
        return
    show.print_facts(
        {
            "template": response["name"],
            "description": response["description"],
            "type": response["type"],
            "managed by": show.origin(response["source"]),
            "version": response["version"],
            "agents": response["agents"] or "none",
            "prompt": response["prompt"],
            "defaults": json.dumps(response["default_configuration"], ensure_ascii=False),
            "schema": json.dumps(response["configuration_schema"], ensure_ascii=False),
        }
    )


@templates.command("put", epilog=example("hub templates put mail --file mail.toml"))
@click.argument("name", shell_complete=template_names)
@click.option(
    "--file",
    required=True,
    type=_FILE,
    metavar="FILE",
    help="TOML or JSON file with a table as in [[templates]].",
)
@click.option(
    "--force", is_flag=True, help="Write it even if agents do not match it; they get the status error."
)
@hub_option
@json_option
def put(name: str, file: Path, force: bool, state: Path, as_json: bool) -> None:
    """Write a template, new or in place of the one of that name.

    Refuses a template that its agents do not match, and names each agent.
    Check it first: hub agents validate --template NAME --file FILE.
    """
    with talk(state) as hub:
        response = hub.put(f"{_path(name)}{'?force=true' if force else ''}", table_in(file))
    if as_json:
        show.print_json("template", response)
    else:
        used = len(response["agents"])
        agents = f"{used} agent{'' if used == 1 else 's'}"
        show.say(f"template {name} is at version {response['version']}, used by {agents}")


@templates.command("rm", epilog=example("hub templates rm mail"))
@click.argument("name", shell_complete=template_names)
@hub_option
@json_option
def remove(name: str, state: Path, as_json: bool) -> None:
    """Remove a template that no agent uses."""
    with talk(state) as hub:
        response = hub.delete(_path(name))
    if as_json:
        show.print_json("template", response)
    else:
        show.say(f"template {name} is removed")


def _path(name: str) -> str:
    return f"/v1/templates/{quote(name, safe='')}"

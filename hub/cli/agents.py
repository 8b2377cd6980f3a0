"""Commands on agents."""

from pathlib import Path
from urllib.parse import quote

import click

from hub.cli import show
from hub.cli.options import json_option, state_option
from hub.cli.talk import talk


@click.command()
@click.argument("name", required=False)
@state_option
@json_option
def agents(name: str | None, state: Path, as_json: bool) -> None:
    """List the agents, or show one."""
    with talk(state) as hub:
        told = hub.get("/v1/agents" if name is None else f"/v1/agents/{quote(name, safe='')}")
    if as_json:
        show.print_json("agents" if name is None else "agent", told)
    elif name is not None:
        _show_one(told)
    else:
        show.print_table(
            ("agent", "device", "connected", "schedule", "last run"),
            (
                (agent["name"], agent["device"], agent["device_connected"], agent["schedule"], _last(agent))
                for agent in told["agents"]
            ),
        )
        if not told["agents"]:
            show.say("no agent is written in hub.toml; 'hub init' shows how one looks")


def _show_one(agent: dict[str, object]) -> None:
    show.print_facts(
        {
            "agent": agent["name"],
            "device": agent["device"],
            "connected": agent["device_connected"],
            "paths": agent["paths"],
            "file extensions": agent["file_extensions"] or "all",
            "data types": agent["data_types"],
            "prompt": agent["prompt"],
            "schedule": agent["schedule"],
            "timezone": agent["timezone"],
            "managed by": "hub.toml" if agent["source"] == "file" else "the API",
            "last run": _last(agent),
        }
    )


def _last(agent: dict[str, object]) -> str | None:
    run = agent["last_run"]
    if not isinstance(run, dict):
        return None
    return f"{show.moment(run['created_at'])} {run['outcome'] or run['state']}, {run['items_created']} items"

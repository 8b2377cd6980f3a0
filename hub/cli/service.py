"""``hub status``: the state of the running hub."""

from collections.abc import Mapping
from pathlib import Path

import click

from hub.cli import show
from hub.cli.options import example, hub_option, json_option
from hub.cli.talk import talk


@click.command(epilog=example("hub status"))
@hub_option
@json_option
def status(state: Path, as_json: bool) -> None:
    """Show the state of the running hub on one screen.

    Exits with 3 when no hub is running.
    """
    with talk(state) as hub:
        response = hub.get("/v1/status")
    if as_json:
        show.print_json("status", response)
        return
    show.print_facts(
        {
            "hub": f"{response['name']} ({response['state']})",
            "version": response["version"],
            "up for": show.duration(response["uptime_s"]),
            "devices": f"{response['devices_connected']} of {response['devices_known']} connected",
            **(
                {"gateways": f"{response['gateways_ready']} of {response['gateways_known']} ready"}
                if response["gateways_known"]
                else {}
            ),
            "agents": response["agents"],
            **(
                {"held back": f"{response['held_back']}; runs started by hand are not"}
                if response["held_back"]
                else {}
            ),
            **({"disk": response["disk_full"]} if response["disk_full"] else {}),
            "issues": _issues(response["issues"]),
            "runs": [f"{count} {name}" for name, count in response["runs"].items() if count],
            "model": response["model"] or "none: only rules find items",
            "database": response["database"],
            "settings": f"generation {response['config_generation']}",
            **{f"listens: {name}": where for name, where in response["listeners"].items()},
        }
    )
    show.out(f"\nkey    {response['key']}")  # a fingerprint fills the line


def _issues(counts: Mapping[str, int]) -> str:
    """Count the issues by severity, and name the command that lists them."""
    listed = ", ".join(
        f"{count} {name if count != 1 else name.removesuffix('s')}" for name, count in counts.items() if count
    )
    return f"{listed}; list them: hub doctor" if listed else "none"

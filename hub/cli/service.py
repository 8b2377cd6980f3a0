"""Commands on the running hub as a whole."""

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
        told = hub.get("/v1/status")
    if as_json:
        show.print_json("status", told)
        return
    show.print_facts(
        {
            "hub": f"{told['name']} ({told['state']})",
            "version": told["version"],
            "up for": show.duration(told["uptime_s"]),
            "devices": f"{told['devices_connected']} of {told['devices_known']} connected",
            **(
                {"gateways": f"{told['gateways_ready']} of {told['gateways_known']} ready"}
                if told["gateways_known"]
                else {}
            ),
            "agents": told["agents"],
            **(
                {"held back": f"{told['held_back']}; not so a run started by hand"}
                if told["held_back"]
                else {}
            ),
            **({"disk": told["disk_full"]} if told["disk_full"] else {}),
            "issues": _issues(told["issues"]),
            "runs": [f"{count} {name}" for name, count in told["runs"].items() if count],
            "model": told["model"] or "none: rules alone find items",
            "database": told["database"],
            "settings": f"generation {told['config_generation']}",
            **{f"listens: {name}": where for name, where in told["listeners"].items()},
        }
    )
    show.out(f"\nkey    {told['key']}")  # a fingerprint leaves no room beside it


def _issues(counts: Mapping[str, int]) -> str:
    """How many there are of each kind, and how to see them."""
    told = ", ".join(
        f"{count} {name if count != 1 else name.removesuffix('s')}" for name, count in counts.items() if count
    )
    return f"{told}; see them: hub doctor" if told else "none"

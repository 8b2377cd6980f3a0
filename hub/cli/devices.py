"""Commands on devices."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from hub.cli import show
from hub.cli.options import json_option, state_option
from hub.cli.talk import talk


@click.command()
@state_option
@json_option
def devices(state: Path, as_json: bool) -> None:
    """List the devices that are known."""
    with talk(state) as hub:
        told = hub.get("/v1/devices")
    if as_json:
        show.print_json("devices", told)
        return
    show.print_table(
        ("device", "connected", "platform", "last seen"),
        (
            (device["name"], device["connected"], device["platform"], _last_seen(device))
            for device in told["devices"]
        ),
    )
    if not told["devices"]:
        show.say("no device is known yet; make a token for one: hub token create --device NAME")


def _last_seen(device: Mapping[str, Any]) -> str:
    return "now" if device["connected"] else show.moment(device["last_seen_at"])

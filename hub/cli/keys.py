"""Commands on the keys that seal the grants of sign-ins: list, rotate, delete."""

from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import click

from hub.cli import show
from hub.cli.options import ListByDefault, example, hub_option, json_option
from hub.cli.talk import talk

PATH: Final = "/v1/keys"


@click.group(cls=ListByDefault, epilog=example("hub keys rotate"))
def keys() -> None:
    """List, rotate and delete the keys that seal sign-ins.

    The keys are never in the database or in its backups: keep a copy of them elsewhere.
    """


@keys.command("ls", epilog=example("hub keys ls"))
@hub_option
@json_option
def list_keys(state: Path, as_json: bool) -> None:
    """List the keys, the newest first, with the number of sign-ins that each seals."""
    with talk(state) as hub:
        _show(hub.get(PATH), as_json=as_json)


@keys.command("rotate", epilog=example("hub keys rotate"))
@hub_option
@json_option
def rotate(state: Path, as_json: bool) -> None:
    """Create a new key, and seal all sign-ins with it. Runs go on."""
    with talk(state) as hub:
        _show(hub.post(f"{PATH}/rotate"), as_json=as_json)


@keys.command("rm", epilog=example("hub keys rm 4e21a9 --yes"))
@click.argument("key")
@click.option("--yes", is_flag=True, help="Do not ask.")
@hub_option
@json_option
def remove(key: str, yes: bool, state: Path, as_json: bool) -> None:
    """Delete KEY, which seals nothing. Older backups cannot be opened without it."""
    if not yes:
        show.confirm(f"delete the key {key}? sign-ins in older backups are lost with it")
    with talk(state) as hub:
        _show(hub.delete(f"{PATH}/{quote(key, safe='')}"), as_json=as_json)


def _show(response: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        show.print_json("keys", response)
        return
    show.print_table(
        ("key", "sign-ins", "newest"),
        ((one["id"], one["rows"], "yes" if one["is_newest"] else "") for one in response["keys"]),
    )
    show.say(f"the keys are in {response['place']}; a backup of the hub does not contain them")

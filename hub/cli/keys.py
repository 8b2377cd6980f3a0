"""Commands on the keys that seal what sign-ins granted."""

from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import click

from hub.cli import show
from hub.cli.options import ListByDefault, hub_option, json_option
from hub.cli.talk import talk

PATH: Final = "/v1/keys"


@click.group(cls=ListByDefault)
def keys() -> None:
    """List the keys that seal sign-ins, seal everything by a new one, or forget an old one.

    They are never in the database, nor in a backup of it: keep a copy of them, but elsewhere.
    """


@keys.command("ls")
@hub_option
@json_option
def list_keys(state: Path, as_json: bool) -> None:
    """The keys, the newest first, and how much each seals."""
    with talk(state) as hub:
        _show(hub.get(PATH), as_json=as_json)


@keys.command("rotate")
@hub_option
@json_option
def rotate(state: Path, as_json: bool) -> None:
    """Make another key, and seal everything by it. Agents that run go on."""
    with talk(state) as hub:
        _show(hub.post(f"{PATH}/rotate"), as_json=as_json)


@keys.command("rm")
@click.argument("key")
@click.option("--yes", is_flag=True, help="Do not ask.")
@hub_option
@json_option
def remove(key: str, yes: bool, state: Path, as_json: bool) -> None:
    """Forget KEY, which seals nothing any more. Older backups cannot be opened without it."""
    if not yes:
        show.confirm(f"forget the key {key}? what older backups hold of sign-ins is lost with it")
    with talk(state) as hub:
        _show(hub.delete(f"{PATH}/{quote(key, safe='')}"), as_json=as_json)


def _show(told: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        show.print_json("keys", told)
        return
    show.print_table(
        ("key", "seals", "newest"),
        ((one["id"], one["rows"], "yes" if one["is_newest"] else "") for one in told["keys"]),
    )
    show.say(f"they are in {told['place']}; a backup of the hub does not have them")

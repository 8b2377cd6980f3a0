"""Commands on users: list, create, remove."""

from pathlib import Path
from urllib.parse import quote

import click

from hub.cli import show
from hub.cli.completion import user_names
from hub.cli.options import ListByDefault, example, hub_option, json_option
from hub.cli.talk import talk


@click.group(cls=ListByDefault, epilog=example("hub users create anna"))
def users() -> None:
    """List, create and remove the users, who own devices and agents."""


@users.command("ls", epilog=example("hub users ls"))
@hub_option
@json_option
def list_users(state: Path, as_json: bool) -> None:
    """List the users."""
    with talk(state) as hub:
        response = hub.get_all("/v1/users", "users")
    if as_json:
        show.print_json("users", response)
        return
    show.print_table(
        ("user", "devices", "known since"),
        ((user["name"], user["devices"], show.moment(user["created_at"])) for user in response["users"]),
    )


@users.command("create", epilog=example("hub users create anna"))
@click.argument("name", shell_complete=user_names)
@hub_option
@json_option
def create_user(name: str, state: Path, as_json: bool) -> None:
    """Create a user, whose devices and agents other users do not see."""
    with talk(state) as hub:
        response = hub.post("/v1/users", {"name": name})
    if as_json:
        show.print_json("user", response)
    else:
        created = response["name"]
        show.say(f"user {created} is created; admit a device: hub pair approve CODE --user {created}")


@users.command("remove", epilog=example("hub users remove anna"))
@click.argument("name", shell_complete=user_names)
@hub_option
@json_option
def remove_user(name: str, state: Path, as_json: bool) -> None:
    """Remove a user who owns no devices, agents or tokens.

    Remove devices with hub devices revoke, and agents of hub.toml in that file.
    """
    with talk(state) as hub:
        response = hub.delete(f"/v1/users/{quote(name, safe='')}")
    if as_json:
        show.print_json("user", response)
    else:
        show.say(f"user {response['name']} is removed")

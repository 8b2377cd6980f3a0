"""Commands on the running hub as a whole: its status, its tokens."""

from pathlib import Path
from urllib.parse import quote

import click

from hub.cli import show
from hub.cli.options import ListByDefault, json_option, state_option
from hub.cli.talk import talk


@click.command()
@state_option
@json_option
def status(state: Path, as_json: bool) -> None:
    """Show the running hub on one screen.

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
            "agents": told["agents"],
            **(
                {"held back": f"{told['held_back']}; not so a run started by hand"}
                if told["held_back"]
                else {}
            ),
            "runs": [f"{count} {name}" for name, count in told["runs"].items() if count],
            "model": told["model"] or "none: rules alone find items",
            "database": told["database"],
            **{f"listens: {name}": where for name, where in told["listeners"].items()},
        }
    )


@click.group(cls=ListByDefault)
def token() -> None:
    """Make, list and revoke the tokens of devices."""


@token.command("create")
@click.option("--device", required=True, metavar="NAME", help="The device it is for, known or new.")
@state_option
@json_option
def create_token(device: str, state: Path, as_json: bool) -> None:
    """Make a token; it is printed this once."""
    with talk(state) as hub:
        made = hub.post("/v1/tokens", {"device": device})
    if as_json:
        show.print_json("token", made)
        return
    click.echo(made["token"])
    show.say(
        f"This is shown once. On the device, put it into a file that only you can read, then:\n"
        f"  hub connect URL --root DIR --name {device} --token-file FILE"
    )


@token.command("ls")
@state_option
@json_option
def list_tokens(state: Path, as_json: bool) -> None:
    """All tokens, without their secrets."""
    with talk(state) as hub:
        told = hub.get("/v1/tokens")
    if as_json:
        show.print_json("tokens", told)
        return
    show.print_table(
        ("token", "device", "made", "revoked"),
        (
            (token["id"], token["device"], show.moment(token["created_at"]), show.moment(token["revoked_at"]))
            for token in told["tokens"]
        ),
    )
    if not told["tokens"]:
        show.say("no token yet; make one: hub token create --device NAME")


@token.command("revoke")
@click.argument("id")
@click.option("--yes", is_flag=True, help="Do not ask.")
@state_option
@json_option
def revoke_token(id: str, yes: bool, state: Path, as_json: bool) -> None:
    """Revoke a token; connections it opened are closed."""
    if not yes:
        show.confirm(f"revoke token {id}?")
    with talk(state) as hub:
        revoked = hub.delete(f"/v1/tokens/{quote(id, safe='')}")
    if as_json:
        show.print_json("token", revoked)
    else:
        show.say(f"the token of {revoked['device']} is revoked")

"""Commands that admit devices: by a pairing code, or by an invitation; most of them are declared."""

from pathlib import Path

import click

from hub.cli import show
from hub.cli.options import ListByDefault, example, hub_option, json_option
from hub.cli.talk import talk


@click.group(cls=ListByDefault, epilog=example("hub pair approve K7QM-2XRD"))
def pair() -> None:
    """Admit devices: by the code that a device shows, or by an invitation."""


@pair.command("approve", epilog=example("hub pair approve K7QM-2XRD --name desk"))
@click.argument("code")
@click.option("--name", metavar="NAME", help="Name of the device [default: the name that it proposes].")
@click.option("--yes", is_flag=True, help="Do not ask.")
@hub_option
@json_option
def approve(code: str, name: str | None, yes: bool, state: Path, as_json: bool) -> None:
    """Admit the device that shows CODE, after you have compared its fingerprint.

    With --user, as that user's device. Only the device that you were shown is admitted.
    """
    body: dict[str, object] = {"code": code, "name": name}
    with talk(state) as hub:
        if not yes:
            would = hub.post("/v1/pairings/approve", body | {"dry_run": True})
            waiting = would["pairing"]
            show.say_facts(
                {
                    "fingerprint": waiting["fingerprint"],
                    "proposed name": waiting["label"],
                    "platform": waiting["platform"],
                    "network": waiting["network"],
                }
            )
            show.confirm(
                f"is the device's fingerprint the same? yes admits it as {would['device']} of {would['user']}"
            )
            body["pairing_id"] = waiting["id"]
        response = hub.post("/v1/pairings/approve", body)
    if as_json:
        show.print_json("paired", response)
    else:
        show.say(f"{response['device']} of {response['user']} is admitted; it connects within seconds")

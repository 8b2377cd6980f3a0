"""Commands that admit devices: by a pairing code, or by an invitation."""

from pathlib import Path
from urllib.parse import quote

import click

from hub.cli import show
from hub.cli.options import Duration, ListByDefault, example, hub_option, json_option
from hub.cli.talk import talk


@click.group(cls=ListByDefault, epilog=example("hub pair approve K7QM-2XRD"))
def pair() -> None:
    """Admit devices: by the code that a device shows, or by an invitation."""


@pair.command("ls", epilog=example("hub pair ls"))
@hub_option
@json_option
def list_pairings(state: Path, as_json: bool) -> None:
    """List the devices that wait for approval."""
    with talk(state) as hub:
        response = hub.get_all("/v1/pairings", "pairings")
    if as_json:
        show.print_json("pairings", response)
        return
    show.print_table(
        ("proposed name", "platform", "network", show.in_zone("asked"), show.in_zone("expires"), "id"),
        (
            (
                one["label"],
                one["platform"],
                one["network"],
                show.short_moment(one["created_at"]),
                show.short_moment(one["expires_at"]),
                one["id"],
            )
            for one in response["pairings"]
        ),
    )
    if response["pairings"]:
        show.say("admit one by its code: hub pair approve CODE; or refuse it: hub pair deny ID")
    else:
        show.say("no devices wait for approval; start one: hub connect URL --root DIR")


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


@pair.command("deny", epilog=example("hub pair deny 4e21a9"))
@click.argument("id")
@hub_option
@json_option
def deny(id: str, state: Path, as_json: bool) -> None:
    """Refuse a device that waits for approval."""
    with talk(state) as hub:
        response = hub.post(f"/v1/pairings/{quote(id, safe='')}/deny")
    if as_json:
        show.print_json("pairing", response)
    else:
        show.say(f"{response['label']} is refused")


@pair.command("invite", epilog=example("hub pair invite --device desk --ttl 1h"))
@click.option("--device", metavar="NAME", help="Name of the device [default: the name that it proposes].")
@click.option("--uses", type=click.IntRange(1), default=1, show_default=True, help="Number of devices.")
@click.option("--ttl", type=Duration(), metavar="TIME", help="Lifetime of the invitation, as in 10m or 2h.")
@hub_option
@json_option
def invite(device: str | None, uses: int, ttl: float | None, state: Path, as_json: bool) -> None:
    """Create an invitation, which admits a device without approval. It is printed once.

    With --user, as that user's devices.
    """
    with talk(state) as hub:
        made = hub.post("/v1/invitations", {"device": device, "uses": uses, "ttl_s": ttl})
    if as_json:
        show.print_json("invitation", made)
        return
    show.out(made["token"])
    show.say(
        f"The invitation is shown only once, and expires {show.moment(made['expires_at'])}."
        " On the device, put it into a file that only you can read, then:",
        "  hub connect URL --root DIR --invitation-file FILE",
    )


@pair.command("invitations", epilog=example("hub pair invitations"))
@hub_option
@json_option
def list_invitations(state: Path, as_json: bool) -> None:
    """List the invitations without their secrets."""
    with talk(state) as hub:
        response = hub.get_all("/v1/invitations", "invitations")
    if as_json:
        show.print_json("invitations", response)
        return
    show.print_table(
        ("invitation", "user", "device", "uses left", "ends in", "expires", "revoked"),
        (
            (
                one["id"],
                one["user"],
                one["device"],
                one["uses_left"],
                one["last4"],
                show.moment(one["expires_at"]),
                show.moment(one["revoked_at"]),
            )
            for one in response["invitations"]
        ),
    )


@pair.command("uninvite", epilog=example("hub pair uninvite 4e21a9"))
@click.argument("id")
@hub_option
@json_option
def uninvite(id: str, state: Path, as_json: bool) -> None:
    """Revoke an invitation. Devices that it admitted stay."""
    with talk(state) as hub:
        response = hub.delete(f"/v1/invitations/{quote(id, safe='')}")
    if as_json:
        show.print_json("invitation", response)
    else:
        show.say(f"the invitation that ends in {response['last4']} is revoked")

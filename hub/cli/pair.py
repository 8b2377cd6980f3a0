"""Commands that let devices in: by the code that one shows, or by an invitation."""

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
        told = hub.get_all("/v1/pairings", "pairings")
    if as_json:
        show.print_json("pairings", told)
        return
    show.print_table(
        ("calls itself", "platform", "from", show.in_zone("asked"), show.in_zone("until"), "id"),
        (
            (
                one["label"],
                one["platform"],
                one["network"],
                show.short_moment(one["created_at"]),
                show.short_moment(one["expires_at"]),
                one["id"],
            )
            for one in told["pairings"]
        ),
    )
    if told["pairings"]:
        show.say("let one in by the code that it shows: hub pair approve CODE; or not: hub pair deny ID")
    else:
        show.say("no device waits; start one: hub connect URL --root DIR")


@pair.command("approve", epilog=example("hub pair approve K7QM-2XRD --name desk"))
@click.argument("code")
@click.option("--name", metavar="NAME", help="What the device is called [default: as it calls itself].")
@click.option("--yes", is_flag=True, help="Do not ask.")
@hub_option
@json_option
def approve(code: str, name: str | None, yes: bool, state: Path, as_json: bool) -> None:
    """Admit the device that shows CODE, after you have compared its fingerprint.

    With --user, as that user's device. What you were shown is let in, and nothing else.
    """
    given: dict[str, object] = {"code": code, "name": name}
    with talk(state) as hub:
        if not yes:
            would = hub.post("/v1/pairings/approve", given | {"dry_run": True})
            waiting = would["pairing"]
            show.say_facts(
                {
                    "fingerprint": waiting["fingerprint"],
                    "calls itself": waiting["label"],
                    "platform": waiting["platform"],
                    "from": waiting["network"],
                }
            )
            show.confirm(
                f"the device shows the same fingerprint, and becomes {would['device']} of {would['user']}?"
            )
            given["pairing_id"] = waiting["id"]
        told = hub.post("/v1/pairings/approve", given)
    if as_json:
        show.print_json("paired", told)
    else:
        show.say(f"{told['device']} of {told['user']} is let in; it connects within seconds")


@pair.command("deny", epilog=example("hub pair deny 4e21a9"))
@click.argument("id")
@hub_option
@json_option
def deny(id: str, state: Path, as_json: bool) -> None:
    """Refuse a device that waits for approval."""
    with talk(state) as hub:
        told = hub.post(f"/v1/pairings/{quote(id, safe='')}/deny")
    if as_json:
        show.print_json("pairing", told)
    else:
        show.say(f"{told['label']} is sent away")


@pair.command("invite", epilog=example("hub pair invite --device desk --ttl 1h"))
@click.option("--device", metavar="NAME", help="What the device is called [default: as it calls itself].")
@click.option("--uses", type=click.IntRange(1), default=1, show_default=True, help="How many devices.")
@click.option("--ttl", type=Duration(), metavar="TIME", help="How long it counts, as in 10m or 2h.")
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
        f"This is shown once, and counts until {show.moment(made['expires_at'])}."
        " On the device, put it into a file that only you can read, then:",
        "  hub connect URL --root DIR --invitation-file FILE",
    )


@pair.command("invitations", epilog=example("hub pair invitations"))
@hub_option
@json_option
def list_invitations(state: Path, as_json: bool) -> None:
    """List the invitations without their secrets."""
    with talk(state) as hub:
        told = hub.get_all("/v1/invitations", "invitations")
    if as_json:
        show.print_json("invitations", told)
        return
    show.print_table(
        ("invitation", "user", "device", "uses left", "ends in", "counts until", "revoked"),
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
            for one in told["invitations"]
        ),
    )


@pair.command("uninvite", epilog=example("hub pair uninvite 4e21a9"))
@click.argument("id")
@hub_option
@json_option
def uninvite(id: str, state: Path, as_json: bool) -> None:
    """Revoke an invitation. Devices that it admitted stay."""
    with talk(state) as hub:
        told = hub.delete(f"/v1/invitations/{quote(id, safe='')}")
    if as_json:
        show.print_json("invitation", told)
    else:
        show.say(f"nobody comes in by the invitation that ends in {told['last4']} any more")

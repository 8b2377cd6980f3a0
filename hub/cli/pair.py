"""Commands that let devices in: by the code that one shows, or by an invitation."""

from pathlib import Path
from urllib.parse import quote

import click

from hub.cli import show
from hub.cli.options import Duration, ListByDefault, hub_option, json_option
from hub.cli.talk import talk


@click.group(cls=ListByDefault)
def pair() -> None:
    """Let devices in: by the code that one shows, or by an invitation."""


@pair.command("ls")
@hub_option
@json_option
def list_pairings(state: Path, as_json: bool) -> None:
    """The devices that wait to be let in."""
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


@pair.command("approve")
@click.argument("code")
@click.option("--name", metavar="NAME", help="What the device is called [default: as it calls itself].")
@click.option("--yes", is_flag=True, help="Do not ask.")
@hub_option
@json_option
def approve(code: str, name: str | None, yes: bool, state: Path, as_json: bool) -> None:
    """Let in the device that shows CODE, after you have compared its fingerprint.

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


@pair.command("deny")
@click.argument("id")
@hub_option
@json_option
def deny(id: str, state: Path, as_json: bool) -> None:
    """Send away a device that waits."""
    with talk(state) as hub:
        told = hub.post(f"/v1/pairings/{quote(id, safe='')}/deny")
    if as_json:
        show.print_json("pairing", told)
    else:
        show.say(f"{told['label']} is sent away")


@pair.command("invite")
@click.option("--device", metavar="NAME", help="What the device is called [default: as it calls itself].")
@click.option("--uses", type=click.IntRange(1), default=1, show_default=True, help="How many devices.")
@click.option("--ttl", type=Duration(), metavar="TIME", help="How long it counts, as in 10m or 2h.")
@hub_option
@json_option
def invite(device: str | None, uses: int, ttl: float | None, state: Path, as_json: bool) -> None:
    """Make an invitation; whoever has it comes in without being asked. It is printed this once.

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


@pair.command("invitations")
@hub_option
@json_option
def list_invitations(state: Path, as_json: bool) -> None:
    """The invitations that were made, without their secrets."""
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


@pair.command("uninvite")
@click.argument("id")
@hub_option
@json_option
def uninvite(id: str, state: Path, as_json: bool) -> None:
    """Revoke an invitation; devices that came in by it stay."""
    with talk(state) as hub:
        told = hub.delete(f"/v1/invitations/{quote(id, safe='')}")
    if as_json:
        show.print_json("invitation", told)
    else:
        show.say(f"nobody comes in by the invitation that ends in {told['last4']} any more")

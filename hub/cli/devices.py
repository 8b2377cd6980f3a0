"""Commands on devices."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import click

from hub.cli import show
from hub.cli.completion import device_names
from hub.cli.failure import Exit, Failure
from hub.cli.options import ListByDefault, example, hub_option, json_option
from hub.cli.talk import Talk, talk

PATH: Final = "/v1/devices"
INDENT: Final = 7  # as wide as the longest kind of what opens a device, and a gap
GRANTS: Final = ("files", "agents", "connectors", "coordination")  # as storage.devices.devices.Grant has them
SIGNS: Final = {"+": "add", "-": "remove"}
ABOUT_THE_STREAM: Final = ("open", "reset")  # what was there before is to be read now


@click.group(cls=ListByDefault, epilog=example("hub devices ls --watch"))
def devices() -> None:
    """List, show, rename and revoke devices."""


@devices.command("ls", epilog=example("hub devices ls --all"))
@click.option("--all", "and_revoked", is_flag=True, help="Those that were revoked too.")
@click.option("--watch", is_flag=True, help="Show them anew whenever one comes or goes.")
@hub_option
@json_option
def list_devices(and_revoked: bool, watch: bool, state: Path, as_json: bool) -> None:
    """List the devices."""
    with talk(state) as hub, suppress(KeyboardInterrupt):  # how a person ends watching
        for told in _changes(hub) if watch else [hub.get_all(PATH, "devices")]:
            if as_json:
                show.print_json("devices", told, on_one_line=watch)
                continue
            if watch and sys.stdout.isatty():
                click.clear()
            _print_devices(told, and_revoked=and_revoked)


def _changes(hub: Talk) -> Iterator[dict[str, Any]]:
    """The devices now, and after each event about one."""
    for event in hub.follow("/v1/events"):
        if event["event"] in ABOUT_THE_STREAM or event["event"].startswith("device."):
            yield hub.get_all(PATH, "devices")


def _print_devices(told: Mapping[str, Any], *, and_revoked: bool) -> None:
    listed = [device for device in told["devices"] if and_revoked or device["revoked_at"] is None]
    show.print_table(
        ("device", "user", "connected", "platform", "last seen", "granted"),
        (
            (
                device["name"],
                device["user"],
                device["connected"],
                device["platform"],
                _last_seen(device),
                device["grants"],
            )
            for device in listed
        ),
    )
    if not listed:
        show.say("no device is known yet; let one in: hub connect on the device, then hub pair")


@devices.command("show", epilog=example("hub devices show desk"))
@click.argument("device", shell_complete=device_names)
@hub_option
@json_option
def show_device(device: str, state: Path, as_json: bool) -> None:
    """Show a device: its credentials, its grants, and the agents that read from it."""
    with talk(state) as hub:
        told = hub.get(_path(device))
    if as_json:
        show.print_json("device", told)
        return
    show.print_facts(
        {
            "device": told["name"],
            "id": told["id"],
            "user": told["user"],
            "connected": told["connected"],
            "last seen": _last_seen(told),
            "platform": told["platform"],
            "known since": show.moment(told["created_at"]),
            **({"revoked": show.moment(told["revoked_at"])} if told["revoked_at"] else {}),
            "can": told["capabilities"],
            "granted": told["grants"],
            "by its owner": [" ".join((grant["name"], *grant["tables"])) for grant in told["owner_grants"]],
            "agents": told["agents"],
            **({"rows": _agreement(told["agreement"])} if told["agreement"] else {}),
        }
    )
    ways = [("key", key["fingerprint"], key) for key in told["keys"]]
    ways += [("token", f"{token['id']} (...{token['last4'] or '?'})", token) for token in told["tokens"]]
    for kind, name, way in ways:
        show.out(f"\n{kind.ljust(INDENT)}{name}")  # a fingerprint leaves no room beside it
        show.out(" " * INDENT + ", ".join(_times(way)))


@devices.command("rename", epilog=example("hub devices rename desk laptop"))
@click.argument("device", shell_complete=device_names)
@click.argument("name")
@hub_option
@json_option
def rename(device: str, name: str, state: Path, as_json: bool) -> None:
    """Rename a device. A device that hub.toml names keeps its name."""
    with talk(state) as hub:
        told = hub.patch(_path(device), {"name": name})
    if as_json:
        show.print_json("device", told)
    else:
        show.say(f"{device} is called {told['name']} now")


@devices.command(
    "grant",
    context_settings={"ignore_unknown_options": True},
    epilog=example("hub devices grant desk +status.set"),
)
@click.argument("device", shell_complete=device_names)
@click.argument("changes", metavar="+GRANT|-GRANT ...", nargs=-1, required=True)
@hub_option
@json_option
def grant(device: str, changes: tuple[str, ...], state: Path, as_json: bool) -> None:
    """Change a device's rights at this hub, from its next request or run on.

    \b
    files         its files are read by runs
    agents        it makes, changes and starts agents
    connectors    it makes and changes agents that read mailboxes and calendars of its user
    coordination  its agents reach others: boards, messages, questions, locks

    All but connectors are granted to a new device. What is found for it, it receives without a grant.

    Example: hub devices grant laptop +connectors -files
    """
    wrong = [change for change in changes if change[:1] not in SIGNS or change[1:] not in GRANTS]
    if wrong:
        told = f"{wrong[0]!r} is no change of a grant: expected + or - and {', '.join(GRANTS)}"
        raise Failure(told, Exit.USAGE, next_step="as in: hub devices grant laptop +connectors -files")
    both = {part: [change[1:] for change in changes if SIGNS[change[0]] == part] for part in SIGNS.values()}
    with talk(state) as hub:
        told = hub.post(f"{_path(device)}/grant", both)
    if as_json:
        show.print_json("device", told)
    else:
        show.say(f"{told['name']} is granted: {', '.join(told['grants']) or 'nothing'}")


@devices.command("revoke", epilog=example("hub devices revoke desk --yes"))
@click.argument("device", shell_complete=device_names)
@click.option("--yes", is_flag=True, help="Do not ask.")
@hub_option
@json_option
def revoke(device: str, yes: bool, state: Path, as_json: bool) -> None:
    """Revoke a device's credentials and close its connection."""
    with talk(state) as hub:
        found = hub.get(_path(device))
        if not yes:
            show.confirm(f"let {found['name']} of {found['user']} in no more, for good?")
        told = hub.post(f"{_path(found['id'])}/revoke")
    if as_json:
        show.print_json("device", told)
    else:
        show.say(f"{told['name']} is revoked; to let the same machine in again: hub connect ... --new-key")


@devices.command("kick", epilog=example("hub devices kick desk"))
@click.argument("device", shell_complete=device_names)
@hub_option
@json_option
def kick(device: str, state: Path, as_json: bool) -> None:
    """Close the connection of a device; it may connect again."""
    with talk(state) as hub:
        told = hub.post(f"{_path(device)}/kick")
    if as_json:
        show.print_json("device", told)
    else:
        show.say(f"the connection of {told['name']} is closed; it comes back by itself")


@devices.command("resync", epilog=example("hub devices resync desk"))
@click.argument("device", shell_complete=device_names)
@hub_option
@json_option
def resync(device: str, state: Path, as_json: bool) -> None:
    """Compare a device's rows with the hub's ledger, and send lost rows again.

    The hub does this by itself when it can tell that one was restored. Example: hub devices resync desk
    """
    with talk(state) as hub:
        told = hub.post(f"{_path(device)}/resync")
    if as_json:
        show.print_json("device", told)
    else:
        show.say(
            f"the rows of {told['name']} are compared when it connects again, which it does by itself;"
            f" what came of it: hub devices show {device}"
        )


def _agreement(told: Mapping[str, Any]) -> str:
    """Say in a line how the rows of a device were compared last."""
    counts = f"{told['sent']} sent again, {told['taken']} learnt of, {told['refused']} refused"
    if told["agreed_at"]:
        return f"agree since {show.moment(told['agreed_at'])} ({counts})"
    because = f": {told['problem']}" if told["problem"] else ""
    return f"compared since {show.moment(told['began_at'])} ({counts}){because}"


def _times(way: Mapping[str, Any]) -> Iterator[str]:
    """When a key or a token was made, used and revoked, as far as it was."""
    yield f"made {show.short_moment(way['created_at'])} {show.zone_here()}"
    for key, what in (("last_used_at", "last used"), ("revoked_at", "revoked")):
        if way[key]:
            yield f"{what} {show.short_moment(way[key])}"


def _path(device: str) -> str:
    return f"{PATH}/{quote(device, safe='')}"


def _last_seen(device: Mapping[str, Any]) -> str:
    return "now" if device["connected"] else show.moment(device["last_seen_at"])

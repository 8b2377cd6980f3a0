"""Commands on devices, and commands that admit them: ``hub devices``, ``hub pair``. Some are declared."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import click

from hub.cli import show
from hub.cli.failure import Exit, Failure
from hub.cli.formats import last_seen
from hub.cli.options import ListByDefault, example, hub_option, json_option
from hub.cli.talk import Talk, device_names, talk

PATH: Final = "/v1/devices"
GRANTS: Final = ("files", "agents", "connectors", "coordination")  # as in storage.devices.devices.Grant
SIGNS: Final = {"+": "add", "-": "remove"}
ABOUT_THE_STREAM: Final = ("open", "reset")  # events after which the list is read again


@click.group(cls=ListByDefault, epilog=example("hub devices ls --watch"))
def devices() -> None:
    """List, show, rename and revoke devices."""


@devices.command("ls", epilog=example("hub devices ls --all"))
@click.option("--all", "and_revoked", is_flag=True, help="Include revoked devices.")
@click.option("--watch", is_flag=True, help="Print the list again whenever a device changes.")
@hub_option
@json_option
def list_devices(and_revoked: bool, watch: bool, state: Path, as_json: bool) -> None:
    """List the devices."""
    with talk(state) as hub, suppress(KeyboardInterrupt):  # Ctrl-C ends watching
        for response in _changes(hub) if watch else [hub.get_all(PATH, "devices")]:
            if as_json:
                show.print_json("devices", response, on_one_line=watch)
                continue
            if watch and sys.stdout.isatty():
                click.clear()
            _print_devices(response, and_revoked=and_revoked)


def _changes(hub: Talk) -> Iterator[dict[str, Any]]:
    """Yield the devices now, and again after each event about a device."""
    for event in hub.follow("/v1/events"):
        if event["event"] in ABOUT_THE_STREAM or event["event"].startswith("device."):
            yield hub.get_all(PATH, "devices")


def _print_devices(response: Mapping[str, Any], *, and_revoked: bool) -> None:
    listed = [device for device in response["devices"] if and_revoked or device["revoked_at"] is None]
    show.print_table(
        ("device", "user", "connected", "platform", "last seen", "granted"),
        (
            (
                device["name"],
                device["user"],
                device["connected"],
                device["platform"],
                last_seen(device),
                device["grants"],
            )
            for device in listed
        ),
    )
    if not listed:
        show.report("no devices yet; admit one: hub connect on the device, then hub pair")


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
    files         Runs may read its files.
    agents        It may create, change and start agents.
    connectors    It may create and change agents that read its user's mailboxes and calendars.
    coordination  Its agents may use boards, messages, questions and locks.

    A new device has all grants except connectors. It receives suggestions without a grant.

    Example: hub devices grant laptop +connectors -files
    """
    wrong = [change for change in changes if change[:1] not in SIGNS or change[1:] not in GRANTS]
    if wrong:
        problem = f"invalid change {wrong[0]!r}: expected + or - and one of {', '.join(GRANTS)}"
        raise Failure(problem, Exit.USAGE, next_step="as in: hub devices grant laptop +connectors -files")
    both = {part: [change[1:] for change in changes if SIGNS[change[0]] == part] for part in SIGNS.values()}
    with talk(state) as hub:
        response = hub.post(f"{_path(device)}/grant", both)
    if as_json:
        show.print_json("device", response)
    else:
        show.report(f"{response['name']} is granted: {', '.join(response['grants']) or 'nothing'}")


def _path(device: str) -> str:
    return f"{PATH}/{quote(device, safe='')}"


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
            show.report_facts(
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
        show.report(f"{response['device']} of {response['user']} is admitted; it connects within seconds")

"""``hub grants``: rights that the owner of a device grants to its hub, in addition to suggestions."""

from pathlib import Path

import click

from hub.cli import show
from hub.cli.connect import file_here
from hub.cli.failure import Exit, Failure
from hub.cli.options import example

_File = click.Path(path_type=Path, dir_okay=False)


@click.command(
    context_settings={"ignore_unknown_options": True}, epilog=example("hub grants +rows.read:tasks")
)
@click.argument("changes", metavar="[+GRANT|-GRANT]...", nargs=-1)
@click.option("--db", type=_File, help="The device's database [default: the only one in the state folder].")
@click.option("--name", help="The device's name, if this machine has several.")
@click.option("--hub", "address", help="The hub's address, if the device knows several.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def grants(
    ctx: click.Context,
    changes: tuple[str, ...],
    db: Path | None,
    name: str | None,
    address: str | None,
    as_json: bool,
) -> None:
    """Show the rights of the hub on this device, or change them.

    \b
    review.remote            the hub may apply review decisions that you made elsewhere
    rows.read=TABLE,TABLE    the hub may query your approved rows of these tables

    By default nothing is granted. A change applies on the device at once, even if 'hub connect'
    does not run; the hub is notified when the device connects next.

    Example: hub grants +rows.read=tasks,projects -review.remote
    """
    from hub.device.grants import BadGrant
    from hub.device.inserts import DeviceFileError
    from hub.device.known_hubs import SUFFIX, BadKnownHubs, KnownHubs
    from hub.device.owner import change_grants

    db = file_here(ctx, db, name)
    try:
        known = KnownHubs(db.with_suffix(SUFFIX), db.with_suffix(".key")).at_addresses()
        chosen = {hub.public_key: hub for hub in known.values() if address in (None, hub.address)}
        if len(chosen) != 1:
            addresses = ", ".join(known) or "none: run 'hub connect' once"
            raise Failure(f"name one hub with --hub ADDRESS; {db} knows {addresses}", Exit.USAGE)
        (hub,) = chosen.values()
        granted = change_grants(db, hub.public_key, changes)
    except BadGrant as error:
        raise Failure(str(error), Exit.USAGE) from error
    except (BadKnownHubs, DeviceFileError) as error:
        raise Failure(str(error), Exit.FAILED) from error
    if as_json:
        show.print_json("grants", {"hub": hub.address, "key": hub.fingerprint, "grants": granted})
        return
    if granted:
        show.print_table(("grant", "tables"), granted.items())
        return
    show.say(
        f"the hub at {hub.address} may only write suggestions; to grant it more:",
        "  hub grants +rows.read=tasks,notes",
        "  hub grants +review.remote",
    )

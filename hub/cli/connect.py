"""The command that is a device: what it shows at the hub, and where its files are."""

import os
import platform
import re
import sys
from pathlib import Path
from typing import Final, Literal

import click

from hub.cli import show
from hub.cli.daemon import make_folder
from hub.cli.failure import Exit, Failure
from hub.cli.options import example, state_folder
from protocol import keys
from protocol.ids import KeyId

TOKEN_VARIABLE: Final = "HUB_DEVICE_TOKEN"
_NAME: Final = re.compile(r"^\w[\w.-]{0,63}$")  # as the hub's settings have it; it is also a file's name
_File = click.Path(path_type=Path, dir_okay=False)


@click.command(epilog=example("hub connect ws://127.0.0.1:8770 --root notes=/home/anna/notes"))
@click.argument("url")
@click.option(
    "--root",
    "roots",
    multiple=True,
    required=True,
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="A folder to share; may be given several times.",
)
@click.option("--db", type=_File, help="The device's database [default: NAME.db in its state folder].")
@click.option("--name", help="What people call this device [default: this machine's name].")
@click.option("--key-file", type=_File, help="The device's key [default: NAME.key beside its database].")
@click.option("--new-key", is_flag=True, help="Replace the key by a new one; was it revoked, pair anew.")
@click.option("--invitation-file", type=_File, help="The file with an invitation, instead of a code.")
@click.option(
    "--token-file",
    type=_File,
    help=f"The file with a token, instead of a key [default: ${TOKEN_VARIABLE}].",
)
@click.option(
    "--accept-hub",
    metavar="FINGERPRINT",
    help="Accept the hub with this key, in the place of the one known at URL ('hub status' shows it there).",
)
@click.option(
    "--grant",
    "grants",
    multiple=True,
    metavar="+GRANT",
    help="What a hub that the device does not know yet may do: +review.remote, +rows.read=tasks,notes."
    " Without it you are asked; later: hub grants.",
)
@click.option("--codec", type=click.Choice(["json", "msgpack"]), default="json", show_default=True)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="warning",
    show_default=True,
)
@click.pass_context
def connect(
    ctx: click.Context,
    url: str,
    roots: tuple[Path, ...],
    db: Path | None,
    name: str | None,
    key_file: Path | None,
    new_key: bool,
    invitation_file: Path | None,
    token_file: Path | None,
    accept_hub: str | None,
    grants: tuple[str, ...],
    codec: Literal["json", "msgpack"],
    log_level: str,
) -> None:
    """Connect this machine as a device and share folders with the hub.

    Connects to the hub at URL, as in ws://127.0.0.1:8770, and comes back whenever the
    connection ends. The first time it shows a pairing code, for whoever runs the hub.
    """
    name = device_name(name)
    token = _token(token_file)
    if token is not None and (key_file or new_key or invitation_file):
        told = f"leave out --token-file and ${TOKEN_VARIABLE}, or what belongs to the key"
        raise Failure("a device shows a token or a key, not both", Exit.USAGE, next_step=told)
    if invitation_file is not None:
        _look_at("invitation", invitation_file, _read(invitation_file))
    accepted = None if accept_hub is None else _fingerprint(accept_hub)
    db = db or device_file(ctx, name)
    make_folder(db.parent)

    from hub.device.app import DeviceOptions, run_device
    from hub.device.grants import BadGrant, changed
    from hub.log import open_log

    try:
        changed({}, grants)
    except BadGrant as error:
        raise Failure(str(error), Exit.USAGE) from error
    if not grants and _is_at_hand():
        grants = ask_grants(url, db)

    open_log(log_level)
    options = DeviceOptions(
        url=url,
        roots=list(roots),
        db=db,
        name=name,
        token=token,
        key=key_file,
        invitation=invitation_file,
        rotates=new_key,
        codec=codec,
        accepted=accepted,
        grants=grants,
    )
    ctx.exit(run_device(options, on_status=show.say, asks=_ask if sys.stdin.isatty() else None))


def _is_at_hand() -> bool:
    """Return whether a person at a terminal can be asked: a process in the background would be stopped."""
    return sys.stdin.isatty() and os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()


def ask_grants(url: str, db: Path) -> tuple[str, ...]:
    """Ask the owner what to grant a hub that the device meets for the first time; Enter grants nothing."""
    from hub.device.client import BadAddress, address_of
    from hub.device.grants import TABLES, BadGrant, changed
    from hub.device.known_hubs import SUFFIX, BadKnownHubs, KnownHubs, dialled

    try:
        address = dialled(address_of(url))
        if address in KnownHubs(db.with_suffix(SUFFIX), db).at_addresses():
            return ()
    except (BadAddress, BadKnownHubs):
        return ()  # told where it is used
    show.say(f"this device does not know the hub at {address} yet; what you grant now, 'hub grants' changes")
    wanted = []
    if click.confirm("May it bring verdicts that you gave elsewhere?", err=True):
        wanted.append("+review.remote")
    if click.confirm("May it read rows that you approved?", err=True):
        tables = click.prompt("Of which tables", default=",".join(TABLES), err=True)
        wanted.append(f"+rows.read={tables.replace(' ', '')}")
    try:
        changed({}, wanted)
    except BadGrant as error:
        raise Failure(str(error), Exit.USAGE) from error
    return tuple(wanted)


def _fingerprint(text: str) -> KeyId:
    try:
        return keys.read(text)
    except ValueError as error:
        raise Failure(f"{text!r} is no fingerprint of a hub: {error}", Exit.USAGE) from error


async def _ask(question: str) -> bool:
    """Ask at the terminal. Waits as long as the person takes, and can be cancelled."""
    from anyio import wait_readable

    show.say(f"{question} [y/N]")
    await wait_readable(sys.stdin.fileno())
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def device_name(given: str | None) -> str:
    """What a device is called: as it was *given*, or as its machine.

    Raises:
        Failure: it is no name.
    """
    name = given or re.sub(r"[^\w.-]", "-", platform.node()).strip("-.") or "device"
    if not _NAME.match(name):
        told = "use letters, digits, _ . and -, at most 64"
        raise Failure(f"{name!r} is no name for a device", Exit.USAGE, next_step=told)
    return name


def device_file(ctx: click.Context, name: str) -> Path:
    """The database of a device of this machine, by default."""
    return state_folder(ctx.find_root().params.get("state")) / "devices" / f"{name}.db"


def file_here(ctx: click.Context, db: Path | None, name: str | None) -> Path:
    """Return the database of the device that a command is about: where none is named, of the only one.

    Raises:
        Failure: it is not there, or one of several must be named.
    """
    here = device_file(ctx, device_name(name))
    known = sorted(file.stem for file in here.parent.glob("*.db"))
    if db is None and name is None and len(known) == 1:
        return here.with_name(f"{known[0]}.db")
    if db is None and name is None and known:
        told = f"there are several devices on this machine: {', '.join(known)}"
        raise Failure(told, Exit.USAGE, next_step=f"name one: {ctx.command_path} --name {known[0]}")
    path = db or here
    if not path.exists():
        others = f"; there are {', '.join(known)}" if known else ""
        told = f"name the device as 'hub connect' does: --name NAME, or --db FILE{others}"
        raise Failure(f"there is no device's file {path}", Exit.FAILED, next_step=told)
    return path


def _token(file: Path | None) -> str | Path | None:
    """The device's token, or the file it is in. Never an argument: everybody on a machine can read those."""
    token = _read(file) if file is not None else os.environ.get(TOKEN_VARIABLE, "").strip()
    if not token and file is None:
        return None
    _look_at("token", file, token)
    return file or token


def _read(file: Path) -> str:
    try:
        text = file.read_text("utf-8").strip()
        is_open = bool(file.stat().st_mode & 0o077)
    except (OSError, UnicodeDecodeError) as error:
        raise Failure(f"cannot read {file}: {error}", Exit.NOT_PERMITTED) from error
    if is_open:
        show.say(f"warning: others may read {file}; chmod 600 {file}")
    return text


def _look_at(name: Literal["token", "invitation"], file: Path | None, text: str) -> None:
    """Find what was copied wrongly before a hub is asked, and counts it as a failed attempt."""
    from hub.tokens import TokenKind, check

    kind = TokenKind.DEVICE if name == "token" else TokenKind.INVITATION
    made_by = "hub token create --device NAME" if name == "token" else "hub pair invite"
    where = file or f"${TOKEN_VARIABLE}"
    if not text:
        raise Failure(f"there is nothing in {where}", Exit.USAGE, next_step=f"make one: {made_by}")
    wrong = check(text, kind)
    if wrong and (name == "invitation" or text.startswith("hub_")):  # another hub may make other tokens
        raise Failure(f"the {name} in {where} cannot be right: {wrong}", Exit.USAGE)

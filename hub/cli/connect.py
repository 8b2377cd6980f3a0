"""Command ``hub connect``: this machine as a device; names and finds the device's database."""

import os
import platform
import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import click

from hub.base.clock import SystemClock
from hub.base.name_lists import counted
from hub.base.printable import shell_word
from hub.cli import show
from hub.cli.daemon import make_folder
from hub.cli.errors import CommandError, Exit
from hub.cli.options import NAME, STATE, FilePathParam, device_state_option, example, secret_in, state_folder
from protocol import keys
from protocol.ids import KeyId

if TYPE_CHECKING:
    from hub.base.log import Log
    from hub.device.preview import FolderPreview, Stays
    from hub.device.settings import DeviceSettings

TOKEN_VARIABLE: Final = "HUB_DEVICE_TOKEN"
_NAME: Final = re.compile(r"^\w[\w.-]{0,63}$")  # as in the hub's settings; the name is also a file's name
_File = FilePathParam(dir_okay=False)
_MAX_NAMED: Final = 5  # files of one reason
_NAMED: Final = (
    "key_in_text",
    "bad_ignore_file",
    "key_file",
    "unreadable",
)  # an owner wants the name of each


@click.command(epilog=example("hub connect ws://127.0.0.1:8770 --root /home/anna/notes"))
@click.argument("urls", metavar="URL...", nargs=-1, required=True)
@click.option(
    "--root",
    "roots",
    multiple=True,
    required=True,
    type=FilePathParam(exists=True, file_okay=False),
    help="A folder to share; may be given several times.",
)
@device_state_option
@click.option("--db", type=_File, help="The device's database [default: NAME.db in its state folder].")
@click.option("--name", type=NAME, help="Name of this device [default: this machine's name].")
@click.option("--key-file", type=_File, help="The device's key [default: NAME.key next to its database].")
@click.option(
    "--new-key", is_flag=True, help="Replace the key by a new one; if the old one was revoked, pair again."
)
@click.option("--invitation-file", type=_File, help="File with an invitation, to pair without a code.")
@click.option(
    "--token-file",
    type=_File,
    help=f"File with a token, to use instead of a key [default: ${TOKEN_VARIABLE}].",
)
@click.option(
    "--accept-hub",
    metavar="FINGERPRINT",
    help="Accept the hub with this key instead of the known hub at URL ('hub status' prints it there).",
)
@click.option(
    "--grant",
    "grants",
    multiple=True,
    metavar="+GRANT",
    help="Grant to a hub that is new to this device: +review.remote, +rows.read=tasks, +files.read=FOLDER"
    " [default: asks]. Change it later: hub grants.",
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
    urls: tuple[str, ...],
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

    Connects to the hub at URL, as in ws://127.0.0.1:8770, and reconnects whenever the
    connection ends. Several URLs are addresses of one hub: if a connection ends, the
    others are tried at once. The first time it shows a pairing code; approve it on the hub: hub pair.
    Folders are looked for once, at the start; after a rename, start it anew. 'hub device run' looks always.
    """
    name = device_name(name)
    token = _token(token_file)
    if token is not None and (key_file or new_key or invitation_file):
        next_step = f"leave out --token-file and ${TOKEN_VARIABLE}, or the options of keys and invitations"
        raise CommandError("a device uses a token or a key, not both", Exit.USAGE, next_step=next_step)
    if invitation_file is not None:
        _check_secret("invitation", invitation_file, secret_in(invitation_file))
    accepted = None if accept_hub is None else _fingerprint(accept_hub)
    db = db or device_file(ctx, name)
    make_folder(db.parent)

    from hub.base.log import open_log
    from hub.base.system.processes import can_ask
    from hub.device.app import DeviceOptions, run_device
    from hub.device.grants import BadGrant, changed

    try:
        changed({}, grants)
    except BadGrant as error:
        raise CommandError(str(error), Exit.USAGE) from error
    _introduce(roots, db)
    if not grants and can_ask():
        grants = ask_grants(urls[0], db)

    opened = open_log(log_level)
    options = DeviceOptions(
        urls=urls,
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
    asks = partial(_ask, opened) if sys.stderr.isatty() and can_ask() else None
    with closing(opened):
        code = run_device(options, on_status=opened.show, asks=asks)
    if code == Exit.DONE and sys.stderr.isatty():
        show.report("to start it at every login: hub device install")
    ctx.exit(code)


def _introduce(roots: Sequence[Path], db: Path) -> None:
    """Show what would be offered of folders that are new to the device; at a terminal, ask for consent.

    Raises:
        Failure: the owner does not consent, or a folder cannot be shared.
    """
    from hub.base.system.folders import real_path
    from hub.base.system.processes import can_ask
    from hub.device.preview import known_roots

    known = known_roots(db)
    new = [root for root in roots if Path(real_path(str(root))) not in known]
    if not new:
        return
    if not can_ask():
        found = preview_of(new, 0)
        files, stay = sum(part.files for part in found.offered), sum(part.files for part in found.stays)
        words = " ".join(f"--root {shell_word(root)}" for root in new)
        show.report(
            f"new to this device: {counted(files, 'file')}, and {stay} that stay here by their names;"
            f" those with keys or passwords stay, too: hub device preview {words}"
        )
        return
    show_preview(preview_of(new, 10.0))  # their owner waits
    if not show.ask("Share these files with the hub?", default=True):
        next_step = "name what is to stay in a file .hubignore, and look again: hub device preview"
        raise CommandError("nothing is shared", Exit.FAILED, next_step=next_step)


def preview_of(
    folders: Sequence[Path], seconds: float, settings: "DeviceSettings | None" = None
) -> "FolderPreview":
    """Return the preview of shared folders.

    Args:
        seconds: for reading the files.
        settings: of the device that would offer them; None: of hub connect.

    Raises:
        Failure: a folder cannot be shared.
    """
    from hub.device.preview import preview

    offers = {} if settings is None else settings.model_dump(include={"max_file_bytes", "hidden", "ignore"})
    try:
        return preview(folders, clock=SystemClock(), seconds=seconds, **offers)
    except ValueError as error:
        raise CommandError(str(error), Exit.USAGE) from error


def show_preview(found: "FolderPreview") -> None:
    """Print what would be offered by folder, and what stays by reason."""
    rows = [
        (folder.path, folder.files, size_text(folder.size), _kinds(folder.kinds))
        for folder in found.offered
        if folder.files
    ]
    total = sum(folder.files for folder in found.offered)
    show.out(f"files that would be offered to the hub: {total}")
    if rows:
        show.print_table(["folder", "files", "size", "endings"], rows)
    if found.stays:
        show.out()
        show.out(f"files that stay here: {sum(part.files for part in found.stays)}")
        show.print_table(["files", "why", "where"], _reasons(found.stays))
    if found.unsearched:
        rest = f"{found.unsearched} files were not searched for keys and passwords yet"
        show.report(f"{rest}: each one is before it is sent")


def _reasons(stays: "Sequence[Stays]") -> Iterator[tuple[int, str, str]]:
    by_reason: dict[str, list[Stays]] = {}
    for database in stays:
        by_reason.setdefault(database.reason, []).append(database)
    for reason in sorted(by_reason, key=lambda reason: (reason not in _NAMED, reason)):
        ones = sorted(by_reason[reason], key=lambda stay: (-stay.files, stay.path))
        most = len(ones) if reason in _NAMED else _MAX_NAMED
        shown = reason.replace("_", " ")
        for stay in ones[:most]:
            yield stay.files, f"{shown}: {stay.detail}" if stay.detail else shown, stay.path
        if rest := ones[most:]:
            yield sum(folder.files for folder in rest), shown, f"{len(rest)} others"


def _kinds(kinds: Counter[str]) -> str:
    most = kinds.most_common(4)
    rest = kinds.total() - sum(count for _, count in most)
    shown = [f"{count} {ending or 'without'}" for ending, count in most]
    return ", ".join([*shown, f"{rest} others"] if rest else shown)


def size_text(size: int) -> str:
    """Return a number of bytes in its largest unit."""
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size} {unit}"
        size //= 1024
    return f"{size} GiB"


def ask_grants(url: str, db: Path) -> tuple[str, ...]:
    """Ask the owner which rights a hub gets that is new to the device; Enter grants none."""
    from hub.device.addresses import UnusableHubAddress, address_of
    from hub.device.grants import BadGrant, changed
    from hub.device.known_hubs import SUFFIX, BadKnownHubs, KnownHubs, dialled
    from protocol.tables import TABLES

    try:
        address = dialled(address_of(url))
        if address in KnownHubs(db.with_suffix(SUFFIX), db).at_addresses():
            return ()
    except (UnusableHubAddress, BadKnownHubs):
        return ()  # reported when it is used
    show.report(f"the address {address} is new to this device; a hub that it knows keeps its rights")
    show.report("to change them later: hub grants")
    chosen = []
    if show.ask("May it apply review decisions that you made elsewhere?"):
        chosen.append("+review.remote")
    if show.ask("May it read rows that you approved?"):
        tables = click.prompt("Of which tables", default=",".join(TABLES), err=True)
        chosen.append(f"+rows.read={tables.replace(' ', '')}")
    try:
        changed({}, chosen)
    except BadGrant as error:
        raise CommandError(str(error), Exit.USAGE) from error
    return tuple(chosen)


def _fingerprint(text: str) -> KeyId:
    try:
        return keys.read(text)
    except ValueError as error:
        raise CommandError(f"invalid fingerprint of a hub {text!r}: {error}", Exit.USAGE) from error


async def _ask(opened: "Log", question: str) -> bool:
    """Ask at the terminal, without a time limit. Can be cancelled."""
    from hub.base.system.processes import read_line

    with opened.asking(f"{question} [y/N] "):
        line = await read_line()
    return line.strip().lower() in ("y", "yes")


def device_name(chosen: str | None) -> str:
    """Return the name of a device: *chosen*, or the machine's name.

    Raises:
        Failure: the name is invalid.
    """
    name = chosen or re.sub(r"[^\w.-]", "-", platform.node()).strip("-.") or "device"
    from hub.base.system.folders import is_reserved

    if not _NAME.match(name) or is_reserved(name):
        next_step = "use letters, digits, _ . and -, at most 64; Windows has con, nul and others of its own"
        raise CommandError(f"invalid device name {name!r}", Exit.USAGE, next_step=next_step)
    return name


def device_file(ctx: click.Context, name: str) -> Path:
    """Return the default path of a device's database on this machine."""
    return state_folder(ctx.meta.get(STATE) or ctx.find_root().params.get("state")) / "devices" / f"{name}.db"


def file_here(ctx: click.Context, db: Path | None, name: str | None) -> Path:
    """Return the database of the device of a command: the named one, or the only one on this machine.

    Raises:
        Failure: the database does not exist, or one of several devices must be named.
    """
    here = device_file(ctx, device_name(name))
    known = sorted(file.stem for file in here.parent.glob("*.db"))
    if db is None and name is None and len(known) == 1:
        return here.with_name(f"{known[0]}.db")
    if db is None and name is None and known:
        problem = f"there are several devices on this machine: {', '.join(known)}"
        raise CommandError(problem, Exit.USAGE, next_step=f"name one: {ctx.command_path} --name {known[0]}")
    path = db or here
    if not path.exists():
        next_step = f"name the device: --name NAME, or --db FILE; known devices: {', '.join(known)}"
        next_step = next_step if known else "a device makes it when it runs: hub up FOLDER, or hub device run"
        raise CommandError(f"there is no device database {path}", Exit.FAILED, next_step=next_step)
    return path


def _token(file: Path | None) -> str | Path | None:
    """Return the device's token, or its file. Never an argument: other users of a machine can read those."""
    token = secret_in(file) if file is not None else os.environ.get(TOKEN_VARIABLE, "").strip()
    if not token and file is None:
        return None
    _check_secret("token", file, token)
    return file or token


def _check_secret(name: Literal["token", "invitation"], file: Path | None, text: str) -> None:
    """Check a token or invitation for copying errors, before a hub counts it as a failed attempt."""
    from hub.base.tokens import TokenKind, check

    kind = TokenKind.DEVICE if name == "token" else TokenKind.INVITATION
    made_by = "hub token create --device NAME" if name == "token" else "hub pair invite"
    where = file or f"${TOKEN_VARIABLE}"
    if not text:
        raise CommandError(f"there is no {name} in {where}", Exit.USAGE, next_step=f"create one: {made_by}")
    wrong = check(text, kind)
    if wrong and (name == "invitation" or text.startswith("hub_")):  # another hub may make other tokens
        raise CommandError(f"invalid {name} in {where}: {wrong}", Exit.USAGE)

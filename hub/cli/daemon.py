"""Commands that start something: a hub, a device, a demonstration, a first settings file."""

import os
import platform
import re
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Literal

import click

from hub.cli import show
from hub.cli.failure import Exit, Failure
from hub.cli.options import json_option, state_folder, state_option

_NAME = re.compile(r"^\w[\w.-]{0,63}$")  # as the hub's settings have it; it is also a file's name
TOKEN_VARIABLE = "HUB_DEVICE_TOKEN"
_ENDPOINT = re.compile(r'^kind = "openai".*?(?=^# chunk_tokens)', re.MULTILINE | re.DOTALL)
_LOCAL = """\
kind = "local"                      # the small model of the extra [local], served by the hub itself
# timeout_s = 300.0                 # the longest silence while it thinks: one thread is slow
# concurrency = 1                   # questions at once
"""


@click.command()
@click.option("--config", type=click.Path(path_type=Path), default="hub.toml", show_default=True)
@click.option("--local", is_flag=True, help="Use the small model on this machine; no endpoint, no key.")
@state_option
@json_option
def init(config: Path, local: bool, state: Path, as_json: bool) -> None:
    """Write a commented hub.toml and make the state folder.

    A file that is there already is never overwritten.
    """
    text = files("hub.cli").joinpath("sample.toml").read_text("utf-8")
    make_folder(state)
    try:
        with config.open("x", encoding="utf-8") as file:
            file.write(_ENDPOINT.sub(_LOCAL, text) if local else text)
    except FileExistsError as error:
        raise Failure(
            f"{config} is there already, and was left as it is",
            Exit.CANNOT_CREATE,
            next_step=f"look at it: hub check {config}",
        ) from error
    except OSError as error:
        raise Failure(f"cannot write {config}: {error.strerror}", Exit.CANNOT_CREATE) from error
    if as_json:
        show.print_json("init", {"config": str(config), "state": str(state)})
        return
    show.say(f"wrote {config}; the hub's state is kept in {state}")
    show.say(f"next: edit {config}, then: hub serve --config {config}")


@click.command()
@click.option("--config", type=click.Path(path_type=Path), default="hub.toml", show_default=True)
@state_option
@click.pass_context
def serve(ctx: click.Context, config: Path, state: Path) -> None:
    """Run the hub in the foreground.

    SIGTERM or Ctrl-C ends it in good order, a second one at once.
    """
    from hub.ops.problems import SettingsInvalid
    from hub.ops.settings import load_settings

    try:
        settings = load_settings(config)
    except SettingsInvalid as error:
        for problem in error.problems:
            show.say(str(problem))
        ctx.exit(Exit.SETTINGS)
    make_folder(state)

    from hub.daemon import run  # only now: what it imports takes a second

    def announce(listeners: Mapping[str, str]) -> None:
        where = ", ".join(f"{name} {address}" for name, address in listeners.items())
        show.say(f"hub {settings.hub.name} is ready: {where}. Look at it: hub status --state {state}")

    ctx.exit(run(settings, state, on_ready=announce))


@click.command()
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=".demo",
    show_default=True,
    help="Where the demo keeps its files.",
)
@click.pass_context
def demo(ctx: click.Context, folder: Path) -> None:
    """Show the main job end to end, with a model on this machine.

    A hub, a device over a folder of sample files, one run; then what the device's
    database holds. A second demo shows that what did not change costs nothing.
    """
    from hub.cli.demo import run_demo

    ctx.exit(run_demo(folder))


@click.command()
@click.argument("url")
@click.option(
    "--root",
    "roots",
    multiple=True,
    required=True,
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="A folder to share; may be given several times.",
)
@click.option(
    "--db",
    type=click.Path(path_type=Path),
    help="The device's database [default: NAME.db in its state folder].",
)
@click.option("--name", help="What people call this device [default: this machine's name].")
@click.option(
    "--token-file",
    type=click.Path(path_type=Path),
    help=f"The file with the device's token [default: ${TOKEN_VARIABLE}].",
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
    token_file: Path | None,
    codec: Literal["json", "msgpack"],
    log_level: str,
) -> None:
    """Be a device: share folders, keep what is found in them.

    Connects to the hub at URL, as in ws://127.0.0.1:8770, and comes back whenever the
    connection ends.
    """
    name = name or re.sub(r"[^\w.-]", "-", platform.node()).strip("-.") or "device"
    if not _NAME.match(name):
        told = "use letters, digits, _ . and -, at most 64"
        raise Failure(f"{name!r} is no name for a device", Exit.USAGE, next_step=told)
    token = _token(token_file)
    db = db or state_folder(ctx.find_root().params.get("state")) / "devices" / f"{name}.db"
    make_folder(db.parent)

    from hub.device.app import DeviceOptions, run_device
    from hub.log import open_log

    open_log(log_level)
    ctx.exit(
        run_device(
            DeviceOptions(url=url, roots=list(roots), db=db, name=name, token=token, codec=codec),
            on_status=show.say,
        )
    )


def make_folder(path: Path) -> None:
    """Make a folder for this user alone. Raises Failure when that cannot be."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise Failure(
            f"cannot make the folder {path}: {error.strerror}",
            Exit.CANNOT_CREATE,
            next_step="choose another one: --state DIR",
        ) from error


def _token(file: Path | None) -> str | Path:
    """The device's token, or the file it is in. Never an argument: everybody on a machine can read those."""
    if file is not None:
        try:
            token = file.read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise Failure(f"cannot read {file}: {error}", Exit.NOT_PERMITTED) from error
        if file.stat().st_mode & 0o077:
            show.say(f"warning: others may read {file}; chmod 600 {file}")
    else:
        token = os.environ.get(TOKEN_VARIABLE, "").strip()
    if not token:
        raise Failure(
            "a device needs a token",
            Exit.USAGE,
            next_step="make one on the hub's machine: hub token create --device NAME > FILE",
        )
    return file or token

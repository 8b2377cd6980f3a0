"""Commands ``hub init``, ``hub serve``, ``hub install-unit`` and ``hub demo``."""

import gc
import os
import re
import signal
import sys
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Final

import click

from hub.base.printable import shell_word
from hub.cli import show
from hub.cli.errors import CommandError, Exit, using
from hub.cli.options import (
    SETTINGS,
    FilePathParam,
    config_option,
    default_state,
    example,
    json_option,
    state_option,
)
from hub.cli.zones import machine_zone

_ENDPOINT = re.compile(r'^# \[model\]\n# kind = "openai".*?(?=^# chunk_tokens)', re.MULTILINE | re.DOTALL)
SCHEMA: Final = "hub.schema.json"  # named in the first line of the sample
_LOCAL = """\
[model]
kind = "local"                      # the small model of the extra [local], served by the hub itself
# reads_prose = true                # ask it about sentences that no rule reads; most of what it adds is wrong
# timeout_s = 300.0                 # the longest silence while it thinks: one thread is slow
# concurrency = 1                   # questions at once
"""


@click.command(epilog=example("hub init"))
@click.option(
    "--config", type=FilePathParam(), default=SETTINGS, help="The file to write.", show_default=True
)
@click.option("--local", is_flag=True, help="Use the small model on this machine; no endpoint, no key.")
@state_option
@json_option
def init(config: Path, local: bool, state: Path, as_json: bool) -> None:
    """Write a commented hub.toml and create the state folder.

    Never overwrites an existing file. Writes a schema next to it, with which TOML editors
    check the file.
    """
    from hub.settings.reading import check_settings

    zone, origin = machine_zone()
    make_folder(state)
    write_settings(config, new_settings(local=local))
    if as_json:
        show.print_json("init", {"config": str(config), "state": str(state), "timezone": zone})
        return
    for problem in check_settings(config, serving=True).problems:  # of overrides and this machine
        show.report(str(problem))
    show.report(f"wrote {config}; the hub's state is kept in {state}")
    show.report(f"its agent uses the time zone {zone} ({origin})")
    show.report(
        "rules read files; its model reads no prose until reads_prose = true in [model]: hub help models"
        if local
        else "it has no model: rules alone read files and mail; to add one: hub help models"
    )
    where = "" if state == default_state() else f" --state {shell_word(state)}"
    show.report(f"next: edit {config}, then: hub serve --config {shell_word(config)}{where}")


@click.command(epilog=example("hub serve --config hub.toml"))
@config_option
@click.option(
    "--set",
    "overrides",
    metavar="KEY=VALUE",
    multiple=True,
    help="Override the file and the environment, as in limits.runs=9; may be given several times.",
)
@click.option(
    "--strict-start", is_flag=True, help="If the file has errors, do not start with the last valid settings."
)
@state_option
@click.pass_context
def serve(
    ctx: click.Context, config: Path, overrides: tuple[str, ...], strict_start: bool, state: Path
) -> None:
    """Run the hub in the foreground.

    SIGTERM or Ctrl-C shuts it down in good order, a second one at once. It applies changes of the
    settings file by itself. If the file has errors, it starts with the last valid settings.
    """
    check_system()
    for early in (signal.SIGHUP, signal.SIGUSR1):  # they end a process that has no handlers yet
        signal.signal(early, signal.SIG_IGN)
    if os.getpid() == 1:  # in a container, where the system drops a signal that has no handler
        signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    gc.disable()  # until the hub is ready: collections during imports take a quarter of the start
    from hub.base.toml.problems import SettingsInvalid
    from hub.settings.overrides import NotAnOverride, on_command_line
    from hub.settings.reading import SettingsFile, open_settings

    try:
        opened = open_settings(
            SettingsFile(config, tuple(on_command_line(overrides))), state, strict=strict_start
        )
    except NotAnOverride as error:
        raise CommandError(str(error), Exit.USAGE) from error
    except SettingsInvalid as error:
        for problem in error.problems:
            show.report(str(problem))
        ctx.exit(Exit.SETTINGS)
    for problem in (*opened.refused, *opened.reading.problems):
        show.report(str(problem))
    if opened.refused:
        show.report(f"{config} has errors: starting with the last valid settings")
    make_folder(state)

    from hub.app.daemon import run  # imported late: its imports take a second

    name = opened.settings.hub.name

    def announce(listeners: Mapping[str, str]) -> str:
        where = ", ".join(f"{name} {address}" for name, address in listeners.items())
        return f"hub {name} is ready: {where}. Show its state: hub status --state {shell_word(state)}"

    ctx.exit(run(opened, state, on_ready=announce))


@click.command(epilog=example("hub demo"))
@click.option(
    "--folder",
    type=FilePathParam(file_okay=False),
    default=".demo",
    show_default=True,
    help="Folder for the files of the demo.",
)
@click.pass_context
def demo(ctx: click.Context, folder: Path) -> None:
    """Run hub, device and agent once over a sample folder.

    Starts a hub and a device with sample files, runs one agent, and prints what was
    found. A second demo shows that unchanged files cost nothing.
    """
    check_system()
    from hub.cli.demo import run_demo

    ctx.exit(run_demo(folder))


def check_system() -> None:
    """Check that a hub can run here. Raises Failure: the system lacks what it needs."""
    from hub.base.system import missing_for_hub

    if missing := missing_for_hub():
        message = f"a hub runs on Linux; here is no {', '.join(missing)}"
        raise CommandError(message, Exit.UNAVAILABLE, next_step="a device runs here: hub connect, hub device")


def new_settings(*, local: bool) -> str:
    """Return the commented hub.toml in the time zone of this machine; *local*: with the small model."""
    package = files("hub")
    packaged = package.joinpath("hub.toml")  # of a wheel; in a source tree it is at the top
    sample = packaged if packaged.is_file() else package.joinpath("..", "hub.toml")
    text = sample.read_text("utf-8").replace('timezone = "UTC"', f'timezone = "{machine_zone()[0]}"')
    return _ENDPOINT.sub(_LOCAL, text) if local else text


def write_settings(config: Path, text: str) -> None:
    """Write a new hub.toml, and its schema next to it.

    Raises:
        Failure: the file exists, or cannot be written.
    """
    from hub.settings.editor_schema import schema_text

    try:
        with config.open("x", encoding="utf-8") as file:
            file.write(text)
        config.with_name(SCHEMA).write_text(schema_text(), "utf-8")
    except FileExistsError as error:
        raise CommandError(
            f"{config} exists already and was not changed",
            Exit.CANNOT_CREATE,
            next_step=f"check it: hub check {shell_word(config)};"
            " or write another: hub init --config OTHER/hub.toml",
        ) from error
    except OSError as error:
        raise CommandError(f"cannot write {config}: {error.strerror}", Exit.CANNOT_CREATE) from error


def make_folder(path: Path) -> None:
    """Create a folder, and those above it, for this user only. Raises Failure: a folder cannot be created."""
    with using(path, "make the folder", Exit.CANNOT_CREATE, another="name another folder: --state DIR"):
        for folder in reversed(path.parents):  # parents=True would let others into them
            if not folder.exists():
                folder.mkdir(mode=0o700, exist_ok=True)
        path.mkdir(mode=0o700, exist_ok=True)


@click.command("install-unit", epilog=example("hub install-unit --print"))
@click.option("--print", "only_print", is_flag=True, help="Print the files instead of writing them.")
@click.option(
    "--root",
    type=FilePathParam(file_okay=False),
    default="/",
    help="Write below this folder, as for an image [default: /].",
)
@click.option("--yes", is_flag=True, help="Do not ask before a file is replaced.")
def install_unit(only_print: bool, root: Path, yes: bool) -> None:
    """Install the hub as a systemd service.

    Writes three units and the group hub-operators. Starts nothing; prints the next commands.
    """
    from hub.app.systemd import is_out_of_reach, this_installation, unit_files
    from hub.text.convert import prepare

    units = unit_files(*this_installation())
    if only_print:
        show.out("\n".join(f"# ===== /{place}\n{text}" for place, text in units.items()), end="")
        return
    if is_out_of_reach(*this_installation()):
        show.report(
            "warning: the service cannot read home folders, and this hub is installed in one;"
            " install it below /opt or /usr"
        )
    for place, text in units.items():
        _write(root / place, text, yes=yes)
    prepare()  # the service must not run files that it could have written itself
    show.report(
        "next: put hub.toml into /etc/hub (0644, no secret in it), then",
        "  systemd-sysusers && systemctl daemon-reload",
        "  systemctl enable --now hub.socket hub-admin.socket hub.service",
    )


def _write(file: Path, text: str, *, yes: bool) -> None:
    try:
        if file.exists() and file.read_text("utf-8") == text:
            show.report(f"{file} is up to date")
            return
        if file.exists() and not yes:
            show.confirm(f"replace {file}, which is different?")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, "utf-8")
    except PermissionError as error:
        raise CommandError(
            f"cannot write {file}: {error.strerror}",
            Exit.NOT_PERMITTED,
            next_step="run this as root, or print the files: hub install-unit --print",
        ) from error
    file.chmod(0o644)
    show.report(f"wrote {file}")

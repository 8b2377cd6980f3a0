"""The commands ``hub init``, ``hub serve`` and ``hub demo``."""

import gc
import re
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Final

import click

from hub.cli import show
from hub.cli.failure import Exit, Failure
from hub.cli.options import example, json_option, state_folder, state_option

_ENDPOINT = re.compile(r'^kind = "openai".*?(?=^# chunk_tokens)', re.MULTILINE | re.DOTALL)
SCHEMA: Final = "hub.schema.json"  # named in the first line of the sample
_LOCAL = """\
kind = "local"                      # the small model of the extra [local], served by the hub itself
# timeout_s = 300.0                 # the longest silence while it thinks: one thread is slow
# concurrency = 1                   # questions at once
"""


@click.command(epilog=example("hub init"))
@click.option("--config", type=click.Path(path_type=Path), default="hub.toml", show_default=True)
@click.option("--local", is_flag=True, help="Use the small model on this machine; no endpoint, no key.")
@state_option
@json_option
def init(config: Path, local: bool, state: Path, as_json: bool) -> None:
    """Write a commented hub.toml and create the state folder.

    Never overwrites an existing file. Writes a schema next to it, with which TOML editors
    check the file.
    """
    from hub.settings.schema import schema_text

    text = files("hub.cli").joinpath("sample.toml").read_text("utf-8")
    make_folder(state)
    try:
        with config.open("x", encoding="utf-8") as file:
            file.write(_ENDPOINT.sub(_LOCAL, text) if local else text)
        config.with_name(SCHEMA).write_text(schema_text(), "utf-8")
    except FileExistsError as error:
        raise Failure(
            f"{config} exists already and was not changed",
            Exit.CANNOT_CREATE,
            next_step=f"check it: hub check {config}",
        ) from error
    except OSError as error:
        raise Failure(f"cannot write {config}: {error.strerror}", Exit.CANNOT_CREATE) from error
    if as_json:
        show.print_json("init", {"config": str(config), "state": str(state)})
        return
    show.say(f"wrote {config}; the hub's state is kept in {state}")
    where = "" if state == state_folder() else f" --state {state}"
    show.say(f"next: edit {config}, then: hub serve --config {config}{where}")


@click.command(epilog=example("hub serve --config hub.toml"))
@click.option("--config", type=click.Path(path_type=Path), default="hub.toml", show_default=True)
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
    gc.disable()  # until the hub is ready: collections during imports take a quarter of the start
    from hub.settings.overrides import NotAnOverride, on_command_line
    from hub.settings.problems import SettingsInvalid
    from hub.settings.settings_file import SettingsFile, open_settings

    try:
        opened = open_settings(
            SettingsFile(config, tuple(on_command_line(overrides))), state, strict=strict_start
        )
    except NotAnOverride as error:
        raise Failure(str(error), Exit.USAGE) from error
    except SettingsInvalid as error:
        for problem in error.problems:
            show.say(str(problem))
        ctx.exit(Exit.SETTINGS)
    for problem in opened.refused:
        show.say(str(problem))
    if opened.refused:
        show.say(f"{config} has errors: starting with the last valid settings")
    make_folder(state)

    from hub.app.daemon import run  # imported late: its imports take a second

    name = opened.settings.hub.name

    def announce(listeners: Mapping[str, str]) -> None:
        where = ", ".join(f"{name} {address}" for name, address in listeners.items())
        show.say(f"hub {name} is ready: {where}. Show its state: hub status --state {state}")

    ctx.exit(run(opened, state, on_ready=announce))


@click.command(epilog=example("hub demo"))
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=".demo",
    show_default=True,
    help="Folder for the files of the demo.",
)
@click.pass_context
def demo(ctx: click.Context, folder: Path) -> None:
    """Run hub, device and agent once over a sample folder.

    Starts a hub and a device with sample files, runs one agent, and prints the rows of the
    device's database. A second demo shows that unchanged files cost nothing.
    """
    from hub.cli.demo import run_demo

    ctx.exit(run_demo(folder))


def make_folder(path: Path) -> None:
    """Create a folder for this user only. Raises Failure: the folder cannot be created."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise Failure(
            f"cannot create the folder {path}: {error.strerror}",
            Exit.CANNOT_CREATE,
            next_step="choose another one: --state DIR",
        ) from error

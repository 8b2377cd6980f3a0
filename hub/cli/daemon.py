"""Commands that start something: a hub, a demonstration, a first settings file."""

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
SCHEMA: Final = "hub.schema.json"  # what the first line of the sample names
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

    A file that is there already is never overwritten. Beside it comes a schema, by which
    editors that know TOML check it.
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
    where = "" if state == state_folder() else f" --state {state}"
    show.say(f"next: edit {config}, then: hub serve --config {config}{where}")


@click.command(epilog=example("hub serve --config hub.toml"))
@click.option("--config", type=click.Path(path_type=Path), default="hub.toml", show_default=True)
@click.option(
    "--set",
    "given",
    metavar="KEY=VALUE",
    multiple=True,
    help="Goes before the file and the environment, as in limits.runs=9; may be given several times.",
)
@click.option("--strict-start", is_flag=True, help="With a broken file, do not start on what was good last.")
@state_option
@click.pass_context
def serve(ctx: click.Context, config: Path, given: tuple[str, ...], strict_start: bool, state: Path) -> None:
    """Run the hub in the foreground.

    SIGTERM or Ctrl-C ends it in good order, a second one at once. An edit of the settings
    file is taken up by itself; with a broken one the hub starts on what was good last.
    """
    gc.disable()  # until the hub is ready: looking through modules, which stay, is a quarter of the start
    from hub.settings.overrides import NotAnOverride, on_command_line
    from hub.settings.problems import SettingsInvalid
    from hub.settings.settings_file import SettingsFile, open_settings

    try:
        opened = open_settings(
            SettingsFile(config, tuple(on_command_line(given))), state, strict=strict_start
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
        show.say(f"{config} is broken: starting with the settings that were good last")
    make_folder(state)

    from hub.app.daemon import run  # only now: what it imports takes a second

    name = opened.settings.hub.name

    def announce(listeners: Mapping[str, str]) -> None:
        where = ", ".join(f"{what} {address}" for what, address in listeners.items())
        show.say(f"hub {name} is ready: {where}. Look at it: hub status --state {state}")

    ctx.exit(run(opened, state, on_ready=announce))


@click.command(epilog=example("hub demo"))
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=".demo",
    show_default=True,
    help="Where the demo keeps its files.",
)
@click.pass_context
def demo(ctx: click.Context, folder: Path) -> None:
    """Run hub, device and agent once over a sample folder.

    A hub, a device over a folder of sample files, one run; then what the device's
    database holds. A second demo shows that what did not change costs nothing.
    """
    from hub.cli.demo import run_demo

    ctx.exit(run_demo(folder))


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

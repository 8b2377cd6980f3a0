"""The commands ``hub init``, ``hub serve``, ``hub status``, ``hub install-unit`` and ``hub demo``.

``hub demo``: the main job end to end, with real processes, on sample files.

Starts a hub and the reference device over a folder, runs one agent with the model on this
machine, and prints the device's database. All files stay in one folder, so that a second
demo finds no changes and sends no requests to the model.
"""

import fcntl
import gc
import json
import re
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from importlib.resources import as_file, files
from pathlib import Path
from subprocess import DEVNULL
from typing import Any, Final, NamedTuple, TypeVar

import anyio
import click
from anyio.abc import Process
from rich.console import Console
from rich.table import Table

from hub.cli import show
from hub.cli.options import (
    FilePath,
    config_option,
    default_state,
    example,
    json_option,
    machine_zone,
    state_option,
)
from hub.cli.show import Exit, Failure, using
from hub.clock import SystemClock
from hub.device.inbox import DeviceItem, read_items
from hub.printable import one_line

_ENDPOINT = re.compile(r'^# \[model\]\n# kind = "openai".*?(?=^# chunk_tokens)', re.MULTILINE | re.DOTALL)
_TIMEZONE: Final = 'timezone = "UTC"'
SCHEMA: Final = "hub.schema.json"  # named in the first line of the sample
_LOCAL = """\
[model]
kind = "local"                      # the small model of the extra [local], served by the hub itself
# reads_prose = true                # ask it about sentences that no rule reads; most of what it adds is wrong
# timeout_s = 300.0                 # the longest silence while it thinks: one thread is slow
# concurrency = 1                   # questions at once
"""


@click.command(epilog=example("hub init"))
@config_option
@click.option("--local", is_flag=True, help="Use the small model on this machine; no endpoint, no key.")
@state_option
@json_option
def init(config: Path, local: bool, state: Path, as_json: bool) -> None:
    """Write a commented hub.toml and create the state folder.

    Never overwrites an existing file. Writes a schema next to it, with which TOML editors
    check the file.
    """
    from hub.settings.reading import check_settings
    from hub.settings.schema import schema_text

    zone, origin = machine_zone()
    text = _commented_settings().replace(_TIMEZONE, f'timezone = "{zone}"')
    make_folder(state)
    try:
        with config.open("x", encoding="utf-8") as file:
            file.write(_ENDPOINT.sub(_LOCAL, text) if local else text)
        config.with_name(SCHEMA).write_text(schema_text(), "utf-8")
    except FileExistsError as error:
        raise Failure(
            f"{config} exists already and was not changed",
            Exit.CANNOT_CREATE,
            next_step=f"check it: hub check {config}; or write another: hub init --config OTHER/hub.toml",
        ) from error
    except OSError as error:
        raise Failure(f"cannot write {config}: {error.strerror}", Exit.CANNOT_CREATE) from error
    if as_json:
        show.print_json("init", {"config": str(config), "state": str(state), "timezone": zone})
        return
    for problem in check_settings(config).problems:  # of overrides and secrets on this machine
        show.report(str(problem))
    show.report(f"wrote {config}; the hub's state is kept in {state}")
    show.report(f"its agent uses the time zone {zone} ({origin})")
    show.report(
        "rules read files; its model reads no prose until reads_prose = true in [model]: hub help models"
        if local
        else "it has no model: rules alone read files, mailboxes wait; to add one: hub help models"
    )
    where = "" if state == default_state() else f" --state {state}"
    show.report(f"next: edit {config}, then: hub serve --config {config}{where}")


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
    for early in (signal.SIGHUP, signal.SIGUSR1):  # they end a process that has no handlers yet
        signal.signal(early, signal.SIG_IGN)
    gc.disable()  # until the hub is ready: collections during imports take a quarter of the start
    from hub.settings.problems import NotAnOverride, SettingsInvalid, on_command_line
    from hub.settings.settings_file import SettingsFile, open_settings

    try:
        opened = open_settings(
            SettingsFile(config, tuple(on_command_line(overrides))), state, strict=strict_start
        )
    except NotAnOverride as error:
        raise Failure(str(error), Exit.USAGE) from error
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
        return f"hub {name} is ready: {where}. Show its state: hub status --state {state}"

    ctx.exit(run(opened, state, on_ready=announce))


@click.command(epilog=example("hub demo"))
@click.option(
    "--folder",
    type=FilePath(file_okay=False),
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

    ctx.exit(run_demo(folder))


def _commented_settings() -> str:
    """Return the text of the commented hub.toml: in a wheel it is packaged, in a source tree at the top."""
    package = files("hub")
    packaged = package.joinpath("hub.toml")
    return (packaged if packaged.is_file() else package.joinpath("..", "hub.toml")).read_text("utf-8")


def make_folder(path: Path) -> None:
    """Create a folder for this user only. Raises Failure: the folder cannot be created."""
    with using(path, "make the folder", Exit.CANNOT_CREATE):
        path.mkdir(mode=0o700, parents=True, exist_ok=True)


@click.command("install-unit", epilog=example("hub install-unit --print"))
@click.option("--print", "only_print", is_flag=True, help="Print the files instead of writing them.")
@click.option(
    "--root",
    type=FilePath(file_okay=False),
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
        raise Failure(
            f"cannot write {file}: {error.strerror}",
            Exit.NOT_PERMITTED,
            next_step="run this as root, or print the files: hub install-unit --print",
        ) from error
    file.chmod(0o644)
    show.report(f"wrote {file}")


Found = TypeVar("Found")

DEVICE, AGENT = "desk", "notes"
START_TIMEOUT_S = 180.0  # the model's first start on a slow disk
STOP_TIMEOUT_S = 30.0
POLL_S = 0.1

_SETTINGS = """\
# Written by 'hub demo'. Change it, or the files in notes/, and run the demo again.
[hub]
name = "demo"

[listen.devices]
address = "127.0.0.1:0"

[listen.operator]
address = "127.0.0.1:0"

[model]
kind = "local"
reads_prose = true

[[agents]]
name = "notes"
device = "desk"
paths = ["notes"]
data_types = ["tasks", "timelines"]
prompt = "Find the tasks that a person has to do."
timezone = "{zone}"
"""


def run_demo(folder: Path) -> int:
    """Run the demo in *folder*. Return the exit code of its run: 0, or 1 if the run failed.

    Raises:
        Failure: another demo is running there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # released with the process, however it ends
        except BlockingIOError:
            next_step = "wait until it has ended, or give this one a folder: hub demo --folder DIR"
            raise Failure(f"a demo is running in {folder}", Exit.TRY_AGAIN, next_step=next_step) from None
        _prepare(folder)
        return anyio.run(_demo, folder)


async def _demo(folder: Path) -> int:
    console = Console(highlight=False)
    clock = SystemClock()
    began = clock.monotonic()
    async with AsyncExitStack() as processes:
        console.print(f"[bold]1[/] a hub starts                 state in {folder}")
        hub = await processes.enter_async_context(
            _process(folder, "hub.log", "serve", "--config", str(folder / "hub.toml"))
        )
        status = await hub.until(lambda: _status(folder))
        address = status["listeners"]["devices"]
        console.print(f"[bold]2[/] a device connects            ws://{address}, shares {folder / 'notes'}")
        desk = await processes.enter_async_context(
            _process(
                folder,
                "desk.log",
                "connect",
                f"ws://{address}",
                *("--root", str(folder / "notes"), "--db", str(folder / "desk.db"), "--name", DEVICE),
                *("--token-file", str(await _token_file(folder))),
            )
        )
        await desk.until(lambda: _connected(folder))
        console.print(f"[bold]3[/] the agent '{AGENT}' reads them    model: {status['model']}")
        follow = await anyio.run_process(
            _command(folder, "run", AGENT, "--follow"), check=False, stdout=None, stderr=None
        )
        run = (await _ask(folder, "runs", "--json"))["runs"][0]
    _show(console, read_items(folder / "desk.db"))
    _sum_up(console, run, clock.monotonic() - began)
    return follow.returncode


def _prepare(folder: Path) -> None:
    notes = folder / "notes"
    if not notes.exists():
        with as_file(files("hub.cli").joinpath("sample")) as sample:
            shutil.copytree(sample, notes)
    settings = folder / "hub.toml"
    if not settings.exists():
        settings.write_text(_SETTINGS.format(zone=machine_zone()[0]))


def _command(folder: Path, *words: str) -> list[str]:
    return [sys.executable, "-m", "hub", "--state", str(folder), *words]


class _Child(NamedTuple):
    """Process of the demo, and the file of its log."""

    process: Process
    log: Path

    async def until(self, read: Callable[[], Awaitable[Found | None]]) -> Found:
        """Call *read* until it returns a result.

        Raises:
            Failure: the process has ended, or the result takes too long.
        """
        with anyio.move_on_after(START_TIMEOUT_S):
            while self.process.returncode is None:
                if (found := await read()) is not None:
                    return found
                await anyio.sleep(POLL_S)
        code = self.process.returncode
        ending = (
            f"is not ready after {START_TIMEOUT_S:g} s" if code is None else f"ended with exit code {code}"
        )
        lines = self.log.read_text("utf-8", "replace").split("\n")
        last = next((line for line in reversed(lines) if line.strip()), "its log is empty")
        next_step = f"read its log, {self.log}; then run the demo again"
        raise Failure(f"the {self.log.stem} {ending}: {one_line(last)}", Exit.FAILED, next_step=next_step)


@asynccontextmanager
async def _process(folder: Path, log: str, *words: str) -> AsyncIterator[_Child]:
    """Run a process of the demo, and terminate it at the end of the block."""
    with (folder / log).open("wb") as output:
        process = await anyio.open_process(
            _command(folder, *words), stdin=DEVNULL, stdout=output, stderr=output
        )
        try:
            yield _Child(process, folder / log)
        finally:
            with anyio.CancelScope(shield=True), suppress(ProcessLookupError):  # it has ended by itself
                process.terminate()
                with anyio.move_on_after(STOP_TIMEOUT_S):
                    await process.wait()
                if process.returncode is None:
                    process.kill()
                    await process.wait()


async def _ask(folder: Path, *words: str) -> Any:
    done = await anyio.run_process(_command(folder, *words), check=False)
    if done.returncode:
        raise Failure(f"'hub {' '.join(words)}' failed: {done.stderr.decode().strip()}", Exit.FAILED)
    return json.loads(done.stdout)


async def _status(folder: Path) -> Any:
    """Return the status of the hub, or None while it does not answer."""
    with suppress(Failure):
        return await _ask(folder, "status", "--json") if (folder / "hub.sock").exists() else None


async def _connected(folder: Path) -> bool | None:
    """Return True once a device is connected."""
    devices = (await _ask(folder, "devices", "--json"))["devices"]
    return any(device["connected"] for device in devices) or None


async def _token_file(folder: Path) -> Path:
    path = folder / "desk.token"
    if not path.exists():
        token = (await _ask(folder, "token", "create", "--device", DEVICE, "--json"))["token"]
        path.touch(mode=0o600, exist_ok=False)
        path.write_text(token + "\n")
    return path


def _show(console: Console, items: list[DeviceItem]) -> None:
    table = Table(title="rows of the device's database: suggestions until the owner approves them")
    table.add_column("table")
    table.add_column("item", ratio=2)
    table.add_column("file")
    table.add_column("source sentence", ratio=3)
    for item in items:
        table.add_row(item.table, item.title, item.source_path or "", " ".join((item.quote or "").split()))
    console.print(table)


def _sum_up(console: Console, run: dict[str, Any], took_s: float) -> None:
    if run["units_done"] == 0 and run["units_failed"] == 0 and run["model_requests"] == 0:
        console.print(
            f"Nothing changed: {run['units_skipped']} files known, no model request, no insert. "
            f"({took_s:.1f} s)"
        )
    else:
        console.print(
            f"{run['items_created']} items from {run['units_done']} files, "
            f"{run['model_requests']} model requests. ({took_s:.1f} s) "
            "Run it again: unchanged files cost nothing."
        )

"""``hub demo``: the main job end to end, with real processes, on sample files.

Starts a hub and the reference device over a folder, runs one agent with the model on this
machine, and prints the device's database. All files stay in one folder, so that a second
demo finds no changes and sends no requests to the model.
"""

import fcntl
import json
import shutil
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from importlib.resources import as_file, files
from pathlib import Path
from subprocess import DEVNULL
from typing import Any, NamedTuple, TypeVar

import anyio
from anyio.abc import Process
from rich.console import Console
from rich.table import Table

from hub.cli.failure import Exit, Failure
from hub.cli.options import machine_zone
from hub.clock import SystemClock
from hub.device.inbox import DeviceItem, read_items
from hub.printable import one_line

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
                *("--root", str(folder / "notes"), "--name", DEVICE),
                *("--token-file", str(await _token_file(folder))),
            )
        )
        await desk.until(lambda: _connected(folder))
        console.print(f"[bold]3[/] the agent '{AGENT}' reads them    model: {status['model']}")
        follow = await anyio.run_process(
            _command(folder, "run", AGENT, "--follow"), check=False, stdout=None, stderr=None
        )
        run = (await _ask(folder, "runs", "--json"))["runs"][0]
    _show(console, read_items(folder / "devices" / f"{DEVICE}.db"))
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

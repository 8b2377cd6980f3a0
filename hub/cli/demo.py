"""Command ``hub demo``: a complete run with real processes on sample files.

Starts a hub and the reference device over a folder, runs one agent with the model on this
machine, and prints what was found. All files stay in one folder, so that a second
demo finds no changes and sends no requests to the model.
"""

import fcntl
import math
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from importlib.resources import files
from pathlib import Path
from subprocess import DEVNULL
from typing import Any, Final, NamedTuple, TypeVar

import click

from hub.base.atomic_file import write_atomically
from hub.base.clock import SystemClock
from hub.base.version import command_here
from hub.cli import show
from hub.cli.errors import CommandError, Exit, log_ending, using
from hub.cli.hub_client import HubClient, hub_status, open_client
from hub.cli.runs import show_found, sum_up
from hub.cli.zones import machine_zone
from hub.extraction.local_model import find_weights
from hub.extraction.model import ModelUnavailable

Found = TypeVar("Found")

DEVICE, AGENT = "desk", "notes"
START_TIMEOUT_S = 180.0  # the first start on a slow disk
POLL_S = 0.1
_ANOTHER: Final = "another folder: hub demo --folder DIR"

_SETTINGS = """\
# Written by 'hub demo'. Change it, or the files in notes/, and run the demo again.
[hub]
name = "demo"

[listen.devices]
address = "127.0.0.1:0"

[listen.operator]
address = "127.0.0.1:0"

{model}[[agents]]
name = "notes"
device = "desk"
paths = ["notes"]
data_types = ["tasks", "timelines"]
prompt = "Find the tasks that a person has to do."
timezone = "{zone}"
"""
_MODEL = """\
[model]
kind = "local"
reads_prose = true

"""
_NO_MODEL = "# A later demo writes [model] here, once a model is installed.\n\n"


def run_demo(folder: Path) -> int:
    """Run the demo in *folder*. Return the exit code of its run: 0, or 1 if the run failed.

    Raises:
        Failure: another demo is running there, a process of the demo ended, or the model gives no answers.
    """
    with ExitStack() as stack:
        with using(folder, "make the demo in", Exit.CANNOT_CREATE, another=_ANOTHER):
            folder.mkdir(parents=True, exist_ok=True)
            lock = stack.enter_context((folder / "lock").open("w"))
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # released with the process, however it ends
            except BlockingIOError:
                next_step = "wait until it has ended, or give this one a folder: hub demo --folder DIR"
                raise CommandError(
                    f"a demo is running in {folder}", Exit.TRY_AGAIN, next_step=next_step
                ) from None
            has_model = _prepare(folder)
        # Of the demo's own hub, whatever hub the options of this command name.
        stack.enter_context(click.Context(click.Command("demo")))
        return _demo(folder, has_model=has_model)


def _demo(folder: Path, *, has_model: bool) -> int:
    with ExitStack() as children:
        show.out(f"1 a hub starts                 state in {folder}")
        # With the last valid settings, a demo would run that is not the one of the file.
        serve = ("serve", "--strict-start", "--config", str(folder / "hub.toml"))
        hub = children.enter_context(_child(folder, "hub", *serve))
        status = _until([hub], lambda: hub_status(folder), within_s=START_TIMEOUT_S)
        address = status["listeners"]["devices"]
        show.out(f"2 a device connects            ws://{address}, shares {folder / 'notes'}")
        connect = ("connect", f"ws://{address}", "--root", str(folder / "notes"), "--name", DEVICE)
        token = ("--token-file", str(_token_file(folder)))
        desk = children.enter_context(_child(folder, "desk", *connect, *token))
        both = [hub, desk]
        _until(both, lambda: _connected(folder), within_s=START_TIMEOUT_S)
        model = status["model"] or "none, rules alone"
        show.out(f"3 the agent '{AGENT}' reads them    model: {model}")
        run = _run(folder, both)
    if status["model"] is None and not has_model:
        show.out(f"No model is installed: rules alone read. To add the small one: {command_here('local')}")
    return Exit.DONE if run["state"] == "COMPLETED" else Exit.FAILED


def _prepare(folder: Path) -> bool:
    """Write sample files and settings, unless they are there. Return True if a model is installed.

    Settings that the demo wrote follow the model: they name it while it is installed.
    """
    notes, scratch = folder / "notes", folder / "notes.new"
    if not notes.exists():
        scratch.mkdir(exist_ok=True)
        for sample in files("hub.cli").joinpath("sample").iterdir():
            (scratch / sample.name).write_bytes(sample.read_bytes())
        scratch.rename(notes)
    has_model = False
    with suppress(ModelUnavailable):
        has_model = find_weights().is_file()
    zone = machine_zone()[0]
    without, with_model = (_SETTINGS.format(model=model, zone=zone) for model in (_NO_MODEL, _MODEL))
    settings = folder / "hub.toml"
    if not settings.exists() or settings.read_text("utf-8") in (without, with_model):
        write_atomically(settings, (with_model if has_model else without).encode(), mode=0o644)
    return has_model


class _Child(NamedTuple):
    """Process of the demo, and the file of its log."""

    process: subprocess.Popen[bytes]
    log: Path

    def failure(self, ending: str) -> CommandError:
        """Return the failure with the last lines of the log that a person reads, else with its last line."""
        words = log_ending(self.log)
        with using(self.log, "write", Exit.CANNOT_CREATE, another=_ANOTHER), self.log.open("a") as log:
            print(ending, file=log)  # fails on a full disk, which leaves a child no room for its reason
        next_step = f"read its log, {self.log}; then run the demo again, or in {_ANOTHER}"
        return CommandError(f"the {self.log.stem} {ending}: {words}", Exit.FAILED, next_step=next_step)


def _until(
    children: Sequence[_Child], read: Callable[[], Found | None], *, within_s: float = math.inf
) -> Found:
    """Call *read* until it returns a result, and return that.

    Raises:
        Failure: a child has ended, the result takes too long, or *read* failed.
    """
    clock = SystemClock()
    ends_at = clock.monotonic() + within_s
    while True:
        problem = None
        try:
            if (found := read()) is not None:
                return found
        except CommandError as error:
            problem = error  # the end of a child is the cause
        for child in children:
            with suppress(subprocess.TimeoutExpired):
                raise child.failure(f"ended with exit code {child.process.wait(POLL_S)}") from problem
        if problem is not None:
            raise problem
        if clock.monotonic() > ends_at:
            raise children[-1].failure(f"is not ready after {within_s:g} s")


@contextmanager
def _child(folder: Path, name: str, *words: str) -> Iterator[_Child]:
    """Run a process of the demo, and terminate it at the end of the block."""
    log = folder / f"{name}.log"
    with using(log, "write", Exit.CANNOT_CREATE, another=_ANOTHER):
        output = log.open("wb")
    command = [sys.executable, "-m", "hub", "--state", str(folder), *words]
    with output, subprocess.Popen(command, stdin=DEVNULL, stdout=output, stderr=output) as process:
        try:
            yield _Child(process, log)
        finally:
            process.terminate()
            try:
                process.wait(30.0)
            except subprocess.TimeoutExpired:
                process.kill()


def _connected(folder: Path) -> bool | None:
    """Return True once a device is connected."""
    with open_client(folder) as hub:
        return any(device["connected"] for device in hub.get("/v1/devices")["devices"]) or None


def _token_file(folder: Path) -> Path:
    path = folder / "desk.token"
    if not path.exists():
        with open_client(folder) as hub:
            token = hub.post("/v1/tokens", {"device": DEVICE})["token"]
        path.touch(mode=0o600, exist_ok=False)
        path.write_text(token + "\n")
    return path


def _run(folder: Path, children: Sequence[_Child]) -> Any:
    """Start a run, show its progress and result, and return it.

    Raises:
        Failure: see ``_until``; or the run waits for a model that does not answer.
    """
    with open_client(folder) as hub:
        id = hub.post(f"/v1/agents/{AGENT}/runs")["id"]

        def read(*, is_begun: bool) -> Any:
            run = hub.get(f"/v1/runs/{id}")
            show_step({"run": run, "working_on": None})
            if (problem := _problem(hub, run)) is not None:
                hub.post(f"/v1/runs/{id}/cancel")  # else a later demo waits for it
                raise problem
            return run if run["state"] in show.FINAL or (is_begun and run["state"] != "QUEUED") else None

        with show.following() as show_step:
            _until(children, partial(read, is_begun=True), within_s=START_TIMEOUT_S)
            run = _until(children, partial(read, is_begun=False))
        sum_up(run)
        show_found(hub, run, folder.absolute())
        return run


def _problem(hub: HubClient, run: Mapping[str, Any]) -> CommandError | None:
    """Return why the run does not go on by itself within a demo, or None."""
    if run["state"] == "PAUSED":
        next_step = "mend that, then run the demo again"
        return CommandError(f"the run waits: {run['waiting_for']}", Exit.UNAVAILABLE, next_step=next_step)
    worst = hub.get("/v1/status")["worst"] if run["state"] == "QUEUED" else ()
    for issue in worst:
        if issue["is_stop"]:
            return CommandError(issue["explanation"], Exit.UNAVAILABLE, next_step=issue["fix"])
    return None

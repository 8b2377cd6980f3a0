"""The hub as the first process of a container: signals without a handler do not reach it there."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.programs import ending

ALONE = ("unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child")
STOPPED = 128 + signal.SIGTERM
PATIENCE_S = 30.0
SIGNALS = """
import anyio
from hub.app.systemd import serve_signals
from hub.base.supervisor import Drain

async def serve():
    async with anyio.create_task_group() as tasks:
        await tasks.start(serve_signals, Drain(), {})
        print("ready", flush=True)

anyio.run(serve)
"""


def can_be_alone() -> bool:
    try:
        return subprocess.run([*ALONE, "true"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


pytestmark = pytest.mark.skipif(not can_be_alone(), reason="no process can be the first of a namespace here")


@contextmanager
def first_process(*words: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run Python as the first process of a namespace; ``unshare`` ends with its exit code."""
    command = [*ALONE, sys.executable, *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process, ending(process):
        yield process


def ask_to_stop(process: subprocess.Popen[bytes]) -> None:
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    for child in children:
        os.kill(int(child), signal.SIGTERM)


def test_hub_started_as_first_process_is_stopped_by_a_signal(tmp_path: Path) -> None:
    settings = tmp_path / "hub.toml"
    os.mkfifo(settings)
    words = ("-m", "hub", "serve", "--config", str(settings), "--state", str(tmp_path / "state"))
    # The file opens once the hub reads its settings, which do not come.
    with first_process(*words) as process, settings.open("wb"):
        ask_to_stop(process)
        assert process.wait(PATIENCE_S) == STOPPED


def test_third_signal_ends_the_first_process() -> None:
    with first_process("-c", SIGNALS) as process:
        assert process.stdout is not None and process.stdout.readline() == b"ready\n"
        for _ in range(round(PATIENCE_S / 0.05)):
            ask_to_stop(process)
            try:
                assert process.wait(0.05) == STOPPED
                return
            except subprocess.TimeoutExpired:
                continue
        raise AssertionError("it ignores further signals")

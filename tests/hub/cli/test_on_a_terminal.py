"""What a person sees on a terminal."""

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

from protocol.lifecycles import RunState
from tests.support.facade import FakeHub, make_run, steps


def _on_a_terminal(state: Path, *words: str) -> str:
    """What ``hub`` writes when its streams are one terminal of 80 columns, without the escapes."""
    ours, theirs = pty.openpty()
    environ = os.environ | {"COLUMNS": "80", "TERM": "xterm", "NO_COLOR": "1"}
    command = [sys.executable, "-m", "hub", "--state", str(state), *words]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environ):
        os.close(theirs)
        told = b""
        while True:
            try:
                told += os.read(ours, 4096)
            except OSError:  # the other end is closed
                break
    os.close(ours)
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]|\r", "", told.decode())


def test_a_table_fits_the_terminal_and_is_whole(state: Path, served: FakeHub) -> None:
    told = _on_a_terminal(state, "agents")
    assert "notes" in told
    assert all(len(line) <= 80 for line in told.splitlines())


def test_a_followed_run_ends_with_its_sum(state: Path, served: FakeHub) -> None:
    served.progress = steps(make_run("r-2", RunState.RUNNING), make_run("r-2", RunState.COMPLETED, items=2))
    told = _on_a_terminal(state, "run", "notes", "--follow")
    assert "success: 2 read, 1 skipped, 0 failed, 2 items, 0 model requests" in told

"""What a person sees on a terminal."""

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
from anyio.from_thread import BlockingPortal

from protocol.lifecycles import RunState
from tests.support.facade import FakeHub, make_decision, make_run, make_schedule, steps


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


def test_a_note_that_is_long_is_wrapped_and_the_other_columns_are_not(state: Path, served: FakeHub) -> None:
    served.newest = [
        make_run(
            "0197a3c4-5b6d-7e8f-9012-3456789abcde",
            waiting_for="device desk is offline, last seen 09:14",
            missed_because="2 missed: device desk was offline",
        )
    ]
    header, *lines = _on_a_terminal(state, "runs").splitlines()
    note = header.index("note")
    run, agent, stands, day, *rest = lines[0][:note].split()
    assert (run, agent, stands, rest) == ("789abcde", "notes", "QUEUED", ["09:00", "0/3", "0"])
    assert day.endswith("01-05")  # with its year, by the clock of the machine that tests
    told = " ".join(line[note:].strip() for line in lines)
    assert told.startswith("device desk is offline, last seen 09:14; 2")
    assert all(len(line) <= 80 for line in lines)


def test_what_agents_say_to_each_other_is_readable_on_a_narrow_terminal(
    state: Path, served: FakeHub, portal: BlockingPortal
) -> None:
    garden = "vegetable-garden"
    portal.call(served.bench.agent, "gardener")
    _on_a_terminal(state, "boards", "create", garden)
    _on_a_terminal(state, "boards", "add", garden, "gardener")
    _on_a_terminal(state, "messages", "nudge", garden, "gardener", "water at six", "--wait", "0")
    told = _on_a_terminal(state, "messages")
    assert "water at six" in told and "gardener" in told
    assert all(len(line) <= 80 for line in told.splitlines())


@pytest.mark.parametrize("words", [("agents", "next", "notes"), ("runs", "show", "r-1")])
def test_what_is_told_at_length_fits_the_terminal_too(
    state: Path, served: FakeHub, words: tuple[str, ...]
) -> None:
    shift = "02:30 does not exist that night; fires at 03:00"
    fire = {"at": "2026-03-29T01:00:00Z", "local": "2026-03-29T03:00:00+02:00", "shift": shift}
    served.schedule = make_schedule(next_fires=[fire])
    served.decided = [make_decision("coalesced", "one run stands for them: device desk was offline", fires=2)]
    told = _on_a_terminal(state, *words)
    assert all(len(line) <= 80 for line in told.splitlines())


def test_a_followed_run_ends_with_its_sum(state: Path, served: FakeHub) -> None:
    served.progress = steps(make_run("r-2", RunState.RUNNING), make_run("r-2", RunState.COMPLETED, items=2))
    told = _on_a_terminal(state, "run", "notes", "--follow")
    assert "success: 2 read, 1 skipped, 0 failed, 2 items, 0 model requests" in told

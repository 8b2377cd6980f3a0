"""The device where a system lacks what Linux has: what goes on, and what names what it lacks."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hub.system import missing_for_hub
from protocol.skip_reasons import SkipReason
from tests.support.source import ROOT

LACKING = ROOT / "tests/support/lacking"
NAMES = (
    *("fcntl", "pwd", "os.O_DIRECTORY", "os.O_NOFOLLOW", "os.fork"),
    *("socket.SO_PEERCRED", "socket.AF_UNIX", "signal.SIGHUP"),
)
OF_HUB = frozenset(NAMES) - {"pwd", "os.fork"}  # without these alone, a hub runs
# Windows has none of these either.
WINDOWS = (
    *("grp", "resource", "os.O_CLOEXEC", "os.O_NOCTTY", "os.tcgetpgrp", "os.getpgrp", "os.sysconf"),
    *("os.fchmod", "os.pread", "os.pwrite", "signal.SIGUSR1", "signal.SIGXCPU", "socket.TCP_USER_TIMEOUT"),
)
AT_HOME = ("termios", "os.O_NONBLOCK", "os.mkfifo")  # tests need them


def without(names: tuple[str, ...]) -> dict[str, str]:
    """Return the environment of an interpreter that lacks these names."""
    return {**os.environ, "PYTHONPATH": f"{LACKING}{os.pathsep}{ROOT}", "HUB_WITHOUT": ",".join(names)}


@pytest.mark.parametrize(
    "names", [*((name,) for name in NAMES), NAMES + WINDOWS + AT_HOME], ids=lambda names: names[0]
)
def test_device_works_without_a_name_of_linux_and_a_hub_says_that_it_does_not(
    names: tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes/a.md").write_text("call Ana")
    (tmp_path / "notes/link.md").symlink_to(tmp_path / "notes/a.md")
    done = subprocess.run(
        [sys.executable, str(LACKING / "round_trip.py"), str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        env=without(names),
    )
    assert (done.returncode, done.stderr) == (0, "")
    found: dict[str, Any] = json.loads(done.stdout)
    missing = found["missing"]
    assert OF_HUB.intersection(names) <= set(missing) <= {*names, *missing_for_hub()}
    said = f"a hub runs on Linux; here is no {', '.join(missing)}" if missing else ""
    assert found["serve"].partition("\n")[0] == said
    assert {name: found[name] for name in ("offered", "lock", "approved", "key", "pause")} == {
        "offered": [["notes/a.md"], {"notes/link.md": SkipReason.SYMLINK}, "call Ana"],
        "lock": [
            True,
            "another device, process PID, uses FILE; end it first, or give this one another name",
            False,
        ],
        "approved": [1, ["approved"]],
        "key": [False, True],
        "pause": ["paused until it is resumed: hub device resume", True],
    }


@pytest.mark.soak
@pytest.mark.parametrize("names", [*((name,) for name in NAMES), NAMES + WINDOWS], ids=lambda names: names[0])
def test_suite_of_the_device_passes_without_a_name_of_linux(names: tuple[str, ...]) -> None:
    web = [sys.executable, "-c", "import hub.api.own_review"]  # of hub review --web; it imports most of a hub
    assert subprocess.run(web, check=False, env=without(names), cwd=ROOT).returncode == 0
    words = [sys.executable, "-m", "pytest", "-q", "-n0", "-rs", "@.ci/device-tests"]
    done = subprocess.run(
        [*words, "--ignore", __file__],
        capture_output=True,
        text=True,
        check=False,
        env=without(names),
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stdout[-4_000:]
    reasons = [line for line in done.stdout.splitlines() if line.startswith("SKIPPED")]
    expected = ("a hub needs", "this system has no")
    assert [line for line in reasons if not any(words in line for words in expected)] == []

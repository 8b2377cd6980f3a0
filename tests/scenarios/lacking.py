"""The tests of the device in interpreters that lack names of Linux, as other systems do.

``python -m tests.scenarios.lacking`` (``make soak``) takes each name in turn, then all that Windows lacks.
"""

import os
import sys
from pathlib import Path
from subprocess import STDOUT
from typing import Final

import anyio

from tests.scenarios.program import Verdict, run
from tests.support.source import ROOT

LACKING: Final = ROOT / "tests/support/lacking"
NAMES: Final = (
    *("fcntl", "pwd", "os.O_DIRECTORY", "os.O_NOFOLLOW", "os.fork"),
    *("socket.SO_PEERCRED", "socket.AF_UNIX", "signal.SIGHUP"),
)
WINDOWS: Final = (
    *NAMES,
    *("grp", "resource", "os.O_CLOEXEC", "os.O_NOCTTY", "os.tcgetpgrp", "os.getpgrp", "os.sysconf"),
    *("os.fchmod", "os.pread", "os.pwrite", "socket.TCP_USER_TIMEOUT"),
    *("signal.SIGUSR1", "signal.SIGXCPU", "signal.SIGALRM", "signal.setitimer"),
)
_REASONS: Final = ("a hub needs", "this system has no")  # of tests that are skipped


def without(names: tuple[str, ...]) -> dict[str, str]:
    """Return the environment of an interpreter that lacks these names."""
    return {**os.environ, "PYTHONPATH": f"{LACKING}{os.pathsep}{ROOT}", "HUB_WITHOUT": ",".join(names)}


async def _tested(names: tuple[str, ...]) -> Verdict:
    """Run the device's tests without these names; a test may be skipped for what a system lacks only."""
    environment = without(names)
    web = [sys.executable, "-c", "import hub.device.review.server"]  # of 'hub review --web'
    words = [sys.executable, "-m", "pytest", "-q", "-n0", "-rsfE", "--tb=short", "@.ci/device-tests"]
    lines: list[str] = []
    for command in (web, words):
        done = await anyio.run_process(command, check=False, env=environment, cwd=ROOT, stderr=STDOUT)
        lines = done.stdout.decode().splitlines()
        if done.returncode != 0:
            return "\n".join(lines[-60:]), False
    skipped = [line for line in lines if line.startswith("SKIPPED")]
    unexpected = [line for line in skipped if not any(reason in line for reason in _REASONS)]
    return "\n".join([lines[-1], *unexpected]), not unexpected


async def play(folder: Path) -> Verdict:
    """Run the device's tests without each name, and without all of them."""
    verdicts = [(names, await _tested(names)) for names in (*((name,) for name in NAMES), WINDOWS)]
    said = [f"without {', '.join(names)}: {text}" for names, (text, _) in verdicts]
    failed = [", ".join(names) for names, (_, is_well) in verdicts if not is_well]
    said.append(f"{len(verdicts)} interpreters: the tests fail in {len(failed)} {'; '.join(failed)}".rstrip())
    return "\n".join(said), not failed


if __name__ == "__main__":
    run(play)

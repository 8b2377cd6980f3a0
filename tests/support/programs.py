"""Programs that tests run: those of others are installed once into a cache folder, never into the repository.

A wait for a process looks at the process: its exit and the end of its log are the error. An error in a block
that uses a process stays the first one, and ends the process.
"""

import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from subprocess import PIPE, STDOUT
from typing import IO, AnyStr, Protocol

import pytest

from hub.base.system import missing_for_hub

_LOOK_S = 0.02
_LOG_CHARS = 4_000


class CannotInstall(Exception):
    """Error: a program cannot be installed; the message says what is missing or what failed."""


def cache_folder(part: str) -> Path:
    """Return the folder of *part* where downloaded programs are kept between runs."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "device-hub" / part


def installed(home: Path, command: Callable[[Path], list[str]]) -> Path:
    """Install into *home*, unless that was done before; return it.

    *command* gives the command line for a folder, which is renamed when it is complete.

    Raises:
        CannotInstall: the command failed.
    """
    if home.exists():
        return home
    home.parent.mkdir(parents=True, exist_ok=True)
    unfinished = home.with_name(f".{home.name}-{os.getpid()}")
    line = command(unfinished)
    ended = subprocess.run(line, check=False, stdout=PIPE, stderr=STDOUT)
    if ended.returncode != 0:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise CannotInstall(f"{line[0]} failed: {ended.stdout.decode(errors='replace')[-2000:]}")
    unfinished.rename(home)
    return home


def npm_packages(home: Path, *packages: str) -> Path:
    """Install *packages* of npm into *home* without running their scripts, unless that was done before.

    Raises:
        CannotInstall: npm is missing or failed.
    """

    def command(folder: Path) -> list[str]:
        npm = shutil.which("npm")
        if npm is None:
            raise CannotInstall(f"npm is needed for {', '.join(packages)}: apt-get install npm")
        quiet = ["--ignore-scripts", "--no-audit", "--no-fund"]
        return [npm, "install", "--prefix", str(folder), *quiet, *packages]

    return installed(home, command)


def free_port() -> int:
    """Return a port of loopback on which no program listens now."""
    with socket.create_server(("127.0.0.1", 0)) as door:
        port: int = door.getsockname()[1]
        return port


def until_listening(
    process: subprocess.Popen[bytes], port: int, log: Path, *, within_s: float = 30.0
) -> None:
    """Wait until a started process, which writes to *log*, listens at *port* of loopback."""
    for _ in range(int(within_s / _LOOK_S)):
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        with suppress(subprocess.TimeoutExpired):
            raise AssertionError(f"{process.args!r} ended with {process.wait(_LOOK_S)}: {end_of(log)}")
    raise AssertionError(f"{process.args!r} does not listen: {end_of(log)}")


def end_of(log: Path) -> str:
    """Return the end of a log, for an error."""
    return log.read_text("utf-8", "replace")[-_LOG_CHARS:] if log.exists() else "it has no log"


def read_until(stream: IO[AnyStr], text: AnyStr) -> AnyStr:
    """Read the output of a process up to *text*, and return it."""
    read = text[:0]
    while text not in read:
        part = stream.read(1)
        assert part, f"the process ended without {text!r}: {read!r}"
        read += part
    return read


class Killable(Protocol):
    """Process of ``subprocess`` or of anyio."""

    def kill(self) -> None:
        """Send SIGKILL."""
        ...


@contextmanager
def ending(process: Killable) -> Iterator[None]:
    """Kill a process at the end of the block; without it, an error in the block waits for the process."""
    try:
        yield
    finally:
        with suppress(ProcessLookupError):  # it has ended: that hides no error of the block
            process.kill()


def skip_without_hub() -> None:
    """Skip the test on a system that has no hub, only devices of one."""
    if missing := missing_for_hub():
        pytest.skip(f"a hub needs {', '.join(missing)}")

"""A shell at a terminal: lines are typed, and what appears is read, as by a person."""

import os
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import anyio

PROMPT: Final = "ready> "
_STYLE: Final = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")


class Terminal:
    """What was typed, and what appeared."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._read_to = 0
        self.shown = ""

    def type(self, line: str) -> None:
        """Type *line* and the return key."""
        os.write(self._fd, f"{line}\n".encode())

    async def read_on(self) -> None:
        """Read until cancelled: programs in the background block once nobody reads what they print."""
        while True:
            await self._read()

    async def _read(self) -> None:
        await anyio.wait_readable(self._fd)
        told = os.read(self._fd, 65_536).decode(errors="replace")
        self.shown += _STYLE.sub("", told)

    async def shows(self, pattern: str, *, within_s: float = 60.0) -> re.Match[str]:
        """Read on until *pattern* appears after what was read before."""
        with anyio.move_on_after(within_s):
            while (found := re.compile(pattern).search(self.shown, self._read_to)) is None:
                await self._read()
            self._read_to = found.end()
            return found
        raise AssertionError(f"{pattern!r} did not appear:\n{self.shown[self._read_to :]}")


@asynccontextmanager
async def terminal(
    folder: Path, environment: Mapping[str, str], *, has_jobs: bool = False
) -> AsyncIterator[Terminal]:
    """bash in *folder*; what it started in the background is ended with it.

    *has_jobs*: the terminal is its own, so that one command at a time is in the foreground.
    """
    ours, theirs = os.openpty()
    command = [*(["setsid", "--ctty"] * has_jobs), "bash", "--noprofile", "--norc", "-i"]
    quiet = {"PS1": PROMPT, "PS2": "", "TERM": "dumb", "COLUMNS": "200", "HISTFILE": ""}
    shell = await anyio.open_process(
        command,
        cwd=folder,
        env={**environment, **quiet},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=not has_jobs,
    )
    os.close(theirs)
    typed = Terminal(ours)
    try:
        await typed.shows(PROMPT)
        typed.type("stty -echo")
        await typed.shows(PROMPT)
        yield typed
    finally:
        with anyio.CancelScope(shield=True):
            typed.type("kill $(jobs -p); wait; exit")
            with anyio.move_on_after(30):
                await shell.wait()
            if shell.returncode is None:
                shell.kill()
                await shell.wait()
            os.close(ours)

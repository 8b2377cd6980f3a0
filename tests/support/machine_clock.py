"""A hub whose machine's clocks can be set: a library under ``clock_gettime``, compiled where it is used."""

import os
import shutil
import struct
import sys
from pathlib import Path
from subprocess import DEVNULL, run

import anyio

from tests.support.processes import ROOT, HubProcess, Running

_SOURCE = Path(__file__).with_suffix(".c")
_NS = 1_000_000_000


class NoCompiler(Exception):
    """Error: this machine has no C compiler."""


class MachineClock:
    """Clocks of a machine, for the processes in whose ``environment`` they are.

    Raises:
        NoCompiler: see there.
    """

    def __init__(self, folder: Path) -> None:
        compiler = shutil.which("cc") or shutil.which("gcc")
        if compiler is None:
            raise NoCompiler("a C compiler is needed: apt-get install gcc")
        library = folder / "machine_clock.so"
        run([compiler, "-shared", "-fPIC", "-o", library, _SOURCE, "-ldl"], check=True)
        self._file = folder / "machine_clock"
        self.ahead_s = self.suspended_s = 0.0
        self._write()
        self.environment = {"LD_PRELOAD": str(library), "MACHINE_CLOCK": str(self._file)}

    def step(self, seconds: float) -> None:
        """Set the wall clock."""
        self.ahead_s += seconds
        self._write()

    def suspend(self, seconds: float) -> None:
        """Let time pass in which no process runs: the wall clock and the uptime advance."""
        self.suspended_s += seconds
        self._write()

    def _write(self) -> None:
        added = struct.pack("=qq", round(self.ahead_s * _NS), round(self.suspended_s * _NS))
        with self._file.open("r+b" if self._file.exists() else "w+b", buffering=0) as file:
            file.write(added)  # in place, as it is mapped


class ClockedHub(HubProcess):
    """Hub with the clocks of a ``MachineClock``."""

    def __init__(self, folder: Path, clock: MachineClock, settings: str) -> None:
        super().__init__(folder, settings=settings, is_forked=False)
        self._environment = os.environ | clock.environment

    async def _spawn(self, words: list[str], log: Path) -> Running:
        line = [sys.executable, "-m", "hub", *words]
        with log.open("ab") as output:
            return await anyio.open_process(
                line, stdin=DEVNULL, stdout=output, stderr=output, cwd=ROOT, env=self._environment
            )

"""Processes that tests kill, freeze and start again at moments of their choice.

The hub and the device are killed by ``tests.support.processes``; this is for all other programs.
"""

import signal
import subprocess
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import IO, Any


class Victim:
    """A program that is killed and started again; of a block, it is dead after it.

    Args:
        command: the command line.
        streams: standard streams, as ``subprocess.Popen`` names them.
        environment: its environment; None: that of the test.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        streams: Mapping[str, Any] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._command = command
        self._streams = streams or {}
        self._environment = environment
        self._process = self._started()

    def _started(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(self._command, env=self._environment, **self._streams)

    @property
    def output(self) -> IO[bytes]:
        """Standard output, which must be a pipe."""
        assert self._process.stdout is not None
        return self._process.stdout

    def kill(self) -> None:
        """Send SIGKILL, from any thread, and do not wait."""
        self._process.kill()

    def freeze(self) -> None:
        """Stop the process until ``thaw``."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen process go on."""
        self._process.send_signal(signal.SIGCONT)

    def end(self) -> int:
        """Kill the process; return its exit code, which is its own if it had ended before."""
        self._process.kill()
        if self._process.stdout is not None:
            self._process.stdout.close()
        return self._process.wait()

    def terminate(self) -> None:
        """Send SIGTERM and do not wait."""
        self._process.terminate()

    def wait(self, timeout_s: float | None = None) -> int:
        """Return the exit code. Raises subprocess.TimeoutExpired: it has not ended in time."""
        return self._process.wait(timeout_s)

    def end_after(self, seconds: float) -> int:
        """Kill the process unless it ends within *seconds*; return its exit code."""
        try:
            return self.wait(seconds)
        except subprocess.TimeoutExpired:
            return self.end()

    def restart(self) -> None:
        """Kill the process and start it again."""
        self.end()
        self._process = self._started()

    def __enter__(self) -> "Victim":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

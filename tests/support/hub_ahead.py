"""The hub as a program for which time can be made to pass while it runs.

    python -m tests.support.hub_ahead FILE -- --state DIR serve --config FILE

Both its clocks are as many seconds ahead as stand in the first FILE, which is read each time
somebody asks for the time; who sleeps, sleeps on. ``AheadHub`` is the same from a test.
"""

import sys
from datetime import datetime, timedelta
from pathlib import Path

from hub.base.clock import SystemClock
from tests.support.processes import HubProcess, Running, spawn


class AheadHub(HubProcess):
    """A hub process for which time goes by when the test says so."""

    @property
    def _ahead(self) -> Path:
        return self._log.with_name("ahead")

    def set_ahead(self, seconds: float) -> None:
        """From now on its clocks are so far ahead of the machine's."""
        scratch = self._ahead.with_suffix(".new")
        scratch.write_text(str(seconds))
        scratch.replace(self._ahead)  # whole at any moment

    async def _spawn(self, words: list[str], log: Path) -> Running:
        if not self._ahead.exists():
            self.set_ahead(0)
        before = ["tests.support.hub_ahead", str(self._ahead), "--"]
        return await spawn([*before, *words], log, is_forked=self._is_forked)


def main(ahead: Path, words: list[str]) -> None:
    """Be the hub, with its clock ahead."""
    machine_now, machine_monotonic = SystemClock.now, SystemClock.monotonic

    def seconds() -> float:
        return float(ahead.read_text())

    def now(self: SystemClock) -> datetime:
        return machine_now(self) + timedelta(seconds=seconds())

    SystemClock.now = now  # type: ignore[method-assign]
    SystemClock.monotonic = staticmethod(lambda: machine_monotonic() + seconds())
    from hub.cli.app import main as hub

    hub(words)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[3:])

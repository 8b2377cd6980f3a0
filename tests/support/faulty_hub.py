"""The hub as a program that goes wrong on purpose, and the way to run it.

    python -m tests.support.faulty_hub --die-at commit:37:after -- --state DIR serve --config FILE

What stands behind ``--`` is the hub's own command line; see ``tests.support.faults``
for what can go wrong. ``FaultyHub`` is the same from a test.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.support.processes import HubProcess, Running, spawn

OPTIONS = argparse.ArgumentParser(description=__doc__.splitlines()[0])
OPTIONS.add_argument("--die-at", action="append", default=[], metavar="MOMENT")
OPTIONS.add_argument("--freeze-at", metavar="MOMENT", help="until SIGCONT")
OPTIONS.add_argument("--starve-at", metavar="MOMENT")
OPTIONS.add_argument("--starve-s", type=float, default=20.0)
OPTIONS.add_argument("--spare-pages", type=int, metavar="N", help="room left in the database, until SIGUSR1")
OPTIONS.add_argument("--lag-file", type=Path, metavar="FILE")
OPTIONS.add_argument("--clock-file", type=Path, metavar="FILE", help="seconds by which the clock is ahead")
OPTIONS.add_argument("--ahead-file", type=Path, metavar="FILE", help="the same, of all clocks")
OPTIONS.add_argument("--given", action="append", default=[], metavar="MODULE:NAME=JSON")
OPTIONS.add_argument("words", nargs="+", help="of the hub")


def main(args: Sequence[str]) -> None:
    """Put the faults in and be the hub."""
    from tests.support.faults import Faults, Moment  # only here: it imports the whole hub

    chosen = OPTIONS.parse_args(args)
    Faults(
        die_at=[Moment.parse(text) for text in chosen.die_at],
        freeze_at=Moment.parse(chosen.freeze_at) if chosen.freeze_at else None,
        starve_at=Moment.parse(chosen.starve_at) if chosen.starve_at else None,
        starve_s=chosen.starve_s,
        spare_pages=chosen.spare_pages,
        lag_file=chosen.lag_file,
        clock_file=chosen.clock_file,
        ahead_file=chosen.ahead_file,
        given={name: json.loads(value) for name, _, value in (text.partition("=") for text in chosen.given)},
    ).put_in()

    from hub.cli.app import main as hub

    hub(chosen.words)


class FaultyHub(HubProcess):
    """A hub process whose next life goes wrong as *faults* say: words of the program above."""

    def __init__(self, folder: Path, *, settings: str | None = None, is_forked: bool = True) -> None:
        super().__init__(folder, settings=settings, is_forked=is_forked)
        self.faults: Sequence[str] = ()

    async def _spawn(self, words: list[str], log: Path) -> Running:
        before = ["tests.support.faulty_hub", *self.faults, "--"]
        return await spawn([*before, *words], log, is_forked=self._is_forked)


class AheadHub(FaultyHub):
    """A hub process for which time passes when the test says so."""

    def __init__(self, folder: Path, *, settings: str | None = None) -> None:
        super().__init__(folder, settings=settings)
        self._ahead = folder / "ahead"
        self.faults = ("--ahead-file", str(self._ahead))

    def set_ahead(self, seconds: float) -> None:
        """Set the clocks of the hub ahead of the machine's."""
        scratch = self._ahead.with_suffix(".new")
        scratch.write_text(str(seconds))
        scratch.replace(self._ahead)  # whole at any moment


if __name__ == "__main__":
    main(sys.argv[1:])

"""The hub as a program that goes wrong on purpose, and the way to run it.

    python -m tests.support.faulty_hub --die-at commit:37:after -- --state DIR serve --config FILE

What stands behind ``--`` is the hub's own command line; see ``tests.support.faults``
for what can go wrong. ``FaultyHub`` is the same from a test: forked from a process
that has imported everything, so that a life of it begins in a tenth of a second.
"""

import argparse
import json
import multiprocessing
import os
import sys
from collections.abc import Sequence
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import anyio

from tests.support.processes import POLL_S, HubProcess, Running, spawn

OPTIONS = argparse.ArgumentParser(description=__doc__.splitlines()[0])
OPTIONS.add_argument("--die-at", action="append", default=[], metavar="MOMENT")
OPTIONS.add_argument("--freeze-at", metavar="MOMENT", help="until SIGCONT")
OPTIONS.add_argument("--starve-at", metavar="MOMENT")
OPTIONS.add_argument("--starve-s", type=float, default=20.0)
OPTIONS.add_argument("--spare-pages", type=int, metavar="N", help="room left in the database, until SIGUSR1")
OPTIONS.add_argument("--lag-file", type=Path, metavar="FILE")
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
        given={name: json.loads(value) for name, _, value in (text.partition("=") for text in chosen.given)},
    ).put_in()

    from hub.cli.app import main as hub

    hub(chosen.words)


class FaultyHub(HubProcess):
    """A hub process whose next life goes wrong as *faults* say: words of the program above.

    Args:
        is_forked: otherwise each life begins as that of the program, with all its imports.
    """

    def __init__(self, folder: Path, *, settings: str | None = None, is_forked: bool = True) -> None:
        super().__init__(folder, settings=settings)
        self.faults: Sequence[str] = ()
        self._is_forked = is_forked

    async def _spawn(self, words: list[str], log: Path) -> Running:
        args = [*self.faults, "--", *words]
        if not self._is_forked:
            return await spawn(["tests.support.faulty_hub", *args], log)
        forked = _FORKS.Process(target=_live, args=(args, log))
        forked.start()
        return _Forked(forked)


class _Forked:
    """A ``Running`` that the fork server made."""

    def __init__(self, process: ForkServerProcess) -> None:
        self._process = process

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def terminate(self) -> None:
        self._process.terminate()

    def kill(self) -> None:
        self._process.kill()

    async def wait(self) -> int:
        while (code := self._process.exitcode) is None:
            await anyio.sleep(POLL_S)
        return code


# It ends by itself with the process that asked for the first fork.
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["tests.support.faults", "hub.cli.daemon"])


def _live(args: Sequence[str], log: Path) -> None:
    """In the fork: one life of the hub."""
    output = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    main(args)


if __name__ == "__main__":
    main(sys.argv[1:])

"""Runner of many simulated worlds: ``python -m tests.simulation --seeds 300``.

``--seed N --trace`` prints every event of one world; the same seed prints the same trace, byte for byte.
``--break`` installs a known fault, and the command succeeds if a law reports it.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from time import monotonic
from typing import Final

from tests.simulation.breaks import BREAKS
from tests.simulation.simulate import Report, Stuck, simulate
from tests.simulation.world import Ways

MAX_SHOWN: Final = 40  # violations; the rest is a number


def main() -> int:
    """Run the command and return its exit code."""
    asked = _parsed()
    if asked.part:
        return _part(asked)
    if asked.seed is not None:
        seeds: Sequence[int] = [asked.seed]
    else:
        seeds = range(asked.first, asked.first + asked.seeds)
    began = monotonic()
    told = list(_here(seeds, asked) if asked.jobs == 1 or len(seeds) == 1 else _in_parts(seeds, asked))
    print(f"{len(told)} seeds in {monotonic() - began:.1f} s", file=sys.stderr)
    return _summary(told, asked.broken)


def _parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=300, help="so many worlds")
    parser.add_argument("--first", type=int, default=0, help="the first of their seeds")
    parser.add_argument("--seed", type=int, help="this one alone")
    parser.add_argument("--trace", action="store_true", help="tell what happens in it")
    parser.add_argument("--hubs", type=int, help="so many hubs on one database in each world")
    parser.add_argument("--jobs", type=int, default=1, help="so many processes")
    parser.add_argument("--break", dest="broken", choices=sorted(BREAKS), help="put an old way back in")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    return parser.parse_args()


class Told:
    """Result of one seed."""

    def __init__(self, seed: int, violations: list[str], totals: dict[str, float]) -> None:
        self.seed = seed
        self.violations = violations
        self.totals = totals


def _here(seeds: Sequence[int], asked: argparse.Namespace) -> Iterator[Told]:
    say = print if asked.trace else None
    ways = BREAKS.get(asked.broken, Ways())
    if asked.hubs:
        ways = replace(ways, hubs=asked.hubs)
    for seed in seeds:
        try:
            report = simulate(seed, say=say, ways=ways)
        except Stuck as stuck:
            report = Report(seed, [], {})
            yield Told(seed, [f"the world is stuck: {stuck}"], {})
            continue
        yield Told(seed, [f"{v.law} at {v.at_s:.3f} s: {v.text}" for v in report.violations], report.totals)
        if asked.broken and report.violations:
            return


def _in_parts(seeds: Sequence[int], asked: argparse.Namespace) -> Iterator[Told]:
    """Run the seeds in several processes; each prints one line per seed."""
    command = [sys.executable, "-m", "tests.simulation", "--first", str(seeds[0]), "--seeds", str(len(seeds))]
    if asked.broken:
        command += ["--break", asked.broken]
    if asked.hubs:
        command += ["--hubs", str(asked.hubs)]
    with ExitStack() as files:
        # Files instead of pipes: an unread pipe fills up and blocks its process.
        tellings = [files.enter_context(tempfile.TemporaryFile("w+")) for _ in range(asked.jobs)]
        parts = [
            subprocess.Popen([*command, "--part", f"{number}/{asked.jobs}"], stdout=telling)
            for number, telling in enumerate(tellings)
        ]
        for part, telling in zip(parts, tellings, strict=True):
            part.wait()
            telling.seek(0)
            yield from (Told(**json.loads(line)) for line in telling)
            if part.returncode != 0:
                yield Told(-1, [f"a process ended with {part.returncode}"], {})


def _part(asked: argparse.Namespace) -> int:
    number, jobs = map(int, asked.part.split("/"))
    seeds = range(asked.first + number, asked.first + asked.seeds, jobs)
    for told in _here(seeds, asked):
        print(json.dumps(vars(told)), flush=True)
    return 0


def _summary(told: Sequence[Told], broken: str | None) -> int:
    totals: Counter[str] = Counter()
    for one in told:
        totals.update(one.totals)
    print(f"{len(told)} seeds")
    for name, count in totals.items():
        print(f"  {name:16} {count:12.2f}" if isinstance(count, float) else f"  {name:16} {count:9}")
    found = [(one.seed, text) for one in told for text in one.violations]
    for seed, text in found[:MAX_SHOWN]:
        print(f"seed {seed}: {text}")
    seeds = len({seed for seed, _ in found})
    print(f"{len(found)} violations in {seeds} seeds")
    return int(bool(found) != bool(broken))


if __name__ == "__main__":
    sys.exit(main())

"""``python -m tests.evaluation [BAR ...]``: measure the bars of extraction and measurements, or some of them.

Exit code 1 when a bar is not met.
"""

import sys
from importlib import import_module
from time import perf_counter
from typing import Final, NamedTuple

import anyio

from tests.evaluation.figures import Figure, Told, are_met

_FAILED, _MISUSED = 1, 2


class Bar(NamedTuple):
    """What it is about, and where it is measured: imported late, for some need what others do not."""

    title: str
    module: str

    async def measure(self, told: Told) -> list[Figure]:
        """Its figures."""
        measured: list[Figure] = await import_module(f"tests.evaluation.{self.module}").measure(told)
        return measured


BARS: Final = {
    "1": Bar("planted facts in forty long documents", "planted"),
    "3": Bar("an unchanged folder, and one with changed paragraphs", "unchanged"),
    "4": Bar("the place of every item holds its quote", "places"),
    "gold": Bar("the small real model on the English part of the gold set", "gold"),
    "prose": Bar("the rules for prose on the gold sets", "prose"),
    "files": Bar("the rules alone on files of real formats", "files"),
    "real": Bar("the rules alone on files that programs have installed", "real_files"),
    "injection": Bar("three sets of two hundred orders, and an endpoint that obeys each", "obedient"),
    "7": Bar("the sums of the hub and of the server; budgets", "costs"),
    "8": Bar("kill -9 at ten points of a run over 200 documents", "kills"),
    "11": Bar("files that would break a reader", "bombs"),
    "12": Bar("a thousand questions at 200 ms", "speed"),
    "metrics": Bar("a million samples over thirty virtual days", "measurements"),
    "calibration": Bar("the size of chunks found for three kinds of models", "calibration"),
    "verdicts": Bar("a reviewer with one preference: verdicts as examples", "verdicts"),
    "peers": Bar("LangExtract and Instructor on the same documents", "peers.side_by_side"),
}


def main() -> int:
    """Measure, print, judge."""
    wanted = sys.argv[1:] or list(BARS)
    if not set(wanted) <= BARS.keys():
        print(f"usage: python -m tests.evaluation [BAR ...]   bars: {' '.join(BARS)}", file=sys.stderr)
        return _MISUSED
    all_met = True
    for number in wanted:
        bar = BARS[number]
        print(f"\nbar {number}: {bar.title}", flush=True)
        began = perf_counter()
        figures = anyio.run(bar.measure, _tell)
        print(*(figure.line for figure in figures), sep="\n")
        met = sum(figure.is_met for figure in figures)
        print(
            f"bar {number}: {met} of {len(figures)} figures are met; {perf_counter() - began:.0f} s",
            flush=True,
        )
        all_met &= are_met(figures)
    return 0 if all_met else _FAILED


def _tell(line: str) -> None:
    print(f"  {line}", flush=True)


if __name__ == "__main__":
    sys.exit(main())

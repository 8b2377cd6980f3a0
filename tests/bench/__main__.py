"""``python -m tests.bench [ROW ...] [--with COMMIT ...]``: measure all rows, or only those named.

``--with`` plays the source of another commit in the same turns as the last release, for information. Exit
code 1 when a figure is beyond its hard bound, or slower than the last release; 3 when a row could not be
measured.
"""

import argparse
import os
import platform
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from itertools import zip_longest
from textwrap import wrap
from time import perf_counter
from typing import Final

from tests.bench import (
    assistants,
    calls,
    decoding,
    folders,
    heartbeats,
    hints,
    items,
    listing,
    mailbox,
    memory,
    nodes,
    observing,
    presence,
    scheduling,
    searching,
    shared,
    uploads,
    writing,
)
from tests.bench.processes import ProcessFailed
from tests.bench.release import Sources, sources
from tests.bench.rows import Row, Verdict

_NUMBER, _WHAT, _GOAL, _REACHED, _VERDICT = 4, 38, 18, 25, 10  # widths; with the gaps, 99


def table(rows: Sequence[Row]) -> str:
    """All rows under a heading; a long text goes on in the next line."""
    lines = [_line("row", "what", "goal", "reached min / med / max", "verdict"), "-" * 99]
    for row in rows:
        cells = zip_longest(
            [row.number],
            wrap(row.what, _WHAT),
            wrap(row.goal_text, _GOAL),
            [row.reached_text, row.interval_text],
            [row.verdict],
            fillvalue="",
        )
        lines += [_line(*line) for line in cells]
    return "\n".join(lines)


def summary(rows: Sequence[Row]) -> str:
    """Return one line with the number of rows of each verdict."""
    counts = {verdict: sum(row.verdict is verdict for row in rows) for verdict in Verdict}
    return ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count and verdict != "-")


def _line(number: str, what: str, goal: str, reached: str, verdict: str) -> str:
    return (
        f"{number:<{_NUMBER}} {what:<{_WHAT}} {goal:<{_GOAL}} {reached:<{_REACHED}} {verdict:<{_VERDICT}}"
    ).rstrip()


ALL: Final = (1, 2, 3, 5, 6, 7, 8, 10, 12, 13, 18, 20, 21, 22, 26, *range(28, 42))
COMPARED: Final = frozenset(items.SHAPES)  # in turns with the last release
_FAILED, _NOT_MEASURED = 1, 3


def main() -> int:
    """Measure, print the table, judge."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Measure what the hub costs.")
    parser.add_argument("rows", nargs="*", type=int, metavar="ROW", help=f"of {ALL}")
    parser.add_argument("--with", dest="others", action="append", default=[], metavar="COMMIT")
    given = parser.parse_args()
    wanted = set(given.rows) or set(ALL)
    if unknown := wanted - set(ALL):
        parser.error(f"there is no row {min(unknown)}, only {' '.join(map(str, ALL))}")
    began = perf_counter()
    _introduce()
    rows: list[Row] = []
    try:
        with ExitStack() as stack:
            played = stack.enter_context(sources(given.others, _tell)) if wanted & COMPARED else {}
            for title, numbers, run in _sections(wanted, played):
                if numbers & wanted:
                    print(f"\n{title}", flush=True)
                    rows += run(_tell)
    except ProcessFailed as failed:
        print(f"  {failed}", file=sys.stderr)
        return _NOT_MEASURED
    rows.sort(key=lambda row: int(row.number))
    print(f"\n{table(rows)}\n")
    print(f"{summary(rows)}; {perf_counter() - began:.0f} s")
    slow = [row for row in rows if row.verdict is Verdict.FAIL]
    for row in slow:
        figures = f"{row.reached_text} {row.interval_text}".rstrip()
        print(f"row {row.number} failed: {row.what}: {figures}, goal {row.goal_text}")
    return _FAILED if slow else 0


def _sections(
    wanted: set[int], played: Sources
) -> list[tuple[str, frozenset[int], Callable[[Callable[[str], None]], list[Row]]]]:
    return [
        ("row 12: decoding", frozenset({12}), decoding.run),
        ("row 13: durable rows", frozenset({13}), writing.run),
        ("row 18: scheduling", frozenset({18}), scheduling.run),
        ("rows 1-6: calls", calls.ROWS, lambda echo: calls.run(echo, wanted)),
        ("row 10: uploads", frozenset({10}), uploads.run),
        ("row 20: being looked at", frozenset({20}), observing.run),
        ("row 21: heartbeats of agents", frozenset({21}), heartbeats.run),
        ("row 22: a mailbox", frozenset({22}), mailbox.run),
        (
            "rows 26 and 28: devices that are there",
            presence.ROWS,
            lambda echo: presence.run(echo, wanted),
        ),
        (
            "rows 29, 37 to 40: items",
            frozenset(items.SHAPES),
            lambda echo: items.run(echo, wanted, played),
        ),
        ("row 30: pages of lists", frozenset({30}), listing.run),
        ("rows 31 and 34: a large folder", folders.ROWS, folders.run),
        ("row 41: saved files", frozenset({41}), hints.run),
        ("row 32: two nodes of one", frozenset({32}), nodes.run),
        ("row 33: devices on PostgreSQL", frozenset({33}), shared.run),
        ("row 35: words of items", searching.ROWS, searching.run),
        ("row 36: tools of assistants", assistants.ROWS, assistants.run),
        ("rows 7 and 8: memory", memory.ROWS, lambda echo: memory.run(echo, wanted)),
    ]


def _introduce() -> None:
    cores = len(os.sched_getaffinity(0))
    print(f"Python {platform.python_version()}, {cores} cores, {platform.system()} {platform.release()}")
    print("Servers on the first core, load clients on the second, loopback, all on uvloop.")
    print("FastAPI hub: uvicorn with ws=websockets (what the goals were set against), json, no deadlines;")
    print(
        "raw TCP: a length prefix, the hub's codec, no deadlines; plain send: the library's `await ws.send()`"
    )
    print("in the same hub. Rows without a goal are for information.")
    if cores < 2:
        print("WARNING: one core: servers and clients share it, and ratios mean little.")


def _tell(line: str) -> None:
    print(f"  {line}", flush=True)


if __name__ == "__main__":
    sys.exit(main())

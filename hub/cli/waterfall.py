"""Durations in a run, as bars of text. Pure functions from a run of the REST interface to lines.

There are two pictures, each with its own scale. The states show the whole life of the run,
which may include days of waiting. The files show the time since the run first started.
"""

import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from hub.cli import show
from hub.printable import one_line

MOST_FILES: Final = 40  # the slowest ones; --json has all
LEAST_BAR: Final = 10  # columns
BELOW: Final = "    "
STAGE, READING, EXTRACTING, DELIVERING = "#", ".", "-", "="
LEGEND: Final = f"{READING} read   {EXTRACTING} extract items   {DELIVERING} deliver items"


class Span(NamedTuple):
    """Time span of a picture.

    Attributes:
        mark: character of the bar.
    """

    start: datetime
    end: datetime
    mark: str

    @property
    def seconds(self) -> float:
        return (self.end - self.start).total_seconds()


def stages_of(run: Mapping[str, Any]) -> list[tuple[str, Span]]:
    """Return the states of the run in order; the last state of a live run lasts until now."""
    moves = run["history"]
    ends = [move["at"] for move in moves[1:]] + [run["completed_at"] or run["as_of"]]
    return [
        (move["after"].lower(), Span(_at(move["at"]), _at(end), STAGE))
        for move, end in zip(moves, ends, strict=True)
        if end != run["completed_at"] or move is not moves[-1]  # the state of an ended run has no duration
    ]


def stage_lines(run: Mapping[str, Any], width: int) -> list[str]:
    """Return a line for each state: its duration, and its place in the life of the run."""
    stages = stages_of(run)
    if not stages:
        return []
    start, end = stages[0][1].start, stages[-1][1].end
    rows = [(name, took(span.seconds), span) for name, span in stages]
    names, times = max(len(name) for name, _, _ in rows), max(len(time) for _, time, _ in rows)
    columns = max(LEAST_BAR, width - names - times - 6)
    return [
        f"{name.ljust(names)}  {time.rjust(times)}  |{bar([span], start, end, columns)}|"
        for name, time, span in rows
    ]


def file_lines(run: Mapping[str, Any], width: int) -> list[str]:
    """Return a line for each processed file: its result, and the time spans of its steps.

    Files that failed or were left out have their reason instead of the bar; a long reason goes below.
    """
    begins = [span.start for name, span in stages_of(run) if name in ("preparing", "running")]
    files = [(unit, list(_spans(unit, begins, run))) for unit in run["units"] if _is_shown(unit)]
    shown = _longest(files)
    if not shown:
        return []
    start = min((spans[0].start for _, spans in shown if spans), default=_at(run["as_of"]))
    end = max((spans[-1].end for _, spans in shown if spans), default=start)
    paths = min(max(4, *(len(unit["path"]) for unit, _ in shown)), max(16, width // 3))
    columns = max(LEAST_BAR, width - paths - 9 - 5 - 9 - 10)
    lines = [f"{'file'.ljust(paths)}  {'state':<9}  {'items':>5}  {'took':>9}"]
    for unit, spans in shown:
        time = took(spans[-1].end.timestamp() - spans[0].start.timestamp()) if spans else "-"
        reason = one_line(unit["error"] or "")
        is_short = len(reason) <= columns
        last = (reason if is_short else "") or (f"|{bar(spans, start, end, columns)}|" if spans else "")
        facts = f"{unit['state']:<9}  {unit['items']:>5}  {time:>9}  {last}"
        lines.append(f"{_cut(unit['path'], paths)}  {facts}".rstrip())
        if not is_short:
            lines += textwrap.wrap(
                reason, width, initial_indent=BELOW, subsequent_indent=BELOW, break_on_hyphens=False
            )
    if len(shown) < len(files):
        lines.append(f"... and {len(files) - len(shown)} more files that took less time; --json has all")
    lines.append(LEGEND)
    return lines


def bar(spans: Iterable[Span], start: datetime, end: datetime, columns: int) -> str:
    """Draw *spans* between *start* and *end*, scaled to *columns*; each span has at least one column."""
    whole = (end - start).total_seconds()
    painted = [" "] * columns
    for span in spans:
        first, last = (
            0 if whole <= 0 else (at - start).total_seconds() / whole * columns
            for at in (span.start, span.end)
        )
        left = min(int(first), columns - 1)
        for column in range(left, max(left + 1, min(round(last), columns))):
            painted[column] = span.mark
    return "".join(painted)


def took(seconds: float) -> str:
    """Format a duration in seconds: ``0.4 s``, ``12 s``, ``3 min 5 s``, ``2 d 4 h``."""
    return f"{seconds:.1f} s" if seconds < 10 else show.duration(seconds)


def _is_shown(unit: Mapping[str, Any]) -> bool:
    """Return False for a file that the ledger knew from an earlier run."""
    return unit["state"] != "SKIPPED" or unit["error"] is not None


def _spans(unit: Mapping[str, Any], begins: Sequence[datetime], run: Mapping[str, Any]) -> Iterator[Span]:
    """Yield the steps of a file in order.

    The first step begins when the run started or resumed, because the device does not report
    when it begins with a file.
    """
    read_at, planned_at = unit["read_at"], unit["planned_at"]
    ends = unit["settled_at"] or (run["as_of"] if run["completed_at"] is None else None)
    last = DELIVERING if planned_at else EXTRACTING if read_at else READING
    steps = [
        (_at(at), mark) for at, mark in ((read_at, READING), (planned_at, EXTRACTING), (ends, last)) if at
    ]
    if not steps or (unit["state"] == "SKIPPED"):
        return
    at = max((begin for begin in begins if begin <= steps[0][0]), default=steps[0][0])
    for end, mark in steps:
        if end > at:
            yield Span(at, end, mark)
            at = end


_File = tuple[Mapping[str, Any], list[Span]]


def _longest(files: Sequence[_File]) -> list[_File]:
    """Select MOST_FILES files: failed ones, then the slowest ones. Order them by their ends."""

    def weight(file: _File) -> tuple[bool, float]:
        unit, spans = file
        return unit["state"] != "FAILED", -sum(span.seconds for span in spans)

    def order(file: _File) -> tuple[float, str]:
        unit, spans = file
        return spans[-1].end.timestamp() if spans else 0.0, unit["path"]

    return sorted(sorted(files, key=weight)[:MOST_FILES], key=order)


def _cut(path: str, columns: int) -> str:
    """Cut or pad *path* to *columns*. Keep its end, which identifies the file better than its beginning."""
    path = one_line(path)
    return path.ljust(columns) if len(path) <= columns else "..." + path[3 - columns :]


def _at(text: str) -> datetime:
    return datetime.fromisoformat(text)

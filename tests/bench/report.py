"""The result as a table of at most 100 columns."""

from collections.abc import Sequence
from itertools import zip_longest
from textwrap import wrap

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
            [row.reached_text],
            [row.verdict],
            fillvalue="",
        )
        lines += [_line(*line) for line in cells]
    return "\n".join(lines)


def summary(rows: Sequence[Row]) -> str:
    """One line: how many rows came out which way."""
    counts = {verdict: sum(row.verdict is verdict for row in rows) for verdict in Verdict}
    return ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count and verdict != "-")


def _line(number: str, what: str, goal: str, reached: str, verdict: str) -> str:
    return (
        f"{number:<{_NUMBER}} {what:<{_WHAT}} {goal:<{_GOAL}} {reached:<{_REACHED}} {verdict:<{_VERDICT}}"
    ).rstrip()

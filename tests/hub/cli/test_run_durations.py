"""What took how long, drawn to scale."""

from datetime import datetime, timedelta
from typing import Any

from hub.cli.runs import (
    DELIVERING,
    EXTRACTING,
    LEGEND,
    MOST_FILES,
    READING,
    Span,
    bar,
    file_lines,
    stage_lines,
)
from hub.cli.show import took
from tests.support.clock import START
from tests.support.families import each


def _at(seconds: float) -> str:
    return (START + timedelta(seconds=seconds)).isoformat()


def _unit(path: str, *seconds: float | None, state: str = "DONE", error: str | None = None) -> dict[str, Any]:
    """A file that was read, planned and settled so many seconds after the start."""
    read, planned, settled = (None if at is None else _at(at) for at in (*seconds, None, None, None)[:3])
    times = {"began_at": None, "read_at": read, "planned_at": planned, "settled_at": settled}
    return {"path": path, "state": state, "items": 1, "error": error} | times


def _run(*units: dict[str, Any], moves: dict[str, float], ended: float | None = None) -> dict[str, Any]:
    return {
        "history": [{"after": state, "at": _at(at)} for state, at in moves.items()],
        "completed_at": None if ended is None else _at(ended),
        "as_of": _at(100),
        "units": list(units),
    }


@each(
    ("spans", "drawn"),
    [
        ([(0, 10, "#")], "##########"),
        ([(0, 5, "."), (5, 10, "=")], ".....====="),
        ([(2, 4, "#")], "  ##      "),
        ([(3, 3.01, "#")], "   #      "),
        ([(9.9, 10, "#")], "         #"),
    ],
)
def test_a_bar_is_to_scale_and_nothing_is_too_short_to_be_seen(
    spans: list[tuple[float, float, str]], drawn: str
) -> None:
    def at(seconds: float) -> datetime:
        return START + timedelta(seconds=seconds)

    assert bar([Span(at(a), at(b), mark) for a, b, mark in spans], at(0), at(10), 10) == drawn


def test_a_stage_lasts_until_the_next_move_and_the_end_lasts_no_time() -> None:
    run = _run(moves={"QUEUED": 0, "RUNNING": 20, "COMPLETED": 40}, ended=40)
    assert stage_lines(run, 37) == [
        "queued   20 s  |##########          |",
        "running  20 s  |          ##########|",
    ]


def test_the_stage_of_a_live_run_goes_on_until_now() -> None:
    assert stage_lines(_run(moves={"QUEUED": 0, "PAUSED": 40}), 27) == [
        "queued   40 s  |####      |",
        "paused  1 min  |    ######|",
    ]


def test_a_file_is_read_then_looked_through_then_delivered() -> None:
    moves = {"QUEUED": 0.0, "RUNNING": 10.0, "COMPLETED": 40.0}
    run = _run(_unit("a.md", 20, 30, 40), moves=moves, ended=40)
    header, line, legend = file_lines(run, 80)
    drawn = line.split("|")[1]
    assert header.split() == ["file", "state", "items", "took"]
    assert line.split()[:4] == ["a.md", "DONE", "1", "30"]
    thirds = [drawn.count(mark) for mark in (READING, EXTRACTING, DELIVERING)]
    assert drawn == READING * thirds[0] + EXTRACTING * thirds[1] + DELIVERING * thirds[2]
    assert max(thirds) - min(thirds) <= 1
    assert legend == LEGEND


def test_a_file_that_failed_has_its_reason_in_place_of_a_bar() -> None:
    moves = {"RUNNING": 0.0, "COMPLETED": 40.0}
    run = _run(_unit("b.md", 10, None, 20, state="FAILED", error="not\ntext"), moves=moves, ended=40)
    assert file_lines(run, 80)[1].endswith("20 s  not text")


def test_a_known_file_has_no_line_and_a_skipped_one_has_its_reason() -> None:
    known, left_out = _unit("a.md", state="SKIPPED"), _unit("b.md", state="SKIPPED", error="too large")
    run = _run(known, left_out, moves={"RUNNING": 0})
    told = file_lines(run, 80)
    assert not any("a.md" in line for line in told)
    assert told[1].split() == ["b.md", "SKIPPED", "1", "-", "too", "large"]


def test_of_too_many_files_those_are_shown_that_failed_or_took_longest() -> None:
    quick = [_unit(f"quick-{n:03}.md", 1, 2, 3 + n / 1_000) for n in range(MOST_FILES)]
    slow = _unit("slow.md", 1, 2, 90)
    failed = _unit("failed.md", state="FAILED", error="gone")
    told = file_lines(_run(*quick, slow, failed, moves={"RUNNING": 0, "COMPLETED": 95}, ended=95), 80)
    assert len(told) == MOST_FILES + 3
    assert any("slow.md" in line for line in told)
    assert any("failed.md" in line for line in told)
    assert "and 2 more files" in told[-2]


def test_a_long_path_is_shown_with_its_end_and_no_control_character() -> None:
    run = _run(_unit("a\x1b" + "folder/" * 20 + "end.md", 1, 2, 3), moves={"RUNNING": 0})
    line = file_lines(run, 80)[1]
    assert line.startswith("...") and "end.md" in line
    assert "\x1b" not in line
    assert len(line) <= 80


def test_short_times_have_tenths() -> None:
    assert [took(seconds) for seconds in (0.04, 9.96, 12.3, 200)] == ["0.0 s", "10.0 s", "12 s", "3 min 20 s"]


def test_a_long_reason_is_below_its_file_in_lines_that_fit() -> None:
    reason = "the budget budget.run_usd = 1 is reached: 0.9990 USD spent, and the next question may cost more"
    failed = _unit("a.md", state="FAILED", error=reason)
    lines = file_lines(_run(failed, moves={"RUNNING": 0}, ended=10), 80)
    assert " ".join(line.strip() for line in [line for line in lines if line.startswith("    ")]) == reason
    assert all(len(line) <= 80 for line in lines)

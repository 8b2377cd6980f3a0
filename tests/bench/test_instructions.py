"""Tests of the comparison of instructions with recorded figures; the counts themselves are a proof."""

import signal
import sys
from pathlib import Path

import anyio
import msgspec
import pytest

from tests.bench import instructions
from tests.bench.instructions import UNAVAILABLE, Counter, Figure, at_rest, last_figures, main
from tests.bench.machine import tree_cpu_s

HERE = "CPython 3.11, valgrind-3.19.0"
KEY = ("call", "hub")
FIGURE = Figure(*KEY, 1_000, 0.001, "abc", HERE, "the first figure")
BURN = "while __import__('time').process_time() < 0.2: pass\ninput()"


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(instructions, "environment", lambda: HERE)
    table = tmp_path / "figures.jsonl"
    table.write_bytes(msgspec.json.encode(FIGURE) + b"\n")
    return table


def compare(monkeypatch: pytest.MonkeyPatch, table: Path, values: list[int], *options: str) -> int:
    monkeypatch.setattr(instructions, "measure", lambda times=1: {KEY: values})
    return main(options, table)


@pytest.mark.parametrize(
    ("value", "spread", "code"),
    [(1_000, 0.0, 0), (1_029, 0.0, 0), (1_031, 0.0, 1), (1_031, 0.02, 0), (1_041, 0.02, 1), (500, 0.0, 0)],
)
def test_rise_beyond_three_percent_and_twice_the_spread_fails(
    monkeypatch: pytest.MonkeyPatch, table: Path, value: int, spread: float, code: int
) -> None:
    table.write_bytes(msgspec.json.encode(msgspec.structs.replace(FIGURE, spread=spread)) + b"\n")
    assert compare(monkeypatch, table, [value]) == code


def test_recorded_rise_with_a_reason_no_longer_fails(monkeypatch: pytest.MonkeyPatch, table: Path) -> None:
    with pytest.raises(SystemExit):
        compare(monkeypatch, table, [1_100], "--record")
    assert compare(monkeypatch, table, [1_090, 1_100, 1_111], "--record", "--why", "a new field") == 0
    last = last_figures(table.read_text(), HERE)[KEY]
    assert (last.instructions, last.spread, last.why) == (1_100, 0.0191, "a new field")
    assert compare(monkeypatch, table, [1_110]) == 0
    assert compare(monkeypatch, table, [1_110] * 3, "--record", "--why", "a small one") == 0
    assert len(table.read_text().splitlines()) == 2  # figures that hold are not repeated


def test_figure_of_a_row_without_a_record_fails(monkeypatch: pytest.MonkeyPatch, table: Path) -> None:
    monkeypatch.setattr(instructions, "measure", lambda times=1: {("idle minute", "hub"): [1]})
    assert main([], table) == 1


@pytest.mark.parametrize("here", [None, "CPython 3.12, valgrind-3.19.0"])
def test_other_environment_and_missing_valgrind_are_named_in_a_line(
    monkeypatch: pytest.MonkeyPatch, table: Path, capsys: pytest.CaptureFixture[str], here: str | None
) -> None:
    monkeypatch.setattr(instructions, "environment", lambda: here)
    assert main([], table) == UNAVAILABLE
    assert capsys.readouterr().out.count("\n") == 1


async def test_fixed_costs_cancel_out() -> None:
    class Planned(Counter):
        def read(self) -> dict[str, int]:
            read, spent[:] = {"hub": sum(spent)}, []
            return read

    spent: list[int] = []

    async def operate(number: int) -> None:
        drift.append(50)  # each time costs more than the one before
        spent.extend((1_000, 7 * number, *drift))

    drift: list[int] = []
    assert await Planned(Path()).each("row", operate, 10) == {("row", "hub"): 7}


async def test_waiting_process_is_at_rest_and_a_stopped_process_is_not() -> None:
    async with await anyio.open_process([sys.executable, "-c", BURN]) as process:
        await at_rest([process.pid])
        assert tree_cpu_s(process.pid) >= 0.2
        process.send_signal(signal.SIGSTOP)
        with anyio.move_on_after(0.1):
            await at_rest([process.pid])
            pytest.fail("a stopped process has work left")
        process.send_signal(signal.SIGCONT)

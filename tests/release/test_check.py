"""The table of a release check, and how it ends."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.release.__main__ import Left, check, sizes
from tests.release.build import Failed


def raising(error: Exception) -> Callable[[], str]:
    def step() -> str:
        raise error

    return step


def test_each_step_has_a_line_and_the_failed_ones_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    steps = {
        "one": lambda: "all is well",
        "two": raising(Failed("a byte differs\nand another one")),
        "three": raising(Left("no podman")),
        "four": lambda: "done",
    }
    assert check(steps, needed=("one",)) == ["two"]
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" s  ")[1].split()[0] for line in lines if " s  " in line] == [*steps]
    assert "FAILED: a byte differs" in lines[1]
    assert "and another one" in lines[2]
    assert "LEFT OUT: no podman" in lines[3]


def test_no_check_step_runs_after_a_failed_required_step(capsys: pytest.CaptureFixture[str]) -> None:
    assert check({"build": raising(Failed("no")), "next": lambda: ""}, needed=("build",)) == ["build"]
    assert "next" not in capsys.readouterr().out


def test_files_have_a_line_with_their_size_each(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(2048))
    (tmp_path / "b").write_bytes(b"")
    assert [line.split() for line in sizes(tmp_path).splitlines()] == [["2", "KiB", "a"], ["0", "KiB", "b"]]

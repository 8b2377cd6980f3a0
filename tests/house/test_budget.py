"""Tests of the test suite: families of cases, tests left to ``make soak``, the budget of CPU time."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow  # each starts pytest

FAMILY = """
from tests.support.families import each

@each("number", [1, 2, 3, 4])
def test_numbers_are_even(number):
    assert number % 2 == 0

@each(("a", "b"), lambda: iter([]))
def test_nothing(a, b):
    pass
"""
LONG = """
import time
import pytest

def burn():
    began = time.process_time()
    while time.process_time() - began < 0.15:
        pass

def test_unmarked():
    burn()

@pytest.mark.slow
def test_slow():
    burn()

@pytest.mark.soak
@pytest.mark.parametrize("case", [1, 2])
def test_soaked(case):
    assert False
"""


def run(folder: Path, source: str, *words: str, test: str = "") -> tuple[int, str]:
    """Exit code and output of pytest over a file with *source*, or over one *test* in it."""
    file = folder / "test_it.py"
    file.write_text(source)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.support.budget", f"--rootdir={folder}"]
    done = subprocess.run([*command, *words, f"{file}{test}"], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout


def test_each_case_of_a_family_that_fails_is_named_and_a_family_without_cases_fails(tmp_path: Path) -> None:
    code, output = run(tmp_path, FAMILY)
    assert code == 1
    assert output.count("SUBFAILED") == 2 and "contains 2 failed subtests" in output
    assert "[(1,)]" in output and "[(3,)]" in output
    assert "no case for a, b" in output


def test_what_is_left_to_soak_and_what_takes_too_long_is_listed_by_name(tmp_path: Path) -> None:
    code, output = run(tmp_path, LONG, "--budget=0.1")
    assert (code, "left to make soak: 2" in output, "test_soaked (2 of it)" in output) == (0, True, True)
    _, _, listed = output.partition("more than 0.1 s of CPU time")
    assert "test_unmarked" in listed and "test_slow" not in listed


@pytest.mark.soak
def test_soak_runs_what_was_left_and_a_test_that_is_named_is_run_anyway(tmp_path: Path) -> None:
    assert run(tmp_path, LONG, "--soak")[1].splitlines()[-1].startswith("2 failed, 2 deselected")
    assert "1 failed" in run(tmp_path, LONG, test="::test_soaked[1]")[1]


@pytest.mark.soak
def test_a_test_that_takes_twice_its_budget_fails_the_run(tmp_path: Path) -> None:
    code, output = run(tmp_path, LONG, "--budget=0.05")
    assert (code, "2 passed" in output) == (1, True)

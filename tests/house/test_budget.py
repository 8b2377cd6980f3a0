"""Tests of the test suite: families of cases, tests left to CI and ``make soak``, the budget of CPU time."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow  # each starts pytest

ROOT = Path(__file__).parents[2]

FAMILY = """
import pytest
from tests.support.families import each

@each("number", [1, 2, 3, 4])
def test_numbers_are_even(number):
    assert number % 2 == 0

@each(("a", "b"), lambda: iter([]))
def test_nothing(a, b):
    pass

@each("case", [1, 2])
def test_skips(case):
    pytest.skip("no server")

@each("case", [pytest.param(1, marks=pytest.mark.slow)])
def test_marked(case):
    pass
"""
HANGING = """
import time
import pytest

@pytest.fixture
def hangs_on():
    yield
    time.sleep(60)

def test_tears_down(hangs_on):
    pass

def test_swallows_the_alarm():
    end = time.monotonic() + 0.3
    while time.monotonic() < end:
        try:
            time.sleep(0.01)
        except BaseException:
            pass

@pytest.mark.anyio
async def test_hangs_in_callbacks(anyio_backend_name):
    import asyncio

    def again():
        time.sleep(0.05)
        asyncio.get_running_loop().call_soon(again)

    again()
    await asyncio.sleep(60)

def test_is_well():
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


def run(folder: Path, source: str, *words: str) -> tuple[int, str]:
    """Return exit code and output of pytest in a project with *source* as ``all/part/test_it.py``."""
    (folder / "all" / "part").mkdir(parents=True)
    (folder / "all" / "part" / "test_it.py").write_text(source)
    (folder / "pytest.ini").write_text("[pytest]\ntestpaths = all\n")
    command = [sys.executable, "-m", "pytest", "-q"]
    plugins = ["-p", "anyio", "-p", "tests.support.budget", "-p", "tests.support.time_limit"]
    # Importing the plugins of every installed package costs a second.
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*command, *plugins, *words], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout


def test_failed_cases_left_tests_and_long_tests_are_listed_by_name(tmp_path: Path) -> None:
    code, output = run(tmp_path, FAMILY + LONG, "--budget=0.1", "all/part/test_it.py")
    assert (code, output.count("SUBFAILED"), "contains 2 failed subtests" in output) == (1, 2, True)
    expected = ("[(1,)]", "[(3,)]", "no case for a, b", "case (1,) skips the cases after it: no server")
    assert [text for text in (*expected, "case (1,) has a mark") if text not in output] == []
    assert "left to make soak: 2" in output and "all/part 2; a test of them: make test" in output
    _, _, listed = output.partition("more than 0.1 s of CPU time")
    assert "test_unmarked" in listed and "test_slow" not in listed


def test_hanging_test_fails_by_name_in_body_teardown_and_callbacks(tmp_path: Path) -> None:
    code, output = run(tmp_path, HANGING, "--longest=0.1")
    assert (code, "2 failed, 2 passed, 1 error" in output) == (1, True)
    for name in ("test_tears_down", "test_swallows_the_alarm", "test_hangs_in_callbacks[asyncio]"):
        assert f"{name} took longer than 0.1 s" in output


@pytest.mark.parametrize(
    ("words", "ends"),
    [
        ("", "1 passed, 3 deselected"),
        ("all/part", "1 passed, 3 deselected"),
        ("all/part --slow", "1 passed, 3 deselected"),
        ("--soak", "2 failed, 2 deselected"),
        ("all/part/test_it.py", "2 passed, 2 deselected"),
        ("all/part/test_it.py --slow", "1 passed, 3 deselected"),
        ("all/part/test_it.py::test_soaked[1]", "1 failed"),
        ("all/part all/part/test_it.py::test_soaked", "2 failed, 1 passed, 1 deselected"),
    ],
)
def test_slow_and_soak_tests_run_by_their_options_or_by_name(tmp_path: Path, words: str, ends: str) -> None:
    _, output = run(tmp_path, LONG, *words.split())
    assert output.splitlines()[-1].startswith(ends)

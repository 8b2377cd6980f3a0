"""No foreign text takes more time in a regular expression of the product than its length."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

LONGEST_S = 600.0


@pytest.mark.parametrize("which", ["--no-words", pytest.param("--words", marks=pytest.mark.soak)])
def test_each_expression_takes_time_in_proportion_to_the_length_of_nearly_matching_texts(
    which: str,
) -> None:
    command = [sys.executable, "-m", "tests.linear", which]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST_S, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr

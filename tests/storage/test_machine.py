from pathlib import Path

import pytest

from tests.storage.machine import run_machine


@pytest.mark.slow
@pytest.mark.parametrize("examples", [2, pytest.param(50, marks=pytest.mark.soak)])
def test_the_rows_are_as_expected_whatever_happens(tmp_path: Path, examples: int) -> None:
    run_machine(tmp_path, examples=examples, steps=80, is_repeatable=True)

from pathlib import Path

from tests.storage.machine import run_machine


def test_the_rows_are_as_expected_whatever_happens(tmp_path: Path) -> None:
    run_machine(tmp_path, examples=50, steps=80, is_repeatable=True)

"""``make quick`` runs the tests of the packages that a change touches."""

from pathlib import Path

from tests.support.touched import ROOT, covering


def test_changed_module_selects_the_tests_of_the_package_and_the_house() -> None:
    assert covering(["hub/runs/runner.py", "README.md"]) == ["tests/house", "tests/hub/runs"]
    assert covering(["storage/kernel/migrations/env.py"]) == ["tests/house", "tests/storage"]
    assert covering(["hub/device/run_reading.py", "protocol/frame.py"]) == [
        *("tests/house", "tests/hub/device", "tests/protocol"),
    ]


def test_changed_top_level_hub_module_selects_the_tests_beside_the_packages() -> None:
    found = covering(["hub/document.py"])
    assert "tests/hub/test_operations.py" in found
    assert not any(Path(ROOT, name).is_dir() for name in found if name != "tests/house")


def test_data_file_of_a_package_selects_the_tests_of_the_package() -> None:
    assert covering(["tests/storage/scheduled.py"]) == ["tests/house", "tests/storage"]
    assert covering(["hub/cli/sample/monday.md"]) == ["tests/house", "tests/hub/cli"]


def test_changed_test_file_selects_only_itself_and_a_deleted_file_selects_nothing() -> None:
    changed = ["tests/hub/base/test_dates.py", "tests/hub/test_gone.py", "tests/support/clock.py"]
    assert covering(changed) == ["tests/house", "tests/hub/base/test_dates.py"]

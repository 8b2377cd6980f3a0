"""``make quick`` runs the tests of the packages that a change touches."""

from pathlib import Path

from tests.support.touched import ROOT, covering


def test_a_module_brings_the_tests_of_its_package_and_the_house_rules() -> None:
    assert covering(["hub/runs/runner.py", "README.md"]) == ["tests/house", "tests/hub/runs"]
    assert covering(["storage/kernel/migrations/env.py"]) == ["tests/house", "tests/storage"]
    assert covering(["hub/device/run_reading.py", "protocol/frame.py"]) == [
        *("tests/house", "tests/hub/device", "tests/protocol"),
    ]


def test_a_module_of_the_hub_itself_brings_the_tests_beside_its_packages() -> None:
    found = covering(["hub/clock.py"])
    assert "tests/hub/test_dates.py" in found
    assert not any(Path(ROOT, name).is_dir() for name in found if name != "tests/house")


def test_data_file_of_a_package_selects_the_tests_of_the_package() -> None:
    assert covering(["tests/storage/expected.py"]) == ["tests/house", "tests/storage"]
    assert covering(["hub/cli/sample/monday.md"]) == ["tests/house", "tests/hub/cli"]


def test_changed_test_selects_itself_and_deleted_test_nothing() -> None:
    changed = ["tests/hub/test_dates.py", "tests/hub/test_gone.py", "tests/support/clock.py"]
    assert covering(changed) == ["tests/house", "tests/hub/test_dates.py"]

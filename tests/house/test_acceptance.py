"""The tests that show what connectors have to hold are there."""

import re
from importlib.util import find_spec
from pathlib import Path

from tests.connectors.acceptance import BARS

ROOT = Path(__file__).parents[2]


def test_tests_and_programs_of_each_acceptance_bar_exist() -> None:
    assert list(BARS) == list(range(1, 17))
    for bar in BARS.values():
        assert bar.tests or bar.programs
        assert [module for module, *_ in bar.programs if find_spec(module) is None] == []
        assert [test for test in bar.tests if not _exists(test)] == []


def _exists(test: str) -> bool:
    file, _, name = test.partition("::")
    return not name or bool(re.search(rf"^(async )?def {name}\(", (ROOT / file).read_text(), re.MULTILINE))

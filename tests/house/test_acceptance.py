"""The tests that show what connectors have to hold are there."""

import ast
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.connectors.acceptance import BARS

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("number", BARS)
def test_what_shows_a_bar_is_there(number: int) -> None:
    bar = BARS[number]
    assert bar.tests or bar.programs
    for module, *_ in bar.programs:
        assert find_spec(module) is not None, module
    for test in bar.tests:
        file, _, name = test.partition("::")
        parts = ast.parse((ROOT / file).read_text()).body
        names = {part.name for part in parts if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef)}
        assert not name or name in names, test


def test_they_are_the_sixteen_of_the_design() -> None:
    assert list(BARS) == list(range(1, 17))

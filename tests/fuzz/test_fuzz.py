"""Random input, from a seed, before every reader of foreign text."""

import pytest

from tests.fuzz.__main__ import attack
from tests.fuzz.targets import TARGETS, Target, of


@pytest.mark.parametrize("name", TARGETS)
async def test_reader_refuses_random_input_only_with_documented_errors(name: str) -> None:
    assert await attack(name, TARGETS[name], seed=1, cases=20) == 0


async def test_fuzzer_reports_unexpected_errors_and_slow_calls(
    capsys: pytest.CaptureFixture[str],
) -> None:
    bad = Target(make=lambda chance: chance.choice("ab"), opened=of(lambda case: "a".index(case)))
    assert await attack("bad", bad, seed=1, cases=20) > 0
    assert "CRASH 'bad', seed 1, case" in capsys.readouterr().out
    known = Target(make=bad.make, opened=bad.opened, refused=(ValueError,))
    assert await attack("known", known, seed=1, cases=20) == 0
    slow = Target(make=bad.make, opened=of(lambda case: sum(range(1_000_000))), bound_s=0.0)
    assert await attack("slow", slow, seed=1, cases=2) == 2

"""Every limit of both doors, attacked. With times: ``python -m tests.scenarios.attacks``."""

from itertools import groupby
from pathlib import Path

import pytest

from tests.scenarios.arena import arena
from tests.scenarios.attack import Attack, faults
from tests.scenarios.attacks import attacks, play

SECONDS = 0.7


def settings_of(attack: Attack) -> tuple[str, str, tuple[str, ...], int, int]:
    return attack.listen, attack.limits, attack.given, attack.files, attack.agents


ON_ONE_HUB = [list(group) for _, group in groupby(sorted(attacks(SECONDS), key=settings_of), settings_of)]
GROUPS = [
    pytest.param(group, id=group[0].name, marks=[pytest.mark.soak] if number else [])
    for number, group in enumerate(sorted(ON_ONE_HUB, key=len))
]


@pytest.mark.parametrize("group", GROUPS)
async def test_the_hub_answers_as_its_limits_say_and_keeps_its_memory(
    group: list[Attack], tmp_path: Path
) -> None:
    found: dict[str, list[str]] = {}
    async with arena(tmp_path, group[0]) as opened:
        for attack in group:
            found[attack.name] = faults(attack, await play(opened, attack, quiet_s=0.1))
    assert found == {attack.name: [] for attack in group}

"""A live hub is killed again and again. 200 times with 20 devices: ``python -m tests.scenarios.killings``."""

from collections import Counter
from pathlib import Path

from tests.scenarios.killings import town


async def test_no_item_is_lost_or_doubled_while_a_live_hub_is_killed_at_random_moments(
    tmp_path: Path,
) -> None:
    async with town(tmp_path, devices=4, seed=1, is_forked=True) as place:
        toll = await place.outlive(8, lives_s=(0.0, 1.2))

    assert toll.planted.total() > 0
    assert (toll.lost, toll.doubled) == (Counter(), Counter())

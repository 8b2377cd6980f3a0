"""A device that comes and goes. 200 times: ``python -m tests.scenarios.flapping``."""

from pathlib import Path

import pytest

from tests.scenarios.flapping import behind_a_bad_line


@pytest.mark.soak
async def test_a_device_that_comes_and_goes_has_each_item_once_and_one_run_a_fire_at_most(
    tmp_path: Path,
) -> None:
    async with behind_a_bad_line(tmp_path) as place:
        flapped = await place.flap(40, fires=2)

    assert flapped.ghosts > 0
    assert flapped.scheduled_runs > 0

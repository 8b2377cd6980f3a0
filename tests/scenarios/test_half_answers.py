"""A foreign device dies in the middle of batches and is back at once. More often: ``half_answers``."""

from pathlib import Path

from tests.scenarios.half_answers import with_foreign_device
from tests.support.node_device import needs_node


@needs_node
async def test_no_run_fails_while_a_foreign_device_dies_with_calls_half_answered(tmp_path: Path) -> None:
    async with with_foreign_device(tmp_path) as place:
        toll = await place.suffer(3)
    assert toll.is_well, toll

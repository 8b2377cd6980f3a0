"""Whatever breaks between a hub and a gateway: what was said is heard, and heard once."""

import pytest

from tests.scenarios.coordination_rounds import play_all


@pytest.mark.parametrize("seed", [11, pytest.param(12, marks=pytest.mark.soak)])
async def test_message_is_delivered_once_under_random_faults(seed: int) -> None:
    await play_all(12, seed)

"""Whatever breaks between a hub and a gateway: what was said is heard, and heard once."""

import pytest

from tests.scenarios.coordination_rounds import play_all


@pytest.mark.parametrize("seed", [11, pytest.param(12, marks=pytest.mark.soak)])
async def test_what_is_said_is_heard_once_whatever_breaks_in_between(seed: int) -> None:
    await play_all(12, seed)

"""Processes that hold locks are stopped and killed; small. ``make locks`` does it large."""

import pytest

from tests.scenarios.locks import place, torture
from tests.support.clock import SeededChance


@pytest.mark.soak
def test_no_write_out_of_fence_order_is_accepted_under_stops_and_kills() -> None:
    with place("sqlite") as url:
        toll = torture(url, processes=3, acquisitions=150, chance=SeededChance(3), hurt_every_s=0.4)
    assert (toll.out_of_fence_order, toll.out_of_turn, toll.stuck) == (0, 0, 0)
    assert toll.acquisitions >= 150
    assert toll.written

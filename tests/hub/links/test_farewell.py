"""What a device is told when the hub goes: when to come back."""

from hub.links.listener import RESTARTING
from tests.support.clock import SeededChance
from tests.support.families import each


@each(("connections", "longest_ms"), [(1, 1_000), (500, 1_000), (2_000, 4_000), (10_000, 20_000)])
def test_devices_come_back_over_two_milliseconds_for_each_of_them_and_at_least_a_second(
    connections: int, longest_ms: int
) -> None:
    chance = SeededChance(4)
    told = [RESTARTING.to_one_of(connections, chance).retry_after_ms for _ in range(1_000)]
    waits = [wait for wait in told if wait is not None]
    assert len(waits) == 1_000
    assert 200 <= min(waits) < 200 + longest_ms / 20
    assert longest_ms * 0.95 < max(waits) <= longest_ms
    in_the_first_half = sum(wait < (200 + longest_ms) / 2 for wait in waits)
    assert 400 < in_the_first_half < 600, "they are spread evenly"

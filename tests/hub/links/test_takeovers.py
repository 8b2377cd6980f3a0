"""How often a device may take its own place before whoever is there stays."""

from hub.links.roster import Takeovers
from protocol.ids import DeviceId
from tests.support.clock import FakeClock
from tests.support.families import each

DESK, LAPTOP = DeviceId("desk"), DeviceId("laptop")


@each(("over_s", "wait_s"), [(59.9, 300.0), (60.0, 0.0), (75.0, 0.0)])
def test_six_takeovers_count_within_a_minute_and_not_over_a_longer_time(over_s: float, wait_s: float) -> None:
    clock = FakeClock()
    takeovers = Takeovers(clock)
    for _ in range(5):
        takeovers.record(DESK)
        clock.advance(over_s / 5)
    takeovers.record(DESK)
    assert (takeovers.wait_s(DESK), takeovers.waiting()) == (wait_s, ({DESK: wait_s} if wait_s else {}))


def test_takeovers_are_counted_for_each_device_and_anew_after_the_wait() -> None:
    clock = FakeClock()
    takeovers = Takeovers(clock)
    for _ in range(5):
        takeovers.record(DESK)
        takeovers.record(LAPTOP)
    takeovers.record(DESK)
    assert (takeovers.wait_s(DESK), takeovers.wait_s(LAPTOP)) == (300.0, 0.0)
    clock.advance(300.0)
    takeovers.record(DESK)
    assert (takeovers.wait_s(DESK), takeovers.waiting()) == (0.0, {})

"""When a connected device has been there long enough for work that nobody waits for."""

from dataclasses import dataclass

import pytest

from hub.runs.dispatcher import FLAP_SETTLE_S, Arrivals
from protocol.ids import DeviceId
from tests.support.clock import START, FakeClock, SeededChance

SETTLE_S = 5.0

DESK = DeviceId("desk")


@dataclass
class Link:
    device_id: DeviceId = DESK
    epoch: int = 1


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def arrivals(clock: FakeClock) -> Arrivals:
    return Arrivals(clock=clock, chance=SeededChance(), settle_s=SETTLE_S)


def test_a_device_settles_a_few_seconds_after_it_came(arrivals: Arrivals, clock: FakeClock) -> None:
    arrivals.update([Link()])
    assert (set(arrivals.online), set(arrivals.settled())) == ({DESK}, set())
    assert (arrivals.since(DESK), arrivals.settles_in_s()) == (START, SETTLE_S)
    assert arrivals.settles_at(DESK) is not None
    clock.advance(SETTLE_S)
    assert arrivals.settled() == {DESK}
    assert (arrivals.settles_in_s(), arrivals.settles_at(DESK)) == (None, None)


def test_a_new_connection_of_a_device_settles_anew(arrivals: Arrivals, clock: FakeClock) -> None:
    arrivals.update([Link(epoch=1)])
    clock.advance(SETTLE_S)
    arrivals.update([Link(epoch=2)])
    assert arrivals.settled() == frozenset()


def test_a_device_that_left_is_not_there(arrivals: Arrivals, clock: FakeClock) -> None:
    arrivals.update([Link()])
    clock.advance(SETTLE_S)
    arrivals.update([])
    assert (arrivals.online, arrivals.settled(), arrivals.since(DESK)) == (frozenset(), frozenset(), None)


def test_a_device_that_keeps_coming_back_settles_for_a_minute(arrivals: Arrivals, clock: FakeClock) -> None:
    for epoch in range(1, 5):
        arrivals.update([Link(epoch=epoch)])
        clock.advance(20)
    assert arrivals.settled() == frozenset()
    clock.advance(FLAP_SETTLE_S - 20)
    assert arrivals.settled() == {DESK}


def test_connections_that_lie_far_apart_are_no_flapping(arrivals: Arrivals, clock: FakeClock) -> None:
    for epoch in range(1, 9):
        arrivals.update([Link(epoch=epoch)])
        clock.advance(50)
    assert arrivals.settled() == {DESK}


def test_a_crowd_settles_by_and_by(arrivals: Arrivals, clock: FakeClock) -> None:
    arrivals.update([Link(DeviceId(f"desk-{n}")) for n in range(200)])
    settled = []
    for _ in range(14):
        clock.advance(SETTLE_S)
        settled.append(len(arrivals.settled()))
    assert settled[0] < 20
    assert settled == sorted(settled)
    assert 60 < settled[6] < 140
    assert settled[-1] == 200

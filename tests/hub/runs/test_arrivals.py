"""When a connected device has been there long enough for work that nobody waits for."""

from collections.abc import Set
from types import SimpleNamespace
from typing import cast

import pytest

from hub.links.roster import DeviceLink
from hub.runs.dispatcher import CROWD_WINDOW_S, FLAP_SETTLE_S, Arrivals
from protocol.ids import DeviceId
from tests.support.clock import START, FakeClock, SeededChance

SETTLE_S = 5.0

DESK = DeviceId("desk")


def a_link(epoch: int = 1, device_id: DeviceId = DESK, **offers: str) -> DeviceLink:
    """Return what an arrival reads of a link."""
    return cast(DeviceLink, SimpleNamespace(device_id=device_id, epoch=epoch, offers=offers))


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def arrivals(clock: FakeClock) -> Arrivals:
    return Arrivals(clock=clock, chance=SeededChance(), settle_s=SETTLE_S)


def settled(arrivals: Arrivals) -> Set[DeviceId]:
    """The devices that are connected for long enough."""
    return arrivals.online - arrivals.settling


def test_a_device_settles_a_few_seconds_after_it_came(arrivals: Arrivals, clock: FakeClock) -> None:
    arrivals.add(a_link())
    assert (set(arrivals.online), settled(arrivals), arrivals.since(DESK)) == ({DESK}, set(), START)
    assert arrivals.settles_at(DESK) is not None
    clock.advance(SETTLE_S)
    assert (settled(arrivals), arrivals.settles_at(DESK)) == ({DESK}, None)


def test_a_new_connection_of_a_device_settles_anew(arrivals: Arrivals, clock: FakeClock) -> None:
    arrivals.add(a_link(epoch=1))
    clock.advance(SETTLE_S)
    arrivals.add(a_link(epoch=2))
    assert settled(arrivals) == frozenset()


def test_a_device_that_left_is_not_there(arrivals: Arrivals, clock: FakeClock) -> None:
    arrivals.add(a_link())
    clock.advance(SETTLE_S)
    arrivals.remove(DESK, epoch=1)
    assert (set(arrivals.online), settled(arrivals), arrivals.since(DESK)) == (set(), set(), None)


def test_the_end_of_an_older_connection_leaves_the_newer_one(arrivals: Arrivals) -> None:
    arrivals.add(a_link(epoch=1))
    arrivals.add(a_link(epoch=2))
    arrivals.remove(DESK, epoch=1)
    assert arrivals.online == {DESK}


def test_a_device_that_keeps_coming_back_settles_for_a_minute(arrivals: Arrivals, clock: FakeClock) -> None:
    for epoch in range(1, 5):
        arrivals.add(a_link(epoch=epoch))
        assert arrivals.online == {DESK}
        clock.advance(20)
    assert settled(arrivals) == frozenset()
    clock.advance(FLAP_SETTLE_S - 20)
    assert settled(arrivals) == {DESK}


def test_connections_that_lie_far_apart_are_no_flapping(arrivals: Arrivals, clock: FakeClock) -> None:
    for epoch in range(1, 9):
        arrivals.add(a_link(epoch=epoch))
        assert arrivals.online == {DESK}
        clock.advance(50)
    assert settled(arrivals) == {DESK}


def test_a_device_that_comes_long_after_a_crowd_settles_as_one_that_comes_alone(
    arrivals: Arrivals, clock: FakeClock
) -> None:
    for n in range(200):
        arrivals.add(a_link(device_id=DeviceId(f"desk-{n}")))
        assert len(arrivals.online) == n + 1
    clock.advance(CROWD_WINDOW_S + 1)
    arrivals.add(a_link())
    assert DESK in arrivals.settling
    clock.advance(SETTLE_S)
    assert DESK in settled(arrivals)


def test_a_crowd_settles_by_and_by(arrivals: Arrivals, clock: FakeClock) -> None:
    for n in range(200):
        arrivals.add(a_link(device_id=DeviceId(f"desk-{n}")))
    assert len(arrivals.online) == 200
    counts = []
    for _ in range(14):
        clock.advance(SETTLE_S)
        counts.append(len(settled(arrivals)))
    assert counts[0] < 20
    assert counts == sorted(counts)
    assert 60 < counts[6] < 140
    assert counts[-1] == 200

"""Who may come in, by numbers alone."""

from dataclasses import replace

import pytest

from hub.links.gate import Buckets, Gate, Place, PortLimits, TurnedAway
from hub.metrics import Metrics
from protocol.errors import ErrorCode
from tests.support.clock import FakeClock

ROOMY = PortLimits(new_at_once=1_000, strangers=1_000, strangers_per_network=1_000)


def make_gate(limits: PortLimits = ROOMY, clock: FakeClock | None = None) -> tuple[Gate, Metrics]:
    metrics = Metrics()
    return Gate(limits, clock=clock or FakeClock(), metrics=metrics), metrics


def turned_away(gate: Gate, network: str = "10.0.0.1") -> TurnedAway:
    """Why one more of *network* is."""
    with pytest.raises(TurnedAway) as refusal:
        gate.enter(network)
    return refusal.value


def welcomed(gate: Gate, network: str = "10.0.0.1") -> Place:
    place = gate.enter(network)
    place.vouch()
    return place


def test_there_are_so_many_connections_of_a_network_and_so_many_in_all() -> None:
    gate, metrics = make_gate(replace(ROOMY, connections=3, connections_per_network=2))
    places = [gate.enter("10.0.0.1"), gate.enter("10.0.0.1")]
    turned = turned_away(gate)
    assert (turned.limit, turned.reason) == ("connections_per_network", ErrorCode.TOO_MANY_CONNECTIONS)
    places.append(gate.enter("10.0.0.2"))
    assert turned_away(gate, "10.0.0.3").limit == "connections"
    places.pop().leave()
    gate.enter("10.0.0.3")
    count = metrics.registry.get_sample_value
    assert count("hub_limits_reached_total", {"limit": "connections_per_network"}) == 1
    assert count("hub_limits_reached_total", {"limit": "connections"}) == 1


def test_a_place_is_left_once_and_its_network_is_forgotten_with_it() -> None:
    gate, _ = make_gate(replace(ROOMY, connections_per_network=1, strangers_per_network=1))
    for _ in range(3):
        place = gate.enter("10.0.0.1")
        place.leave()
        place.leave()
    assert (len(gate), gate.strangers) == (0, 0)
    other = welcomed(gate)
    other.leave()
    assert (len(gate), gate.strangers) == (0, 0)


def test_strangers_are_few_and_who_was_welcomed_is_none_any_more() -> None:
    gate, _ = make_gate(replace(ROOMY, strangers=3, strangers_per_network=2))
    first, _ = gate.enter("10.0.0.1"), gate.enter("10.0.0.1")
    turned = turned_away(gate)
    assert (turned.limit, turned.reason) == ("strangers_per_network", ErrorCode.OVERLOADED)
    first.vouch()
    gate.enter("10.0.0.1")
    gate.enter("10.0.0.2")
    assert turned_away(gate, "10.0.0.3").limit == "strangers"


def test_a_new_connection_gets_the_place_of_the_oldest_stranger_that_does_not_wait_for_the_hub() -> None:
    closed: list[str] = []

    def stranger(name: str, network: str, *, waits_for_hub: bool = False) -> None:
        def give_way(turned: TurnedAway) -> bool:
            if not waits_for_hub:
                closed.append(f"{name}: {turned.limit}")
            return not waits_for_hub

        gate.enter(network).give_way = give_way

    gate, metrics = make_gate(replace(ROOMY, strangers=4, strangers_per_network=3, connections_per_network=4))
    stranger("greeted", "10.0.0.1", waits_for_hub=True)
    stranger("a", "10.0.0.1")
    stranger("b", "10.0.0.1")
    welcomed(gate, "10.0.0.1")
    assert closed == ["a: strangers_per_network"]
    stranger("c", "10.0.0.2")
    stranger("d", "10.0.0.3")
    stranger("e", "10.0.0.4")
    assert closed[1:] == ["b: strangers"]
    stranger("f", "10.0.0.4")
    assert closed[2:] == ["e: strangers"]
    gate.limits = replace(gate.limits, strangers_per_network=1)
    assert turned_away(gate).limit == "strangers_per_network"  # the only stranger waits for the hub
    assert (len(gate), gate.strangers) == (5, 4)
    count = metrics.registry.get_sample_value
    assert count("hub_limits_reached_total", {"limit": "strangers_per_network"}) == 2
    assert count("hub_limits_reached_total", {"limit": "strangers"}) == 2


def test_connections_of_a_network_may_come_in_a_burst_and_then_one_after_the_other() -> None:
    clock = FakeClock()
    gate, _ = make_gate(replace(ROOMY, new_at_once=3, new_per_s=2.0), clock)
    for _ in range(3):
        gate.enter("10.0.0.1").leave()
    turned = turned_away(gate)
    assert (turned.limit, turned.reason) == ("new_connections_per_s", ErrorCode.RATE_LIMITED)
    gate.enter("10.0.0.2")  # another network is not to blame
    clock.advance(0.5)
    gate.enter("10.0.0.1")
    assert turned_away(gate).reason == ErrorCode.RATE_LIMITED


def test_a_connection_through_a_proxy_is_counted_once_its_network_is_known() -> None:
    gate, _ = make_gate(replace(ROOMY, connections_per_network=1))
    first, second = gate.enter(None), gate.enter(None)
    first.name("10.0.0.1")
    with pytest.raises(TurnedAway):
        second.name("10.0.0.1")
    assert len(gate) == 2  # told why, then let go
    second.leave()
    first.leave()
    assert (len(gate), gate.strangers) == (0, 0)


def test_limits_may_change_and_who_is_here_stays() -> None:
    gate, _ = make_gate()
    places = [gate.enter("10.0.0.1") for _ in range(3)]
    gate.limits = replace(ROOMY, connections_per_network=2)
    assert turned_away(gate).limit == "connections_per_network"
    assert len(gate) == len(places)


def test_there_are_never_more_connections_than_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hub.open_files.limit", lambda: 1_000)
    gate, _ = make_gate(replace(ROOMY, connections=10_000, spare_files=256))
    assert gate.most == 1_000 - 250  # of few files a quarter is spared
    monkeypatch.setattr("hub.open_files.limit", lambda: 4)
    full, metrics = make_gate(replace(ROOMY, connections=3))
    for _ in range(3):
        full.enter("10.0.0.1").vouch()
    assert turned_away(full).limit == "connections"
    monkeypatch.setattr("hub.open_files.limit", lambda: 2)
    assert turned_away(full).limit == "connections"
    for label in ("connections", "open_files"):
        assert metrics.registry.get_sample_value("hub_limits_reached_total", {"limit": label}) == 1, label
    monkeypatch.setattr("hub.open_files.limit", lambda: 20_000)
    assert gate.most == 10_000
    monkeypatch.setattr("hub.open_files.limit", lambda: 8_000)
    assert gate.most == 8_000 - 256


def test_buckets_are_remembered_in_bounded_space() -> None:
    buckets: Buckets[int] = Buckets(remembered=100)
    for key in range(1_000):
        assert buckets.take(key, 0.0, at_once=1, per_s=1.0) == 0.0
    assert len(buckets) == 100
    assert buckets.take(999, 0.0, at_once=1, per_s=1.0) == pytest.approx(1.0)
    assert buckets.take(999, 0.25, at_once=1, per_s=1.0) == pytest.approx(0.75)
    assert buckets.take(0, 0.0, at_once=1, per_s=1.0) == 0.0  # forgotten: that was longest ago

"""Who may come in, by numbers alone."""

from collections.abc import AsyncIterator
from dataclasses import replace

import anyio
import pytest
import sqlalchemy as sa

from hub.base.metrics import Metrics
from hub.base.token_buckets import Buckets
from hub.links.connection_limits import AdmissionRefused, ConnectionSlot, Gate, PortLimits
from hub.links.deadline_wheel import DeadlineWheel
from hub.links.failed_attempts import FailedAttempts
from hub.links.hosts import network_of
from hub.links.refusals import ENTRIES, OTHERS, RefusalSamples
from protocol.errors import ErrorCode
from storage.devices.attempts import AttemptLimits
from storage.schema import failed_attempts
from storage.store import Store, open_store
from tests.support.clock import FakeClock
from tests.support.families import each
from tests.support.postgres import Postgres
from tests.support.services import running

ROOMY = PortLimits(new_at_once=1_000, strangers=1_000, strangers_per_network=1_000)


def make_gate(limits: PortLimits = ROOMY, clock: FakeClock | None = None) -> tuple[Gate, Metrics]:
    metrics = Metrics()
    return Gate(limits, clock=clock or FakeClock(), metrics=metrics), metrics


def turned_away(gate: Gate, network: str = "10.0.0.1") -> AdmissionRefused:
    """Why one more of *network* is."""
    with pytest.raises(AdmissionRefused) as refusal:
        gate.enter(network)
    return refusal.value


def welcomed(gate: Gate, network: str = "10.0.0.1") -> ConnectionSlot:
    place = gate.enter(network)
    place.vouch()
    return place


def test_gate_limits_connections_per_network_and_in_total() -> None:
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


def test_gate_place_left_twice_is_counted_once() -> None:
    gate, _ = make_gate(replace(ROOMY, connections_per_network=1, strangers_per_network=1))
    for _ in range(3):
        place = gate.enter("10.0.0.1")
        place.leave()
        place.leave()
    assert (len(gate), gate.strangers) == (0, 0)
    other = welcomed(gate)
    other.leave()
    assert (len(gate), gate.strangers) == (0, 0)


def test_gate_limits_strangers_and_does_not_count_vouched_connections() -> None:
    gate, _ = make_gate(replace(ROOMY, strangers=3, strangers_per_network=2))
    first, _ = gate.enter("10.0.0.1"), gate.enter("10.0.0.1")
    turned = turned_away(gate)
    assert (turned.limit, turned.reason) == ("strangers_per_network", ErrorCode.OVERLOADED)
    first.vouch()
    gate.enter("10.0.0.1")
    gate.enter("10.0.0.2")
    assert turned_away(gate, "10.0.0.3").limit == "strangers"


def test_new_connection_evicts_the_oldest_stranger_owing_a_hello() -> None:
    closed: list[str] = []

    def stranger(name: str, network: str, *, waits_for_hub: bool = False) -> None:
        def give_way(turned: AdmissionRefused) -> bool:
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


def test_gate_admits_a_burst_of_a_network_and_then_the_rate() -> None:
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


def test_proxied_connection_counts_for_the_network_after_naming() -> None:
    gate, _ = make_gate(replace(ROOMY, connections_per_network=1))
    first, second = gate.enter(None), gate.enter(None)
    first.name("10.0.0.1")
    with pytest.raises(AdmissionRefused):
        second.name("10.0.0.1")
    assert len(gate) == 2  # told why, then let go
    second.leave()
    first.leave()
    assert (len(gate), gate.strangers) == (0, 0)


def test_lowered_connection_limit_refuses_only_new_connections() -> None:
    gate, _ = make_gate()
    places = [gate.enter("10.0.0.1") for _ in range(3)]
    gate.limits = replace(ROOMY, connections_per_network=2)
    assert turned_away(gate).limit == "connections_per_network"
    assert len(gate) == len(places)


def test_gate_limits_connections_to_the_open_file_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hub.base.open_files.limit", lambda: 1_000)
    gate, _ = make_gate(replace(ROOMY, connections=10_000, spare_files=256))
    assert gate.most == 1_000 - 250  # of few files a quarter is spared
    monkeypatch.setattr("hub.base.open_files.limit", lambda: 4)
    full, metrics = make_gate(replace(ROOMY, connections=3))
    for _ in range(3):
        full.enter("10.0.0.1").vouch()
    assert turned_away(full).limit == "connections"
    monkeypatch.setattr("hub.base.open_files.limit", lambda: 2)
    assert turned_away(full).limit == "connections"
    for label in ("connections", "open_files"):
        assert metrics.registry.get_sample_value("hub_limits_reached_total", {"limit": label}) == 1, label
    monkeypatch.setattr("hub.base.open_files.limit", lambda: 20_000)
    assert gate.most == 10_000
    monkeypatch.setattr("hub.base.open_files.limit", lambda: 8_000)
    assert gate.most == 8_000 - 256


def test_buckets_are_remembered_in_bounded_space() -> None:
    buckets: Buckets[int] = Buckets(remembered=100)
    for key in range(1_000):
        assert buckets.acquire(key, 0.0, at_once=1, per_s=1.0) == 0.0
    assert len(buckets) == 100
    assert buckets.acquire(999, 0.0, at_once=1, per_s=1.0) == pytest.approx(1.0)
    assert buckets.acquire(999, 0.25, at_once=1, per_s=1.0) == pytest.approx(0.75)
    assert buckets.acquire(0, 0.0, at_once=1, per_s=1.0) == 0.0  # forgotten: that was longest ago


LIMITS = AttemptLimits(failures=3, window_s=60, wait_s=300, wait_most_s=3_600)


@pytest.fixture
async def store() -> AsyncIterator[Store]:
    async with open_store("sqlite://") as opened:
        yield opened


def counter(store: Store, clock: FakeClock, *, remembered: int = 1_000) -> FailedAttempts:
    return FailedAttempts(store, clock, kind="device", limits=LIMITS, remembered=remembered)


async def fail(failed: FailedAttempts, party: str = "192.0.2.7", times: int = 3) -> None:
    for _ in range(times):
        await failed.fail(party)


async def test_expired_failures_do_not_count(store: Store) -> None:
    clock = FakeClock()
    failed = counter(store, clock)
    await fail(failed, times=2)
    clock.advance(60)
    await fail(failed, times=2)
    assert failed.wait_s("192.0.2.7") == 0
    await fail(failed, times=1)
    assert failed.wait_s("192.0.2.7") == 300


async def test_failure_wait_doubles_up_to_an_hour_and_resets_when_quiet(store: Store) -> None:
    clock = FakeClock()
    failed = counter(store, clock)
    waits = []
    for _ in range(6):
        await fail(failed)
        waits.append(failed.wait_s("192.0.2.7"))
        clock.advance(waits[-1])
    assert waits == [300, 600, 1_200, 2_400, 3_600, 3_600]
    clock.advance(3_600)
    await fail(failed)
    assert failed.wait_s("192.0.2.7") == 300


async def test_failed_attempts_of_a_network_do_not_delay_another_network(store: Store) -> None:
    failed = counter(store, FakeClock())
    await fail(failed)
    assert (failed.wait_s("192.0.2.8"), list(failed.waiting())) == (0, [("192.0.2.7", 300)])


async def test_failed_attempts_of_many_addresses_are_remembered_in_bounded_space(store: Store) -> None:
    failed = counter(store, FakeClock(), remembered=30)
    for number in range(90):
        await fail(failed, f"10.0.0.{number}")
    assert (failed.wait_s("10.0.0.1"), failed.wait_s("10.0.0.89"), len(failed)) == (0, 300, 30)
    kept = await store.read(lambda c: c.execute(sa.select(failed_attempts.c.party)).scalars().all())
    assert len(kept) <= 31


async def test_wait_after_failed_attempts_survives_a_restart_and_is_not_extended(store: Store) -> None:
    clock = FakeClock()
    await fail(counter(store, clock))
    clock.advance(100)
    restarted = counter(store, clock)
    assert (
        await restarted.fail("192.0.2.8", "192.0.2.7"),
        restarted.wait_s("192.0.2.7"),
        restarted.wait_s("192.0.2.8"),
    ) == (200, 200, 0)
    assert await counter(store, clock).read_wait_s("192.0.2.7") == 200
    clock.advance(200)
    assert await restarted.fail("192.0.2.7") == 0


async def test_attempts_spread_over_hubs_count_together(postgres: Postgres) -> None:
    with postgres.database() as url:
        async with open_store(url) as one, open_store(url) as another:
            hubs = [counter(store, FakeClock()) for store in (one, another)]
            met = [await hubs[attempt % 2].fail("192.0.2.7") for attempt in range(6)]

        assert met == [0] * 3 + [pytest.approx(300, abs=30)] * 3
        assert all(hub.wait_s("192.0.2.7") for hub in hubs)


async def test_parallel_failed_attempts_at_two_hubs_are_all_counted(postgres: Postgres) -> None:
    with postgres.database() as url:
        async with open_store(url) as one, open_store(url) as another:
            limits = AttemptLimits(failures=40)
            hubs = [
                FailedAttempts(store, FakeClock(), kind="code", limits=limits) for store in (one, another)
            ]
            async with anyio.create_task_group() as tasks:
                for number in range(39):
                    tasks.start_soon(hubs[number % 2].fail, f"party {number % 3}", "all")
            assert await hubs[0].fail("all") == 0
            assert hubs[0].wait_s("all") > 0


async def test_failed_attempts_are_counted_without_a_database() -> None:
    async with open_store("sqlite://") as store:
        failed = counter(store, FakeClock())
    await fail(failed)
    assert failed.wait_s("192.0.2.7") == 300


@each(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("local", "local"),
    ],
)
def test_network_of_an_address_is_the_prefix_of_a_single_party(address: str, network: str) -> None:
    assert network_of(address) == network


def test_refusals_of_many_networks_are_recorded_in_a_single_entry() -> None:
    clock = FakeClock()
    samples = RefusalSamples(clock)
    told = [samples.count(f"10.0.{number // 256}.{number % 256}", "auth_failed") for number in range(1_000)]
    entries = [entry for entry in told if entry is not None]
    assert (len(entries), entries[-1]) == (ENTRIES + 1, (OTHERS, 1))
    clock.advance(60)
    assert samples.count("10.0.0.1", "auth_failed") == ("10.0.0.1", 1)


class Bell:
    """Remembers when it rang; rings *again* as often."""

    def __init__(self, wheel: DeadlineWheel, clock: FakeClock, *, again: int = 0) -> None:
        self._wheel, self._clock, self._again = wheel, clock, again
        self.rang_at: list[float] = []

    def on_deadline(self) -> None:
        self.rang_at.append(self._clock.monotonic())
        if len(self.rang_at) <= self._again:
            self._wheel.add_after(self, 1)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def wheel(clock: FakeClock) -> DeadlineWheel:
    return DeadlineWheel(clock, tick_s=0.25)


@pytest.fixture
def bell(wheel: DeadlineWheel, clock: FakeClock) -> Bell:
    return Bell(wheel, clock)


def test_deadline_fires_never_early_and_at_most_a_tick_late(
    clock: FakeClock, wheel: DeadlineWheel, bell: Bell
) -> None:
    deadline = clock.monotonic() + 1.1
    wheel.add(bell, deadline)
    while not bell.rang_at:
        clock.advance(0.0625)
        wheel.turn()
    assert 0 < bell.rang_at[0] - deadline <= 0.25 + 0.0625


def test_a_removed_deadline_does_not_fire(clock: FakeClock, wheel: DeadlineWheel, bell: Bell) -> None:
    wheel.add_after(bell, 1).discard(bell)
    clock.advance(10)
    wheel.turn()
    assert (bell.rang_at, len(wheel)) == ([], 0)


def test_a_deadline_in_the_past_fires_at_the_next_tick(
    clock: FakeClock, wheel: DeadlineWheel, bell: Bell
) -> None:
    wheel.add(bell, clock.monotonic() - 100)
    wheel.turn()
    assert bell.rang_at == []
    clock.advance(0.25)
    wheel.turn()
    assert len(bell.rang_at) == 1


def test_a_timer_callback_may_set_another_deadline(clock: FakeClock, wheel: DeadlineWheel) -> None:
    bell = Bell(wheel, clock, again=9)
    wheel.add_after(bell, 1)
    for _ in range(3):
        clock.advance(2)
        wheel.turn()
    assert len(bell.rang_at) == 3


async def test_served_deadline_wheel_fires_a_timer_after_the_deadline(
    clock: FakeClock, wheel: DeadlineWheel, bell: Bell
) -> None:
    async with running(wheel):
        wheel.add_after(bell, 3)
        await clock.pass_time(2.9)
        assert bell.rang_at == []
        await clock.pass_time(0.6)
        assert len(bell.rang_at) == 1

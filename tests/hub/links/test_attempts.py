from collections.abc import AsyncIterator

import anyio
import pytest
import sqlalchemy as sa

from hub.links.gate import FailedAttempts, network_of
from hub.links.refusals import ENTRIES, OTHERS, RefusalSamples
from storage.devices.attempts import AttemptLimits
from storage.schema import failed_attempts
from storage.store import Store, open_store
from tests.support.clock import FakeClock
from tests.support.families import each
from tests.support.postgres import Postgres

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


async def test_failures_that_are_too_old_do_not_count(store: Store) -> None:
    clock = FakeClock()
    failed = counter(store, clock)
    await fail(failed, times=2)
    clock.advance(60)
    await fail(failed, times=2)
    assert failed.wait_s("192.0.2.7") == 0
    await fail(failed, times=1)
    assert failed.wait_s("192.0.2.7") == 300


async def test_the_wait_doubles_up_to_an_hour_and_begins_anew_after_a_quiet_one(store: Store) -> None:
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


async def test_one_party_does_not_make_another_wait(store: Store) -> None:
    failed = counter(store, FakeClock())
    await fail(failed)
    assert (failed.wait_s("192.0.2.8"), list(failed.waiting())) == (0, [("192.0.2.7", 300)])


async def test_failed_attempts_of_many_addresses_are_remembered_in_bounded_space(store: Store) -> None:
    failed = counter(store, FakeClock(), remembered=100)
    for number in range(300):
        await fail(failed, f"10.0.{number // 256}.{number % 256}")
    assert (failed.wait_s("10.0.0.1"), failed.wait_s("10.0.1.43"), len(failed)) == (0, 300, 100)
    kept = await store.read(lambda c: c.execute(sa.select(failed_attempts.c.party)).scalars().all())
    assert len(kept) <= 101


async def test_a_wait_outlives_a_restart_and_is_not_longer_by_failures_during_it(store: Store) -> None:
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


async def test_attempts_that_are_spread_over_hubs_count_together(postgres: Postgres) -> None:
    with postgres.database() as url:
        async with open_store(url) as one, open_store(url) as another, open_store(url) as third:
            hubs = [counter(store, FakeClock()) for store in (one, another, third)]
            met = [await hubs[attempt % 3].fail("192.0.2.7") for attempt in range(9)]

        assert met == [0] * 3 + [pytest.approx(300, abs=30)] * 6
        assert all(hub.wait_s("192.0.2.7") for hub in hubs)


async def test_attempts_at_once_at_several_hubs_are_each_counted(postgres: Postgres) -> None:
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


async def test_a_hub_whose_database_is_away_counts_alone() -> None:
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
def test_an_address_counts_as_the_network_that_one_party_holds(address: str, network: str) -> None:
    assert network_of(address) == network


def test_refusals_of_many_networks_are_recorded_in_one_entry() -> None:
    clock = FakeClock()
    samples = RefusalSamples(clock)
    told = [samples.take(f"10.0.{number // 256}.{number % 256}", "auth_failed") for number in range(1_000)]
    entries = [entry for entry in told if entry is not None]
    assert (len(entries), entries[-1]) == (ENTRIES + 1, (OTHERS, 1))
    clock.advance(60)
    assert samples.take("10.0.0.1", "auth_failed") == ("10.0.0.1", 1)

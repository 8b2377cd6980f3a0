import pytest

from hub.links.attempts import AttemptLimits, FailedAttempts, network_of
from hub.links.refusals import ENTRIES, OTHERS, RefusalSamples
from hub.links.roster import Takeovers
from protocol.ids import DeviceId
from tests.support.clock import FakeClock

LIMITS = AttemptLimits(failures=3, window_s=60, wait_s=300, wait_most_s=3_600)


def fail(failed: FailedAttempts, party: str = "192.0.2.7", times: int = 3) -> None:
    for _ in range(times):
        failed.record(party)


def test_failures_that_are_too_old_do_not_count() -> None:
    clock = FakeClock()
    failed = FailedAttempts(clock, limits=LIMITS)
    fail(failed, times=2)
    clock.advance(60)
    fail(failed, times=2)
    assert failed.wait_s("192.0.2.7") == 0
    fail(failed, times=1)
    assert failed.wait_s("192.0.2.7") == 300


def test_the_wait_doubles_up_to_an_hour_and_begins_anew_after_a_quiet_one() -> None:
    clock = FakeClock()
    failed = FailedAttempts(clock, limits=LIMITS)
    waits = []
    for _ in range(6):
        fail(failed)
        waits.append(failed.wait_s("192.0.2.7"))
        clock.advance(waits[-1])
    assert waits == [300, 600, 1_200, 2_400, 3_600, 3_600]
    clock.advance(3_600)
    fail(failed)
    assert failed.wait_s("192.0.2.7") == 300


def test_one_party_does_not_make_another_wait() -> None:
    failed = FailedAttempts(FakeClock(), limits=LIMITS)
    fail(failed)
    assert failed.wait_s("192.0.2.8") == 0
    assert list(failed.waiting()) == [("192.0.2.7", 300)]


def test_failed_attempts_of_many_addresses_are_remembered_in_bounded_space() -> None:
    failed = FailedAttempts(FakeClock(), limits=LIMITS, remembered=100)
    for number in range(1_000):
        fail(failed, f"10.0.{number // 256}.{number % 256}")
    assert failed.wait_s("10.0.0.1") == 0
    assert failed.wait_s("10.0.3.231") == 300
    assert len(failed) == 100


@pytest.mark.parametrize(
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


def test_takeovers_that_are_too_old_do_not_count() -> None:
    clock, desk = FakeClock(), DeviceId("desk")
    takeovers = Takeovers(clock)
    for _ in range(5):
        takeovers.record(desk)
    clock.advance(60)
    takeovers.record(desk)
    assert takeovers.wait_s(desk) == 0
    for _ in range(5):
        takeovers.record(desk)
    assert takeovers.waiting() == {desk: 300}
    clock.advance(300)
    assert takeovers.waiting() == {}


def test_refusals_of_many_networks_are_recorded_in_one_entry() -> None:
    clock = FakeClock()
    samples = RefusalSamples(clock)
    told = [samples.take(f"10.0.{number // 256}.{number % 256}", "auth_failed") for number in range(1_000)]
    entries = [entry for entry in told if entry is not None]
    assert len(entries) == ENTRIES + 1
    assert entries[-1] == (OTHERS, 1)
    clock.advance(60)
    assert samples.take("10.0.0.1", "auth_failed") == ("10.0.0.1", 1)

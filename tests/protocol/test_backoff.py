"""When to come back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.backoff import Backoff
from protocol.errors import CloseCode

draws = st.floats(0, 1, exclude_max=True)


@given(attempt=st.integers(0, 10_000), draw=draws)
def test_a_wait_is_never_negative_and_never_above_the_cap(attempt: int, draw: float) -> None:
    assert 0 <= Backoff().delay(attempt, draw) <= 60


def test_the_longest_wait_doubles_until_the_cap() -> None:
    longest = [Backoff().delay(attempt, 1.0) for attempt in range(9)]
    assert longest == [0.5, 1, 2, 4, 8, 16, 32, 60, 60]


def test_full_jitter_spreads_the_wait_over_all_of_it() -> None:
    assert Backoff().delay(4, 0.0) == 0
    assert Backoff().delay(4, 0.25) == 2


@pytest.mark.parametrize("code", [code for code in CloseCode if not code.may_return])
def test_after_a_lasting_refusal_a_device_does_not_come_back_by_itself(code: CloseCode) -> None:
    assert Backoff().after_close(code, attempt=0, draw=0.5) is None


@pytest.mark.parametrize("code", [None, 1006, *(code for code in CloseCode if code.may_return)])
def test_after_any_other_end_it_does(code: int | None) -> None:
    assert Backoff().after_close(code, attempt=3, draw=0.5) is not None


@given(attempt=st.integers(0, 100), draw=draws)
def test_after_a_restart_devices_spread_over_the_time_the_hub_asked_for(attempt: int, draw: float) -> None:
    wait = Backoff().after_close(CloseCode.RESTARTING, attempt, draw, retry_after_ms=5_000)
    assert wait == 5 * draw


def test_after_a_restart_without_a_time_devices_spread_over_a_second() -> None:
    assert Backoff().after_close(CloseCode.RESTARTING, 9, 0.5) == 0.5
    assert Backoff().after_close(CloseCode.RESTARTING, 9, 0.5, retry_after_ms=10) == 0.5


@given(attempt=st.integers(0, 100), draw=draws)
def test_a_device_that_waits_for_its_pairing_reconnects_soon_at_any_attempt(
    attempt: int, draw: float
) -> None:
    wait = Backoff().after_close(CloseCode.PAIRING_REQUIRED, attempt, draw, retry_after_ms=2_000)
    assert wait == 2 * (1 + draw)


def test_elsewhere_the_time_the_hub_asked_for_is_the_least_to_wait() -> None:
    backoff = Backoff()
    assert backoff.after_close(CloseCode.OVERLOADED, 0, 0.0, retry_after_ms=2_000) == 2
    assert backoff.after_close(CloseCode.OVERLOADED, 0, 1.0, retry_after_ms=2_000) == 2.5

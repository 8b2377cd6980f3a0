"""When to come back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.backoff import Backoff
from protocol.errors import CloseCode
from tests.support.clock import SeededChance
from tests.support.families import each

draws = st.floats(0, 1, exclude_max=True)


@given(attempt=st.integers(0, 10_000), draw=draws)
def test_a_wait_is_never_negative_and_never_above_the_cap(attempt: int, draw: float) -> None:
    assert 0 <= Backoff().delay(attempt, draw) <= 60


def test_the_longest_wait_doubles_until_the_cap() -> None:
    longest = [Backoff().delay(attempt, 1.0) for attempt in range(9)]
    assert longest == [0.5, 1, 2, 4, 8, 16, 32, 60, 60]


def test_full_jitter_scales_the_wait_from_zero() -> None:
    assert (Backoff().delay(4, 0.0), Backoff().delay(4, 0.25)) == (0, 2)


@each("code", [None, 1006, *CloseCode])
def test_device_reconnects_automatically_unless_the_refusal_is_permanent(code: int | None) -> None:
    may_return = not isinstance(code, CloseCode) or code.may_return
    assert (Backoff().after_close(code, away_s=3.0, draw=0.5) is not None) == may_return


@given(away_s=st.floats(0, 1e6), draw=draws)
def test_after_a_restart_devices_spread_over_the_time_the_hub_asked_for(away_s: float, draw: float) -> None:
    wait = Backoff().after_close(CloseCode.RESTARTING, away_s, draw, retry_after_ms=5_000)
    assert wait == 5 * draw


def test_after_a_restart_without_a_time_devices_spread_over_a_second() -> None:
    waits = [Backoff().after_close(CloseCode.RESTARTING, 9, 0.5, retry_after_ms=ms) for ms in (None, 10)]
    assert waits == [0.5, 0.5]


@given(away_s=st.floats(0, 1e6), draw=draws)
def test_device_waiting_for_the_pairing_reconnects_soon_at_any_time(away_s: float, draw: float) -> None:
    wait = Backoff().after_close(CloseCode.PAIRING_REQUIRED, away_s, draw, retry_after_ms=2_000)
    assert wait == 2 * (1 + draw)


def test_retry_after_is_the_minimum_wait_for_other_close_codes() -> None:
    waits = [
        Backoff().after_close(CloseCode.OVERLOADED, 0, draw, retry_after_ms=2_000) for draw in (0.0, 1.0)
    ]
    assert waits == [2, 2.5]


@pytest.mark.parametrize(
    ("away_s", "longest_s"), [(0.0, 0.5), (0.4, 0.5), (5.0, 5.0), (59.0, 59.0), (1e6, 60.0)]
)
def test_wait_for_a_hub_is_at_most_as_long_as_the_hub_was_away(away_s: float, longest_s: float) -> None:
    assert Backoff().after_close(None, away_s, 1.0) == longest_s


@given(seed=st.integers(0, 2**32), away_s=st.floats(0.5, 30))
def test_device_is_back_within_twice_the_absence_of_the_hub(seed: int, away_s: float) -> None:
    chance, now_s = SeededChance(seed), 0.0
    while now_s < away_s:
        wait_s = Backoff().after_close(None, now_s, chance.uniform(0.0, 1.0))
        assert wait_s is not None
        now_s += wait_s
    assert now_s <= 2 * away_s

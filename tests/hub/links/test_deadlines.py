import pytest

from hub.links.gate import DeadlineWheel
from tests.support.clock import FakeClock
from tests.support.hearing import served


class Bell:
    """Remembers when it rang; rings *again* as often."""

    def __init__(self, wheel: DeadlineWheel, clock: FakeClock, *, again: int = 0) -> None:
        self._wheel, self._clock, self._again = wheel, clock, again
        self.rang_at: list[float] = []

    def run_late(self) -> None:
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


def test_a_deadline_is_never_noticed_early_and_at_most_a_tick_late(
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


async def test_the_wheel_turns_by_itself_while_it_is_served(
    clock: FakeClock, wheel: DeadlineWheel, bell: Bell
) -> None:
    async with served(wheel):
        wheel.add_after(bell, 3)
        await clock.pass_time(2.9)
        assert bell.rang_at == []
        await clock.pass_time(0.6)
        assert len(bell.rang_at) == 1

import anyio

from hub.links.gate import DeadlineWheel
from tests.support.clock import FakeClock


class Bell:
    """Remembers when it rang."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self.rang_at: list[float] = []

    def run_late(self) -> None:
        self.rang_at.append(self._clock.monotonic())


def test_a_deadline_is_never_noticed_early_and_at_most_a_tick_late() -> None:
    clock = FakeClock()
    wheel = DeadlineWheel(clock, tick_s=0.25)
    deadline = clock.monotonic() + 1.1
    bell = Bell(clock)
    wheel.add(bell, deadline)
    while not bell.rang_at:
        clock.advance(0.0625)
        wheel.turn()
    assert 0 < bell.rang_at[0] - deadline <= 0.25 + 0.0625


def test_a_removed_deadline_does_not_fire() -> None:
    clock = FakeClock()
    wheel = DeadlineWheel(clock)
    bell = Bell(clock)
    wheel.add_after(bell, 1).discard(bell)
    clock.advance(10)
    wheel.turn()
    assert bell.rang_at == []
    assert len(wheel) == 0


def test_a_deadline_in_the_past_fires_at_the_next_tick() -> None:
    clock = FakeClock()
    wheel = DeadlineWheel(clock, tick_s=0.25)
    bell = Bell(clock)
    wheel.add(bell, clock.monotonic() - 100)
    wheel.turn()
    assert bell.rang_at == []
    clock.advance(0.25)
    wheel.turn()
    assert len(bell.rang_at) == 1


def test_a_timer_callback_may_set_another_deadline() -> None:
    clock = FakeClock()
    wheel = DeadlineWheel(clock)

    class Again(Bell):
        def run_late(self) -> None:
            super().run_late()
            wheel.add_after(self, 1)

    bell = Again(clock)
    wheel.add_after(bell, 1)
    for _ in range(3):
        clock.advance(2)
        wheel.turn()
    assert len(bell.rang_at) == 3


async def test_the_wheel_turns_by_itself_while_it_is_served() -> None:
    clock = FakeClock()
    wheel = DeadlineWheel(clock)
    bell = Bell(clock)
    async with anyio.create_task_group() as tasks:
        await tasks.start(wheel.serve)
        wheel.add_after(bell, 3)
        await clock.pass_time(2.9)
        assert bell.rang_at == []
        await clock.pass_time(0.6)
        assert len(bell.rang_at) == 1
        tasks.cancel_scope.cancel()

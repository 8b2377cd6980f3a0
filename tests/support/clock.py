"""Time and chance by hand: what ``hub.base.clock`` asks of the machine, decided by the test."""

import asyncio
import hashlib
import heapq
from collections.abc import Callable, Coroutine, Set
from datetime import UTC, datetime, timedelta
from itertools import count
from types import CodeType
from typing import Any, Final

import anyio
import anyio.lowlevel
import anyio.to_thread

from storage.kernel.postgres import PostgresDatabase
from storage.kernel.sqlite import SqliteDatabase

START = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)  # a Monday morning
_OF_DATABASE: Final = {
    call.__code__
    for database in (SqliteDatabase, PostgresDatabase)
    for call in (database.read, database.write)
}
_OF_THREADS: Final = {anyio.to_thread.run_sync.__code__, asyncio.BaseEventLoop.getaddrinfo.__code__}
_SOON_S: Final = 0.001  # of the machine's time: so long the database may take as well
_MAX_WAITS: Final = 30  # of that, for threads: one may wait for what the test does next
# Of the machine's time. uvicorn looks around every 0.1 s, and the two must not stay in step.
_AGAIN_S: Final = 0.07
# Turns of the loop in a row. A task that ends wakes the group that waits for it one turn later.
_TURNS: Final = 3
_MAX_TURNS: Final = 100  # of work in a row: then the machine's time passes, too
_FIRST_TICK = 1_000.0  # not zero: code that takes 0.0 for "never" is found out


class FakeClock:
    """A ``hub.base.clock.Clock`` that stands still until it is told to move.

    Both clocks move together. ``advance`` is for code that looks at the time,
    ``pass_time`` for tasks that sleep and then go on.
    """

    def __init__(self, start: datetime = START) -> None:
        self._now = start
        self._monotonic = _FIRST_TICK
        self.suspended_s = 0.0  # that the machine was suspended: ``uptime_s`` alone counts it
        self._sleepers: list[tuple[float, int, Callable[[], object]]] = []
        self._turn = count()

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return self._monotonic

    def uptime_s(self) -> float:
        return self._monotonic + self.suspended_s

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await anyio.lowlevel.checkpoint()
            return
        due = anyio.Event()
        sleeper = (self._monotonic + seconds, next(self._turn), due.set)
        heapq.heappush(self._sleepers, sleeper)
        try:
            await due.wait()
        finally:
            if sleeper in self._sleepers:  # cancelled before its time
                self._sleepers.remove(sleeper)
                heapq.heapify(self._sleepers)

    def call_at(self, monotonic: float, call: Callable[[], object]) -> None:
        """Call a function once that time has come."""
        heapq.heappush(self._sleepers, (monotonic, next(self._turn), call))

    def advance(self, seconds: float) -> None:
        """Jump *seconds* ahead and wake every sleeper whose time has come."""
        self._move_to(self._monotonic + seconds)

    async def pass_time(self, seconds: float) -> None:
        """Let *seconds* go by, stopping at each sleeper's time until all tasks have settled.

        A task that sleeps one second in a loop goes round *seconds* times.
        """
        end = self._monotonic + seconds
        await _settle()
        while self._sleepers and self._sleepers[0][0] <= end:
            self._move_to(self._sleepers[0][0])
            await _settle()
        self._move_to(end)

    def set_wall(self, at: datetime) -> None:
        """Set the wall clock alone, as an operator or NTP does; nobody wakes."""
        self._now = at

    @property
    def sleeping(self) -> int:
        """How many tasks wait for this clock."""
        return len(self._sleepers)

    def _move_to(self, monotonic: float) -> None:
        self._now += timedelta(seconds=monotonic - self._monotonic)
        self._monotonic = monotonic
        while self._sleepers and self._sleepers[0][0] <= monotonic:
            heapq.heappop(self._sleepers)[2]()


async def _settle() -> None:
    """Wait until every task is blocked, and none on a thread, for which it waits 30 ms at most.

    ``anyio.wait_all_tasks_blocked`` asks every 0.1 s. While that is just when uvicorn looks around, its
    server never seems to be blocked.
    """
    await asyncio.sleep(0)
    seen = busy = threads = 0
    while seen < _TURNS:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        seen += 1
        if not all(map(_is_blocked, others)):
            seen, busy, threads = 0, busy + 1, 0
            rest = 0.0 if busy % _MAX_TURNS else _AGAIN_S
        elif any(_waits_for(_OF_DATABASE, task.get_coro()) for task in others):
            seen, rest = 0, _SOON_S
        elif threads < _MAX_WAITS and any(_waits_for(_OF_THREADS, task.get_coro()) for task in others):
            seen, threads, rest = 0, threads + 1, _SOON_S
        else:
            rest = 0.0
        await asyncio.sleep(rest)


def _is_blocked(task: asyncio.Task[Any]) -> bool:
    waits_for = getattr(task, "_fut_waiter")  # noqa: B009  # not of asyncio's interface; anyio reads it as well
    return waits_for is not None and not waits_for.done()


def _waits_for(calls: Set[CodeType], waiting: Coroutine[Any, Any, Any] | Any) -> bool:
    while waiting is not None:
        if getattr(waiting, "cr_code", None) in calls:
            return True
        waiting = getattr(waiting, "cr_await", None)
    return False


class SeededChance:
    """A ``hub.base.clock.Chance`` that gives the same bytes and numbers for the same seed."""

    def __init__(self, seed: int = 0) -> None:
        self._seed = seed
        self._draws = count()

    def token_bytes(self, count: int) -> bytes:
        return hashlib.shake_256(f"{self._seed}:{next(self._draws)}".encode()).digest(count)

    def uniform(self, low: float, high: float) -> float:
        share = int.from_bytes(self.token_bytes(7), "big") / 2**56
        return low + (high - low) * share

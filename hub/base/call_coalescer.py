"""Merging of simultaneous calls with equal arguments into one call."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

import anyio
import anyio.lowlevel

from protocol.errors import HubError

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")


class _Waiting(Generic[ItemT, ResultT]):
    """Item of a caller. *turn*: set when its result is there, or when its caller has to run a set."""

    __slots__ = ("item", "outcome", "turn")

    def __init__(self, item: ItemT) -> None:
        self.item = item
        self.turn = anyio.Event()
        self.outcome: Callable[[], ResultT] | None = None


class CallCoalescer(Generic[ItemT, ResultT]):
    """Runs the items of callers in sets: those of one loop turn, and those that come during a run.

    Each caller runs at most one set, the one with its own item. A caller that is cancelled meanwhile leaves
    the items of the others to the next of them, so an item may be run twice.

    Args:
        run: returns a result or an error for each item, in their order. What it raises, all callers get.
        max_items: items of one set.
        is_whole: a set runs to its end, even if all its callers are cancelled; these leave when it has ended.
        max_wait_s: so long a set waits for items that are ``expected``.
    """

    def __init__(
        self,
        run: Callable[[Sequence[ItemT]], Awaitable[Sequence[ResultT | HubError]]],
        *,
        max_items: int,
        is_whole: bool = False,
        max_wait_s: float = 0.0,
    ) -> None:
        self._run_all = run
        self._max_items = max_items
        self._is_whole = is_whole
        self._max_wait_s = max_wait_s
        self._expected = 0
        self._complete = anyio.Event()  # the set that waits need not wait any more
        self._running: Sequence[_Waiting[ItemT, ResultT]] = ()
        self._waiting: list[_Waiting[ItemT, ResultT]] = []
        self._runner: _Waiting[ItemT, ResultT] | None = None

    @contextmanager
    def expected(self) -> Iterator[None]:
        """Expect an item, which the caller has at the end of the block, or does not have then."""
        self._expected += 1
        try:
            yield
        finally:
            self._expected -= 1
            if not self._expected:
                self._complete.set()

    async def run(self, item: ItemT) -> ResultT:
        """Return the result of the item, or raise its error."""
        mine = _Waiting[ItemT, ResultT](item)
        self._waiting.append(mine)
        if len(self._waiting) == self._max_items:
            self._complete.set()
        try:
            if self._runner is None:
                self._runner = mine
                await anyio.lowlevel.checkpoint()  # the other callers of this turn
            else:
                await mine.turn.wait()
            if mine.outcome is None:
                if self._expected and len(self._waiting) < self._max_items:
                    self._complete = anyio.Event()
                    with anyio.move_on_after(self._max_wait_s):
                        await self._complete.wait()
                mine.turn = anyio.Event()
                some = await self._run()
                # All callers of the set go on in one turn of the loop, in the order of their items.
                asyncio.get_running_loop().call_soon(_go_on, some)
                with anyio.CancelScope(shield=True):
                    await mine.turn.wait()
        finally:
            if self._is_whole and mine in self._running:
                with anyio.CancelScope(shield=True):
                    await mine.turn.wait()
            if mine in self._waiting:
                self._waiting.remove(mine)
            if self._runner is mine:
                self._runner = self._waiting[0] if self._waiting else None
                if self._runner is not None:
                    self._runner.turn.set()
        assert mine.outcome is not None
        return mine.outcome()

    async def _run(self) -> Sequence[_Waiting[ItemT, ResultT]]:
        self._running = some = self._waiting[: self._max_items]
        try:
            with anyio.CancelScope(shield=self._is_whole):
                results = await self._run_all([waiting.item for waiting in some])
        except Exception as error:
            results = [error] * len(some)  # type: ignore[list-item]
        for waiting, result in zip(some, results, strict=True):
            waiting.outcome = _raises(result) if isinstance(result, Exception) else _returns(result)
        self._running = ()
        self._waiting = [waiting for waiting in self._waiting if waiting.outcome is None]
        return some


def _go_on(some: Sequence[_Waiting[Any, Any]]) -> None:
    for waiting in some:
        waiting.turn.set()


def _raises(error: Exception) -> Callable[[], Any]:
    def outcome() -> Any:
        raise error

    return outcome


def _returns(result: ResultT) -> Callable[[], ResultT]:
    return lambda: result

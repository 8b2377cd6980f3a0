"""Event loop with virtual time: time jumps to the next timer, and ready callbacks run in a random order.

``run`` runs a coroutine function in it, with unmodified anyio and asyncio. It depends on private parts of
asyncio (``_ready``, ``_scheduled``, ``_run_once``) of Python 3.11 to 3.14; ``test_loop`` checks them.

Tasks may belong to a ``Process``. A halted process, as by SIGSTOP, keeps its ready callbacks until it is
resumed. A killed process, as by SIGKILL, runs nothing more except the unwinding of its tasks, which has no
effect on others.
"""

import asyncio
import contextvars
import heapq
import inspect
import math
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol, TypeVar, cast

import anyio
import anyio.to_thread

from tests.simulation.dice import Dice

T = TypeVar("T")

START_S = 1_000.0  # not zero: code that takes 0.0 for "never" is found out
SPIN_LIMIT = 200_000  # rounds at one instant: something wakes itself up for ever
UNWIND_LIMIT = 2_000  # cancellations until all tasks of a killed process have ended


class Stuck(Exception):
    """The simulation cannot continue: no timer is left, or one callback repeats for ever."""


class Process:
    """Group of tasks that end together: the tasks started while it is current, and their children.

    Args:
        parent: process that contains this one and whose end includes it; this one can be halted alone, like a
            blocked thread.
    """

    def __init__(self, name: str, parent: "Process | None" = None) -> None:
        self.name = name
        self.children: list[Process] = []
        if parent is not None:
            parent.children.append(self)
        self.is_killed = False
        self.is_halted = False
        self.tasks: list[NumberedTask[Any]] = []
        self.kept: list[_Handle] = []  # callbacks that became ready while it was halted
        self.steps_left = 0  # until ``on_step`` is called; 0: never
        self.on_step: Callable[[], None] = self.kill

    def enter(self) -> None:
        """Add the current task and all tasks that it starts to this process."""
        _current.set(self)
        task = asyncio.current_task()
        assert isinstance(task, NumberedTask)
        self.tasks.append(task)

    def halt(self, *, with_children: bool = True) -> None:
        """Stop all tasks until ``resume``; timers still expire."""
        self.is_halted = True
        for child in self.children if with_children else ():
            child.halt()

    def resume(self) -> None:
        """Resume all tasks, with the callbacks that became ready meanwhile."""
        self.is_halted = False
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimLoop)
        loop.make_ready(self.kept)
        self.kept = []
        for child in self.children:
            child.resume()

    def kill(self) -> None:
        """Stop all tasks for ever; ``unwind`` removes them."""
        self.is_killed = self.is_halted = True
        for child in self.children:
            child.kill()

    def strike_in(self, steps: int, what: Callable[[], None]) -> None:
        """Call *what* before step number *steps* from now; that step runs afterwards if it still can."""
        self.steps_left, self.on_step = steps, what

    def lets_run(self, handle: "_Handle") -> bool:
        """Return True if a callback of the process may run now; otherwise the callback is stored."""
        if self.steps_left and not self.is_halted:
            self.steps_left -= 1
            if not self.steps_left:
                self.on_step()
        if self.is_halted:
            self.kept.append(handle)
            return False
        return True

    async def unwind(self) -> None:
        """End the tasks of a killed process; their last actions have no effect on others."""
        self.resume()
        for _ in range(UNWIND_LIMIT):
            everybody = [self, *self.children]
            alive = [task for process in everybody for task in process.tasks if not task.done()]
            if not alive:
                break
            for task in alive:
                coro = cast(Coroutine[Any, Any, Any], task.get_coro())
                if inspect.getcoroutinestate(coro) != inspect.CORO_CREATED:
                    task.cancel()  # anyio's tasks do not bear it before they have started
            await asyncio.sleep(0)
        else:
            raise Stuck(f"{self.name} does not die")
        self.tasks.clear()


_current: contextvars.ContextVar[Process | None] = contextvars.ContextVar("process", default=None)


class NumberedTask(asyncio.Task[T]):
    """Task with a creation number, because the order of tasks in a set does not depend on the seed."""

    number = 0


class _Handle(Protocol):
    """Callback of asyncio, with its private parts."""

    _callback: Any
    _cancelled: bool
    _context: contextvars.Context
    _scheduled: bool  # of a timer: it is in the heap
    _when: float  # of a timer

    def _run(self) -> None: ...

    def __lt__(self, other: Any) -> bool: ...  # of timers: the earlier one


class SimLoop(asyncio.SelectorEventLoop):
    """Event loop of the simulation; *dice* decide the order of ready callbacks."""

    _ready: deque[_Handle]
    _scheduled: list[_Handle]
    _stopping: bool

    def __init__(self, dice: Dice) -> None:
        super().__init__()
        self._dice = dice
        self._now = START_S
        self._made = 0
        self._spun = 0
        self.set_task_factory(cast(Any, self._make_task))

    def time(self) -> float:
        """Return virtual seconds."""
        return self._now

    def make_ready(self, handles: list[_Handle]) -> None:
        """Run *handles* in the next round."""
        self._ready.extend(handles)

    def call_soon_threadsafe(self, *args: Any, **kwargs: Any) -> Any:  # type: ignore[override]
        raise Stuck("a thread calls: when it does so is decided by the machine, not by the seed")

    def _asyncgen_finalizer_hook(self, agen: Any) -> None:
        """Ignore an abandoned generator, because the garbage collector decides when it is found."""

    def _make_task(
        self, loop: asyncio.AbstractEventLoop, coro: Coroutine[Any, Any, T], **options: Any
    ) -> NumberedTask[T]:
        task: NumberedTask[T] = NumberedTask(coro, loop=loop, **options)
        self._made += 1
        task.number = self._made
        process = _current.get()
        if process is not None:
            if len(process.tasks) > 256:
                process.tasks = [known for known in process.tasks if not known.done()]
            process.tasks.append(task)
        return task

    def _run_once(self) -> None:
        self._spun += 1
        if self._spun > SPIN_LIMIT:
            self._spun = 0  # its tasks are cancelled now, which takes some rounds
            raise Stuck(f"{SPIN_LIMIT} rounds at second {self._now}")
        if not self._ready and not self._stopping:
            self._jump()
        batch = list(self._ready)
        self._ready.clear()
        if len(batch) > 1:
            batch.sort(key=_number)  # stable: the rest keeps the order in which it became ready
            self._dice.shuffle(batch)
        for handle in batch:
            if handle._cancelled:
                continue
            process = handle._context.get(_current)
            if process is None or process.lets_run(handle):
                handle._run()

    def _jump(self) -> None:
        """Advance the time to the next timer, and make all timers of that instant ready."""
        timers = self._scheduled
        while timers and timers[0]._cancelled:
            heapq.heappop(timers)._scheduled = False
        if not timers or timers[0]._when == math.inf:
            raise Stuck("everybody waits, and no timer is set")
        if timers[0]._when > self._now:
            self._now = timers[0]._when
            self._spun = 0
        while timers and timers[0]._when <= self._now:
            handle = heapq.heappop(timers)
            handle._scheduled = False
            self._ready.append(handle)


def _number(handle: _Handle) -> int:
    """Return the number of the task that a callback wakes; other callbacks sort last."""
    task = getattr(handle._callback, "__self__", None)
    return task.number if type(task) is NumberedTask else 2**62


def run(main: Callable[[], Awaitable[T]], dice: Dice) -> T:
    """Run *main* in a loop of its own and return its result; threads are refused meanwhile."""
    in_thread = anyio.to_thread.run_sync
    anyio.to_thread.run_sync = cast(Any, _no_thread)
    try:
        return anyio.run(main, backend_options={"loop_factory": lambda: SimLoop(dice)})
    finally:
        anyio.to_thread.run_sync = in_thread


async def _no_thread(fn: Callable[..., object], *_: object, **__: object) -> None:
    raise Stuck(f"a thread for {fn}: when it ends is decided by the machine, not by the seed")

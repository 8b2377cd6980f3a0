"""An event loop without a clock: time jumps to the next timer, and what is ready runs in a drawn order.

``run`` runs a coroutine function under it, with anyio and asyncio as they are. It
leans on private parts of asyncio (``_ready``, ``_scheduled``, ``_run_once``), read in
Python 3.11 to 3.14; ``test_loop`` says whether they still are what they were.

Tasks may belong to a ``Process``. A process can be halted, as by SIGSTOP: what
becomes ready is kept until it goes on. It can be killed, as by SIGKILL: nothing of
it runs again, but for the unwinding of its tasks, which by then reach nobody.
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
UNWIND_LIMIT = 2_000  # cancellations until a killed process has let go of everything


class Stuck(Exception):
    """The simulation cannot go on: nothing will ever happen again, or nothing else ever will."""


class Process:
    """Tasks that live and die together: those started while it is the current one, and theirs.

    Args:
        parent: that this one dies with, and belongs to; it can be halted by itself, as a
            thread that waits.
    """

    def __init__(self, name: str, parent: "Process | None" = None) -> None:
        self.name = name
        self.children: list[Process] = []
        if parent is not None:
            parent.children.append(self)
        self.is_killed = False
        self.is_halted = False
        self.tasks: list[NumberedTask[Any]] = []
        self.kept: list[_Handle] = []  # what became ready while it was halted
        self.steps_left = 0  # until ``on_step`` is called; 0: never
        self.on_step: Callable[[], None] = self.kill

    def enter(self) -> None:
        """Make the current task and all it starts belong to this process."""
        _current.set(self)
        task = asyncio.current_task()
        assert isinstance(task, NumberedTask)
        self.tasks.append(task)

    def halt(self, *, with_children: bool = True) -> None:
        """Nothing of it runs until ``resume``; its timers go off all the same."""
        self.is_halted = True
        for child in self.children if with_children else ():
            child.halt()

    def resume(self) -> None:
        """Let it go on with everything that has come meanwhile."""
        self.is_halted = False
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimLoop)
        loop.make_ready(self.kept)
        self.kept = []
        for child in self.children:
            child.resume()

    def kill(self) -> None:
        """Nothing of it runs again; ``unwind`` clears it away."""
        self.is_killed = self.is_halted = True
        for child in self.children:
            child.kill()

    def strike_in(self, steps: int, what: Callable[[], None]) -> None:
        """Do *what* instead of its step number *steps* from now, and that step afterwards if it can."""
        self.steps_left, self.on_step = steps, what

    def lets_run(self, handle: "_Handle") -> bool:
        """Whether a callback of it may run now; one that may not is kept."""
        if self.steps_left and not self.is_halted:
            self.steps_left -= 1
            if not self.steps_left:
                self.on_step()
        if self.is_halted:
            self.kept.append(handle)
            return False
        return True

    async def unwind(self) -> None:
        """Take a killed process's tasks apart. What they still do reaches nobody."""
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
    """A task that knows when it was made, for sets of tasks have an order that no seed decides."""

    number = 0


class _Handle(Protocol):
    """What asyncio keeps of a callback, private parts included."""

    _callback: Any
    _cancelled: bool
    _context: contextvars.Context
    _scheduled: bool  # of a timer: it is in the heap
    _when: float  # of a timer

    def _run(self) -> None: ...

    def __lt__(self, other: Any) -> bool: ...  # of timers: the earlier one


class SimLoop(asyncio.SelectorEventLoop):
    """See the module. *dice* decide in which order ready callbacks run."""

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
        """Virtual seconds."""
        return self._now

    def make_ready(self, handles: list[_Handle]) -> None:
        """Let *handles* run in the next round."""
        self._ready.extend(handles)

    def call_soon_threadsafe(self, *args: Any, **kwargs: Any) -> Any:  # type: ignore[override]
        raise Stuck("a thread calls: when it does so is decided by the machine, not by the seed")

    def _asyncgen_finalizer_hook(self, agen: Any) -> None:
        """Leave a forgotten generator as it is: when it is found is decided by the garbage collector."""

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
        """To the next timer, and with it to all that are due at the same instant."""
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
    """By the task that the callback wakes; what wakes none comes last."""
    task = getattr(handle._callback, "__self__", None)
    return task.number if type(task) is NumberedTask else 2**62


def run(main: Callable[[], Awaitable[T]], dice: Dice) -> T:
    """What *main* returns, under a loop of its own; threads are refused meanwhile."""
    in_thread = anyio.to_thread.run_sync
    anyio.to_thread.run_sync = cast(Any, _no_thread)
    try:
        return anyio.run(main, backend_options={"loop_factory": lambda: SimLoop(dice)})
    finally:
        anyio.to_thread.run_sync = in_thread


async def _no_thread(fn: Callable[..., object], *_: object, **__: object) -> None:
    raise Stuck(f"a thread for {fn}: when it ends is decided by the machine, not by the seed")

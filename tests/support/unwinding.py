"""Tasks that share a structure and leave it in every order: cancelled, failed, or with an answer.

A ``Scene`` names the events that may happen, each at most once. ``orders_of`` returns every order of them,
with and without a rest between two events: in one turn of the event loop, two events meet.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from itertools import permutations, product
from typing import Any, Final, NamedTuple, Protocol

import anyio
import anyio.lowlevel

from storage.kernel.database import DatabaseUnavailable
from tests.simulation.store import Disk

TURNS: Final = 40  # of the event loop, after which each task waits for an event
LIMIT_S: Final = 10.0  # of the machine's time; a task that waits for ever fails the test


class Step(NamedTuple):
    """Event of an order. *rests*: all tasks come to rest before the next event."""

    event: str
    rests: bool


Order = tuple[Step, ...]


def orders_of(events: Sequence[str]) -> Iterator[Order]:
    """Return every order of these events, with and without a rest between two of them."""
    for order in permutations(events):
        for rests in product((True, False), repeat=len(order) - 1):
            yield tuple(Step(*step) for step in zip(order, (*rests, True), strict=True))


class Scene(Protocol):
    """Structure that tasks share.

    Attributes:
        events: what may happen, by name.
    """

    events: dict[str, Callable[[], object]]

    def start(self, tasks: "Tasks") -> None:
        """Start the tasks that share the structure."""
        ...

    async def finish(self) -> None:
        """Let everything go on that an event stopped, so that each task that was not cancelled ends."""
        ...

    async def check(self) -> None:
        """Check, after all tasks have ended, that nothing is left open and that the structure works."""
        ...


class Tasks:
    """Tasks of a scene, each with a scope of its own. An error ends its own task alone.

    Attributes:
        ended: outcome of each task that was not cancelled: its result or its error.
    """

    def __init__(self, group: anyio.abc.TaskGroup) -> None:
        self._group = group
        self._scopes: dict[str, anyio.CancelScope] = {}
        self.ended: dict[str, Any] = {}

    def start(self, name: str, work: Callable[..., Awaitable[object]], *given: object) -> None:
        """Start a task."""
        self._scopes[name] = anyio.CancelScope()
        self._group.start_soon(self._run, name, work, given)

    def cancel(self, name: str) -> None:
        """Cancel a task."""
        self._scopes[name].cancel()

    async def _run(self, name: str, work: Callable[..., Awaitable[object]], given: Sequence[object]) -> None:
        with self._scopes[name]:
            try:
                self.ended[name] = await work(*given)
            except Exception as error:
                self.ended[name] = error


async def play(scene: Scene, order: Order) -> None:
    """Start the tasks of a scene, let the events of *order* happen, and check what is left.

    Raises:
        TimeoutError: a task waits for ever.
    """
    with anyio.fail_after(LIMIT_S):
        async with anyio.create_task_group() as group:
            scene.start(Tasks(group))
            await rest()
            for event, rests in order:
                scene.events[event]()
                if rests:
                    await rest()
            await scene.finish()
        await scene.check()


async def rest() -> None:
    """Let every task run until it waits for an event."""
    for _ in range(TURNS):
        await anyio.lowlevel.checkpoint()


class GatedStore:
    """``Database`` on a disk in memory, whose writes wait while it hangs, and fail while it is away.

    As with the real one, a write whose caller was cancelled is written all the same.
    """

    def __init__(self, disk: Disk, *, is_shared: bool = False) -> None:
        self.disk = disk
        self.is_shared = is_shared
        self.is_away = False
        self._hangs = False
        self._waiting: list[tuple[asyncio.Future[Any], Callable[[], Any]]] = []

    def hang(self) -> None:
        """Let writes wait from now on."""
        self._hangs = True

    def go_on(self) -> None:
        """Write what waits."""
        self._hangs = False
        self._write_all()

    def leave(self) -> None:
        """Let each read and write fail from now on."""
        self.is_away = True

    async def read(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Implement ``Database.read``."""
        await asyncio.sleep(0)
        self._check()
        return self.disk.read(fn, args, kwargs)

    async def write(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Implement ``Database.write``."""
        loop = asyncio.get_running_loop()
        written: asyncio.Future[Any] = loop.create_future()
        self._waiting.append((written, partial(self.disk.commit, "hub", fn, args, kwargs)))
        loop.call_soon(self._write_all)
        return await written

    def _write_all(self) -> None:
        while self._waiting and not self._hangs:
            written, job = self._waiting.pop(0)
            try:
                self._check()
                value = job()
            except Exception as error:
                if not written.done():
                    written.set_exception(error)
            else:
                if not written.done():
                    written.set_result(value)

    def _check(self) -> None:
        if self.is_away:
            raise DatabaseUnavailable("the database cannot be reached")

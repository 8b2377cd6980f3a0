"""Dump of the process (connections, tasks, threads), for an operator, or in the log after SIGUSR1.

Everything is read without waiting and without I/O, so that a hub in trouble can still be inspected.
"""

import asyncio
import sys
import sysconfig
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Final

from msgspec import structs

from hub.api.resource import (
    Actor,
    Instant,
    Resource,
    View,
    audited,
    command,
    route,
)
from hub.api.resources.audit_log import AuditLogResource
from hub.base.clock import Clock
from hub.base.log import Channel
from hub.base.roles import Scope
from hub.links.roster import LocalLink

log = Channel(__name__)


MAX_CONNECTIONS: Final = 200  # of a dump; those with the most unanswered and unread


MAX_NAMES: Final = 5  # of tasks that wait at the same place


DEEPEST: Final = 40  # calls of one stack


_HOUSE: Final = str(Path(__file__).parents[3])


_LIBRARIES: Final = (sysconfig.get_path("purelib"), sysconfig.get_path("stdlib"), _HOUSE)


class TaskView(View):
    """Tasks that wait at the same place. *stack*: from the outermost call to the innermost."""

    count: int
    names: tuple[str, ...]  # some of them
    stack: tuple[str, ...]


class ThreadView(View):
    """A thread, and its innermost calls, the outermost first."""

    name: str
    stack: tuple[str, ...]


class ConnectionView(View):
    """A connected device: its unanswered calls, and the bytes that it has not read."""

    device_id: str
    epoch: int
    pending_calls: int
    unsent_bytes: int


class DumpView(View):
    """Tasks, threads, queues and connections; of many connections, those with the most unread."""

    at: Instant
    uptime_s: float
    loop_lag_s: float
    queues: dict[str, int]  # lengths by name
    connected: int
    pending_calls: int
    unsent_bytes: int
    connections: tuple[ConnectionView, ...]
    tasks: tuple[TaskView, ...]
    threads: tuple[ThreadView, ...]


class Dumper:
    """Source of dumps of the process.

    Attributes:
        queues: returns the length of each queue, by name.
        links: returns the connections.
        loop_lag_s: returns how late the event loop is.
    """

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock
        self._started = clock.monotonic()
        self.queues: dict[str, Callable[[], int]] = {}
        self.links: Callable[[], Sequence[LocalLink]] = list
        self.loop_lag_s: Callable[[], float] = float

    def attach(
        self,
        *,
        queues: Mapping[str, Callable[[], int]],
        links: Callable[[], Sequence[LocalLink]],
        loop_lag_s: Callable[[], float],
    ) -> None:
        """Read these from now on: the process can be dumped before its hub is made."""
        self.queues |= queues
        self.links, self.loop_lag_s = links, loop_lag_s

    def dump(self) -> DumpView:
        """Return the present tasks, threads, connections and queues."""
        connections = sorted(
            map(_connection, self.links()), key=lambda one: (-one.pending_calls, -one.unsent_bytes)
        )
        return DumpView(
            at=self._clock.now(),
            uptime_s=round(self._clock.monotonic() - self._started, 1),
            loop_lag_s=round(self.loop_lag_s(), 4),
            queues={name: count() for name, count in self.queues.items()},
            connected=len(connections),
            pending_calls=sum(connection.pending_calls for connection in connections),
            unsent_bytes=sum(connection.unsent_bytes for connection in connections),
            connections=tuple(connections[:MAX_CONNECTIONS]),
            tasks=tuple(_tasks()),
            threads=tuple(_threads()),
        )

    def log(self) -> None:
        """Write a dump to the log, an event for each line of it."""
        dump = self.dump()
        parts = {"at", "connections", "tasks", "threads"}
        whole = structs.asdict(dump)
        log.info("debug.dumped", **{name: value for name, value in whole.items() if name not in parts})
        for connection in dump.connections:
            log.info("debug.connection", **structs.asdict(connection))
        for task in dump.tasks:
            log.info("debug.task", **structs.asdict(task))
        for thread in dump.threads:
            log.info("debug.thread", **structs.asdict(thread))


class DebugResource(Resource):
    """Inspection of a hub in trouble."""

    name, path = "debug", "/v1/debug"
    is_scoped = False

    def __init__(self, dumper: Dumper, audit: AuditLogResource) -> None:
        self._dumper = dumper
        self._audit = audit

    @command(
        "debug dump",
        example="hub debug dump",
        json="dump",
        help="Print the stack of every task and thread.",
        facts=(
            "at|moment",
            "uptime_s|duration as up for",
            "loop_lag_s|late as event loop",
            "{connected} connected, {pending_calls} calls open, {unsent_bytes} bytes unsent as devices",
            "queues|named as waiting",
        ),
        prints="*|stacks",
    )
    @route("GET", "/dump", Scope.SYSTEM)
    @audited("debug.dumped")
    async def dump(self, actor: Actor) -> DumpView:
        """Return the stacks of tasks and threads, the lengths of queues, and the slowest connections."""
        dump = self._dumper.dump()
        await self._audit.note("debug.dumped", actor=actor)
        return dump


def _connection(link: LocalLink) -> ConnectionView:
    return ConnectionView.from_row(link, unsent_bytes=link.buffered_bytes)


def _tasks() -> Iterator[TaskView]:
    """Yield the tasks of this event loop, grouped by the place where they wait, the largest group first."""
    by_stack: defaultdict[tuple[str, ...], list[str]] = defaultdict(list)
    for task in asyncio.all_tasks():
        by_stack[tuple(_awaits(task.get_coro()))].append(task.get_name())
    for stack, names in sorted(by_stack.items(), key=lambda one: (-len(one[1]), one[0])):
        yield TaskView(count=len(names), names=tuple(sorted(names)[:MAX_NAMES]), stack=stack)


def _awaits(awaited: Any) -> Iterator[str]:
    """Yield the place where a coroutine waits, then that of the awaitable that it waits for, and so on."""
    for _ in range(DEEPEST):
        for kind in ("cr", "gi", "ag"):  # coroutine, generator, asynchronous generator: see inspect
            if hasattr(awaited, f"{kind}_code"):
                frame = getattr(awaited, f"{kind}_frame")
                if frame is not None:
                    yield _place(frame.f_code, frame.f_lineno)
                awaited = getattr(awaited, "gi_yieldfrom" if kind == "gi" else f"{kind}_await")
                break
        else:
            return


def _threads() -> Iterator[ThreadView]:
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    for ident, frame in sys._current_frames().items():
        yield ThreadView(name=names.get(ident, "foreign"), stack=tuple(_calls(frame)))


def _calls(innermost: FrameType) -> list[str]:
    found: list[str] = []
    frame: FrameType | None = innermost
    while frame is not None and len(found) < DEEPEST:
        found.append(_place(frame.f_code, frame.f_lineno))
        frame = frame.f_back
    return found[::-1]


def _place(code: CodeType, line: int) -> str:
    """Return a place as in ``hub/links/connection.py:88 Connection.hello``, without the installed folder."""
    file = code.co_filename
    for folder in _LIBRARIES:
        if file.startswith(folder):
            file = file[len(folder) + 1 :]
            break
    return f"{file}:{line} {code.co_qualname}"

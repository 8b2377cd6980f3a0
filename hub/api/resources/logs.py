"""The log of the running hub, its events as a stream (reset after a restart), and a dump of the process.

The id of an event names the start of the hub. So a stream that goes on after a restart begins with ``reset``,
as that of ``overviews`` does.

A dump of the process: for an operator, or to the log on SIGUSR1.

Everything is read without waiting and without I/O, so that a hub in trouble can still be inspected.
"""

import asyncio
import sys
import sysconfig
import threading
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Collection, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import CodeType, FrameType
from typing import Annotated, Any, Final, Literal

from anyio import to_thread
from msgspec import Meta, structs

from hub.api.binding import FromHeader
from hub.api.events import EventStream
from hub.api.resource import (
    ALL,
    Actor,
    Instant,
    ListPage,
    ListPart,
    OpenStreams,
    Paging,
    Resource,
    View,
    audited,
    command,
    route,
)
from hub.api.resources.audit_log import AuditLogResource
from hub.base.clock import Clock, epoch_ms
from hub.base.log import Channel, LogEntry, LogFile, Ring
from hub.base.log.meanings import MEANINGS
from hub.base.roles import Scope
from hub.links.roster import LocalLink
from protocol.errors import ErrorCode
from protocol.ids import AgentId, BootId, UserId
from storage.agents import agents
from storage.devices import devices, users
from storage.devices.devices import UnknownDevice
from storage.kernel.columns import Key
from storage.store import Store

LEVELS: Final = ("debug", "info", "warning", "error")
MIN_OF_ID: Final = 6  # characters of a run's id that name it

LogLevel = Literal["debug", "info", "warning", "error"]
RunName = (
    Annotated[
        str, Meta(min_length=6, max_length=200, description="A run's id, or its last six or more characters.")
    ]
    | None
)
DeviceName = Annotated[str, Meta(max_length=200, description="A device's name or id.")] | None
LeastLevel = Annotated[LogLevel, Meta(description="Entries of this level and above.")]
_Filter = Callable[[LogEntry], bool]


class LogView(View, kw_only=True):
    """Event of the log, redacted. *seq* grows with each event, also after a restart of the hub."""

    seq: int
    at: Instant
    level: LogLevel
    event: str  # a stable name
    meaning: str | None = None  # what happened, and what follows, in a sentence
    channel: str  # the module that logged it
    fields: dict[str, Any]


def _key(entry: LogEntry | LogView) -> Key:
    return (-entry.seq,)  # the newest first


class LogsResource(Resource):
    """The last entries of the log."""

    name, path = "logs", "/v1/logs"
    is_scoped = False

    def __init__(self, ring: Ring, store: Store, file: LogFile | None = None) -> None:
        self._ring = ring
        self._store = store
        self._file = file

    @route(
        "GET",
        "",
        Scope.SYSTEM,
        errors=[ErrorCode.UNKNOWN_DEVICE, ErrorCode.UNKNOWN_RUN],
        page="LogEntries.entries",
    )
    async def read(
        self,
        streams: OpenStreams,
        paging: Paging,
        run: RunName = None,
        device: DeviceName = None,
        level: LeastLevel = "info",
        since: Annotated[Instant, Meta(description="Entries from then on, also of before a restart.")]
        | None = None,
        until: Annotated[Instant, Meta(description="Entries before.")] | None = None,
        follow: Annotated[
            bool, Meta(description="Server-sent events named ``log``: the last entries, then new ones.")
        ] = False,
    ) -> ListPage[LogView] | EventStream:
        """Return the last entries, the newest first; with ``follow`` a stream of them, the oldest first."""
        if follow:
            entries = await self.follow(run=run, device=device, level=level, limit=paging.limit)
            return EventStream(entries, name="log", streams=streams)
        found = await self.newest(
            run=run, device=device, level=level, since=since, until=until, part=paging.part
        )
        return paging.fetched(found, key=_key)

    async def newest(
        self,
        *,
        run: str | None = None,
        device: str | None = None,
        level: LogLevel,
        since: datetime | None = None,
        until: datetime | None = None,
        part: ListPart = ALL,
    ) -> list[LogView]:
        """Return the newest entries first; with *since* also those that the log's files keep."""
        is_match = await self._filter(run, device, level)
        first = None if since is None else epoch_ms(since)
        end = None if until is None else epoch_ms(until)
        entries = self._ring.since(0)
        if first is not None and self._file is not None:
            earliest = self._ring.first
            stored = await to_thread.run_sync(self._file.read, first, end)
            entries = [entry for entry in stored if entry.seq < earliest] + entries
        found = [
            entry
            for entry in entries
            if (first is None or entry.at >= first) and (end is None or entry.at < end) and is_match(entry)
        ]
        return [_view(entry) for entry in part.of(found, _key)]

    async def follow(
        self, *, run: str | None = None, device: str | None = None, level: LogLevel, limit: int
    ) -> AsyncGenerator[LogView]:
        """Yield the last *limit* entries, the oldest first, then each new one.

        A reader that is slower than the log misses entries, which their numbers show.
        """
        return self._follow(await self._filter(run, device, level), limit)

    async def _follow(self, is_match: _Filter, limit: int) -> AsyncGenerator[LogView]:
        last = self._ring.last
        earlier = [entry for entry in self._ring.since(0) if entry.seq <= last and is_match(entry)]
        for entry in earlier[len(earlier) - min(limit, len(earlier)) :]:
            yield _view(entry)
        while True:
            await self._ring.wait(last)
            for entry in self._ring.since(last):
                last = entry.seq
                if is_match(entry):
                    yield _view(entry)

    async def _filter(self, run: str | None, device: str | None, level: LogLevel) -> _Filter:
        levels = frozenset(LEVELS[LEVELS.index(level) :])
        of_device = None if device is None else await self._device_ids(device)

        def is_match(entry: LogEntry) -> bool:
            return (
                entry.level in levels
                and (run is None or _is_run(run, entry.fields.get("run_id")))
                and (of_device is None or entry.fields.get("device_id") in of_device)
            )

        return is_match

    async def _device_ids(self, name: str) -> frozenset[str]:
        """Return the ids of the devices that *name* is the name or id of; users may share names."""
        found = frozenset(str(row.id) for row in await self._store.read(devices.devices_called, name))
        if not found:
            raise UnknownDevice(f"there is no device {name!r}")
        return found


def _is_run(name: str, run_id: object) -> bool:
    is_end = len(name) >= MIN_OF_ID and isinstance(run_id, str) and run_id.endswith(name)
    return run_id == name or is_end


def _view(entry: LogEntry) -> LogView:
    return LogView.from_row(entry, meaning=MEANINGS.get(entry.event), fields=dict(entry.fields))


OPEN, RESET = "open", "reset"
# The first word of an event's name; the others are about the hub's own workings.
SHOWN: Final = frozenset(
    (
        "agent",
        "agents",
        "board",
        "broadcast",
        "checkpoint",
        "device",
        "fire",
        "gateway",
        "hub",
        "invitation",
        "lock",
        "memory",
        "message",
        "pairing",
        "question",
        "run",
        "runs",
        "schedule",
        "settings",
        "soul",
        "template",
        "wake",
    )
)
EVENT_LEVELS: Final = frozenset(("info", "warning", "error"))
COUNTED: Final = "log.suppressed"
HIDDEN_FIELDS: Final = frozenset(("traceback",))
REMEMBERED: Final = 10_000  # owners, which never change


Kinds = Annotated[
    str,
    Meta(
        max_length=500,
        description="Names, or all of a kind, as in ``agent.moved,run.*``; ``run`` means the same.",
    ),
]


class EventView(View):
    """Event of a stream.

    *id*: for ``Last-Event-ID``. *event*: its stable name; ``open`` comes first on every stream, ``reset``
    means that some events are lost, so that the reader has to read the state again.
    *fields* are plain values, and ids.
    """

    id: str
    event: str
    at: Instant
    fields: dict[str, Any]


class EventsResource(Resource):
    """Events, as the log's ring has them."""

    name, path = "events", "/v1/events"

    def __init__(self, *, store: Store, ring: Ring, clock: Clock, boot_id: BootId) -> None:
        self._store = store
        self._ring = ring
        self._clock = clock
        self._boot = boot_id[-12:]  # numbers begin anew with each start of the hub
        self._owners: dict[tuple[str, str], UserId | None] = {}

    @route("GET", "", Scope.READ, errors=[ErrorCode.UNKNOWN_AGENT])
    async def stream(
        self,
        streams: OpenStreams,
        last_event_id: Annotated[
            Annotated[str, Meta(max_length=100)] | None, FromHeader("last-event-id")
        ] = None,
        events: Kinds = "",
        agent: Annotated[str, Meta(max_length=200, description="Only events of this agent.")] | None = None,
    ) -> EventStream:
        """Send server-sent events from now on, or after ``Last-Event-ID``; ``reset``: read the state again.

        Open the stream first, then read the state, so that no event is lost between the two. Events are
        those in the log: with ``[log] level = "warning"`` there are few.
        """
        kinds = {kind.strip().removesuffix(".*") for kind in events.split(",") if kind.strip()} - {""}
        if "*" in kinds:
            kinds = set()
        agent_id = (
            None if agent is None else (await self._store.read(agents.agent_called, agent, self.user_id)).id
        )
        found = self.follow(last_event_id, kinds=kinds, agent_id=agent_id)
        return EventStream(found, streams=streams)

    async def follow(
        self, after: str | None, *, kinds: Collection[str] = (), agent_id: AgentId | None = None
    ) -> AsyncGenerator[EventView]:
        """Yield events from now on, or those after the one with the id *after*.

        The first one is ``open``, or ``reset`` if the events after *after* are lost; ``reset`` comes again
        when a reader is so slow that it loses some.

        Args:
            kinds: names of events, or their first words, as ``agent`` or ``run.finished``; none: all events.
            agent_id: only events of this agent.
        """
        seq = self._ring.last if after is None else self._resumed(after)
        if seq is None:
            seq = self._ring.last
            yield self._about_the_stream(RESET, seq)
        else:
            yield self._about_the_stream(OPEN, seq)
        while True:
            await self._ring.wait(seq)
            entries = self._ring.since(seq)
            if entries[0].seq > seq + 1:  # the reader is too slow
                seq = self._ring.last
                yield self._about_the_stream(RESET, seq)
                continue
            for entry in entries:
                seq = entry.seq
                if _hides_some(entry):
                    yield self._about_the_stream(RESET, seq)
                elif _is_requested(entry, kinds, agent_id) and await self._is_shown(entry):
                    yield self._view(entry)

    def _resumed(self, after: str) -> int | None:
        """Return the number of the event *after*; None: later ones are lost, or it is of another start."""
        boot, _, number = after.rpartition("-")
        if boot != self._boot or not (number.isascii() and number.isdigit()) or len(number) > 18:
            return None
        seq = int(number)
        return seq if self._ring.first - 1 <= seq <= self._ring.last else None

    async def _is_shown(self, entry: LogEntry) -> bool:
        if entry.event.partition(".")[0] not in SHOWN or entry.level not in EVENT_LEVELS:
            return False
        return self.user_id is None or await self._is_theirs(entry.fields, self.user_id)

    async def _is_theirs(self, fields: Mapping[str, object], user_id: UserId) -> bool:
        """Return whether the event concerns things, all of which are this user's."""
        things = [(kind, str(fields[kind])) for kind in users.KINDS if fields.get(kind) is not None]
        for kind, id in things:
            if await self._owner(kind, id) != user_id:
                return False
        return bool(things)

    async def _owner(self, kind: str, id: str) -> UserId | None:
        thing = (kind, id)
        if thing not in self._owners:
            found = await self._store.read(users.find_owner, kind, id)
            if found is None:
                return None  # its row may not be written yet
            if len(self._owners) >= REMEMBERED:
                self._owners.clear()
            self._owners[thing] = found
        return self._owners[thing]

    def _view(self, entry: LogEntry) -> EventView:
        fields = {name: value for name, value in entry.fields.items() if name not in HIDDEN_FIELDS}
        return EventView.from_row(entry, id=self._id(entry.seq), fields=fields)

    def _about_the_stream(self, event: str, seq: int) -> EventView:
        return EventView(id=self._id(seq), event=event, at=self._clock.now(), fields={})

    def _id(self, seq: int) -> str:
        return f"{self._boot}-{seq}"


def _is_requested(entry: LogEntry, kinds: Collection[str], agent_id: AgentId | None) -> bool:
    if agent_id is not None and entry.fields.get("agent_id") != agent_id:
        return False
    return not kinds or any(entry.event == kind or entry.event.startswith(f"{kind}.") for kind in kinds)


def _hides_some(entry: LogEntry) -> bool:
    """Return whether the entry replaces events that were so many that the log only counted them."""
    return entry.event == COUNTED and str(entry.fields.get("of")).partition(".")[0] in SHOWN


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
        queues: returns the length of each queue, by name; owners of queues add theirs.
        links: returns the connections.
        loop_lag_s: returns how late the event loop is.
    """

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock
        self._started = clock.monotonic()
        self.queues: dict[str, Callable[[], int]] = {}
        self.links: Callable[[], Sequence[LocalLink]] = list
        self.loop_lag_s: Callable[[], float] = float

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

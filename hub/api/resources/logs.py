"""Route of the newest log lines of the running hub: filters by level, run and device."""

from collections.abc import AsyncGenerator, Callable
from datetime import datetime
from typing import Annotated, Any, Final, Literal

from anyio import to_thread
from msgspec import Meta

from hub.api.events import EventStream
from hub.api.resource import (
    ALL,
    Instant,
    ListPage,
    ListPart,
    OpenStreams,
    Paging,
    Resource,
    View,
    route,
)
from hub.base.clock import epoch_ms
from hub.base.log import Channel, LogEntry, LogFile, Ring
from hub.base.log.meanings import MEANINGS
from hub.base.roles import Scope
from protocol.errors import ErrorCode
from storage.devices import devices
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
        until: Annotated[Instant, Meta(description="Entries until then.")] | None = None,
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


log = Channel(__name__)

"""The log, as operators read it in a running hub."""

from collections.abc import AsyncGenerator, Callable
from typing import Final

from hub.api.views.observe import LogLevel, LogView
from hub.clock import from_epoch_ms
from hub.log import LogEntry, Ring
from storage.devices import devices
from storage.devices.devices import UnknownDevice
from storage.store import Store

LEVELS: Final = ("debug", "info", "warning", "error")
LEAST_OF_ID: Final = 6  # characters of a run's id that name it

_Wanted = Callable[[LogEntry], bool]


class LogOperations:
    """Implements ``api.facades.observe.LogFacade``."""

    def __init__(self, ring: Ring, store: Store) -> None:
        self._ring = ring
        self._store = store

    async def newest(
        self, *, run: str | None, device: str | None, level: LogLevel, below: int | None, limit: int
    ) -> list[LogView]:
        """The newest first."""
        is_wanted = await self._wanted(run, device, level)
        found = [
            _view(entry)
            for entry in self._ring.since(0)
            if (below is None or entry.seq < below) and is_wanted(entry)
        ]
        return found[::-1][:limit]

    async def follow(
        self, *, run: str | None, device: str | None, level: LogLevel, limit: int
    ) -> AsyncGenerator[LogView]:
        """The last ones, then each that comes."""
        return self._follow(await self._wanted(run, device, level), limit)

    async def _follow(self, is_wanted: _Wanted, limit: int) -> AsyncGenerator[LogView]:
        told = self._ring.last
        earlier = [entry for entry in self._ring.since(0) if entry.seq <= told and is_wanted(entry)]
        for entry in earlier[len(earlier) - min(limit, len(earlier)) :]:
            yield _view(entry)
        while True:
            await self._ring.wait(told)
            for entry in self._ring.since(told):
                told = entry.seq
                if is_wanted(entry):
                    yield _view(entry)

    async def _wanted(self, run: str | None, device: str | None, level: LogLevel) -> _Wanted:
        levels = frozenset(LEVELS[LEVELS.index(level) :])
        of_device = None if device is None else await self._device_ids(device)

        def is_wanted(entry: LogEntry) -> bool:
            return (
                entry.level in levels
                and (run is None or _is_run(run, entry.fields.get("run_id")))
                and (of_device is None or entry.fields.get("device_id") in of_device)
            )

        return is_wanted

    async def _device_ids(self, name: str) -> frozenset[str]:
        """The devices of that name, one for each user who has one; or the one of that id."""
        found = frozenset(str(row.id) for row in await self._store.read(devices.devices_called, name))
        if not found:
            raise UnknownDevice(f"there is no device {name!r}")
        return found


def _is_run(name: str, run_id: object) -> bool:
    is_end = len(name) >= LEAST_OF_ID and isinstance(run_id, str) and run_id.endswith(name)
    return run_id == name or is_end


def _view(entry: LogEntry) -> LogView:
    return LogView.model_validate(
        {
            "seq": entry.seq,
            "at": from_epoch_ms(entry.at),
            "level": entry.level,
            "event": entry.event,
            "channel": entry.channel,
            "fields": entry.fields,
        }
    )

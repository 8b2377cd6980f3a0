"""The running device: when it is paused, disconnected or reconnected, and reload of device.toml.

Its settings file is followed, and at some times it is disconnected. The owner's pause is a file next to the
device's database, so that it outlasts a restart. Programs write it; the running device looks at it, at its
settings file and at its folders every second. A folder whose disk does not answer counts as missing. After a
sleep of the machine, and in another network, the device connects anew at once: its connection is dead without
a sign of it, and its next try may be a minute away.
"""

from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, time
from functools import partial
from pathlib import Path
from typing import Final, Protocol

import anyio
import anyio.to_thread

from hub.base.atomic_file import write_atomically
from hub.base.clock import Clock
from hub.base.system.files import stamp_of_file
from hub.device.addresses import is_local
from hub.device.app import DeviceOptions, serve_device
from hub.device.conditions import is_metered, is_on_power, own_addresses
from hub.device.notices import DailyDigests, show_notice
from hub.device.sinks.running import Sinks
from hub.device.sinks.sink import Sink
from hub.device.sinks.web import Polled
from protocol.errors import HubError

INTERVAL_S: Final = 1.0
ANSWER_S: Final = 5.0  # for a folder; a disk that slept answers later, and is shared again
_SLEPT_S: Final = 30.0  # between two looks; a shorter sleep breaks few connections
_ASK_S: Final = 30.0  # between two questions to the system, which may start a program
_SUFFIX: Final = ".pause"
_LAST: Final = ".last"
_FOR_EVER: Final = "for ever"
_MISSING: Final = "{} {} moved or renamed, or its disk is not there: nothing of it is read until it is back"


class When(Protocol):
    """Times at which a device is connected."""

    @property
    def on_power(self) -> bool:
        """True: only on mains power."""

    @property
    def unmetered(self) -> bool:
        """True: only in networks that do not charge by volume."""

    def is_quiet(self, now: time) -> bool:
        """Return True if the device is disconnected at this time of day."""


class DailyNotice(Protocol):
    """Daily notification of the items that wait for the owner."""

    @property
    def at(self) -> time | None:
        """Time of day; None: no notification."""

    @property
    def titles(self) -> bool:
        """True: with titles of items."""


@dataclass(frozen=True)
class DevicePlan:
    """Device as its settings say: when it is connected and shows a notification, and where its rows go."""

    options: DeviceOptions
    when: When
    notify: DailyNotice
    sinks: tuple[Sink, ...] = ()
    tick_in: tuple[Path, ...] = ()


def pause(db: Path, until: datetime | None) -> None:
    """Pause the device of a database until a time; None: until it is resumed."""
    text = _FOR_EVER if until is None else until.isoformat()
    write_atomically(db.with_suffix(_SUFFIX), text.encode(), mode=0o600)


def resume(db: Path) -> bool:
    """End the pause of a device; return False if there is none."""
    try:
        db.with_suffix(_SUFFIX).unlink()
    except FileNotFoundError:
        return False
    return True


def why_paused(db: Path, clock: Clock) -> str:
    """Return the pause of a device in words; empty if there is none."""
    text = ""
    with suppress(OSError, UnicodeDecodeError):
        text = db.with_suffix(_SUFFIX).read_text().strip()
    if not text:
        return ""
    with suppress(ValueError):
        until = datetime.fromisoformat(text)
        return "" if until <= clock.now() else f"paused until {until.astimezone():%Y-%m-%d %H:%M}"
    return "paused until it is resumed: hub device resume"


def last_message(db: Path) -> str:
    """Return the last message of a device since it was started, as its pairing code; else empty."""
    with suppress(OSError, UnicodeDecodeError):
        return db.with_suffix(_LAST).read_text("utf-8")
    return ""


class Folders:
    """Look at folders, each in a thread: a network disk that does not answer holds up no other folder."""

    def __init__(self) -> None:
        self._asked: set[Path] = set()  # without an answer yet

    async def missing(self, folders: Collection[Path]) -> frozenset[Path]:
        """Return the folders that are not there, or do not answer."""
        return frozenset([folder for folder in folders if not await self._exists(folder)])

    async def _exists(self, folder: Path) -> bool:
        if folder not in self._asked:
            with anyio.move_on_after(ANSWER_S):
                return await anyio.to_thread.run_sync(self._answer, folder, abandon_on_cancel=True)
        return False

    def _answer(self, folder: Path) -> bool:
        self._asked.add(folder)  # here: a thread that never began holds nothing
        try:
            return folder.is_dir()
        finally:
            self._asked.discard(folder)


@dataclass
class Keeper:
    """Runs a device by its settings file, as it changes.

    Args:
        file: the settings file.
        load: reads it; raises HubError with all its problems.
        on_status: called with messages for the person at the desktop.
        device: runs a device of given options until it is cancelled or turned away.
        missing: returns the folders that are not there.
    """

    file: Path
    load: Callable[[], DevicePlan]
    clock: Clock
    on_status: Callable[[str], None]
    device: Callable[..., Awaitable[int]] = serve_device
    missing: Callable[[Collection[Path]], Awaitable[frozenset[Path]]] = field(
        default_factory=lambda: Folders().missing
    )
    _stamp: tuple[int, ...] = ()
    _missing: frozenset[Path] = frozenset()
    _seen_at: datetime | None = None
    _sleeps: int = 0
    _asked: float = field(default=float("-inf"))
    _of_system: tuple[str, str] = ("", "")
    _leaving: str = "stopped"
    _digests: DailyDigests = field(init=False)
    _plan: DevicePlan = field(init=False)

    async def serve(self) -> int:
        """Run the device until it is turned away or its file cannot be used; return the exit code.

        Raises:
            HubError: the settings are wrong at the start; later, the ones in use stay.
        """
        self._stamp = stamp_of_file(self.file)
        written = self.load()
        written.options.db.with_suffix(_LAST).unlink(missing_ok=True)
        self._digests = DailyDigests(written.options.db, self.clock)
        self._plan = written
        async with anyio.create_task_group() as tasks:
            for at_server in (False, True):  # files do not wait for servers, nor all for the hub
                sinks = Sinks(written.options.db, self.clock, self.on_status)
                every = (lambda: None) if at_server else (lambda: self._plan.sinks)
                tasks.start_soon(sinks.serve, partial(self._places_of_rows, at_server), every)
            changed: DevicePlan | None = written
            while changed is not None:
                code, changed = await self._until_changed(changed)
            tasks.cancel_scope.cancel()
        return code

    async def _until_changed(self, written: DevicePlan) -> tuple[int, DevicePlan | None]:
        """Run the device, or wait; return its exit code, or the plan that takes the place of *written*."""
        options, (_, why_not), _ = state = await self._state(written)
        self._leaving = "stopped"
        code, changed = 0, None
        async with anyio.create_task_group() as tasks:

            async def follow() -> None:
                nonlocal changed
                now = written
                while (new := await self._state(now)) == state:
                    await self._show_digest(now)
                    await self.clock.sleep(INTERVAL_S)
                    now = self._reloaded(now)
                if new[:2] == state[:2]:
                    self.on_status("the network has changed, or this machine was asleep: connecting anew")
                changed, self._leaving = now, new[1][0] or "reconnecting"
                tasks.cancel_scope.cancel()

            tasks.start_soon(follow)
            if why_not:
                self.on_status(f"disconnected: {why_not}")
                await anyio.sleep_forever()
            code = await self.device(options, on_status=self._report, why_leaving=lambda: self._leaving)
            tasks.cancel_scope.cancel()
        return code, changed

    def _report(self, message: str) -> None:
        with suppress(OSError):  # a full disk does not end the device
            write_atomically(self._plan.options.db.with_suffix(_LAST), message.encode(), mode=0o600)
        self.on_status(message)

    async def _show_digest(self, plan: DevicePlan) -> None:
        """Show the digest of today from its time on, outside of quiet hours and pauses."""
        at, now = plan.notify.at, self.clock.now().astimezone().time()
        if at is None or now < at or not self._digests.is_due():
            return
        if not plan.when.is_quiet(now) and not why_paused(plan.options.db, self.clock):
            show = partial(self._digests.show, titles=plan.notify.titles)
            if problem := await anyio.to_thread.run_sync(show):
                self.on_status(f"the notification of today was not shown: {problem}")

    def _places_of_rows(self, at_server: bool) -> tuple[list[Sink], tuple[Path, ...]]:
        """Return the sinks at servers, or those in files and the folders whose notes are changed."""
        sinks = [sink for sink in self._plan.sinks if isinstance(sink.target, Polled) == at_server]
        return sinks, () if at_server else self._plan.tick_in

    def _reloaded(self, plan: DevicePlan) -> DevicePlan:
        """Return the plan of the file, or the one in use if it has not changed or is wrong."""
        stamp = stamp_of_file(self.file)
        if stamp == self._stamp:
            return plan
        self._stamp = stamp
        try:
            changed = self.load()
            if changed.options.db != plan.options.db:
                raise HubError(f"{self.file} is of another device now; start this program again")
            self._plan = changed
            return changed
        except HubError as error:
            self.on_status(f"the settings of before stay in use: {error}")
            return plan

    async def _state(self, plan: DevicePlan) -> tuple[DeviceOptions, tuple[str, str], object]:
        """Return the options with the folders that exist, why the device is disconnected, and its network."""
        options = await self._present(plan)
        return options, await self._why_not(plan), self._network(options)

    def _network(self, options: DeviceOptions) -> object:
        """Return a value that differs after a sleep of the machine, and in another network."""
        now = self.clock.now()
        if self._seen_at is not None and (now - self._seen_at).total_seconds() > _SLEPT_S:
            self._sleeps += 1
        self._seen_at = now
        return self._sleeps, () if all(map(is_local, options.urls)) else own_addresses()

    async def _present(self, plan: DevicePlan) -> DeviceOptions:
        """Return the options with the folders that exist; report once which one is missing."""
        missing = await self.missing([Path(root) for root in plan.options.roots])
        for root in sorted(missing - self._missing):
            self.on_status(f"there is no folder {root}: it is shared again when it is back")
        if missing - self._missing:
            names, verb = ", ".join(map(str, missing)), "was" if len(missing) == 1 else "were"
            await anyio.to_thread.run_sync(show_notice, _MISSING.format(names, verb))
        self._missing = missing
        roots = [root for root in plan.options.roots if Path(root) not in missing]
        return replace(plan.options, roots=roots, missing=sorted(missing))

    async def _why_not(self, plan: DevicePlan) -> tuple[str, str]:
        """Return why the device is disconnected now, as a word and in words; empty if it is connected."""
        when = plan.when
        if paused := why_paused(plan.options.db, self.clock):
            return "paused", paused
        if when.is_quiet(self.clock.now().astimezone().time()):
            return "quiet_hours", "these are its quiet hours"
        if (when.on_power or when.unmetered) and self.clock.monotonic() - self._asked >= _ASK_S:
            self._asked = self.clock.monotonic()
            self._of_system = await anyio.to_thread.run_sync(_why_not_by_system, when)
        return self._of_system if when.on_power or when.unmetered else ("", "")


def _why_not_by_system(when: When) -> tuple[str, str]:
    if when.on_power and is_on_power() is False:
        return "on_battery", "the machine runs on its battery"
    if when.unmetered and is_metered():
        return "metered", "this network charges by volume"
    return "", ""

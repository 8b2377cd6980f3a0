"""Faults that are put into the real hub from outside, by wrapping what it is made of.

Nothing in the product knows of them. They happen at *moments*: just before or just
after the n-th commit that changed something, or the n-th frame that is sent to a
device, or when fires are decided for the n-th time: counted from the start of the
process.
"""

import asyncio
import importlib
import os
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import anyio
import sqlalchemy as sa
from sqlalchemy.engine.default import DefaultDialect

from hub.app import daemon
from hub.base.clock import SystemClock, machine_uptime_s
from hub.links.connection import DeviceConnection
from hub.links.transport import DeviceSocket
from protocol.frame import Frame
from storage.effects import fire_decisions
from storage.kernel import sqlite

DIED = 99  # the exit code of a hub that died of an order; nothing else in it ends so
LIFT_THE_LIMIT = signal.SIGUSR1  # to a hub whose disk was made small: there is room again
_NO_LIMIT_PAGES = 2**30
_LAG_EVERY_S = 0.01

What = Literal["commit", "send", "decide"]
When = Literal["before", "after"]


class Moment(NamedTuple):
    """A point in the life of one hub process; spelled ``commit:37:after``."""

    what: What
    nth: int
    when: When

    @classmethod
    def parse(cls, text: str) -> "Moment":
        """Raises ValueError: it is not spelled so."""
        what, nth, when = text.split(":")
        if what not in get_args(What) or when not in get_args(When):
            raise ValueError(f"{text!r} names no moment; write commit:37:after or send:5:before")
        return cls(what, int(nth), when)  # type: ignore[arg-type]  # looked at above

    def __str__(self) -> str:
        return ":".join(map(str, self))


class Faults:
    """What goes wrong in this process, and when.

    Args:
        die_at: ends there, as if by kill -9.
        freeze_at: stops there, as if by SIGSTOP, until somebody lets it go on.
        starve_at: its event loop stands still there, for *starve_s* seconds.
        spare_pages: so far its database may grow once it is ready, until ``LIFT_THE_LIMIT``.
        clock_file: the seconds in it, if there is one, are added to the time of day.
        ahead_file: the seconds in it are added to all clocks; sleeping tasks sleep on.
        lag_file: gets what the loop was late by, in seconds, one line for each look.
        given: other values: ``{"hub.runs.runner:Runner.units_in_flight": 1}`` for the keyword of a
            constructor, where it wins over what the daemon says, and
            ``{"hub.runs.attempt_ending:RETRY_BASE_S": 0.1}`` for a constant, as its own module sees it.
    """

    def __init__(
        self,
        *,
        die_at: Sequence[Moment] = (),
        freeze_at: Moment | None = None,
        starve_at: Moment | None = None,
        starve_s: float = 20.0,
        spare_pages: int | None = None,
        lag_file: Path | None = None,
        clock_file: Path | None = None,
        ahead_file: Path | None = None,
        given: Mapping[str, object] = {},
    ) -> None:
        self._acts: dict[Moment, Callable[[], None]] = dict.fromkeys(die_at, _die)
        if freeze_at is not None:
            self._acts[freeze_at] = _freeze
        if starve_at is not None:
            self._acts[starve_at] = self._starve
        self._starve_s = starve_s
        self._spare_pages = spare_pages
        self._lag_file = lag_file
        self._clock_file = clock_file
        self._ahead_file = ahead_file
        self._given = given
        self._passed: Counter[What] = Counter()
        self._changes: dict[int, int] = {}  # of each connection, at its last commit
        self._loop: asyncio.AbstractEventLoop | None = None
        self._writer: sqlite._Session | None = None

    def put_in(self) -> None:
        """Wrap what is to be wrapped, for the rest of this process."""
        self._wrap_commits()
        self._wrap_sends()
        self._wrap_decisions()
        self._wrap_writer()
        self._wrap_daemon()
        if self._clock_file is not None:
            self._wrap_clock(self._clock_file)
        if self._ahead_file is not None:
            self._wrap_clock(self._ahead_file)
            self._wrap_durations(self._ahead_file)
        for name, value in self._given.items():
            _give(name, value)

    def _wrap_commits(self) -> None:
        commit: Any = DefaultDialect.do_commit

        def do_commit(dialect: DefaultDialect, connection: Any) -> None:
            if not self._has_changed(connection):
                commit(dialect, connection)
                return
            self._passed["commit"] += 1
            self._come_to("commit", "before")
            commit(dialect, connection)
            self._come_to("commit", "after")

        _replace(DefaultDialect, "do_commit", do_commit)

    def _has_changed(self, connection: Any) -> bool:
        """Return True if rows changed since the connection's last commit, or if a server does not tell."""
        driver = getattr(connection, "driver_connection", connection)
        if not isinstance(driver, sqlite3.Connection):
            return True
        before = self._changes.get(id(driver), 0)
        self._changes[id(driver)] = driver.total_changes
        return driver.total_changes != before

    def _wrap_sends(self) -> None:
        send = DeviceConnection.send_now

        def send_now(connection: DeviceConnection, frame: Frame) -> None:
            self._passed["send"] += 1
            self._come_to("send", "before")
            send(connection, frame)
            if Moment("send", self._passed["send"], "after") in self._acts:
                assert isinstance(connection._transport, DeviceSocket)
                connection._transport.send_data()  # else it would leave at the end of this loop turn
            self._come_to("send", "after")

        _replace(DeviceConnection, "send_now", send_now)

    def _wrap_decisions(self) -> None:
        decide = fire_decisions.decide

        def decided(c: sa.Connection, *args: Any, **options: Any) -> object:
            """Before: in the transaction, but nothing was asked yet; after: nothing is committed yet."""
            self._passed["decide"] += 1
            self._come_to("decide", "before")
            made = decide(c, *args, **options)
            self._come_to("decide", "after")
            return made

        _replace(fire_decisions, "decide", decided)

    def _wrap_writer(self) -> None:
        dress = sqlite._Session.dress

        def dressed(session: sqlite._Session, begin: str, *more: Any) -> None:
            dress(session, begin, *more)
            if begin == "BEGIN IMMEDIATE":
                self._writer = session

        _replace(sqlite._Session, "dress", dressed)

    def _wrap_daemon(self) -> None:
        serve: Any = daemon.serve

        async def served(*given: Any) -> None:
            *about, on_ready = given
            self._loop = asyncio.get_running_loop()

            async with anyio.create_task_group() as beside:

                def ready(where: dict[str, str]) -> str:
                    if self._spare_pages is not None:
                        beside.start_soon(self._keep_disk_small, self._spare_pages)
                    if self._lag_file is not None:
                        beside.start_soon(_watch_lag, self._lag_file)
                    return str(on_ready(where))

                await serve(*about, ready)
                beside.cancel_scope.cancel()

        _replace(daemon, "serve", served)
        if any(moment.what == "send" for moment in self._acts):
            _replace(daemon, "has_uvloop", lambda: False)  # it writes at the end of a turn, whoever asks

    def _wrap_clock(self, file: Path) -> None:
        now = SystemClock.now

        def ahead(clock: SystemClock) -> datetime:
            return now(clock) + timedelta(seconds=_seconds_in(file))

        _replace(SystemClock, "now", ahead)

    def _wrap_durations(self, file: Path) -> None:
        """Let time pass for the hub: without it, its clock would be taken for one that was set."""
        monotonic = SystemClock.monotonic
        _replace(SystemClock, "monotonic", staticmethod(lambda: monotonic() + _seconds_in(file)))
        _replace(SystemClock, "uptime_s", staticmethod(lambda: machine_uptime_s() + _seconds_in(file)))
        _replace(daemon, "machine_uptime_s", SystemClock.uptime_s)

    def _come_to(self, what: What, when: When) -> None:
        if act := self._acts.get(Moment(what, self._passed[what], when)):
            act()

    def _starve(self) -> None:
        """From whichever thread: the event loop does nothing else for a while."""
        assert self._loop is not None
        self._loop.call_soon_threadsafe(time.sleep, self._starve_s)  # noqa: TID251  # that is the fault

    async def _keep_disk_small(self, spare_pages: int) -> None:
        with anyio.open_signal_receiver(LIFT_THE_LIMIT) as signals:
            await self._limit_pages(spare_pages)
            async for _ in signals:
                await self._limit_pages(_NO_LIMIT_PAGES)

    async def _limit_pages(self, spare: int) -> None:
        writer = self._writer
        assert writer is not None, "only a SQLite file has pages"

        def limit() -> None:
            ((pages,),) = writer._raw._conn.execute("PRAGMA page_count").fetchall()
            writer._raw._conn.execute(f"PRAGMA max_page_count={pages + spare}").close()

        await writer.in_thread(limit)


def _seconds_in(file: Path) -> float:
    return float((file.read_text() if file.exists() else "") or 0)


def _die() -> None:
    os._exit(DIED)


def _freeze() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def _replace(owner: Any, name: str, by: object) -> None:
    assert hasattr(owner, name), f"{owner} has no {name} any more"
    setattr(owner, name, by)


def _give(name: str, value: object) -> None:
    """From now on what has this *name* (see ``Faults``) is *value*."""
    module_name, _, inside = name.partition(":")
    module = importlib.import_module(module_name)
    class_name, _, keyword = inside.partition(".")
    if not keyword:
        _replace(module, inside, value)
        return
    made = getattr(module, class_name)
    init = made.__init__

    def given(self: object, *args: Any, **options: Any) -> None:
        init(self, *args, **{**options, keyword: value})

    _replace(made, "__init__", given)


async def _watch_lag(file: Path) -> None:
    with file.open("a", buffering=1) as out:
        while True:
            due = anyio.current_time() + _LAG_EVERY_S
            await anyio.sleep(_LAG_EVERY_S)
            out.write(f"{anyio.current_time() - due:.6f}\n")

"""Detection of steps of the machine's clock (over 2 s), and when the hub follows them.

A step is a difference between the wall clock and the uptime of the machine, which goes on during a
suspension. The hub's own time goes on as before until every stored instant is judged again
(``storage.effects.clock_steps``). On a shared database all hubs go by the clock of its server.

Across a restart of the hub the uptime is compared, too. If the machine itself was restarted, a clock that is
behind the newest stored instant was set back; how long the machine was off is then unknown. A machine often
starts with a wrong clock. So the hub goes on from that instant, or from 2025, for a while, before it believes
such a clock. ``ClockTrust`` of the ``dispatcher`` has a ``JUMP_S`` of its own: it compares with the monotonic
clock of the process.
"""

from collections.abc import Callable
from functools import partial
from typing import Final

import anyio
from anyio.abc import TaskStatus
from msgspec.structs import replace

from hub.base.clock import HubClock, IdFactory, now_ms
from hub.base.log import Channel
from hub.base.metrics import Metrics
from hub.base.periodic_loop import PeriodicLoop
from hub.schedules.cron import BadSchedule, parse_cron
from storage.effects import clock_steps
from storage.effects.clock_steps import ClockBase
from storage.kernel.database import StorageError
from storage.store import Store

log = Channel(__name__)

EVERY_S: Final = 5.0
JUMP_S: Final = 2.0  # smaller differences are drift and corrections by NTP, which the hub's clock follows
DOUBT_S: Final = 300.0  # after a start, a clock that is behind the database is not believed for so long
RECORD_S: Final = 3_600.0  # between two records of the hub's time, as uptime and wall clock drift apart
SLOW_S: Final = 1.0  # the time of a server whose answer takes longer is not used
EARLIEST_MS: Final = 1_735_689_600_000  # the year 2025: an earlier clock was never set


class ClockWatch:
    """Service that moves the clock of the hub when the wall clock was set.

    Attributes:
        base: the hub's time as it was recorded last, with the newest step.
        on_step: called after each step, with its milliseconds.
    """

    def __init__(
        self, store: Store, clock: HubClock, *, ids: IdFactory, metrics: Metrics, machine: str
    ) -> None:
        """Set up the watch.

        Args:
            machine: id of the machine's start; empty: unknown.
        """
        self.loop = PeriodicLoop(clock)
        self._store = store
        self._clock = clock
        self._ids = ids
        self._metrics = metrics
        self._doubted_until = 0.0  # uptime: so long a clock that is behind is not believed; 0: it is
        self.base = ClockBase(at=0, uptime_ms=0, machine=machine)
        self.reference = self._server_s if store.is_shared else self._machine_s
        self.on_step: Callable[[int], None] = lambda by_ms: None

    async def begin(self) -> None:
        """Compare the clock with the database; call it before anything is written.

        Raises:
            StorageError: the database is unavailable.
        """
        known, newest = await self._store.read(clock_steps.find_base)
        self._clock.move(await self._apart_s() or 0.0)
        now, uptime_ms = now_ms(self._clock), round(self._clock.uptime_s() * 1000)
        off_ms = 0
        if known is not None and known.machine == self.base.machine != "":
            expected = known.at + uptime_ms - known.uptime_ms
        else:
            expected = max(newest, EARLIEST_MS, now)
            off_ms = max(0, now - newest) if newest else 0
            if expected > now + JUMP_S * 1000:
                self._doubted_until = self._clock.uptime_s() + DOUBT_S
        self._clock.move((expected - now) / 1000)
        base = await self._record(off_ms)
        steps = base.steps if known is None else known.steps  # a later one may not be in the time read above
        self.base = replace(self.base, steps=steps, last=base.last)
        await self.check()

    async def serve(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Check the clock every few seconds until cancelled."""
        task_status.started()
        await self.loop.serve(self._check_and_record, of="clock", every_s=EVERY_S, first_s=EVERY_S)

    async def _check_and_record(self) -> None:
        await self.check()
        if self._clock.uptime_s() - self.base.uptime_ms / 1000 >= RECORD_S:
            await self._record()

    async def is_behind(self) -> bool:
        """Return whether another hub has followed a step that this one has not yet.

        Stored instants are then those of another time than the hub's. A plan that was read from them before
        this call is one of the same time, or its rows have changed since.

        Raises:
            StorageError: the database is unavailable.
        """
        return (await self._known()).steps > self.base.steps

    async def check(self) -> None:
        """Follow the wall clock.

        Raises:
            StorageError: the database is unavailable; the clock has not stepped.
        """
        known = await self._known()  # before the clocks are compared, so that they differ by later steps only
        step_s = await self._apart_s()
        if step_s is None:
            return
        if abs(step_s) <= JUMP_S or (self._doubted_until and step_s > 0):  # the machine was off meanwhile
            self._clock.move(step_s)
            self._doubted_until = 0.0
            self.base = replace(self.base, steps=known.steps, last=known.last)  # perhaps undone meanwhile
        elif (known.steps > self.base.steps or self._clock.uptime_s() >= self._doubted_until) and now_ms(
            self._clock
        ) + step_s * 1000 >= EARLIEST_MS:
            await self._step(step_s)
            self._doubted_until = 0.0

    @property
    def ahead_s(self) -> float:
        """Seconds by which the clock of this machine is ahead of the hub's, which follows it if it can."""
        return (self._clock.source.now() - self._clock.now()).total_seconds()

    async def _step(self, by_s: float) -> None:
        """Move the clock and everything that is stored."""
        before = now_ms(self._clock)
        by_ms = round(by_s * 1000)
        at, early_s = before + by_ms, min(0.0, by_s)
        self._clock.move(early_s)
        try:
            for table in clock_steps.REDATE if early_s else ():
                await self._redate(table, by_ms=by_ms, at=at)
            mine = replace(self.base, at=at, uptime_ms=round(self._clock.uptime_s() * 1000))
            after = await self._store.write(
                clock_steps.judge_again,
                mine,
                before=before,
                id=self._ids.fresh(),
                follows_wall=follows_wall,
            )
        except StorageError:
            self._clock.move(-early_s)
            raise
        self._clock.move(by_s - early_s)
        self.base = replace(mine, steps=after.steps, last=after.last)
        self._metrics.clock_steps.labels("back" if early_s else "forward").inc()
        log.warning("clock.stepped", by_s=round(by_s, 3), at=at, steps=self.base.steps)
        self.on_step(by_ms)

    async def _redate(self, table: str, *, by_ms: int, at: int) -> None:
        """Move records that the clock had dated later than now. A table of its own, as it may be large."""
        try:
            await self._store.write(clock_steps.redate, table, by_ms=by_ms, at=at)
        except StorageError as exc:  # its lists show the future on top for a while
            log.warning("clock.not_redated", table=table, why=str(exc))

    async def _record(self, off_ms: int = 0) -> ClockBase:
        at, uptime_ms = now_ms(self._clock), round(self._clock.uptime_s() * 1000)
        self.base = replace(self.base, at=at, uptime_ms=uptime_ms)
        record = partial(clock_steps.record_base, machine=self.base.machine, off_ms=off_ms)
        return await self._store.write(record, at, uptime_ms)

    async def _known(self) -> ClockBase:
        """Return the base with the newest step that any hub has followed."""
        known = await self._store.read(clock_steps.read_base) if self._store.is_shared else None
        return known or self.base

    async def _apart_s(self) -> float | None:
        """Return the seconds by which the wall clock is ahead of the hub's; None: not known just now."""
        wall_s = await self.reference()
        return None if wall_s is None else wall_s - self._clock.now().timestamp()

    async def _machine_s(self) -> float | None:
        return self._clock.source.now().timestamp()

    async def _server_s(self) -> float | None:
        """Return the time of the database's server; None if its answer took long."""
        began = self._clock.uptime_s()
        at = await self._store.read(clock_steps.database_time)
        took = self._clock.uptime_s() - began
        return at / 1000 + took / 2 if took <= SLOW_S else None


def follows_wall(expr: str) -> bool:
    """Return whether a cron expression repeats times that the clock shows again."""
    try:
        return parse_cron(expr).follows_wall
    except BadSchedule:
        return True

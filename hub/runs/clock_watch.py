"""Watch of the machine's clock: notices that it was set, and moves the hub's clock with all stored instants.

A step is a difference between the wall clock and the uptime of the machine, which goes on during a
suspension. The hub's own time goes on as before until every stored instant is judged again
(``storage.clock_steps``). On a shared database all hubs go by the clock of its server.

Across a restart of the hub the uptime is compared, too. If the machine itself was restarted, a clock that is
behind the newest stored instant was set back; how long the machine was off is then unknown. A machine often
starts with a wrong clock. So the hub goes on from that instant for a while, before it believes such a clock.
"""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import partial
from typing import Final

import anyio
from anyio.abc import TaskStatus

from hub.clock import HubClock, IdFactory, epoch_ms
from hub.log import Channel
from hub.metrics import Metrics
from hub.schedules.cron import BadSchedule, parse_cron
from hub.turns import Turns
from storage import clock_steps
from storage.clock_steps import ClockBase, ClockStep
from storage.kernel.database import StorageError
from storage.store import Store

log = Channel(__name__)

EVERY_S: Final = 5.0
JUMP_S: Final = 2.0  # smaller differences are drift and corrections by NTP, which the hub's clock follows
DOUBT_S: Final = 300.0  # after a start, a clock that is behind the database is not believed for so long
RECORD_S: Final = 3_600.0  # between two records of the hub's time, as uptime and wall clock drift apart
SLOW_S: Final = 1.0  # the time of a server whose answer takes longer is not used
EARLIEST: Final = datetime(2025, 1, 1, tzinfo=UTC)  # a clock before this release was never set


class ClockWatch:
    """Service that moves the clock of the hub when the wall clock was set.

    Attributes:
        last: newest step, if any.
        on_step: called after each step, with its milliseconds.
    """

    def __init__(
        self, store: Store, clock: HubClock, *, ids: IdFactory, metrics: Metrics, machine: str
    ) -> None:
        """Set up the watch.

        Args:
            machine: id of the machine's start; empty: unknown.
        """
        self.turns = Turns(clock)
        self._store = store
        self._clock = clock
        self._ids = ids
        self._metrics = metrics
        self._machine = machine
        self._steps = 0
        self._recorded = 0.0  # uptime
        self._doubted_until: float | None = None  # uptime; None: the wall clock is believed
        self.reference: Callable[[], Awaitable[float | None]] = (
            self._server_time if store.is_shared else self._machine_time
        )
        self.last: ClockStep | None = None
        self.on_step: Callable[[int], None] = lambda by_ms: None

    async def begin(self) -> None:
        """Compare the clock with the database; call it before anything is written.

        Raises:
            StorageError: the database is unavailable.
        """
        base, newest = await self._store.read(clock_steps.find_base)
        uptime_s = self._clock.uptime_s()
        expected, is_exact = newest / 1000, False
        if base is not None:
            self._steps, self.last = base.steps, base.last
            if self._machine and base.machine == self._machine:
                expected, is_exact = base.at / 1000 + uptime_s - base.uptime_ms / 1000, True
        wall_s = await self._wall_s()
        if is_exact:
            self._move_to(expected)
        else:
            earliest = max(expected, EARLIEST.timestamp())
            is_behind = wall_s < earliest - JUMP_S
            self._move_to(earliest if is_behind else wall_s)
            self._doubted_until = uptime_s + DOUBT_S if is_behind else None
        await self._record()
        await self.check()

    async def serve(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Check the clock every few seconds until cancelled."""
        task_status.started()
        while True:
            self.turns.wait(EVERY_S)
            await self._clock.sleep(EVERY_S)
            self.turns.work()
            try:
                await self.check()
                if self._clock.uptime_s() - self._recorded >= RECORD_S:
                    await self._record()
            except StorageError as exc:
                log.warning("clock.unchecked", why=str(exc))

    async def check(self) -> None:
        """Follow the wall clock.

        Raises:
            StorageError: the database is unavailable; the clock has not stepped.
        """
        wall_s = await self.reference()
        if wall_s is None:
            return
        step_s = wall_s - self._now_s()
        if abs(step_s) <= JUMP_S or (self._doubted_until is not None and step_s > 0):
            # After a start that was in doubt, the machine was off meanwhile.
            self._clock.move(step_s)
            self._doubted_until = None
        elif wall_s < EARLIEST.timestamp():
            return
        elif self._doubted_until is None or self._clock.uptime_s() >= self._doubted_until:
            await self._step(step_s)

    @property
    def apart_s(self) -> float:
        """Seconds by which the clock of this machine is ahead of the hub's."""
        return self._clock.source.now().timestamp() - self._now_s()

    @property
    def is_unbelieved(self) -> bool:
        """True if the hub does not go by the wall clock, which is wrong or may be."""
        return abs(self.apart_s) > JUMP_S

    async def _step(self, by_s: float) -> None:
        """Move the clock and everything that is stored."""
        before = epoch_ms(self._clock.now())
        if by_s < 0:
            self._clock.move(by_s)
        at = before + round(by_s * 1000)
        try:
            step = await self._store.write(
                clock_steps.judge_again,
                self._base(at),
                before=before,
                id=self._ids.fresh(),
                follows_wall=follows_wall,
            )
        except StorageError:
            if by_s < 0:
                self._clock.move(-by_s)
            raise
        if by_s > 0:
            self._clock.move(by_s)
        self._doubted_until = None
        if step is None:  # another hub has done it
            base, _ = await self._store.read(clock_steps.find_base)
            if base is not None:
                self._steps, self.last = base.steps, base.last
        else:
            self._steps, self.last = self._steps + 1, step
            self._metrics.clock_steps.labels("back" if by_s < 0 else "forward").inc()
            log.warning(
                "clock.stepped", by_s=round(by_s, 3), schedules=step.schedules, ended_rights=step.ended
            )
            if by_s < 0:
                await self._redate(step)
        self.on_step(at - before)

    async def _redate(self, step: ClockStep) -> None:
        """Move records that the clock had dated later than now; each table alone, as one may be large."""
        for table in clock_steps.REDATE:
            redate = partial(clock_steps.redate, by_ms=step.by_ms, at=step.at)
            try:
                await self._store.write(redate, table)
            except StorageError as exc:  # its lists show the future on top for a while
                log.warning("clock.not_redated", table=table, why=str(exc))

    async def _record(self) -> None:
        base = self._base(epoch_ms(self._clock.now()))
        recorded = await self._store.write(clock_steps.record_base, base.at, base.uptime_ms, self._machine)
        self._steps, self._recorded = recorded.steps, self._clock.uptime_s()

    def _base(self, at: int) -> ClockBase:
        uptime_ms = round(self._clock.uptime_s() * 1000)
        return ClockBase(at=at, uptime_ms=uptime_ms, machine=self._machine, steps=self._steps)

    def _now_s(self) -> float:
        return self._clock.now().timestamp()

    def _move_to(self, wall_s: float) -> None:
        self._clock.move(wall_s - self._now_s())

    async def _wall_s(self) -> float:
        wall_s = await self.reference()
        return self._now_s() if wall_s is None else wall_s

    async def _machine_time(self) -> float:
        return self._clock.source.now().timestamp()

    async def _server_time(self) -> float | None:
        """Return the time of the database's server, half-way of the request; None if it took long."""
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

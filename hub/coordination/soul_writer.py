"""Writes of souls, carried out until each has an end.

A write is committed as a row before it is sent. Each attempt first reads the stored soul. If it is the new
text, the write is done. If it is the expected version, it is replaced. If it is another text, a concurrent
author's version is kept. So after a crash of the hub, gateway or device, or a lost answer, no write is lost
or repeated. Waiting writes are attempted at the start, when a gateway or device reconnects, and periodically.
"""

from collections import defaultdict
from typing import Final

import anyio
import msgspec
from anyio.abc import TaskGroup, TaskStatus

from hub.clock import Clock, IdFactory, epoch_ms
from hub.coordination.messages import NoSession
from hub.coordination.soul_homes import (
    HOME_ERRORS,
    HomeError,
    Overtaken,
    Soul,
    SoulHome,
    SoulHomes,
    may_be_done,
    may_return,
)
from hub.log import Channel
from hub.metrics import Metrics
from hub.openclaw.gateway import GatewayNews, NewsLost, Reconnected
from hub.turns import Turns
from protocol.errors import DeviceOffline, ErrorCode, HubError
from protocol.ids import AgentId, RunId, SoulWriteId
from protocol.messages import SoulWriteState
from protocol.trace import traceparent
from storage.agents.agents import UnknownAgent
from storage.coordination import souls
from storage.coordination.gateway_making import NoGateway
from storage.coordination.souls import NewSoulWrite, SoulBusy, SoulEnd, SoulOutcome, SoulPlace, SoulWriteRow
from storage.kernel.database import StorageError
from storage.store import Store

log = Channel(__name__)

POLL_S: Final = 2.0  # while a write is open: another hub may have added it, or a device may have connected
REST_S: Final = 30.0  # while no write is open
TAKEN_MS: Final = 120_000  # per attempt: two gateway requests, and the wait for its connection
AGAIN_MS, AGAIN_CAP_MS = 1_000, 60_000  # after a failed attempt, doubled with each
# after this time the write fails, so that other writes of the soul can proceed
GIVE_UP_MS: Final = 24 * 3_600_000
MOST_READS: Final = 3  # per attempt, because another author may write between the hub's read and write
AT_ONCE: Final = 100  # writes in progress


class SoulWriter:
    """Accepts writes, and carries them out as a service.

    Attributes:
        most_versions: number of versions of a soul, and of settled writes, to keep.
    """

    def __init__(
        self, *, store: Store, homes: SoulHomes, clock: Clock, ids: IdFactory, metrics: Metrics
    ) -> None:
        self.turns = Turns(clock)
        self.most_versions = 200
        self._store = store
        self._homes = homes
        self._clock = clock
        self._ids = ids
        self._metrics = metrics
        self._in_flight: set[SoulWriteId] = set()
        # monotonic time until which an unavailable home is not looked up again
        self._absent: dict[SoulWriteId, float] = {}
        self._settled: defaultdict[SoulWriteId, list[anyio.Event]] = defaultdict(list)
        self._wake = anyio.Event()
        self._is_hurried = True  # open writes of an earlier boot must be released
        self._polled_at = 0  # wall-clock time of the last round

    async def add(self, new: NewSoulWrite, *, wait_s: float) -> SoulWriteRow:
        """Commit a write, and return it in its state after *wait_s*.

        While another write of the same soul is open, this write waits for it.

        Raises:
            SoulBusy: the other write is still open; nothing was written.
        """
        deadline = self._clock.monotonic() + wait_s
        while True:
            left_s = deadline - self._clock.monotonic()
            try:
                write = await self._store.write(souls.add_write, new)
                break
            except SoulBusy as busy:
                if left_s <= 0:
                    raise
                await self.settled_or(busy.write_id, left_s)
        self._wake.set()
        return await self.settled_or(write.id, deadline - self._clock.monotonic())

    async def settled_or(self, write_id: SoulWriteId, wait_s: float) -> SoulWriteRow:
        """Return the write once it has ended, or its state after *wait_s*."""
        deadline = self._clock.monotonic() + wait_s
        ended = anyio.Event()
        self._settled[write_id].append(ended)  # registered before the read, so that the end is not missed
        try:
            while True:
                write = await self._store.read(souls.get_write, write_id)
                left_s = deadline - self._clock.monotonic()
                if write.state is not SoulWriteState.WAITING or left_s <= 0:
                    return write
                await self._wait(ended, min(left_s, POLL_S))  # another hub may end it
        finally:
            self._settled[write_id].remove(ended)
            if not self._settled[write_id]:
                del self._settled[write_id]

    # --- service ---

    def recheck(self) -> None:
        """Resume waiting writes now, because a device has connected."""
        self._is_hurried = True
        self._wake.set()

    def on_news(self, news: GatewayNews | NewsLost) -> None:
        """Resume waiting writes when a gateway has reconnected."""
        if isinstance(news, Reconnected):
            self.recheck()

    async def serve(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Execute writes until cancelled. Interrupted writes are resumed at the next start."""
        task_status.started()
        self._in_flight.clear()
        async with anyio.create_task_group() as writers:
            while True:
                # created before the read, so that a later notification is not lost
                self._wake = anyio.Event()
                self.turns.work()
                rest_s = POLL_S
                try:
                    rest_s = await self._poll(writers)
                except StorageError as exc:
                    log.error("soul.database", exc=exc)
                except Exception as exc:  # the loop must survive any error
                    log.error("soul.broke", exc=exc)
                self.turns.wait(rest_s)
                await self._wait(self._wake, rest_s)

    async def _poll(self, writers: TaskGroup) -> float:
        """Start all due writes. Return the seconds until the next round."""
        now, at = self._clock.monotonic(), self._at()
        self._is_hurried |= at < self._polled_at - AGAIN_MS  # the clock was set back
        self._polled_at = at
        self._absent = {id: until for id, until in self._absent.items() if until > now}
        if self._is_hurried:
            self._is_hurried = False
            self._absent.clear()
            await self._store.write(souls.hurry, self._at())
        after = ""
        while len(self._in_flight) < AT_ONCE:
            due = await self._store.read(souls.due_writes, self._at(), AT_ONCE, after=after)
            for write_id in due:
                if write_id not in self._in_flight and write_id not in self._absent:
                    self._in_flight.add(write_id)
                    writers.start_soon(self._bring, write_id)
            if len(due) < AT_ONCE:
                break
            after = due[-1]
        return POLL_S if await self._store.read(souls.next_due) is not None else REST_S

    async def _bring(self, write_id: SoulWriteId) -> None:
        """Make one attempt at a write. Errors affect only this write."""
        try:
            await self._attempt(await self._store.read(souls.get_write, write_id))
        except StorageError as exc:  # its row has the time of the next attempt
            log.error("soul.database", exc=exc)
        except Exception as exc:
            log.error("soul.broke", exc=exc, write_id=write_id)
        finally:
            self._in_flight.discard(write_id)

    async def _attempt(self, write: SoulWriteRow) -> None:
        place = await self._store.read(souls.find_place, write.agent_id)
        if place is None:
            error = UnknownAgent("the agent was removed")
            await self._settle(write, write.agent_id, "nowhere", SoulWriteState.FAILED, error=error)
            return
        if write.created_at + GIVE_UP_MS <= self._at():
            await self._give_up(write, place)
            return
        try:
            home = self._homes.get(place)
        except (DeviceOffline, NoSession, NoGateway) as absent:
            # The row stays due: its device may be connected to another hub, which checks for itself.
            self._absent[write.id] = self._clock.monotonic() + REST_S
            if write.reason_code != absent.code:
                await self._postpone(write, absent, 0)
            return
        if not await self._store.write(souls.take, write, until=self._at() + TAKEN_MS):
            return
        try:
            await self._try(write, place.agent, home)
        except HOME_ERRORS as error:
            if may_return(error):
                await self._postpone(write, error, _again_ms(self._at() - write.created_at, error))
            else:
                await self._settle(write, place.agent, home.place, SoulWriteState.FAILED, error=error)

    async def _try(self, write: SoulWriteRow, agent: str, home: SoulHome) -> None:
        trace = traceparent(RunId(write.id), "soul")
        unclear: HomeError | None = None
        for _ in range(MOST_READS):
            since = await self._store.read(souls.last_version, write.agent_id)
            soul = await home.read(trace=trace)
            found = souls.ABSENT if soul is None else soul.sha256
            if found == write.sha256:
                await self._settle(write, agent, home.place, SoulWriteState.DONE)
                return
            base = found if write.expected_sha256 is None else write.expected_sha256
            if found != base:
                was_written = bool(write.sends) and await self._was_written(write, home, base, trace)
                to: SoulEnd = SoulWriteState.DONE if was_written else SoulWriteState.CONFLICT
                await self._settle(write, agent, home.place, to, found=soul)
                return
            if unclear is not None:
                raise unclear
            if soul is not None:
                await self.note(write.agent_id, home, soul, since)
            if not await self._store.write(souls.begin_send, write, base):
                return  # another process has changed the write
            write = msgspec.structs.replace(write, expected_sha256=base, sends=write.sends + 1)
            try:
                written = await home.write(write.content, base=base, write_id=write.id, trace=trace)
            except Overtaken:
                continue  # read the current version
            except HOME_ERRORS as error:
                if may_return(error) or not may_be_done(error):
                    raise
                unclear = error  # the write may have happened despite the error: read again
                continue
            if written == write.sha256:
                await self._settle(write, agent, home.place, SoulWriteState.DONE)
                return
        raise DeviceOffline(f"{home.place}: the soul changes faster than it can be written")

    async def _was_written(self, write: SoulWriteRow, home: SoulHome, base: str, trace: str) -> bool:
        """Return True if the home remembers that this write succeeded before another author's write."""
        if not home.remembers:
            return False
        try:
            written = await home.write(write.content, base=base, write_id=write.id, trace=trace)
        except Overtaken:
            return False
        return written == write.sha256

    async def _give_up(self, write: SoulWriteRow, place: SoulPlace) -> None:
        where = f"gateway:{place.gateway}" if place.gateway_id else f"device:{place.device_id}"
        reason = write.problem or "it was not reached"
        known = "; whether it was written is not known" if write.sends else ""
        error = HubError(f"given up after a day: {reason}{known}")
        code = ErrorCode(write.reason_code or ErrorCode.DEVICE_OFFLINE)
        await self._settle(write, place.agent, where, SoulWriteState.FAILED, error=error, code=code)

    async def _settle(
        self,
        write: SoulWriteRow,
        agent: str,
        where: str,
        to: SoulEnd,
        *,
        found: Soul | None = None,
        error: HubError | None = None,
        code: ErrorCode | None = None,
    ) -> None:
        """End the write. Does nothing if it has ended already."""
        end = SoulOutcome(
            to=to,
            place=where,
            agent=agent,
            activity_id=self._ids.fresh(),
            at=self._at(),
            found=None if found is None else found.content,
            reason_code=None if error is None else code or error.code,
            problem=None if error is None else str(error)[:2_000],
        )
        settled = await self._store.write(souls.settle, write, end, most_versions=self.most_versions)
        for ended in self._settled.get(write.id, ()):
            ended.set()
        if settled is None:
            return
        self._metrics.soul_writes.labels(to).inc()
        fields = {"agent_id": write.agent_id, "write_id": write.id, "place": where, "sends": write.sends}
        match to:
            case SoulWriteState.DONE:
                log.info("soul.written", **fields, sha256=write.sha256)
            case SoulWriteState.CONFLICT:
                expected = settled.expected_sha256
                log.warning("soul.conflict", **fields, expected=expected, found=settled.found_sha256)
            case SoulWriteState.FAILED:
                log.warning("soul.failed", **fields, code=settled.reason_code)

    # --- helpers ---

    async def place_of(self, agent_id: AgentId) -> SoulPlace:
        """Return the place of an agent's soul.

        Raises:
            UnknownAgent: the agent was removed.
        """
        place = await self._store.read(souls.find_place, agent_id)
        if place is None:
            raise UnknownAgent(f"there is no agent {agent_id}")
        return place

    async def note(self, agent_id: AgentId, home: SoulHome, soul: Soul, since: int) -> None:
        """Add an agent's soul (persona text), as read, to its history, unless it is the newest version."""
        if await self._store.read(souls.last_digest, agent_id) == soul.sha256:
            return  # the usual case: nothing to write
        is_new = await self._store.write(
            souls.note_seen,
            agent_id,
            soul.content,
            actor=home.place,
            at=self._at(),
            most_versions=self.most_versions,
            since=since,
        )
        if is_new:
            log.info("soul.seen", agent_id=agent_id, place=home.place, sha256=soul.sha256)

    async def _postpone(self, write: SoulWriteRow, error: HubError, wait_ms: int) -> None:
        until = self._at() + wait_ms
        problem = str(error)[:2_000]
        if await self._store.write(
            souls.put_off, write, until=until, reason_code=error.code, problem=problem
        ):
            log.info("soul.waits", agent_id=write.agent_id, write_id=write.id, code=error.code)

    async def _wait(self, event: anyio.Event, seconds: float) -> None:
        """Wait until the time has passed, or the event is set."""
        async with anyio.create_task_group() as waiting:

            async def over() -> None:
                await self._clock.sleep(seconds)
                waiting.cancel_scope.cancel()

            waiting.start_soon(over)
            await event.wait()
            waiting.cancel_scope.cancel()

    def _at(self) -> int:
        return epoch_ms(self._clock.now())


def _again_ms(age_ms: int, error: HomeError) -> int:
    """Return the delay before the next attempt: the age of the write, within limits."""
    asked = getattr(error, "retry_after_ms", None) or 0
    return max(asked, min(AGAIN_CAP_MS, max(AGAIN_MS, age_ms)))

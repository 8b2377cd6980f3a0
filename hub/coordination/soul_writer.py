"""Brings every write of a soul to its end.

A write is a row before it is a frame. Whoever takes it up looks first, and each look says what is left
to do: what is there is what was wanted (it is done), what it was to be written over (it is written), or
something else (somebody was faster, and theirs stays). So it does not matter whether this hub, the
gateway or the device was killed in between, or an answer was lost: nothing is lost, and nothing is
written twice. What waits is taken up at the start, when a gateway or a device is back, and by time.
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
from hub.openclaw.gateway import GatewayNews, Reconnected
from hub.openclaw.inbox import NewsLost
from hub.turns import Turns
from protocol.errors import DeviceOffline, ErrorCode, HubError
from protocol.ids import AgentId, RunId, SoulWriteId
from protocol.messages import SoulWriteState
from protocol.trace import traceparent
from storage.agents.agents import UnknownAgent
from storage.coordination import soul_writes, souls
from storage.coordination.gateway_making import NoGateway
from storage.coordination.soul_writes import NewSoulWrite, SoulBusy, SoulEnd, SoulOutcome, SoulWriteRow
from storage.coordination.souls import SoulPlace
from storage.kernel.database import StorageError
from storage.store import Store

log = Channel(__name__)

POLL_S: Final = 2.0  # while one is open: another hub may have made it, or a device may be here by now
REST_S: Final = 30.0  # while none is
TAKEN_MS: Final = 120_000  # what one turn may take: two requests of a gateway and the wait for its connection
AGAIN_MS, AGAIN_CAP_MS = 1_000, 60_000  # after a try that came to nothing, doubled with each
GIVE_UP_MS: Final = 24 * 3_600_000  # then a write has failed, and its agent's soul is free for others
LOOKS: Final = 3  # within one turn: somebody may write between our look and our write
AT_ONCE: Final = 100  # writes in hand


class SoulWriter:
    """Takes writes, and a service that brings them to their end.

    Attributes:
        kept: how many versions of a soul, and settled writes, stay.
    """

    def __init__(
        self, *, store: Store, homes: SoulHomes, clock: Clock, ids: IdFactory, metrics: Metrics
    ) -> None:
        self.turns = Turns(clock)
        self.kept = 200
        self._store = store
        self._homes = homes
        self._clock = clock
        self._ids = ids
        self._metrics = metrics
        self._in_hand: set[SoulWriteId] = set()
        self._absent: dict[SoulWriteId, float] = {}  # monotonic: until then nobody is looked for
        self._settled: defaultdict[SoulWriteId, list[anyio.Event]] = defaultdict(list)
        self._wake = anyio.Event()
        self._is_hurried = True  # whoever had a write in hand before is gone
        self._looked_at = 0  # by the wall

    async def add(self, new: NewSoulWrite, *, wait_s: float) -> SoulWriteRow:
        """Write down what is to be written, and how far it has come within *wait_s*.

        While another write of the same soul is open, this one waits for its turn.

        Raises:
            SoulBusy: the other one is open still; nothing was written down.
        """
        deadline = self._clock.monotonic() + wait_s
        while True:
            left_s = deadline - self._clock.monotonic()
            try:
                write = await self._store.write(soul_writes.add_write, new)
                break
            except SoulBusy as busy:
                if left_s <= 0:
                    raise
                await self.settled_or(busy.write_id, left_s)
        self._wake.set()
        return await self.settled_or(write.id, deadline - self._clock.monotonic())

    async def settled_or(self, write_id: SoulWriteId, wait_s: float) -> SoulWriteRow:
        """The write once it has an end, or as it is after *wait_s*."""
        deadline = self._clock.monotonic() + wait_s
        ended = anyio.Event()
        self._settled[write_id].append(ended)  # before looking: its end may come while we look
        try:
            while True:
                write = await self._store.read(soul_writes.get_write, write_id)
                left_s = deadline - self._clock.monotonic()
                if write.state is not SoulWriteState.WAITING or left_s <= 0:
                    return write
                await self._wait(ended, min(left_s, POLL_S))  # another hub may be who ends it
        finally:
            self._settled[write_id].remove(ended)
            if not self._settled[write_id]:
                del self._settled[write_id]

    # --- what happens meanwhile ---

    def look_again(self) -> None:
        """A device is here: what waits for it is taken up now."""
        self._is_hurried = True
        self._wake.set()

    def heard(self, news: GatewayNews | NewsLost) -> None:
        """A gateway told something: what waits for it is taken up once it is back."""
        if isinstance(news, Reconnected):
            self.look_again()

    async def serve(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Bring writes to their end until cancelled. What is cut off is looked at again at the next start."""
        task_status.started()
        self._in_hand.clear()
        async with anyio.create_task_group() as writers:
            while True:
                self._wake = anyio.Event()  # before looking: what is told meanwhile is looked at next time
                self.turns.work()
                rest_s = POLL_S
                try:
                    rest_s = await self._look(writers)
                except StorageError as exc:
                    log.error("soul.database", exc=exc)
                except Exception as exc:  # the loop that must survive
                    log.error("soul.broke", exc=exc)
                self.turns.wait(rest_s)
                await self._wait(self._wake, rest_s)

    async def _look(self, writers: TaskGroup) -> float:
        """Take up all that is due; returns for how many seconds nothing is."""
        now, at = self._clock.monotonic(), self._at()
        self._is_hurried |= at < self._looked_at - AGAIN_MS  # the clock was set back
        self._looked_at = at
        self._absent = {id: until for id, until in self._absent.items() if until > now}
        if self._is_hurried:
            self._is_hurried = False
            self._absent.clear()
            await self._store.write(soul_writes.hurry, self._at())
        after = ""
        while len(self._in_hand) < AT_ONCE:
            due = await self._store.read(soul_writes.due_writes, self._at(), AT_ONCE, after=after)
            for write_id in due:
                if write_id not in self._in_hand and write_id not in self._absent:
                    self._in_hand.add(write_id)
                    writers.start_soon(self._bring, write_id)
            if len(due) < AT_ONCE:
                break
            after = due[-1]
        return POLL_S if await self._store.read(soul_writes.next_due) is not None else REST_S

    async def _bring(self, write_id: SoulWriteId) -> None:
        """One turn of a write: it ends, or is put off. Whatever breaks is its own."""
        try:
            await self._take_up(await self._store.read(soul_writes.get_write, write_id))
        except StorageError as exc:  # its row says when it is taken up again
            log.error("soul.database", exc=exc)
        except Exception as exc:
            log.error("soul.broke", exc=exc, write_id=write_id)
        finally:
            self._in_hand.discard(write_id)

    async def _take_up(self, write: SoulWriteRow) -> None:
        place = await self._store.read(souls.find_place, write.agent_id)
        if place is None:
            gone = UnknownAgent("the agent was removed")
            await self._settle(write, write.agent_id, "nowhere", SoulWriteState.FAILED, error=gone)
            return
        if write.created_at + GIVE_UP_MS <= self._at():
            await self._give_up(write, place)
            return
        try:
            home = self._homes.get(place)
        except (DeviceOffline, NoSession, NoGateway) as absent:
            # The row stays due: its device may be connected to another hub, which looks for itself.
            self._absent[write.id] = self._clock.monotonic() + REST_S
            if write.reason_code != absent.code:
                await self._put_off(write, absent, 0)
            return
        if not await self._store.write(soul_writes.take, write, until=self._at() + TAKEN_MS):
            return
        try:
            await self._try(write, place.agent, home)
        except HOME_ERRORS as error:
            if may_return(error):
                await self._put_off(write, error, _again_ms(self._at() - write.created_at, error))
            else:
                await self._settle(write, place.agent, home.place, SoulWriteState.FAILED, error=error)

    async def _try(self, write: SoulWriteRow, agent: str, home: SoulHome) -> None:
        trace = traceparent(RunId(write.id), "soul")
        unclear: HomeError | None = None
        for _ in range(LOOKS):
            since = await self._store.read(souls.last_version, write.agent_id)
            soul = await home.read(trace=trace)
            found = soul_writes.ABSENT if soul is None else soul.sha256
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
            if not await self._store.write(soul_writes.begin_send, write, base):
                return  # somebody else has it in hand
            write = msgspec.structs.replace(write, expected_sha256=base, sends=write.sends + 1)
            try:
                told = await home.write(write.content, base=base, write_id=write.id, trace=trace)
            except Overtaken:
                continue  # look what is there now
            except HOME_ERRORS as error:
                if may_return(error) or not may_be_done(error):
                    raise
                unclear = error  # it refused, and may have done it: look
                continue
            if told == write.sha256:
                await self._settle(write, agent, home.place, SoulWriteState.DONE)
                return
        raise DeviceOffline(f"{home.place}: the soul changes faster than it can be written")

    async def _was_written(self, write: SoulWriteRow, home: SoulHome, base: str, trace: str) -> bool:
        """Whether ours had been there before somebody else's, where that can be known still."""
        if not home.remembers:
            return False
        try:
            told = await home.write(write.content, base=base, write_id=write.id, trace=trace)
        except Overtaken:
            return False
        return told == write.sha256

    async def _give_up(self, write: SoulWriteRow, place: SoulPlace) -> None:
        where = f"gateway:{place.gateway}" if place.gateway_id else f"device:{place.device_id}"
        told = write.problem or "it was not reached"
        known = "; whether it was written is not known" if write.sends else ""
        error = HubError(f"given up after a day: {told}{known}")
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
        """It has its end; whoever comes second with one changes nothing and tells nothing."""
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
        settled = await self._store.write(soul_writes.settle, write, end, kept=self.kept)
        for ended in self._settled.get(write.id, ()):
            ended.set()
        if settled is None:
            return
        self._metrics.soul_writes.labels(to).inc()
        told = {"agent_id": write.agent_id, "write_id": write.id, "place": where, "sends": write.sends}
        match to:
            case SoulWriteState.DONE:
                log.info("soul.written", **told, sha256=write.sha256)
            case SoulWriteState.CONFLICT:
                expected = settled.expected_sha256
                log.warning("soul.conflict", **told, expected=expected, found=settled.found_sha256)
            case SoulWriteState.FAILED:
                log.warning("soul.failed", **told, code=settled.reason_code)

    # --- small things ---

    async def place_of(self, agent_id: AgentId) -> SoulPlace:
        """Where the soul of an agent is kept.

        Raises:
            UnknownAgent: it is there no more.
        """
        place = await self._store.read(souls.find_place, agent_id)
        if place is None:
            raise UnknownAgent(f"there is no agent {agent_id}")
        return place

    async def note(self, agent_id: AgentId, home: SoulHome, soul: Soul, since: int) -> None:
        """Keep what was found in the history, if it is news."""
        if await self._store.read(souls.last_there, agent_id) == soul.sha256:
            return  # as nearly always; then nothing is written
        is_new = await self._store.write(
            souls.note_seen,
            agent_id,
            soul.content,
            actor=home.place,
            at=self._at(),
            kept=self.kept,
            since=since,
        )
        if is_new:
            log.info("soul.seen", agent_id=agent_id, place=home.place, sha256=soul.sha256)

    async def _put_off(self, write: SoulWriteRow, error: HubError, wait_ms: int) -> None:
        until = self._at() + wait_ms
        problem = str(error)[:2_000]
        if await self._store.write(
            soul_writes.put_off, write, until=until, reason_code=error.code, problem=problem
        ):
            log.info("soul.waits", agent_id=write.agent_id, write_id=write.id, code=error.code)

    async def _wait(self, event: anyio.Event, seconds: float) -> None:
        """Until so much time has gone by, or *event*."""
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
    """How long a write is left alone that was tried in vain: as long as it is old, within bounds."""
    asked = getattr(error, "retry_after_ms", None) or 0
    return max(asked, min(AGAIN_CAP_MS, max(AGAIN_MS, age_ms)))

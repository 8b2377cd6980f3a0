"""Tells devices that a slot of an agent's calendar has come, until they say that they know.

The scheduler makes a row of each slot that has come; here it is brought to its end. It is
told while the agent's gates are open (scheduling 3.9), again with back-off until it is
answered, and not at all once the slot is over. The row's id is the call's, so a device
that is told twice, by a hub that was killed in between or by another one, answers once.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

import anyio
import msgspec
from anyio.abc import TaskGroup, TaskStatus

from hub.clock import Clock, IdFactory, epoch_ms
from hub.links.link import DeviceLink
from hub.log import Channel
from hub.metrics import Metrics
from hub.turns import Turns
from protocol.errors import CallTimedOut, DeliveryError, DeviceGone
from protocol.ids import CallId, DeviceId
from protocol.work import Action, ToolCall
from storage.audit import activity
from storage.kernel.database import StorageError
from storage.schedules import calendar_wakeups
from storage.schedules.calendar_wakeups import WakeDecision, WakeEnd, WakeSight
from storage.store import Store

log = Channel(__name__)

POLL_S: Final = 2.0  # while one is open: an agent that has become idle, or is back, is woken so soon
REST_S: Final = 30.0  # while none is; the scheduler says so when one comes
ANSWER_S: Final = 60.0  # scheduling 3.9
AGAIN_MS, AGAIN_CAP_MS = 5_000, 300_000  # after a try that was not answered, doubled with each
NO_LINK_MS: Final = 60_000  # until a device that cannot is looked at again: it may come back and can
RECOVERY_MS: Final = 2_000  # until an agent is looked at again whose quota ought to be back by now
AT_ONCE: Final = 500  # told and not answered yet; and rows in one look
ACTOR: Final = "scheduler"


@dataclass(frozen=True)
class Over:
    """It is not to be told any more. *decision* is that of its fire, *reason* a stable word."""

    to: WakeEnd
    decision: WakeDecision
    reason: str


@dataclass(frozen=True)
class Deferred:
    """The agent's quota is back within the slot: not before *until*, in epoch milliseconds."""

    until: int


@dataclass(frozen=True)
class Told:
    """Its gates are open: the device is to be told now."""


Fate: TypeAlias = Over | Deferred | Told


def fate_of(wake: WakeSight, at: int) -> Fate:
    """What is to be done about a wake that something can be done about. Pure."""
    is_over = wake.ends_at <= at
    if wake.is_gone:
        return Over("skipped", "skipped_paused", "slot_removed")
    if wake.lifecycle != "active":
        return Over("skipped", "skipped_paused", "agent_paused")
    if wake.availability == "exhausted":
        if is_over or wake.recovery_at is None or wake.recovery_at >= wake.ends_at:
            return Over("skipped", "skipped_exhausted", "exhausted")
        return Deferred(max(wake.recovery_at, at + RECOVERY_MS))
    return Over("failed", "wake_failed", _why_not(wake)) if is_over else Told()


def _why_not(wake: WakeSight) -> str:
    """Why nobody answered until the slot was over."""
    if wake.connectivity != "online":
        return "device_offline"
    if wake.sends == 0 and (wake.runs_waiting or wake.runs_executing):
        return "busy"
    return wake.reason or ("no_answer" if wake.sends else "hub_down")


class Wakes:
    """Brings every wake to its end."""

    def __init__(
        self,
        *,
        store: Store,
        find_link: Callable[[DeviceId], DeviceLink | None],
        clock: Clock,
        ids: IdFactory,
        metrics: Metrics,
        answer_s: float = ANSWER_S,
    ) -> None:
        """How they are told.

        Args:
            find_link: the device, if it is connected to this hub.
            answer_s: how long a device has to answer before it is told again.
        """
        self.turns = Turns(clock)
        self.answer_s = answer_s
        self._store = store
        self._find_link = find_link
        self._clock = clock
        self._ids = ids
        self._metrics = metrics
        self._in_hand: set[str] = set()
        self._wake = anyio.Event()

    def look_again(self) -> None:
        """A slot has come, or a device."""
        self._wake.set()

    async def serve(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Bring wakes to their end until cancelled. What was told and not answered is told again later."""
        task_status.started()
        is_alone = not self._store.is_shared
        self._in_hand.clear()
        async with anyio.create_task_group() as tellers:
            while True:
                self._wake = anyio.Event()  # before looking: what is told meanwhile is looked at next time
                self.turns.work()
                rest_s = POLL_S
                try:
                    if is_alone:  # once: whoever told a device before is gone
                        await self._store.write(calendar_wakeups.resend, self._at())
                        is_alone = False
                    rest_s = await self._look(tellers)
                except StorageError as exc:
                    log.error("wake.database", exc=exc)
                except Exception as exc:  # the loop that must survive
                    log.error("wake.broke", exc=exc)
                self.turns.wait(rest_s)
                await self._wait(rest_s)

    async def _look(self, tellers: TaskGroup) -> float:
        """Do all that can be done now; returns for how many seconds nothing is."""
        at = self._at()
        for wake in await self._store.read(calendar_wakeups.look, at, AT_ONCE):
            if wake.id in self._in_hand:
                continue  # its answer, or the end of its time, says what becomes of it
            self.turns.work()
            match fate_of(wake, at):
                case Over() as over:
                    await self._settle(wake, over.to, over.decision, over.reason)
                case Deferred(until):
                    await self._store.write(
                        calendar_wakeups.put_off,
                        wake,
                        at=at,
                        next_at=until,
                        reason="exhausted",
                        is_deferred=True,
                    )
                case Told():
                    await self._begin(wake, tellers)
        return POLL_S if await self._store.read(calendar_wakeups.is_any_open) else REST_S

    async def _begin(self, wake: WakeSight, tellers: TaskGroup) -> None:
        """Let the device be told, if it is connected here; another hub tells its own."""
        link = None if wake.device_id is None else self._find_link(wake.device_id)
        if link is None or len(self._in_hand) >= AT_ONCE:
            return
        if not link.can(Action.AGENT_WAKE):
            await self._put_off(wake, "unsupported", NO_LINK_MS)
            return
        at, tries = self._at(), wake.sends + 1
        again = at + round(self.answer_s * 1_000) + _again_ms(tries)
        if await self._store.write(calendar_wakeups.take, wake, at=at, next_at=again):
            self._in_hand.add(wake.id)
            taken = msgspec.structs.replace(wake, state="sent", sends=tries)
            tellers.start_soon(self._tell, taken, link)

    async def _tell(self, wake: WakeSight, link: DeviceLink) -> None:
        """Tell the device once, and write down what it says."""
        try:
            log.info("wake.sent", wake_id=wake.id, agent_id=wake.agent_id, sends=wake.sends)
            reason = await self._ask(wake, link)
            if reason is None:
                await self._settle(wake, "acknowledged", "woken", None)
            else:
                await self._put_off(wake, reason, _again_ms(wake.sends))
        except StorageError as exc:  # its row says when it is told again
            log.error("wake.database", exc=exc)
        finally:
            self._in_hand.discard(wake.id)

    async def _ask(self, wake: WakeSight, link: DeviceLink) -> str | None:
        """Why the device does not know now; ``None``: it does."""
        rest_ms = max(1, wake.ends_at - self._at())
        frame = ToolCall(
            id=CallId(wake.id),
            action=Action.AGENT_WAKE,
            data={
                "wake_id": wake.id,
                "agent_id": wake.agent_id,
                "label": wake.label,
                "starts_at": wake.fire_at,
                "ends_at": wake.ends_at,
            },
            agent_id=wake.agent_id,
            deadline_ms=min(rest_ms, round(self.answer_s * 1_000)),
        )
        try:
            answer = await link.call(frame)
        except CallTimedOut:
            self._metrics.limits_reached.labels("wake_answer_s").inc()
            return "no_answer"
        except DeviceGone:
            return "device_offline"
        except DeliveryError:  # it has more open calls than it may, or is slow: nothing has left
            return "no_answer"
        if answer.error is None:
            return None
        log.warning("wake.refused", wake_id=wake.id, agent_id=wake.agent_id, code=answer.error.code)
        return "refused"

    async def _put_off(self, wake: WakeSight, reason: str, wait_ms: int) -> None:
        at = self._at()
        await self._store.write(calendar_wakeups.put_off, wake, at=at, next_at=at + wait_ms, reason=reason)

    async def _settle(self, wake: WakeSight, to: WakeEnd, decision: WakeDecision, reason: str | None) -> None:
        """It is over; whoever comes second with that changes nothing and tells nothing."""
        at = self._at()
        if not await self._store.write(calendar_wakeups.settle, wake.id, to, decision, at=at, reason=reason):
            return
        self._metrics.wakes.labels(decision).inc()
        log.info(
            "wake.settled",
            wake_id=wake.id,
            agent_id=wake.agent_id,
            schedule_id=wake.schedule_id,
            fire_at=wake.fire_at,
            decision=decision,
            reason=reason,
            sends=wake.sends,
        )
        if to == "failed":
            await self._store.write(
                activity.record,
                id=self._ids.fresh(),
                at=at,
                event_type="agent.wake_failed",
                level="warning",
                message=f"Not woken for {wake.label}",
                agent_id=wake.agent_id,
                actor=ACTOR,
                data={"wake_id": wake.id, "reason": reason},
            )

    async def _wait(self, seconds: float) -> None:
        """Until so much time has gone by, or somebody says to look again."""
        async with anyio.create_task_group() as waiting:
            waiting.start_soon(self._wake_after, seconds)
            await self._wake.wait()
            waiting.cancel_scope.cancel()

    async def _wake_after(self, seconds: float) -> None:
        await self._clock.sleep(seconds)
        self._wake.set()

    def _at(self) -> int:
        return epoch_ms(self._clock.now())


def _again_ms(tries: int) -> int:
    """How long a device is left alone after so many tries that were not answered."""
    return int(min(AGAIN_CAP_MS, AGAIN_MS * 2 ** min(tries - 1, 10)))

"""Wake calls to devices at the begin of a calendar slot: when sent, repeated or dropped.

The scheduler creates a row for each slot that begins; this module settles it. The call is sent while the
agent's gates are open, repeated with backoff until it is answered, and dropped when the slot is over. The
row's id is the call's id, so a device that gets the call twice, after a crash or from another hub, answers
once.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

import anyio
import anyio.lowlevel
import msgspec
from anyio.abc import TaskGroup, TaskStatus

from hub.base.clock import Clock, IdFactory, now_ms
from hub.base.log import Channel
from hub.base.metrics import Metrics
from hub.base.periodic_loop import PeriodicLoop
from hub.links.device_link import DeviceLink
from hub.runs.scheduler import ACTOR
from protocol.errors import CallTimedOut, DeliveryError, LinkLost
from protocol.ids import CallId, DeviceId
from protocol.tool_calls import Action, ToolCall
from storage import audit
from storage.kernel.database import StorageError
from storage.schedules import wakes as schedules_wakes
from storage.schedules.wakes import WakeDecision, WakeEnd, WakeProjection
from storage.store import Store

log = Channel(__name__)

# while a wake is open; upper bound of the delay for an agent that becomes idle or reconnects
WAKEUPS_POLL_S: Final = 2.0

REST_S: Final = 30.0  # while no wake is open; the scheduler notifies of a new one

ANSWER_S: Final = 60.0

# until a device without this capability is checked again: it may reconnect with it
NO_LINK_MS: Final = 60_000

RECOVERY_MS: Final = 2_000  # until an agent is checked again whose quota should be available

AT_ONCE: Final = 500  # calls in flight; and rows per read
AGAIN_MS, AGAIN_CAP_MS = 5_000, 300_000  # after an unanswered attempt, doubled with each


@dataclass(frozen=True)
class DroppedWake:
    """The wake is dropped. *decision* is that of its fire, *reason* a stable word."""

    to: WakeEnd
    decision: WakeDecision
    reason: str


def fate_of(wake: WakeProjection, at: int) -> DroppedWake | int:
    """Return how a wake is dropped, or when its call is due, which is now or when its quota returns."""
    is_over = wake.ends_at <= at
    if wake.is_removed:
        return DroppedWake("skipped", "skipped_paused", "slot_removed")
    if wake.lifecycle != "active":
        return DroppedWake("skipped", "skipped_paused", "agent_paused")
    if wake.availability == "exhausted":
        if is_over or wake.recovery_at is None or wake.recovery_at >= wake.ends_at:
            return DroppedWake("skipped", "skipped_exhausted", "exhausted")
        return max(wake.recovery_at, at + RECOVERY_MS)
    return DroppedWake("failed", "wake_failed", _why_not(wake)) if is_over else at


def _why_not(wake: WakeProjection) -> str:
    """Return why the wake was not answered until its slot was over."""
    if wake.connectivity != "online":
        return "device_offline"
    if wake.sends == 0 and (wake.runs_waiting or wake.runs_executing):
        return "busy"
    return wake.reason or ("no_answer" if wake.sends else "hub_down")


class WakeDelivery:
    """Settles every wake."""

    def __init__(
        self,
        *,
        store: Store,
        find_link: Callable[[DeviceId], DeviceLink | None],
        clock: Clock,
        ids: IdFactory,
        metrics: Metrics,
    ) -> None:
        """Set up the service.

        Args:
            find_link: returns the device's link if it is connected to this hub.
        """
        self.loop = PeriodicLoop(clock)
        self._store = store
        self._find_link = find_link
        self._clock = clock
        self._ids = ids
        self._metrics = metrics
        self._in_flight: set[str] = set()
        self._is_first = False

    def recheck(self) -> None:
        """Wake the loop, because a slot has begun or a device has connected."""
        self.loop.wake()

    async def serve(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Process the calendar wake-ups of agents until cancelled. Unanswered ones are repeated later."""
        task_status.started()
        self._is_first = not self._store.is_shared
        self._in_flight.clear()
        async with anyio.create_task_group() as tasks:
            await self.loop.serve(partial(self._process, tasks), of="wakes", every_s=WAKEUPS_POLL_S)

    async def _process(self, tasks: TaskGroup) -> float:
        """Process all open wakes. Return the seconds until the next round."""
        if self._is_first:  # the answers to calls of an earlier boot are lost
            await self._store.write(schedules_wakes.resend, now_ms(self._clock))
            self._is_first = False
        at = now_ms(self._clock)
        due = await self._store.read(schedules_wakes.due_wakes, at, AT_ONCE)
        if now_ms(self._clock) < at:  # it was set back meanwhile, and slots up to the old time are ahead
            return 0.0
        for wake in due:
            if wake.id in self._in_flight:
                continue  # its call in flight will settle or postpone it
            self.loop.work()
            fate = fate_of(wake, at)
            if isinstance(fate, DroppedWake):
                await self._settle(wake, fate.to, fate.decision, fate.reason)
            elif fate > at:
                await self._store.write(
                    schedules_wakes.postpone, wake, at=at, next_at=fate, reason="exhausted", is_deferred=True
                )
            else:
                await self._begin(wake, tasks)
        return WAKEUPS_POLL_S if await self._store.read(schedules_wakes.is_any_open) else REST_S

    async def _begin(self, wake: WakeProjection, tasks: TaskGroup) -> None:
        """Start the call if the device is connected to this hub; other hubs call their own devices."""
        link = None if wake.device_id is None else self._find_link(wake.device_id)
        if link is None or len(self._in_flight) >= AT_ONCE:
            return
        if not link.can(Action.AGENT_WAKE):
            await self._postpone(wake, "unsupported", NO_LINK_MS)
            return
        at, tries = now_ms(self._clock), wake.sends + 1
        again = at + round(ANSWER_S * 1_000) + _again_ms(tries)
        if await self._store.write(schedules_wakes.claim_wake, wake, at=at, next_at=again):
            self._in_flight.add(wake.id)
            taken = msgspec.structs.replace(wake, state="sent", sends=tries)
            tasks.start_soon(self._send, taken, link)

    async def _send(self, wake: WakeProjection, link: DeviceLink) -> None:
        """Send the call once, and store its result."""
        try:
            log.info("wake.sent", wake_id=wake.id, agent_id=wake.agent_id, sends=wake.sends)
            reason = await self._ask(wake, link)
            if reason is None:
                await self._settle(wake, "acknowledged", "woken", None)
            else:
                await self._postpone(wake, reason, _again_ms(wake.sends))
        except StorageError as exc:  # the row has the time of the next attempt
            log.error("wake.database", exc=exc)
        finally:
            self._in_flight.discard(wake.id)

    async def _ask(self, wake: WakeProjection, link: DeviceLink) -> str | None:
        """Call the device. Return None if it acknowledged, else the reason."""
        rest_ms = max(1, wake.ends_at - now_ms(self._clock))
        frame = ToolCall(
            id=CallId(wake.id),
            action=Action.AGENT_WAKE,
            data={
                "wake_id": wake.id,
                "agent_id": wake.agent_id,
                "external_id": wake.external_id,
                "label": wake.label,
                "starts_at": wake.fire_at,
                "ends_at": wake.ends_at,
            },
            agent_id=wake.agent_id,
            deadline_ms=min(rest_ms, round(ANSWER_S * 1_000)),
        )
        try:
            answer = await link.call(frame)
        except CallTimedOut:
            self._metrics.limits_reached.labels("wake_answer_s").inc()
            return "no_answer"
        except LinkLost:
            return "device_offline"
        except DeliveryError:  # too many open calls, or a slow device: nothing was sent
            return "no_answer"
        if answer.error is None:
            return None
        log.warning("wake.refused", wake_id=wake.id, agent_id=wake.agent_id, code=answer.error.code)
        return "refused"

    async def _postpone(self, wake: WakeProjection, reason: str, wait_ms: int) -> None:
        at = now_ms(self._clock)
        await self._store.write(schedules_wakes.postpone, wake, at=at, next_at=at + wait_ms, reason=reason)

    async def _settle(
        self, wake: WakeProjection, to: WakeEnd, decision: WakeDecision, reason: str | None
    ) -> None:
        """Settle a wake. Does nothing if it was settled already."""
        at = now_ms(self._clock)
        if not await self._store.write(schedules_wakes.settle, wake.id, to, decision, at=at, reason=reason):
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
                audit.record,
                id=self._ids.fresh(),
                at=at,
                event_type="agent.wake_failed",
                level="warning",
                message=f"Not woken for {wake.label}",
                agent_id=wake.agent_id,
                actor=ACTOR,
                data={"wake_id": wake.id, "reason": reason},
            )


def _again_ms(tries: int) -> int:
    """Return the milliseconds before the next call, after *tries* unanswered calls."""
    return int(min(AGAIN_CAP_MS, AGAIN_MS * 2 ** min(tries - 1, 10)))

"""The ``DeviceLink`` of one welcomed connection, with its calls and streams.

The connection owns the link and passes frames to it. When the connection ends, ``over`` ends all calls and
streams at once with one reason.

Calls that a device has not answered yet. One ``PendingCalls`` belongs to one connection. When the connection
ends, all of its open calls end at once with the reason.

A call is registered before its frame is sent, because the answer may arrive while sending. An answer to a
call that is not open is reported to the caller of ``settle``, and changes nothing.
"""

import asyncio
import math
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Protocol

from hub.clock import Clock
from hub.links.auth import Admission
from hub.links.deadlines import DeadlineWheel, Slot
from hub.links.limits import LinkLimits
from hub.links.link import ALWAYS, ALWAYS_ACTIONS, RoundTrip, RunFrame, RunStream
from hub.links.streams import RunStreams
from hub.metrics import Metrics
from protocol.calls import refused_by_owner
from protocol.errors import (
    CallNotGranted,
    CallTimedOut,
    CallUnsupported,
    CloseCode,
    DeliveryError,
    DeviceSlow,
    LinkLost,
    LocalProtocolError,
    TooManyCalls,
)
from protocol.frame import MAX_PENDING_CALLS, Frame
from protocol.handshake import CAPABILITY_OF, CapabilityName, Client, Goodbye
from protocol.work import Action, AgentRun, Answer, ToolCall, ToolCalls


class Carrier(Protocol):
    """Operations that a link needs from its connection."""

    @property
    def buffered_bytes(self) -> int:
        """Bytes for the device that have not left the process."""
        ...

    @property
    def round_trip(self) -> RoundTrip | None:
        """Newest round trip of the connection."""
        ...

    def send_now(self, frame: Frame) -> None:
        """Send without waiting, or raise ``LinkLost`` or ``DeviceSlow``."""
        ...

    def end(self, goodbye: Goodbye, close: CloseCode) -> None:
        """Send the goodbye and close. Safe to call twice."""
        ...

    async def wait_closed(self) -> None:
        """Wait until the socket is closed."""
        ...


class OpenLink:
    """A ``LocalLink``. See ``DeviceLink`` for the contract of its methods."""

    __slots__ = (
        "_calls",
        "_carrier",
        "_clock",
        "_metrics",
        "_streams",
        "capabilities",
        "client",
        "credential",
        "device_id",
        "epoch",
        "expires_at",
        "offers",
        "owner_grants",
        "roots",
        "settle",
        "user_id",
    )

    def __init__(
        self,
        carrier: Carrier,
        admission: Admission,
        offers: Mapping[str, str],
        owner_grants: Mapping[str, Collection[str]],
        *,
        client: Client | None,
        roots: Sequence[str],
        wheel: DeadlineWheel,
        clock: Clock,
        metrics: Metrics,
        limits: LinkLimits,
    ) -> None:
        self.device_id = admission.device_id
        self.user_id = admission.user_id
        self.epoch = admission.epoch
        self.credential = admission.credential
        self.expires_at = admission.expires_at
        self.offers = offers
        self.owner_grants = owner_grants
        self.client = client
        self.roots = roots
        self.capabilities = frozenset(offers)
        self._carrier = carrier
        self._clock = clock
        self._metrics = metrics
        self._calls = PendingCalls(wheel, clock, most=limits.pending_calls)
        self.settle = self._calls.settle  # for the connection
        self._streams = RunStreams(
            send=carrier.send_now,
            has_credit=CapabilityName.AGENT_DATA_CREDIT in offers,
            spool_dir=limits.spool_dir,
            memory_bytes=limits.spool_memory_bytes,
        )

    # --- for the rest of the hub ---

    @property
    def round_trip(self) -> RoundTrip | None:
        """Newest round trip of the connection, or None before the first."""
        return self._carrier.round_trip

    def can(self, capability: str) -> bool:
        """Return True if the device listed the capability, or if every device has it."""
        return capability in self.capabilities or capability in ALWAYS

    async def call(self, frame: ToolCall) -> Answer:
        """Send one tool_call and return its answer."""
        self._check(frame)
        monotonic = self._clock.monotonic
        began = monotonic()
        outcome = "not_sent"
        try:
            pending = self._calls.open(frame.id, began, frame.deadline_ms / 1000)
            try:
                self._carrier.send_now(frame)
                outcome = "cancelled"
                answer = await pending
            except BaseException:  # an answer closes its call by itself
                self._calls.close(frame.id)
                raise
            outcome = "answered" if answer.error is None else "refused"
            return answer
        except TooManyCalls:
            self._metrics.limits_reached.labels("pending_calls").inc()
            raise
        except CallTimedOut:
            self._metrics.limits_reached.labels("call_timeout_s").inc()
            outcome = "timed_out"
            raise
        except LinkLost:
            outcome = "device_gone"
            raise
        finally:
            self._metrics.frames.calls.observe((frame.action, outcome), monotonic() - began)

    async def call_many(self, frames: Sequence[ToolCall]) -> list[Answer | DeliveryError]:
        """Send calls, in one frame if the device can take it, and return what became of each."""
        for frame in frames:
            self._check(frame)
        clock = self._clock
        began = clock.monotonic()
        batch = _Batch(len(frames))
        outcomes: list[Answer | DeliveryError] | None = None
        unfinished = "not_sent"
        opened = 0
        try:
            for frame, place in zip(frames, batch.places, strict=True):
                self._calls.enter(frame.id, began, frame.deadline_ms / 1000, place)
                opened += 1
            if CapabilityName.TOOL_CALLS in self.capabilities:
                self._carrier.send_now(ToolCalls(calls=[*frames]))
            else:
                self._send_each(frames, batch)
            unfinished = "cancelled"
            outcomes = await batch.filled
            return outcomes
        except TooManyCalls:
            self._metrics.limits_reached.labels("pending_calls").inc()
            raise
        finally:
            for frame in frames[:opened]:
                self._calls.close(frame.id)
            took_s = clock.monotonic() - began
            for index, frame in enumerate(frames):
                outcome = unfinished if outcomes is None else _name_of(outcomes[index])
                if outcome == "timed_out":
                    self._metrics.limits_reached.labels("call_timeout_s").inc()
                self._metrics.frames.calls.observe((frame.action, outcome), took_s)

    def _send_each(self, frames: Sequence[ToolCall], batch: "_Batch") -> None:
        """Send calls in frames of their own; those after a full buffer, or after the end, are not sent."""
        for index, frame in enumerate(frames):
            try:
                self._carrier.send_now(frame)
            except (DeviceSlow, LinkLost) as error:
                for place in batch.places[index:]:
                    place.set_exception(error)
                return

    def _check(self, frame: ToolCall) -> None:
        if frame.action not in ALWAYS_ACTIONS and CAPABILITY_OF[frame.action] not in self.capabilities:
            raise CallUnsupported(f"the device does not list {frame.action}")
        # A verdict that was sent before is sent again without the grant, for its answer: its sender decides.
        is_verdict = frame.action is Action.REVIEW_APPLY
        if not is_verdict and (why := refused_by_owner(frame, self.owner_grants)) is not None:
            raise CallNotGranted(why)

    @asynccontextmanager
    async def open_run(self, frame: AgentRun) -> AsyncIterator[RunStream]:
        """Open a run and yield the stream of its frames."""
        with self._streams.open(frame) as stream:
            # sent after opening, because the first frame may arrive before control returns here
            self._carrier.send_now(frame)
            try:
                yield stream
            finally:
                with suppress(LinkLost, DeviceSlow):  # the end of the connection also ends the run
                    stream.cancel("the hub stopped reading")

    async def send(self, frame: Frame) -> None:
        """Send a frame that has no answer."""
        self._carrier.send_now(frame)

    # --- for the roster ---

    @property
    def pending_calls(self) -> int:
        """Number of calls without an answer."""
        return len(self._calls)

    @property
    def buffered_bytes(self) -> int:
        """Bytes for the device that have not left the process."""
        return self._carrier.buffered_bytes

    def end(self, goodbye: Goodbye, close: CloseCode) -> None:
        """Send the goodbye, end calls and streams, and close the socket. Safe to call twice."""
        self._carrier.end(goodbye, close)

    async def wait_closed(self) -> None:
        """Wait until the socket is closed."""
        await self._carrier.wait_closed()

    # --- for the connection ---

    def has_asked_for(self, frame: RunFrame) -> bool:
        """Return True if an open run asked for *frame*; call this before ``put``."""
        return self._streams.has_asked_for(frame)

    def put(self, frame: RunFrame) -> str | None:
        """Queue a frame of a run. Return the reason as one word if it was dropped, else None.

        Raises:
            RemoteProtocolError: the device exceeded its credit.
        """
        return self._streams.put(frame)

    def over(self, reason: str) -> None:
        """End all calls and streams because the connection has ended."""
        self._calls.end(reason)
        self._streams.end(reason)


def _name_of(outcome: Answer | DeliveryError) -> str:
    """Return the name of a call's outcome in metrics."""
    if isinstance(outcome, Answer):
        return "answered" if outcome.error is None else "refused"
    if isinstance(outcome, LinkLost):
        return "device_gone"
    return "timed_out" if isinstance(outcome, CallTimedOut) else "not_sent"


class _Place:
    """Place of one answer in a batch: ``PendingCalls`` uses it like the future of a single call."""

    __slots__ = ("_batch", "outcome")

    def __init__(self, batch: "_Batch") -> None:
        self._batch = batch
        self.outcome: Answer | DeliveryError | None = None

    def done(self) -> bool:
        return self.outcome is not None

    def cancelled(self) -> bool:
        return False

    def exception(self) -> None:
        return None

    def set_result(self, answer: Answer) -> None:
        self.outcome = answer
        self._batch.count_down()

    def set_exception(self, error: DeliveryError) -> None:
        self.outcome = error
        self._batch.count_down()


class _Batch:
    """Calls that are awaited together. *filled* resolves to their outcomes, in order."""

    __slots__ = ("_left", "filled", "places")

    def __init__(self, size: int) -> None:
        self.filled: asyncio.Future[list[Answer | DeliveryError]] = asyncio.get_running_loop().create_future()
        self.places = [_Place(self) for _ in range(size)]
        self._left = size

    def count_down(self) -> None:
        """Resolve the batch once its last place is filled."""
        self._left -= 1
        if not self._left and not self.filled.done():
            self.filled.set_result([place.outcome for place in self.places if place.outcome is not None])


class PendingCalls:
    """Open calls of one connection, by id: a future, the deadline and the time limit of each, in seconds.

    The wheel has one entry for all of them, at the earliest deadline that was known when it was added: most
    calls are answered long before theirs, so that an entry for each would cost more than the rest.
    """

    __slots__ = ("_clock", "_due", "_due_at", "_ended", "_loop", "_most", "_open", "_wheel")

    def __init__(self, wheel: DeadlineWheel, clock: Clock, *, most: int = MAX_PENDING_CALLS) -> None:
        self._wheel = wheel
        self._clock = clock
        self._loop = asyncio.get_running_loop()  # cached, because the lookup costs a system call
        self._most = most
        self._open: dict[str, tuple[asyncio.Future[Answer] | _Place, float, float]] = {}
        self._due: Slot | None = None  # where the wheel has this object
        self._due_at = math.inf
        self._ended: str | None = None

    def __len__(self) -> int:
        return len(self._open)

    def open(self, call_id: str, began: float, timeout_s: float) -> asyncio.Future[Answer]:
        """Return the future of the answer to *call_id*; ``close`` the call if there was none.

        The future raises CallTimedOut *timeout_s* after *began* (monotonic seconds), and LinkLost when the
        connection ends.

        Raises:
            TooManyCalls: the limit of open calls is reached.
            LinkLost: the connection has ended; ``dispatched`` is False.
            LocalProtocolError: a call with this id is open on this connection already.
        """
        future = self._loop.create_future()
        self.enter(call_id, began, timeout_s, future)
        return future

    def enter(
        self, call_id: str, began: float, timeout_s: float, future: "asyncio.Future[Answer] | _Place"
    ) -> None:
        """Open a call whose answer *future* takes, as ``open`` does."""
        calls = self._open
        if self._ended is not None:
            raise LinkLost(f"the connection ended ({self._ended})", dispatched=False)
        if call_id in calls:
            raise LocalProtocolError(f"call {call_id} is open on this connection already")
        if len(calls) >= self._most:
            raise TooManyCalls(f"{self._most} calls are open; none is sent until one is settled")
        deadline = began + timeout_s
        calls[call_id] = future, deadline, timeout_s
        if deadline < self._due_at:
            self._wait_until(deadline)

    def close(self, call_id: str) -> None:
        """Forget a call without an answer; a later answer to it is unknown."""
        call = self._open.pop(call_id, None)  # None: cancelled in the same turn in which it was answered
        if call is not None and call[0].done() and not call[0].cancelled():
            call[0].exception()  # mark it as retrieved, so that asyncio does not log it

    def settle(self, call_id: str, answer: Answer) -> bool:
        """Deliver *answer* to its call. Return False if no open call has this id."""
        call = self._open.pop(call_id, None)
        if call is None:
            return False
        future = call[0]
        if future.done():  # it has failed, and is closed by its caller
            self._open[call_id] = call
            return False
        future.set_result(answer)
        return True

    def end(self, reason: str) -> None:
        """Fail all open calls because the connection has ended, and refuse new calls."""
        if self._ended is not None:
            return
        self._ended = reason
        self._wait_until(math.inf)
        for call_id, (future, _, _) in self._open.items():
            if not future.done():
                error = LinkLost(f"call {call_id}: the connection ended ({reason})", dispatched=True)
                future.set_exception(error)

    def run_late(self) -> None:
        """Fail the calls whose deadline has passed; called by the wheel."""
        now = self._clock.monotonic()
        next_at = math.inf
        for call_id, (future, deadline, timeout_s) in self._open.items():
            if deadline > now:
                next_at = min(next_at, deadline)
            elif not future.done():
                future.set_exception(CallTimedOut(f"call {call_id}: no answer within {timeout_s:g} s"))
        self._due = None
        self._wait_until(next_at)

    def _wait_until(self, deadline: float) -> None:
        if self._due is not None:
            self._due.discard(self)
        self._due_at = deadline
        self._due = None if deadline == math.inf else self._wheel.add(self, deadline)

"""The ``DeviceLink`` of one welcomed connection, with its calls and streams.

The connection owns the link and passes frames to it. When the connection ends, ``over`` ends all calls and
streams at once with one reason.

Calls that a device has not answered yet. One ``PendingCalls`` belongs to one connection. When the connection
ends, all of its open calls end at once with the reason.

A call is registered before its frame is sent, because the answer may arrive while sending. It is removed at
the end of its block. An answer to a call that is not open is reported to the caller of ``settle``, and
changes nothing.
"""

import asyncio
from collections.abc import AsyncIterator, Collection, Generator, Mapping
from contextlib import asynccontextmanager, suppress
from types import TracebackType
from typing import Any, Protocol

from hub.clock import Clock
from hub.links.auth import Admission
from hub.links.deadlines import DeadlineWheel, Slot
from hub.links.limits import LinkLimits
from hub.links.link import ALWAYS, ALWAYS_ACTIONS, RunFrame, RunStream
from hub.links.streams import RunStreams
from hub.metrics import Metrics
from protocol.calls import refused_by_owner
from protocol.errors import (
    CallNotGranted,
    CallTimedOut,
    CallUnsupported,
    CloseCode,
    DeviceSlow,
    LinkLost,
    LocalProtocolError,
    TooManyCalls,
)
from protocol.frame import MAX_PENDING_CALLS, Frame
from protocol.handshake import CAPABILITY_OF, CapabilityName, Goodbye
from protocol.ids import CallId
from protocol.work import AgentRun, Answer, ToolCall


class Carrier(Protocol):
    """Operations that a link needs from its connection."""

    @property
    def buffered_bytes(self) -> int:
        """Bytes for the device that have not left the process."""
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
        "credential",
        "device_id",
        "epoch",
        "expires_at",
        "offers",
        "owner_grants",
        "user_id",
    )

    def __init__(
        self,
        carrier: Carrier,
        admission: Admission,
        offers: Mapping[str, str],
        owner_grants: Mapping[str, Collection[str]],
        *,
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
        self.capabilities = frozenset(offers)
        self._carrier = carrier
        self._clock = clock
        self._metrics = metrics
        self._calls = PendingCalls(wheel, most=limits.pending_calls)
        self._streams = RunStreams(
            send=carrier.send_now,
            has_credit=CapabilityName.AGENT_DATA_CREDIT in offers,
            spool_dir=limits.spool_dir,
            memory_bytes=limits.spool_memory_bytes,
        )

    # --- for the rest of the hub ---

    def can(self, capability: str) -> bool:
        """Return True if the device listed the capability, or if every device has it."""
        return capability in self.capabilities or capability in ALWAYS

    async def call(self, frame: ToolCall) -> Answer:
        """Send one tool_call and return its answer."""
        if frame.action not in ALWAYS_ACTIONS and CAPABILITY_OF[frame.action] not in self.capabilities:
            raise CallUnsupported(f"the device does not list {frame.action}")
        if (why := refused_by_owner(frame, self.owner_grants)) is not None:
            raise CallNotGranted(why)
        clock = self._clock
        began = clock.monotonic()
        outcome = "not_sent"
        try:
            with self._calls.expect(CallId(frame.id), frame.deadline_ms / 1000) as pending:
                self._carrier.send_now(frame)
                outcome = "cancelled"
                answer = await pending
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
            self._metrics.frames.calls.observe((str(frame.action), outcome), clock.monotonic() - began)

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

    def settle(self, call_id: CallId, answer: Answer) -> bool:
        """Deliver an answer to its call. Return False if no open call has the id."""
        return self._calls.settle(call_id, answer)

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


class PendingCall:
    """An open call inside its ``with`` block. Await it for the answer.

    Raises, when awaited:
        CallTimedOut: the deadline passed.
        LinkLost: the connection ended after the frame was handed over.
    """

    __slots__ = ("_calls", "_future", "_slot", "_timeout_s", "call_id")

    def __init__(self, calls: "PendingCalls", call_id: CallId, timeout_s: float) -> None:
        self._calls = calls
        self._timeout_s = timeout_s
        self.call_id = call_id

    def __enter__(self) -> "PendingCall":
        self._slot, self._future = self._calls._admit(self, self._timeout_s)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._slot.discard(self)
        self._calls._open.pop(self.call_id, None)
        if self._future.done() and error is not None and not self._future.cancelled():
            self._future.exception()  # mark the exception as retrieved, so that asyncio does not log it

    def __await__(self) -> Generator[Any, None, Answer]:
        return self._future.__await__()

    def run_late(self) -> None:
        """Fail the call because its deadline has passed; called by the wheel."""
        self.fail(CallTimedOut(f"call {self.call_id}: no answer within {self._timeout_s:g} s"))

    def fail(self, error: Exception) -> None:
        """End the call with an error instead of an answer."""
        if not self._future.done():
            self._future.set_exception(error)


class PendingCalls:
    """Open calls of one connection, by id."""

    __slots__ = ("_ended", "_loop", "_most", "_open", "_wheel")

    def __init__(self, wheel: DeadlineWheel, *, most: int = MAX_PENDING_CALLS) -> None:
        self._wheel = wheel
        self._loop = asyncio.get_running_loop()  # cached, because the lookup costs a system call
        self._most = most
        self._open: dict[CallId, PendingCall] = {}
        self._ended: str | None = None

    def __len__(self) -> int:
        return len(self._open)

    def expect(self, call_id: CallId, timeout_s: float) -> PendingCall:
        """Return a ``with`` block in which the answer to *call_id* can be awaited.

        Raises, on entering:
            TooManyCalls: the limit of open calls is reached.
            LinkLost: the connection has ended; ``dispatched`` is False.
            LocalProtocolError: a call with this id is open on this connection already.
        """
        return PendingCall(self, call_id, timeout_s)

    def settle(self, call_id: CallId, answer: Answer) -> bool:
        """Deliver *answer* to its call. Return False if no open call has this id."""
        call = self._open.get(call_id)
        if call is None or call._future.done():
            return False
        call._future.set_result(answer)
        return True

    def end(self, reason: str) -> None:
        """Fail all open calls because the connection has ended, and refuse new calls."""
        if self._ended is not None:
            return
        self._ended = reason
        for call in self._open.values():
            call.fail(LinkLost(f"call {call.call_id}: the connection ended ({reason})", dispatched=True))

    def _admit(self, call: PendingCall, timeout_s: float) -> "tuple[Slot, asyncio.Future[Answer]]":
        if self._ended is not None:
            raise LinkLost(f"the connection ended ({self._ended})", dispatched=False)
        if call.call_id in self._open:
            raise LocalProtocolError(f"call {call.call_id} is open on this connection already")
        if len(self._open) >= self._most:
            raise TooManyCalls(f"{self._most} calls are open; none is sent until one is settled")
        self._open[call.call_id] = call
        return self._wheel.add_after(call, timeout_s), self._loop.create_future()

"""A live connection of a device: calls, answers, time limits, and its end.

A connection owns its link with its calls and streams. All of them end in ``_over``, at once and with one
reason. It is called when the device disconnects, breaks a rule, is replaced or does not read, and when the
hub stops.

Reading never waits: an answer settles its call, a frame of a run goes to its stream, and all other frames go
to the roster.

The ``DeviceLink`` of one welcomed connection, with its calls and streams.

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
from typing import Final

import msgspec

from hub.base.clock import Clock, now_ms
from hub.base.log import Channel
from hub.base.loop_meter import EVERY, MAX_WAIT_S, SHARE
from hub.base.metrics import Metrics
from hub.links.auth import Admission
from hub.links.connection_limits import MIN_WAIT_S, AdmissionRefused, ConnectionSlot
from hub.links.deadline_wheel import DeadlineWheel, Slot
from hub.links.device_link import (
    ALWAYS,
    ALWAYS_ACTIONS,
    LATE_AFTER_S,
    RepeatedCall,
    RoundTrip,
    RunFrame,
    RunStream,
    is_idempotent,
)
from hub.links.link_limits import LinkLimits
from hub.links.roster import AgentsSilent, HeartbeatReceived, RequestReceived, Roster
from hub.links.streams import RunStreams
from hub.links.transport import WHOLE_BINARY, WHOLE_TEXT, DeviceSocket
from protocol.capabilities import CAPABILITY_OF, CapabilityName
from protocol.coordination import Heartbeat, Request
from protocol.errors import (
    CallInWork,
    CallNotGranted,
    CallTimedOut,
    CallUnsupported,
    CloseCode,
    DeliveryError,
    DeviceSlow,
    ErrorCode,
    LinkLost,
    RemoteProtocolError,
    TooManyCalls,
)
from protocol.frame import MAX_PENDING_CALLS, MAX_PIECE_BYTES, Frame
from protocol.handshake import Challenge, Client, DeviceHello, Error, Goodbye, Limits, skew_of
from protocol.ids import ConnectionId
from protocol.owner_grants import GRANTED_ACTIONS, refused_by_owner
from protocol.session import (
    Answered,
    AnsweredTogether,
    Ended,
    HelloReceived,
    HubSession,
    Ignored,
    Received,
    SessionEvent,
    SessionState,
    Silent,
)
from protocol.tool_calls import Action, Answer, ToolCall, ToolCalls, ToolResult, ToolResults
from protocol.work import AgentAck, AgentComplete, AgentData, AgentManifest, AgentRun

MAX_SENT_CALLS: Final = 1_000  # of a device that may not keep ids: many times the open calls of a run
MAX_STORED_BYTES: Final = 1_024  # of an answer; of a longer one only the id of its row is kept
_NEVER: Final = (-math.inf, 0.0)
_UNCHECKED: Final = frozenset(ALWAYS_ACTIONS) - GRANTED_ACTIONS  # to every device, without a grant


class OpenLink:
    """A ``LocalLink``. See ``DeviceLink`` for the contract of its methods."""

    __slots__ = (
        "_answered",
        "_awaited",
        "_calls",
        "_carrier",
        "_clock",
        "_create_future",
        "_is_idempotent",
        "_metrics",
        "_streams",
        "capabilities",
        "client",
        "credential",
        "device_id",
        "epoch",
        "expires_at",
        "missing",
        "offers",
        "owner_grants",
        "roots",
        "settle",
        "skew",
        "user_id",
    )

    def __init__(
        self,
        carrier: "DeviceConnection",
        admission: Admission,
        offers: Mapping[str, str],
        owner_grants: Mapping[str, Collection[str]],
        *,
        client: Client | None,
        skew: str,
        roots: Sequence[str],
        missing: Sequence[str],
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
        self.skew = skew
        self.roots = roots
        self.missing = missing
        self.capabilities = frozenset(offers)
        self._carrier = carrier
        self._clock = clock
        self._metrics = metrics
        self._calls = PendingCalls(wheel, clock, most=limits.pending_calls)
        # Calls to a device that may not keep ids, by id: the packed answers, and for those without one until
        # when it is awaited, in monotonic seconds, and how long; in the order in which they were sent.
        self._answered: dict[str, bytes] = {}
        self._awaited: dict[str, tuple[float, float]] = {}
        self._is_idempotent = is_idempotent(offers)
        self.settle = self._calls.settle  # for the connection
        self._create_future = asyncio.get_running_loop().create_future  # the lookup costs a system call
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

    @property
    def answered_at(self) -> float:
        """Moment of the device's last answer to a call, in monotonic seconds."""
        return self._calls.answered_at

    def can(self, capability: str) -> bool:
        """Return True if the device listed the capability, or if every device has it."""
        return capability in self.capabilities or capability in ALWAYS

    async def call(self, frame: ToolCall) -> Answer:
        """Send one tool_call and return its answer."""
        if frame.action not in _UNCHECKED:
            self._check(frame)
        monotonic = self._clock.monotonic
        began = monotonic()
        outcome = "not_sent"
        try:
            pending: asyncio.Future[Answer] = self._create_future()
            self._calls.open(frame.id, began, frame.deadline_ms / 1000, pending)
            try:
                self._carrier.send_now(frame)
                outcome = "cancelled"
                answer = await pending
            except BaseException:  # an answer closes its call by itself
                self._calls.close(frame.id, pending)
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
        """Send calls, in one frame if the device can take it, and return what became of each.

        A repeated call is sent again, by its id. To a device that may not keep ids it is not sent while the
        sending before it is awaited, nor once it was answered: it gets that answer.
        """
        for frame in frames:
            self._check(frame)
        clock = self._clock
        began = clock.monotonic()
        batch = _Batch(len(frames), renews=self._is_idempotent)
        outcomes: list[Answer | DeliveryError] | None = None
        unfinished = "not_sent"
        opened = 0
        try:
            for frame, place in zip(frames, batch.places, strict=True):
                wait_s = frame.deadline_ms / 1000 if self._is_idempotent else LATE_AFTER_S
                self._calls.open(frame.id, began, wait_s, place)
                opened += 1
            if CapabilityName.TOOL_CALLS in self.capabilities:
                self._carrier.send_now(ToolCalls(calls=[*frames]))
            else:
                self._send_each(frames, batch, began)
            unfinished = "cancelled"
            outcomes = await batch.filled
            return outcomes
        except TooManyCalls:
            self._metrics.limits_reached.labels("pending_calls").inc()
            raise
        finally:
            for frame, place in zip(frames[:opened], batch.places, strict=False):
                self._calls.close(frame.id, place)
            took_s = clock.monotonic() - began
            for index, frame in enumerate(frames):
                outcome = unfinished if outcomes is None else _name_of(outcomes[index])
                if outcome == "timed_out" and self.repeat_of(frame.id) is RepeatedCall.AWAITED:
                    continue
                if outcome == "timed_out":
                    self._metrics.limits_reached.labels("call_timeout_s").inc()
                self._metrics.frames.calls.observe((frame.action, outcome), took_s)

    def repeat_of(self, call_id: str) -> RepeatedCall:
        """Return what ``call_many`` would do with the call of this id now."""
        if call_id in self._answered:
            return RepeatedCall.ANSWERED
        until, _ = self._awaited.get(call_id, _NEVER)
        return RepeatedCall.AWAITED if until > self._clock.monotonic() else RepeatedCall.SENT

    def _send_each(self, frames: Sequence[ToolCall], batch: "_Batch", now: float) -> None:
        """Send calls in frames of their own; those after a full buffer, or after the end, are not sent."""
        for index, frame in enumerate(frames):
            repeat = RepeatedCall.SENT if self._is_idempotent else self.repeat_of(frame.id)
            if repeat is RepeatedCall.ANSWERED:
                answer = msgspec.msgpack.decode(self._answered[frame.id], type=Answer)
                self._calls.settle(frame.id, answer)
            if repeat is not RepeatedCall.SENT:
                continue
            try:
                self._carrier.send_now(frame)
            except (DeviceSlow, LinkLost) as error:
                for place in batch.places[index:]:
                    place.set_exception(error)
                return
            if not self._is_idempotent:
                self._note_sent(frame.id, now, frame.deadline_ms / 1000)

    def _note_sent(self, call_id: str, now: float, timeout_s: float) -> None:
        """Keep the answer to a call, whenever it comes; the oldest of MAX_SENT_CALLS are forgotten."""
        if self._awaited.pop(call_id, None):  # behind those that were sent before
            self._metrics.limits_reached.labels("call_timeout_s").inc()
        self._awaited[call_id] = now + timeout_s, timeout_s
        self.settle = self._keep_and_settle
        if len(self._awaited) + len(self._answered) > MAX_SENT_CALLS:
            oldest = self._answered or self._awaited
            del oldest[next(iter(oldest))]

    def _keep_and_settle(self, call_id: str, answer: Answer) -> bool:
        """Keep *answer* if ``call_many`` sent its call, also if no caller waits. Return False if unknown."""
        is_first, is_second = call_id in self._awaited, call_id in self._answered
        if is_first or is_second:
            now = self._calls.answered_at = self._clock.monotonic()
            # The device may begin now with those that were sent after it. A device that keeps no ids does a
            # repeated call twice.
            ids = list(self._awaited)
            for id in ids[ids.index(call_id) + 1 :] if is_first else ids:
                timeout_s = self._awaited[id][1]
                self._awaited[id] = now + timeout_s, timeout_s
        if is_first:
            del self._awaited[call_id]
            if answer.error is None:  # what was refused may be sent again
                self._answered[call_id] = _stored(answer)
        return self._calls.settle(call_id, answer) or is_first

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

    def enqueue(self, frame: RunFrame) -> str | None:
        """Queue a frame of a run. Return the reason as one word if it was dropped, else None.

        Raises:
            RemoteProtocolError: the device exceeded its credit.
        """
        return self._streams.enqueue(frame)

    def on_closed(self, reason: str) -> None:
        """End all calls and streams because the connection has ended."""
        self._calls.end(reason)
        self._streams.end(reason)


def _stored(answer: Answer) -> bytes:
    """Return an answer as it is stored for a repeated call: open values take up to 20 times their bytes."""
    stored = msgspec.msgpack.encode(answer)
    if len(stored) <= MAX_STORED_BYTES:
        return stored
    row = answer.result.get("id") if isinstance(answer.result, dict) else None
    is_short = isinstance(row, str) and len(row) <= MAX_STORED_BYTES
    return msgspec.msgpack.encode(Answer(result={"id": row} if is_short else None, counter=answer.counter))


def _name_of(outcome: Answer | DeliveryError) -> str:
    """Return the name of a call's outcome in metrics."""
    if isinstance(outcome, Answer):
        return "answered" if outcome.error is None else "refused"
    if isinstance(outcome, LinkLost):
        return "device_gone"
    return "timed_out" if isinstance(outcome, CallTimedOut) else "not_sent"


class _BatchedAnswer:
    """Place of one answer in a batch: ``PendingCalls`` uses it like the future of a single call."""

    __slots__ = ("batch", "outcome")

    def __init__(self, batch: "_Batch") -> None:
        self.batch = batch
        self.outcome: Answer | DeliveryError | None = None

    def done(self) -> bool:
        return self.outcome is not None

    def cancelled(self) -> bool:
        return False

    def exception(self) -> None:
        return None

    def set_result(self, answer: Answer) -> None:
        self.outcome = answer
        self.batch.count_down()

    def set_exception(self, error: DeliveryError) -> None:
        self.outcome = error
        self.batch.count_down()


class _Batch:
    """Calls that are awaited together. *filled* resolves to their outcomes, in order.

    *renews*: their time limits begin anew with each answer of the device.
    """

    __slots__ = ("_left", "filled", "places", "renews")

    def __init__(self, size: int, *, renews: bool) -> None:
        self.renews = renews
        self.filled: asyncio.Future[list[Answer | DeliveryError]] = asyncio.get_running_loop().create_future()
        self.places = [_BatchedAnswer(self) for _ in range(size)]
        self._left = size

    def count_down(self) -> None:
        """Resolve the batch once its last place is filled."""
        self._left -= 1
        if not self._left and not self.filled.done():
            self.filled.set_result([place.outcome for place in self.places if place.outcome is not None])


class PendingCalls:
    """Open calls of one connection, by id: a future, the deadline and the time limit of each, in seconds.

    The time limit of a call in a batch may begin anew with each answer, because a device may do one call
    after the other.

    The wheel has one entry for all of them, at the earliest deadline that was known when it was added: most
    calls are answered long before theirs, so that an entry for each would cost more than the rest.
    """

    __slots__ = ("_clock", "_due", "_due_at", "_ended", "_most", "_open", "_wheel", "answered_at")

    def __init__(self, wheel: DeadlineWheel, clock: Clock, *, most: int = MAX_PENDING_CALLS) -> None:
        self._wheel = wheel
        self._clock = clock
        self._most = most
        self._open: dict[str, tuple[asyncio.Future[Answer] | _BatchedAnswer, float, float]] = {}
        self._due: Slot | None = None  # where the wheel has this object
        self._due_at = math.inf
        self._ended: str | None = None
        self.answered_at = -math.inf

    def __len__(self) -> int:
        return len(self._open)

    def open(
        self, call_id: str, began: float, timeout_s: float, future: "asyncio.Future[Answer] | _BatchedAnswer"
    ) -> None:
        """Give *future* the answer to *call_id*; ``close`` the call with it if there was none.

        The future raises CallTimedOut *timeout_s* after *began* (monotonic seconds), and LinkLost when the
        connection ends. A place in a batch that renews counts from the device's last answer, if later.

        Raises:
            TooManyCalls: the limit of open calls is reached.
            LinkLost: the connection has ended; ``dispatched`` is False.
            CallInWork: a call with this id is open on this connection.
        """
        calls = self._open
        if self._ended is not None:
            raise LinkLost(f"the connection ended ({self._ended})", dispatched=False)
        if call_id in calls:
            raise CallInWork(f"call {call_id} is in work on this connection; it was not sent again")
        if len(calls) >= self._most:
            raise TooManyCalls(f"{self._most} calls are open; none is sent until one is settled")
        deadline = began + timeout_s
        calls[call_id] = future, deadline, timeout_s
        if deadline < self._due_at:
            self._wait_until(deadline)

    def close(self, call_id: str, future: "asyncio.Future[Answer] | _BatchedAnswer") -> None:
        """Forget a call without an answer; a later answer to it is unknown.

        An answered call is closed already, and its id may be that of a call that was opened after it.
        """
        call = self._open.get(call_id)
        if call is None or call[0] is not future:
            return
        del self._open[call_id]
        if future.done() and not future.cancelled():
            future.exception()  # mark it as retrieved, so that asyncio does not log it

    def settle(self, call_id: str, answer: Answer) -> bool:
        """Deliver *answer* to its call. Return False if no open call has this id."""
        call = self._open.pop(call_id, None)
        if call is None:
            return False
        self.answered_at = self._clock.monotonic()
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

    def on_deadline(self) -> None:
        """Fail the calls whose deadline has passed; called by the wheel."""
        now = self._clock.monotonic()
        next_at = math.inf
        for call_id, (future, deadline, timeout_s) in self._open.items():
            if isinstance(future, _BatchedAnswer) and future.batch.renews:
                deadline = max(deadline, self.answered_at + timeout_s)
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


log = Channel(__name__)

LAST_WORDS_S: Final = 1.0  # for the closing handshake of a device that does not read
_WORK: Final = frozenset((ToolCall, ToolCalls, AgentRun))  # not sent by a node whose lease is over
CHEAP_BYTES: Final = 512  # of messages up to this size, one in EVERY is measured, and counts EVERY times
# Reasons if the device ended the connection: without or with a close frame.
_CUT, _CLOSED = _LEFT_BY_ITSELF = ("connection_lost", "device_closed")


class DeviceConnection:
    """A socket with its session; after the welcome, also with a link."""

    __slots__ = (
        "_alarm",
        "_cause",
        "_clock",
        "_first",
        "_full_until",
        "_greeted",
        "_held",
        "_left",
        "_limits",
        "_link",
        "_metrics",
        "_opened_at",
        "_place",
        "_roster",
        "_session",
        "_transport",
        "_unmeasured",
        "_wheel",
        "connection_id",
    )

    def __init__(
        self,
        transport: DeviceSocket,
        session: HubSession,
        *,
        connection_id: ConnectionId,
        place: ConnectionSlot,
        roster: Roster,
        wheel: DeadlineWheel,
        clock: Clock,
        metrics: Metrics,
        limits: LinkLimits,
    ) -> None:
        self.connection_id = connection_id
        self._transport = transport
        self._place = place
        self._session = session
        self._first = WHOLE_TEXT if session.codec.is_text else WHOLE_BINARY  # byte of a frame
        self._roster = roster
        self._wheel = wheel
        self._clock = clock
        self._metrics = metrics
        self._limits = limits
        self._link: OpenLink | None = None  # set by the welcome
        self._greeted: asyncio.Future[DeviceHello | None] | None = asyncio.get_running_loop().create_future()
        self._held: list[bytes] | None = None  # messages received while the hello is authenticated
        self._left: str | None = None  # the reason, after the end
        self._opened_at = clock.monotonic()
        self._full_until: float | None = None  # deadline for a full outgoing queue
        self._alarm: Slot | None = None
        self._cause = f"network:{place.network}"  # party charged with the loop time of the messages
        self._unmeasured = 0
        self._set_alarm()
        self._flush()
        place.give_way = self._give_way
        transport.attach(self._receive, self._on_closed, self._slow_down)

    # --- opening ---

    async def hello(self) -> DeviceHello | None:
        """Return the device's hello, or None if the connection ended before."""
        assert self._greeted is not None
        hello = await self._greeted
        self._greeted = None
        return hello

    @property
    def version_problem(self) -> str:
        """Versions of hub and device if they have none in common, and which of the two to update."""
        return self._session.version_problem

    @property
    def left(self) -> str | None:
        """Reason for the end of the connection, as one word; None before the end."""
        return self._left

    @property
    def token(self) -> str | None:
        """Token that the device sent with its hello."""
        return self._session.token

    @property
    def challenge(self) -> Challenge:
        """Challenge that the device has to sign."""
        return self._session.challenge

    def welcome(self, admission: Admission) -> None:
        """Welcome the device, unless it has disconnected or a newer connection of it exists."""
        if self._session.state is not SessionState.JUDGING:
            return
        if self._roster.is_draining:
            self.refuse(Error(code=ErrorCode.STOPPING, message="the hub stops"), CloseCode.STOPPING)
            return
        if not self._roster.supersede(admission.device_id, admission.epoch):
            message = "a newer connection of this device is here"
            self.refuse(Error(code=ErrorCode.REPLACED, message=message), CloseCode.REPLACED)
            return
        self._place.vouch()
        limits = self._limits
        hello = self._session.hello
        assert hello is not None
        link = self._link = OpenLink(
            self,
            admission,
            self._session.offers,
            self._session.grants,
            client=hello.client,
            skew=skew_of(self._session.challenge.protocol, hello.protocol),
            roots=hello.roots,
            missing=hello.missing,
            wheel=self._wheel,
            clock=self._clock,
            metrics=self._metrics,
            limits=limits,
        )
        self._session.accept(
            user_id=link.user_id,
            device_id=link.device_id,
            connection_id=self.connection_id,
            epoch=link.epoch,
            ts_ms=now_ms(self._clock),
            now=self._clock.monotonic(),
            limits=Limits(
                max_message_bytes=limits.message_bytes,
                max_piece_bytes=min(MAX_PIECE_BYTES, limits.message_bytes // 4),
                max_pending_calls=limits.pending_calls,
            ),
            store=admission.store,
            hubs=self._roster.hubs,
        )
        self._flush()
        self._set_alarm()
        self._cause = f"device:{link.device_id}"
        self._transport.welcome(self._clock.monotonic())
        self._transport.go_on()  # data after the hello was not read before
        self._metrics.connections.labels("device", "ready").inc()
        self._metrics.connection_attempts.labels("ready").inc()
        log.info(
            "device.connected",
            device_id=link.device_id,
            connection_id=self.connection_id,
            epoch=link.epoch,
            codec=self._session.codec.name,
            client=hello.client.name if hello.client else "",
        )
        self._roster.enter(link, hello)
        self._take_held()

    def refuse(self, error: Error, close: CloseCode) -> None:
        """Send the error and close the connection."""
        self._metrics.connection_attempts.labels(error.code).inc()
        self._end(self._session.refuse(error, close))

    def _give_way(self, turned: AdmissionRefused) -> bool:
        """Refuse a device whose hello has not arrived. Return False if it has."""
        if self._session.state is not SessionState.GREETING:
            return False
        self.refuse(Error(code=turned.reason, message=str(turned)), CloseCode.OVERLOADED)
        return True

    # --- sending ---

    @property
    def buffered_bytes(self) -> int:
        """Bytes for the device that have not left the process."""
        return self._transport.buffered()

    @property
    def round_trip(self) -> RoundTrip | None:
        """Newest round trip of the connection, or None before the first."""
        return self._transport.round_trip

    def send_now(self, frame: Frame) -> None:
        """Send *frame*, together with the other frames of this turn of the event loop.

        Raises:
            LinkLost, DeviceSlow: the frame was not sent.
        """
        if self._left is not None:
            raise LinkLost(f"the connection ended ({self._left})", dispatched=False)
        if self._transport.room < 0 and self._transport.is_full():
            self._full()
            raise DeviceSlow(f"{self._transport.buffered()} bytes are unsent; the device does not read")
        may_send = self._roster.may_send
        if may_send is not None and type(frame) in _WORK and not may_send():
            raise DeviceSlow("the lease of this node is over: another one may serve the device meanwhile")
        data = self._session.encode(frame)
        frames = self._metrics.frames
        frames.sent[type(frame)] += 1
        frames.sent_bytes += len(data)
        self._transport.send_frame(data, self._first)

    def end(self, goodbye: Goodbye, close: CloseCode) -> None:
        """Send the goodbye, end calls and streams, and close the socket. Safe to call twice."""
        self._end(self._session.end(goodbye, close))

    async def wait_closed(self) -> None:
        """Wait until the socket is closed."""
        await self._transport.wait_closed()

    def _flush(self) -> None:
        for data in self._session.data_to_send():
            self._metrics.frames.sent_bytes += len(data)
            self._transport.send_frame(data, self._first)

    def _full(self) -> None:
        """Start the write deadline of a device whose outgoing queue is full."""
        if self._full_until is None:
            log.warning(
                "device.slow", connection_id=self.connection_id, unsent_bytes=self._transport.buffered()
            )
            self._metrics.limits_reached.labels("outgoing_bytes").inc()
            self._full_until = self._clock.monotonic() + self._limits.write_deadline_s
            self._wheel.add(self, self._full_until)

    # --- receiving ---

    def _receive(self, data: bytes) -> None:
        """Process one message. Called by the socket, so it neither waits nor raises."""
        if self._held is not None:
            self._held.append(data)
        elif len(data) <= CHEAP_BYTES and self._unmeasured:
            self._unmeasured -= 1
            self._handle_data(data)
        else:
            times = EVERY if len(data) <= CHEAP_BYTES else 1
            meter = self._metrics.loop
            self._make_wait(meter.run(self._cause, self._handle_data, data, times))
            self._unmeasured = meter.passed_over

    def _handle_data(self, data: bytes) -> None:
        try:
            frames = self._metrics.frames
            frames.received_bytes += len(data)
            event = self._session.receive(data, self._clock.monotonic())
            link = self._link
            if type(event) is Answered and link is not None:  # first, because it is the most frequent event
                frames.received[ToolResult] += 1
                if link.settle(event.call_id, event.answer):
                    self._transport.intake.give_back(len(data))
                else:
                    frames.dropped["unknown_call"] += 1
            elif type(event) is AnsweredTogether and link is not None:
                frames.received[ToolResults] += 1
                unknown = sum(not link.settle(*answer) for answer in event.answers)
                if unknown:  # then the whole frame counts as unasked
                    frames.dropped["unknown_call"] += unknown
                else:
                    self._transport.intake.give_back(len(data))
            elif event is not None:
                if type(event) is Received and self._is_asked_for(event.frame):
                    self._transport.intake.give_back(len(data))
                self._handle_event(event)
                self._flush()  # the session may have queued a reply
        except Exception as exc:  # an internal error must not break the event loop's callback
            self._fault(exc)

    def _is_asked_for(self, frame: Frame) -> bool:
        """Return True if an open run asked for *frame*; call this before processing the frame."""
        if self._link is None or not isinstance(frame, AgentManifest | AgentData | AgentComplete):
            return False
        return self._link.has_asked_for(frame)

    def _handle_event(self, event: SessionEvent) -> None:
        frames = self._metrics.frames
        match event:
            case Received(frame):
                frames.received[type(frame)] += 1
                self._take_frame(frame)
            case HelloReceived(hello):
                frames.received[DeviceHello] += 1
                self._held = []
                self._transport.pause()  # bounds the memory for messages of an unauthenticated device
                self._set_alarm()
                self._greet(hello)
            case Ignored(what):
                frames.dropped[what.partition(":")[0]] += 1
            case Silent():
                assert self._link is not None
                log.warning("device.silent", device_id=self._link.device_id)
                self._roster.notify(AgentsSilent(self._link))
            case Ended():
                self._end(event)

    def _take_frame(self, frame: Frame) -> None:
        if isinstance(frame, Error):  # the only frame allowed before the welcome
            log.warning("device.complained", connection_id=self.connection_id, code=frame.code)
            return
        link = self._link
        assert link is not None
        match frame:
            case AgentData() | AgentManifest() | AgentAck() | AgentComplete():
                try:
                    dropped = link.enqueue(frame)
                except RemoteProtocolError as wrong:
                    error = Error(code=wrong.reason, message=wrong.message, ref=frame.run_id)
                    self._end(self._session.refuse(error, wrong.close))
                    return
                if dropped is not None:
                    self._metrics.frames.dropped[dropped] += 1
            case Heartbeat():
                if self._alarm is None:
                    self._set_alarm()
                self._roster.notify(HeartbeatReceived(link, frame))
            case Request():
                self._roster.notify(RequestReceived(link, frame))
                self._make_wait(self._metrics.loop.wait_s(self._cause))

    def _take_held(self) -> None:
        held, self._held = self._held or [], None
        for data in held:
            self._receive(data)
        self._transport.resume()

    def _make_wait(self, wait_s: float) -> None:
        """Pause reading because the connection used more loop time than its share while others wait."""
        if not wait_s or self._left is not None:
            return
        self._metrics.limits_reached.labels("loop_share").inc()
        if wait_s <= MAX_WAIT_S:
            intake = self._transport.intake
            intake.frames_left = min(intake.frames_left, -1)  # the rest of this read waits too
            self._transport.slow_down(max(wait_s, MIN_WAIT_S))
            return
        share = self._metrics.loop.share(self._cause)
        log.warning("device.too_dear", connection_id=self.connection_id, cause=self._cause, share=share)
        message = f"this connection takes {share:.0%} of the hub's time, and others wait: {SHARE:.0%} may"
        error = Error(code=ErrorCode.OVERLOADED, message=message, retry_after_ms=int(wait_s * 1000))
        self._end(self._session.refuse(error, CloseCode.OVERLOADED))

    def _slow_down(self) -> None:
        """Pause reading after the rate limit was exceeded. Called by the socket."""
        intake = self._transport.intake
        limit, wait_s = intake.limit, intake.refill(self._clock.monotonic())
        if self._transport.is_full():  # filled by pongs: a device that pings without reading is slow too
            self._full()
        elif wait_s:
            self._metrics.limits_reached.labels(limit).inc()
            self._metrics.throttled_seconds.inc(max(wait_s, MIN_WAIT_S))
        else:
            return
        self._transport.slow_down(max(wait_s, MIN_WAIT_S))

    # --- deadlines ---

    def _set_alarm(self) -> None:
        deadline = self._session.next_deadline()
        if self._alarm is not None:
            self._alarm.discard(self)
        self._alarm = None if deadline is None else self._wheel.add(self, deadline)

    def on_deadline(self) -> None:
        """Process a deadline of the session or of a full queue; called by the wheel."""
        if self._left is not None:
            return
        try:
            now = self._clock.monotonic()
            if self._full_until is not None and now >= self._full_until:
                self._full_until = None
                if self._transport.is_full():
                    self._metrics.slow_consumers.inc()
                    self._metrics.limits_reached.labels("write_timeout_s").inc()
                    self.end(Goodbye(reason="slow_consumer"), CloseCode.SLOW_CONSUMER)
                    return
            for event in self._session.tick(now):
                self._handle_event(event)
            self._set_alarm()
            self._flush()
        except Exception as exc:
            self._fault(exc)

    # --- end ---

    def _on_closed(self) -> None:
        """Record that the socket was closed."""
        self._session.receive_eof(self._clock.monotonic())
        close_code = self._transport.received_close_code()
        word = None if self._link is None else self._transport.word()
        word = word or (_CUT if close_code is None else _CLOSED)
        self._over(word, close_code, self._transport.breach())

    def _end(self, ended: Ended | None) -> None:
        """Close the connection: the session's queued frames are sent first, then the close frame."""
        if ended is None:
            return
        self._flush()
        is_slow = ended.code is CloseCode.SLOW_CONSUMER
        self._transport.hang_up(
            ended.code, ended.reason_text, LAST_WORDS_S if is_slow else self._limits.close_s
        )
        if self._held is not None:
            self._held = None
            self._transport.resume()  # else the peer's closing handshake would not be read
        self._over(ended.reason, ended.code, self._session.refusal)

    def _fault(self, exc: Exception) -> None:
        log.error("connection.failed", exc=exc, connection_id=self.connection_id)
        self._end(self._session.end(Goodbye(reason="fault"), CloseCode.FAULT))

    def _over(self, reason: str, code: int | None, detail: str) -> None:
        if self._left is not None:
            return
        self._left = reason
        exceeded = self._transport.exceeded()
        if exceeded is None and code is CloseCode.HELLO_TIMEOUT:
            exceeded = "hello_timeout_s"
        if exceeded is not None:
            self._metrics.limits_reached.labels(exceeded).inc()
        if self._alarm is not None:
            self._alarm.discard(self)
        if self._greeted is not None and not self._greeted.done():
            self._greeted.set_result(None)
        link = self._link
        if link is None:  # never welcomed
            if reason in _LEFT_BY_ITSELF:
                self._metrics.connection_attempts.labels("left").inc()
            elif code is CloseCode.HELLO_TIMEOUT:
                self._metrics.connection_attempts.labels(reason).inc()
            return
        link.on_closed(reason)
        self._metrics.connections.labels("device", "ready").dec()
        log.info(
            "device.left",
            device_id=link.device_id,
            connection_id=self.connection_id,
            epoch=link.epoch,
            reason=reason,
            code=code,
            detail=detail,
            seconds=round(self._clock.monotonic() - self._opened_at, 3),
        )
        self._roster.leave(link, reason)

    def _greet(self, hello: DeviceHello) -> None:
        if self._greeted is not None and not self._greeted.done():
            self._greeted.set_result(hello)

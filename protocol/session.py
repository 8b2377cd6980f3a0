"""Connection between hub and device: which frame is allowed in which state, on both sides.

Bytes and time in, events and bytes out; no I/O. Tables define the moves between states, and the frames
allowed in each state; any other frame ends the connection (``wrong_state``). A peer can make a session *end*;
it can never make it *raise*.

``HubSession`` and ``DeviceSession`` are the two sides. Calls, streams and runs outlive a session and are
unknown here.

Hub's side of a session: challenge, judging of the hello, welcome or refusal, goodbye.

In addition to the common rules it tracks a device's open requests, because each must be answered once.
"""

from abc import ABC, abstractmethod
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping, Sequence
from enum import Enum, auto
from typing import Any, Final

import msgspec
from msgspec import UNSET

from protocol.codec import (
    FROM_HUB,
    Codec,
    LargeHeartbeat,
    LargeRequest,
    ReadResult,
    ReadResults,
    TooLargeValue,
    UnknownType,
    type_of,
)
from protocol.coordination import Heartbeat, Request, Response
from protocol.errors import CloseCode, ErrorCode, LocalProtocolError, RemoteProtocolError
from protocol.frame import (
    HEARTBEAT_INTERVAL_MS,
    HELLO_TIMEOUT_S,
    MAX_HELLO_BYTES,
    MAX_MESSAGE_BYTES,
    MAX_PENDING_REQUESTS,
    MAX_REASON_BYTES,
    MAX_RESULT_BYTES,
    SILENT_AFTER_HEARTBEATS,
    ErrorBody,
    Frame,
)
from protocol.handshake import (
    SPOKEN,
    Challenge,
    DeviceHello,
    Error,
    Goodbye,
    HubProof,
    Limits,
    StoreMark,
    VersionMismatch,
    Welcome,
    agree,
)
from protocol.ids import CallId, ConnectionId, DeviceId, UserId
from protocol.lifecycles import Table
from protocol.tool_calls import Answer, ToolResult, ToolResults
from protocol.work import AgentAck, AgentComplete, AgentData, AgentManifest


class SessionState(Enum):
    """State of a session."""

    GREETING = auto()  # no hello yet
    JUDGING = auto()  # the hub decides on the hello
    READY = auto()
    CLOSING = auto()  # further input is ignored
    CLOSED = auto()  # the connection has ended


class SessionMove(Enum):
    """Event of a session."""

    GREETED = auto()  # device_hello was received, or sent
    WELCOMED = auto()
    ENDED = auto()  # by this side: bad input, a timeout, on purpose
    DISMISSED = auto()  # the hub sent goodbye
    HUNG_UP = auto()  # the connection has ended


_S, _M = SessionState, SessionMove
_LIVE = (_S.GREETING, _S.JUDGING, _S.READY)

_MOVES_OF_BOTH = {
    (_S.GREETING, _M.GREETED): _S.JUDGING,
    (_S.JUDGING, _M.WELCOMED): _S.READY,
    **dict.fromkeys(((state, _M.ENDED) for state in _LIVE), _S.CLOSING),
    **dict.fromkeys(((state, _M.HUNG_UP) for state in (*_LIVE, _S.CLOSING)), _S.CLOSED),
}
HUB_SESSION = Table("hub session", _S.GREETING, _MOVES_OF_BOTH)
DEVICE_SESSION = Table(
    "device session",
    _S.GREETING,
    _MOVES_OF_BOTH | dict.fromkeys(((state, _M.DISMISSED) for state in _LIVE), _S.CLOSING),
)

Allowed = Mapping[SessionState, frozenset[type[Frame]]]

NOTHING: frozenset[type[Frame]] = frozenset()

ALLOWED_FROM_DEVICE: Allowed = {
    _S.GREETING: frozenset({DeviceHello, Error}),
    _S.JUDGING: NOTHING,
    _S.READY: frozenset(
        {
            AgentAck,
            AgentManifest,
            AgentData,
            AgentComplete,
            ToolResult,
            ToolResults,
            Request,
            Heartbeat,
            Error,
        }
    ),
    _S.CLOSING: NOTHING,
    _S.CLOSED: NOTHING,
}

ALLOWED_FROM_HUB: Allowed = {
    _S.GREETING: frozenset({Challenge, Error, Goodbye}),
    _S.JUDGING: frozenset({Challenge, Welcome, Error, Goodbye}),  # a device need not wait for the challenge
    _S.READY: frozenset(FROM_HUB) - {Challenge, Welcome},
    _S.CLOSING: NOTHING,
    _S.CLOSED: NOTHING,
}

OVER = frozenset({_S.CLOSING, _S.CLOSED})  # no frames are sent or received


class HelloReceived(msgspec.Struct, frozen=True):
    """Event at the hub: call ``accept`` or ``refuse``, and feed no data until then."""

    hello: DeviceHello


class Challenged(msgspec.Struct, frozen=True):
    """Event at the device: the hub sent its challenge; greet it, unless that was done at once."""

    challenge: Challenge


class Welcomed(msgspec.Struct, frozen=True):
    """Event at the device: the session is READY."""

    welcome: Welcome


class Received(msgspec.Struct, frozen=True):
    """Frame that the state allows and that has no event of its own."""

    frame: Frame


class Answered(msgspec.Struct, frozen=True):
    """Event at the hub: a device answered a call."""

    call_id: CallId
    answer: Answer


class AnsweredTogether(msgspec.Struct, frozen=True):
    """Event at the hub: a device answered several calls in one frame."""

    answers: list[tuple[CallId, Answer]]


class Refused(msgspec.Struct, frozen=True):
    """Event at the device: the hub refused a frame. A close may follow."""

    error: Error


class Leaving(msgspec.Struct, frozen=True):
    """Event at the device: the hub sent goodbye and closes; the close code says whether to reconnect."""

    goodbye: Goodbye


class Silent(msgspec.Struct, frozen=True):
    """Event at the hub: three heartbeats in a row are missing after earlier ones. The connection stays."""


class Ignored(msgspec.Struct, frozen=True):
    """Event for dropped input. *what*: an error code, and the subject after a colon."""

    what: str


class Ended(msgspec.Struct, frozen=True):
    """Event that ends the session: send the queued data, then close with *code* and *reason_text*."""

    code: CloseCode
    reason: str

    @property
    def reason_text(self) -> str:
        """Text of the close frame, ``{"r": reason}``, at most MAX_REASON_BYTES of UTF-8."""
        room = MAX_REASON_BYTES - len(b'{"r":""}')
        reason = self.reason
        while len(msgspec.json.encode(reason)) - 2 > room:
            reason = reason[:-1]
        return msgspec.json.encode({"r": reason}).decode()


SessionEvent = (
    HelloReceived
    | Challenged
    | Welcomed
    | Received
    | Answered
    | AnsweredTogether
    | Refused
    | Leaving
    | Silent
    | Ignored
    | Ended
)


MAX_UNKNOWN_ANSWERED = 32  # answers to unknown types in one session; further ones are only counted


class Session(ABC):
    """Common base of ``HubSession`` and ``DeviceSession``.

    Times are monotonic seconds. After each call, read ``data_to_send`` and ``next_deadline``; call ``tick``
    when the deadline has come.
    """

    _TABLE: Table[SessionState, SessionMove]
    _ALLOWED: Allowed
    _ALLOWED_OUT: Allowed

    def __init__(self, codec: Codec, deadline: float) -> None:
        self.codec = codec
        self._enter(self._TABLE.initial)
        self._decode: Any = codec.decode_from_device
        self._most_bytes = MAX_HELLO_BYTES  # limit of this side
        self._most_taken = MAX_MESSAGE_BYTES  # limit of the other side
        self._outgoing: list[bytes] = []
        self._deadline: float | None = deadline
        self._unknown_answered = 0
        self.refusal = ""  # why this side ended the session, and where in which frame

    def receive_data(self, data: bytes | str, now: float) -> list[SessionEvent]:
        """Process one message as ``receive`` does, and return its events."""
        if isinstance(data, str):
            data = data.encode("utf-8", "surrogatepass")  # a lone surrogate then fails in the decoder
        event = self.receive(data, now)
        return [] if event is None else [event]

    def receive(self, data: bytes, now: float) -> SessionEvent | None:
        """Process one message from the wire and return its event. Never raises.

        An input that ends the session queues an ``error`` frame and returns ``Ended``; later input is
        ignored: None.
        """
        if self._is_over:
            return None  # a peer may send data until it reads the goodbye
        try:
            if len(data) > self._most_bytes:
                message = f"{len(data)} bytes, the most is {self._most_bytes}"
                raise RemoteProtocolError(ErrorCode.TOO_LARGE, message, CloseCode.TOO_LARGE)
            frame = self._decode(data)
            if type(frame) not in self._may_come:
                message = f"{type_of(type(frame))} may not come while {self.state.name}"
                raise RemoteProtocolError(ErrorCode.WRONG_STATE, message)
            return self._handle_frame(frame, now)
        except UnknownType as unknown:
            if self._unknown_answered < MAX_UNKNOWN_ANSWERED:
                self._unknown_answered += 1
                self._queue(Error(code=unknown.reason, message=unknown.message, ref=unknown.type))
            return Ignored(f"{unknown.reason}:{unknown.type}")
        except RemoteProtocolError as wrong:
            error = Error(code=wrong.reason, message=wrong.message)
            return self._refuse(error, wrong.close)

    def receive_eof(self, now: float) -> list[SessionEvent]:
        """Process the end of the connection. Queued data will not arrive."""
        if self.state is not SessionState.CLOSED:
            self._move(SessionMove.HUNG_UP)
        self._outgoing.clear()
        return []

    def send(self, frame: Frame) -> None:
        """Queue *frame*.

        Raises:
            LocalProtocolError: the state does not allow it, it cannot be encoded, or it exceeds the other
                side's limit; nothing was queued.
        """
        self._outgoing.append(self.encode(frame))

    def encode(self, frame: Frame) -> bytes:
        """Return *frame* as a message that the caller sends at once, after the queued ones.

        Raises:
            LocalProtocolError: as ``send``.
        """
        if type(frame) not in self._may_go:
            raise LocalProtocolError(f"{type_of(type(frame))} may not be sent while {self.state.name}")
        try:
            data = self.codec.encode(frame)
        except (ValueError, OverflowError, TypeError, RecursionError) as error:
            raise LocalProtocolError(f"{type_of(type(frame))} cannot be spelled: {error}") from error
        if len(data) > self._most_taken:
            message = f"{type_of(type(frame))} has {len(data)} bytes, the other side takes {self._most_taken}"
            raise LocalProtocolError(message)
        return data

    def data_to_send(self) -> list[bytes]:
        """Take the queued messages, in order. They are text if ``codec.is_text``."""
        taken, self._outgoing = self._outgoing, []
        return taken

    def next_deadline(self) -> float | None:
        """Return the latest time for calling ``tick``; ``None``: no call is needed."""
        return self._deadline

    def tick(self, now: float) -> list[SessionEvent]:
        """Process the passing of time."""
        if self._deadline is None or now < self._deadline:
            return []
        self._deadline = None
        return self._run_late()

    @abstractmethod
    def _handle_frame(self, frame: Any, now: float) -> SessionEvent:
        """Process a frame that the state allows."""

    @abstractmethod
    def _run_late(self) -> list[SessionEvent]:
        """Process a missed deadline."""

    def _move(self, move: SessionMove) -> None:
        self._enter(self._TABLE.after(self.state, move))
        if self._is_over:
            self._deadline = None
        elif self.state is SessionState.READY:
            self._most_bytes = MAX_MESSAGE_BYTES

    def _enter(self, state: SessionState) -> None:
        # Looked up here and not for every frame: hashing an enum costs as much as decoding a frame.
        self.state = state
        self._is_over = state in OVER
        self._may_come = self._ALLOWED[state]
        self._may_go = self._ALLOWED_OUT[state]

    def _queue(self, frame: Frame) -> None:
        """Queue a frame of the session itself, in any state."""
        self._outgoing.append(self.codec.encode(frame))

    def _refuse(self, error: Error, close: CloseCode) -> Ended:
        self._queue(error)
        self._move(SessionMove.ENDED)
        self.refusal = error.message
        return Ended(close, error.code)


MAX_ERROR_CHARACTERS = 4096  # of a device's plain error string: the limit of an ErrorBody

_LIMITS = Limits()
_VARIANTS = (ReadResult, ReadResults, LargeRequest, LargeHeartbeat)


class HubSession(Session):
    """Hub's side of one connection. Queues its challenge at once.

    Args:
        nonce: 32 unpredictable bytes, never used before.
        now: monotonic seconds.
        hello_timeout_s: time limit for the hello, from *now*.
        hello_bytes: maximum size of the hello.
        ts_ms: wall time, UTC epoch milliseconds.
        bearer: token of the ``Authorization`` header, if any.
        prove: signs the challenge with the hub's key, for a device that requested it.
    """

    _TABLE = HUB_SESSION
    _ALLOWED: Allowed = {
        state: frames | {variant for variant in _VARIANTS if variant.__base__ in frames}
        for state, frames in ALLOWED_FROM_DEVICE.items()
    }
    _ALLOWED_OUT: Allowed = {
        **dict.fromkeys(SessionState, NOTHING),
        SessionState.READY: ALLOWED_FROM_HUB[SessionState.READY] - {Goodbye},  # sent only by ``end``
    }

    def __init__(
        self,
        *,
        codec: Codec,
        hub_id: str,
        nonce: bytes,
        now: float,
        ts_ms: int,
        bearer: str | None = None,
        prove: Callable[[Challenge], HubProof] | None = None,
        hello_timeout_s: float = HELLO_TIMEOUT_S,
        hello_bytes: int = MAX_HELLO_BYTES,
    ) -> None:
        super().__init__(codec, deadline=now + hello_timeout_s)
        self._most_bytes = hello_bytes
        self._hello_timeout_s = hello_timeout_s
        self.hello: DeviceHello | None = None
        self.challenge = Challenge(
            nonce=urlsafe_b64encode(nonce).rstrip(b"=").decode(),
            hub_id=hub_id,
            protocol=SPOKEN,
            ts_ms=ts_ms,
        )
        if prove is not None:
            self.challenge = msgspec.structs.replace(self.challenge, proof=prove(self.challenge))
        self._bearer = bearer
        self._version = SPOKEN.min
        self.version_problem = ""
        self._versions_of: dict[str, str] = {}
        self._open_requests: set[str] = set()
        self._silence_s = 0.0
        self._queue(self.challenge)

    @property
    def token(self) -> str | None:
        """Token of the hello, else of the ``Authorization`` header."""
        return (self.hello.token if self.hello else None) or self._bearer

    @property
    def offers(self) -> Mapping[str, str]:
        """Capabilities that the device listed, each with its version."""
        return self._versions_of

    @property
    def grants(self) -> Mapping[str, list[str]]:
        """Grants of the device's owner, each with its tables."""
        return {grant.name: grant.tables for grant in (self.hello.grants if self.hello else ())}

    def accept(
        self,
        *,
        user_id: UserId,
        device_id: DeviceId,
        connection_id: ConnectionId,
        epoch: int,
        ts_ms: int,
        now: float,
        limits: Limits = _LIMITS,
        heartbeat_interval_ms: int = HEARTBEAT_INTERVAL_MS,
        store: StoreMark | None = None,
        hubs: Sequence[str] = (),
    ) -> Welcome:
        """Queue the welcome; the session is READY from here on.

        Raises:
            LocalProtocolError: there is no hello to judge.
        """
        if self.state is not SessionState.JUDGING:
            raise LocalProtocolError(f"there is no hello to judge while {self.state.name}")
        welcome = Welcome(
            protocol=self._version,
            hub_id=self.challenge.hub_id,
            connection_id=connection_id,
            user_id=user_id,
            device_id=device_id,
            epoch=epoch,
            server_ts_ms=ts_ms,
            heartbeat_interval_ms=heartbeat_interval_ms,
            limits=limits,
            store=store,
            hubs=list(hubs),
        )
        self._queue(welcome)
        self._move(SessionMove.WELCOMED)
        self._deadline = None  # a device that never sends a heartbeat is judged by its connection alone
        self._most_bytes = limits.max_message_bytes
        self._silence_s = SILENT_AFTER_HEARTBEATS * heartbeat_interval_ms / 1000
        return welcome

    def refuse(self, error: Error, close: CloseCode) -> Ended | None:
        """Queue *error* and end the session. ``None`` if the session is over already.

        For a refused hello, or a violation that the session itself does not check.
        """
        return None if self._is_over else self._refuse(error, close)

    def end(self, goodbye: Goodbye, close: CloseCode) -> Ended | None:
        """Queue *goodbye* and end the session on purpose. ``None`` if it is over already."""
        if self._is_over:
            return None
        self._queue(goodbye)
        self._move(SessionMove.ENDED)
        return Ended(close, goodbye.reason)

    _encode = Session.encode  # for each call to a device, half the price of super()

    def encode(self, frame: Frame) -> bytes:
        """Return *frame* as a message. A ``Response`` settles the request with its id.

        Raises:
            LocalProtocolError: as ``Session.send``; also a response without an open request.
        """
        if type(frame) is not Response:
            return self._encode(frame)
        if frame.id not in self._open_requests:
            raise LocalProtocolError(f"no request {frame.id!r} is open")
        data = self._encode(frame)
        self._open_requests.discard(frame.id)
        return data

    def _handle_frame(self, frame: Any, now: float) -> SessionEvent:
        if type(frame) is ReadResult or isinstance(frame, ToolResult):  # most of what a busy device sends
            return self._answer(frame)
        if isinstance(frame, ToolResults):
            return self._answer_each(frame)
        match frame:
            case DeviceHello():
                return self._greet(frame)
            case Request():
                return self._open(frame)
            case Heartbeat():
                self._deadline = now + self._silence_s
                return self._beat(frame)
        return Received(frame)

    def _run_late(self) -> list[SessionEvent]:
        if self.state is SessionState.READY:
            return [Silent()]
        message = f"no device_hello within {self._hello_timeout_s:g} s"
        return [self._refuse(Error(code=ErrorCode.HELLO_TIMEOUT, message=message), CloseCode.HELLO_TIMEOUT)]

    def _greet(self, hello: DeviceHello) -> SessionEvent:
        try:
            self._version = agree(SPOKEN, hello.protocol)
        except VersionMismatch as mismatch:
            self.version_problem = str(mismatch)
            error = Error(code=mismatch.code, message=self.version_problem)
            return self._refuse(error, CloseCode.VERSION_UNSUPPORTED)
        self.hello = hello
        self._versions_of = {capability.name: capability.version for capability in hello.capabilities}
        self._move(SessionMove.GREETED)
        self._deadline = None  # the judge sets its own time limit
        return HelloReceived(hello)

    def _open(self, request: Request) -> SessionEvent:
        if request.id in self._open_requests:
            # An error, not a response: the request with this id will still get its own.
            message = f"request {request.id!r} is open already"
            self._queue(Error(code=ErrorCode.DUPLICATE_ID, message=message, ref=request.id))
            return Ignored(f"{ErrorCode.DUPLICATE_ID}:{request.id}")
        if len(self._open_requests) >= MAX_PENDING_REQUESTS:
            body = ErrorBody(
                code=ErrorCode.TOO_MANY_REQUESTS,
                message=f"{MAX_PENDING_REQUESTS} requests are open",
                retryable=True,
            )
            self._queue(Response(id=request.id, error=body))
            return Ignored(f"{ErrorCode.TOO_MANY_REQUESTS}:{request.id}")
        try:
            request = self.codec.unpack_request(request)
        except TooLargeValue as refused:
            self._queue(Response(id=request.id, error=ErrorBody(code=refused.code, message=str(refused))))
            return Ignored(f"{refused.code}:{request.id}")
        self._open_requests.add(request.id)
        return Received(request)

    def _beat(self, heartbeat: Heartbeat) -> SessionEvent:
        try:
            return Received(self.codec.unpack_heartbeat(heartbeat))
        except TooLargeValue as refused:
            self._queue(Error(code=refused.code, message=f"heartbeat: {refused}"))
            return Ignored(f"{refused.code}:heartbeat")

    def _answer_each(self, frame: ToolResults) -> SessionEvent:
        if type(frame) is not ReadResults:  # to decode as many open values would take too long
            message = f"tool_results: the most is {MAX_RESULT_BYTES} bytes; send a large answer alone"
            raise RemoteProtocolError(ErrorCode.TOO_LARGE, message)
        each = map(self._answer, frame.results)
        return AnsweredTogether([(answered.call_id, answered.answer) for answered in each])

    def _answer(self, frame: ToolResult) -> Answered:
        call_id, older = frame.id or frame.call_id, frame.call_id
        if call_id is None:
            raise RemoteProtocolError(ErrorCode.BAD_FRAME, "tool_result has neither id nor call_id")
        if older is not None and older != call_id:
            raise RemoteProtocolError(ErrorCode.BAD_FRAME, "tool_result has an id and another call_id")
        result: Any = frame.result
        error: object = frame.error
        if type(result) is msgspec.Raw and not error:
            size = memoryview(result).nbytes
            if size > MAX_RESULT_BYTES:
                message = f"the result has {size} bytes, the most is {MAX_RESULT_BYTES}"
                error = ErrorBody(code=ErrorCode.RESULT_TOO_LARGE, message=message)
            else:
                result = self.codec.unpack(result)
        if type(result) is dict and not error:
            error = result.get("error")
        if error:
            answer = Answer(error=_error_body(error))
        elif result is UNSET:
            answer = Answer()
        else:
            answer = Answer(result=result, counter=frame.counter)
        return Answered(call_id, answer)  # type: ignore[arg-type]  # CallId() is a call


def _error_body(error: object) -> ErrorBody:
    """Convert a device's error in any of its forms: an ErrorBody, its object, or a plain string."""
    if isinstance(error, ErrorBody):
        return error
    if isinstance(error, dict):
        try:
            return msgspec.convert({"code": ErrorCode.DEVICE_ERROR.value} | error, ErrorBody)
        except msgspec.ValidationError:
            error = msgspec.json.encode(error).decode()
    return ErrorBody(code=ErrorCode.DEVICE_ERROR, message=str(error)[:MAX_ERROR_CHARACTERS])


_RESERVE: Final = 1024  # bytes of a frame beside its answers
WELCOME_TIMEOUT_S = 30.0  # a busy hub may take this long to judge a hello


class DeviceSession(Session):
    """Device's side of one connection.

    Args:
        now: monotonic seconds; the hub must send its challenge within HELLO_TIMEOUT_S, and its welcome within
            WELCOME_TIMEOUT_S of the hello.
    """

    _TABLE = DEVICE_SESSION
    _ALLOWED = ALLOWED_FROM_HUB
    _ALLOWED_OUT: Allowed = {
        **dict.fromkeys(SessionState, NOTHING),
        SessionState.READY: ALLOWED_FROM_DEVICE[SessionState.READY],
    }

    def __init__(self, *, codec: Codec, now: float) -> None:
        super().__init__(codec, deadline=now + HELLO_TIMEOUT_S)
        self._decode = codec.decode_from_hub
        self._opened_at = now
        self.challenge: Challenge | None = None
        self.welcome: Welcome | None = None

    def greet(self, hello: DeviceHello) -> None:
        """Queue the hello; a device with a token need not wait for the challenge.

        Raises:
            LocalProtocolError: it was sent already, or the session is over.
        """
        if self.state is not SessionState.GREETING:
            raise LocalProtocolError(f"device_hello may not be sent while {self.state.name}")
        self._queue(hello)
        self._move(SessionMove.GREETED)
        self._deadline = self._opened_at + WELCOME_TIMEOUT_S

    def answer(
        self, answers: Sequence[tuple[CallId, Answer, str | None]]
    ) -> list[tuple[CallId, LocalProtocolError]]:
        """Queue the answers (call id, answer, trace) to the calls of one frame, in as few frames as fit.

        Return the answers that cannot be encoded with their errors; the hub gets the error ``internal``.

        Raises:
            LocalProtocolError: the state does not allow it.
        """
        faults: list[tuple[CallId, LocalProtocolError]] = []
        frames: list[list[ToolResult]] = []
        room = 0
        for call_id, answer, trace in answers:
            try:
                result = self._result_of(call_id, answer, trace)
                size = len(self.encode(result))
            except LocalProtocolError as error:
                fault = ErrorBody(code=ErrorCode.INTERNAL, message="a fault in the device", retryable=True)
                result = ToolResult(id=call_id, error=fault, trace=trace)
                size = len(self.encode(result))
                faults.append((call_id, error))
            if size > room:
                frames.append([])
                room = MAX_RESULT_BYTES - _RESERVE
            frames[-1].append(result)
            room -= size + 1
        for results in frames:
            self.send(results[0] if len(results) == 1 else ToolResults(results=results))
        return faults

    def _result_of(self, call_id: CallId, answer: Answer, trace: str | None) -> ToolResult:
        if answer.error is not None:
            return ToolResult(id=call_id, error=answer.error, trace=trace)
        try:
            packed = self.codec.pack(answer.result)
        except (ValueError, OverflowError, TypeError, RecursionError) as error:
            raise LocalProtocolError(f"the answer to {call_id} cannot be spelled: {error}") from error
        return ToolResult(id=call_id, result=packed, counter=answer.counter, trace=trace)

    def leave(self, reason: str = "done") -> Ended | None:
        """End the session on purpose. ``None`` if the session is over already."""
        if self._is_over:
            return None
        self._move(SessionMove.ENDED)
        return Ended(CloseCode.NORMAL, reason)

    def _handle_frame(self, frame: Any, now: float) -> SessionEvent:
        match frame:
            case Challenge():
                if self.challenge is not None:
                    raise RemoteProtocolError(ErrorCode.WRONG_STATE, "a second challenge")
                self.challenge = frame
                return Challenged(frame)
            case Welcome():
                self.welcome = frame
                self._most_taken = frame.limits.max_message_bytes
                self._move(SessionMove.WELCOMED)
                self._deadline = None
                return Welcomed(frame)
            case Error():
                return Refused(frame)
            case Goodbye():
                self._move(SessionMove.DISMISSED)
                return Leaving(frame)
        return Received(frame)

    def _run_late(self) -> list[SessionEvent]:
        message = "the hub did not answer in time"
        return [self._refuse(Error(code=ErrorCode.HELLO_TIMEOUT, message=message), CloseCode.HELLO_TIMEOUT)]

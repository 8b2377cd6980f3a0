"""Hub's side of a session: challenge, judging of the hello, welcome or refusal, goodbye.

In addition to the common rules it tracks a device's open requests, because each must be answered once.
"""

from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import UNSET

from protocol.codec import Codec, LargeHeartbeat, LargeRequest, ReadResult, ReadResults, TooLargeValue
from protocol.coordination import Heartbeat, Request, Response
from protocol.errors import CloseCode, ErrorCode, LocalProtocolError, RemoteProtocolError
from protocol.frame import (
    HEARTBEAT_INTERVAL_MS,
    HELLO_TIMEOUT_S,
    MAX_HELLO_BYTES,
    MAX_PENDING_REQUESTS,
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
from protocol.ids import ConnectionId, DeviceId, UserId
from protocol.session import (
    ALLOWED_FROM_DEVICE,
    ALLOWED_FROM_HUB,
    HUB_SESSION,
    NOTHING,
    Allowed,
    Answered,
    AnsweredTogether,
    Ended,
    HelloReceived,
    Ignored,
    Received,
    Session,
    SessionEvent,
    SessionMove,
    SessionState,
    Silent,
)
from protocol.work import Answer, ToolResult, ToolResults

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

    def _take(self, frame: Any, now: float) -> SessionEvent:
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
            error = Error(code=mismatch.code, message=str(mismatch))
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
        return AnsweredTogether([(one.call_id, one.answer) for one in each])

    def _answer(self, frame: ToolResult) -> Answered:
        call_id, older = frame.id or frame.call_id, frame.call_id
        if call_id is None:
            raise RemoteProtocolError(ErrorCode.BAD_FRAME, "tool_result has neither id nor call_id")
        if older is not None and older != call_id:
            raise RemoteProtocolError(ErrorCode.BAD_FRAME, "tool_result has an id and another call_id")
        return Answered(call_id, self._answer_in(frame))  # type: ignore[arg-type]  # CallId() is a call

    def _answer_in(self, frame: ToolResult) -> Answer:
        if frame.error:
            return Answer(error=_error_body(frame.error))
        if frame.result is UNSET:
            return Answer()
        result: Any = frame.result
        if type(result) is msgspec.Raw:
            size = memoryview(result).nbytes
            if size > MAX_RESULT_BYTES:
                message = f"the result has {size} bytes, the most is {MAX_RESULT_BYTES}"
                return Answer(error=ErrorBody(code=ErrorCode.RESULT_TOO_LARGE, message=message))
            result = self.codec.unpack(result)
        if type(result) is dict and (error := result.get("error")):
            return Answer(error=_error_body(error))
        return Answer(result=result, counter=frame.counter)


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

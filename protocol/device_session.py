"""Device's side of a session: hello, work, answers to calls, leaving."""

from collections.abc import Sequence
from typing import Any, Final

from protocol.codec import Codec
from protocol.errors import CloseCode, ErrorCode, LocalProtocolError, RemoteProtocolError
from protocol.frame import HELLO_TIMEOUT_S, MAX_RESULT_BYTES, ErrorBody
from protocol.handshake import Challenge, DeviceHello, Error, Goodbye, Welcome
from protocol.ids import CallId
from protocol.session import (
    ALLOWED_FROM_DEVICE,
    ALLOWED_FROM_HUB,
    DEVICE_SESSION,
    NOTHING,
    Allowed,
    Challenged,
    Ended,
    Leaving,
    Received,
    Refused,
    Session,
    SessionEvent,
    SessionMove,
    SessionState,
    Welcomed,
)
from protocol.work import Answer, ToolResult, ToolResults

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

    def leave(self) -> Ended | None:
        """End the session on purpose. ``None`` if the session is over already."""
        if self._is_over:
            return None
        self._move(SessionMove.ENDED)
        return Ended(CloseCode.NORMAL, "done")

    def _take(self, frame: Any, now: float) -> SessionEvent:
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

"""Device's side of a session: hello, work, answers to calls, leaving."""

from typing import Any

from protocol.codec import Codec
from protocol.errors import CloseCode, ErrorCode, LocalProtocolError, RemoteProtocolError
from protocol.frame import HELLO_TIMEOUT_S
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
from protocol.work import Answer, ToolResult

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

    def answer(self, call_id: CallId, answer: Answer, *, trace: str | None = None) -> None:
        """Queue the ``tool_result`` of a call, with the call's *trace*.

        Raises:
            LocalProtocolError: as ``send``.
        """
        if answer.error is not None:
            self.send(ToolResult(id=call_id, error=answer.error, trace=trace))
        else:
            packed = self.codec.pack(answer.result)
            self.send(ToolResult(id=call_id, result=packed, counter=answer.counter, trace=trace))

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

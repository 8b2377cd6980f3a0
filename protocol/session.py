"""Session over one connection, from challenge to goodbye: the part common to both sides.

Bytes and time in, events and bytes out; no I/O. Tables define the moves between states, and the frames
allowed in each state; any other frame ends the connection (``wrong_state``). A peer can make a session *end*;
it can never make it *raise*.

The sides are ``protocol.hub_session`` and ``protocol.device_session``. Calls, streams and runs outlive a
session and are unknown there.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from enum import Enum, auto
from typing import Any

import msgspec

from protocol.codec import FROM_HUB, Codec, UnknownType, type_of
from protocol.coordination import Heartbeat, Request
from protocol.errors import CloseCode, ErrorCode, LocalProtocolError, RemoteProtocolError
from protocol.frame import MAX_HELLO_BYTES, MAX_MESSAGE_BYTES, MAX_REASON_BYTES, Frame
from protocol.handshake import Challenge, DeviceHello, Error, Goodbye, Welcome
from protocol.ids import CallId
from protocol.lifecycles import Table
from protocol.work import (
    AgentAck,
    AgentComplete,
    AgentData,
    AgentManifest,
    Answer,
    ToolResult,
    ToolResults,
)


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
            return self._take(frame, now)
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
    def _take(self, frame: Any, now: float) -> SessionEvent:
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
        return Ended(close, error.code)

"""States of a session, its moves, and the frames allowed in each state: three tables.

A frame that the table does not allow ends the connection (``wrong_state``).
"""

from collections.abc import Mapping
from enum import Enum, auto

from protocol.codec import FROM_HUB
from protocol.coordination import Heartbeat, Request
from protocol.frame import Frame
from protocol.handshake import Challenge, DeviceHello, Error, Goodbye, Welcome
from protocol.lifecycles import Table
from protocol.work import AgentAck, AgentComplete, AgentData, AgentManifest, ToolResult


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

HUB_SESSION: Table[SessionState, SessionMove] = Table(
    "hub session",
    _S.GREETING,
    {
        (_S.GREETING, _M.GREETED): _S.JUDGING,
        (_S.JUDGING, _M.WELCOMED): _S.READY,
        (_S.GREETING, _M.ENDED): _S.CLOSING,
        (_S.JUDGING, _M.ENDED): _S.CLOSING,
        (_S.READY, _M.ENDED): _S.CLOSING,
        (_S.GREETING, _M.HUNG_UP): _S.CLOSED,
        (_S.JUDGING, _M.HUNG_UP): _S.CLOSED,
        (_S.READY, _M.HUNG_UP): _S.CLOSED,
        (_S.CLOSING, _M.HUNG_UP): _S.CLOSED,
    },
)

DEVICE_SESSION: Table[SessionState, SessionMove] = Table(
    "device session",
    _S.GREETING,
    {
        **{(before, move): after for before, move, after in HUB_SESSION.moves()},
        (_S.GREETING, _M.DISMISSED): _S.CLOSING,
        (_S.JUDGING, _M.DISMISSED): _S.CLOSING,
        (_S.READY, _M.DISMISSED): _S.CLOSING,
    },
)

Allowed = Mapping[SessionState, frozenset[type[Frame]]]

NOTHING: frozenset[type[Frame]] = frozenset()

ALLOWED_FROM_DEVICE: Allowed = {
    _S.GREETING: frozenset({DeviceHello, Error}),
    _S.JUDGING: NOTHING,
    _S.READY: frozenset(
        {AgentAck, AgentManifest, AgentData, AgentComplete, ToolResult, Request, Heartbeat, Error}
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

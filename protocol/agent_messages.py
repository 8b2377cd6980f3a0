"""Messages between agents: kinds, states and legal state changes.

A message is stored before it is sent. Its state says what is *proven*: an acknowledgement is not a delivery,
and a delivery is not an answer.
"""

from enum import Enum, StrEnum, auto
from typing import Final

from protocol.lifecycles import Table


class MessageKind(StrEnum):
    """Purpose of a message."""

    NUDGE = "nudge"  # from an agent of a board to another
    QUESTION = "question"  # to the lead of a board, from its gateway's main agent or a person
    HANDOFF = "handoff"  # likewise: work that is handed over
    ASK_USER = "ask_user"  # to a gateway's main agent: reach the person
    ANSWER = "answer"  # the person's answer, to the agent that asked


class MessageState(StrEnum):
    """Proven progress of a message."""

    WAITING = "waiting"  # nothing of this attempt has been sent
    SENT = "sent"  # it may have been sent; no acknowledgement yet
    ACCEPTED = "accepted"  # acknowledged, which is not yet a delivery
    QUEUED = "queued"  # it waits at its agent behind another turn
    CONSUMED = "consumed"  # it is in the agent's own history
    ANSWERED = "answered"  # an answer to this message exists
    INTERRUPTED = "interrupted"  # the gateway dropped it before its agent had it
    FAILED = "failed"
    EXPIRED = "expired"  # its time to live ended before its agent had it


class MessageEvent(Enum):
    """Event of a message."""

    SENT = auto()  # before its frame is sent
    TAKEN_BACK = auto()  # certainly not sent, or without effect
    ACCEPTED = auto()
    QUEUED = auto()
    CONSUMED = auto()
    ANSWERED = auto()
    INTERRUPTED = auto()
    TRIED_ANEW = auto()  # under a new attempt's key
    FAILED = auto()
    EXPIRED = auto()


_S, _E = MessageState, MessageEvent
MESSAGE: Final[Table[MessageState, MessageEvent]] = Table(
    "message",
    MessageState.WAITING,
    {
        (_S.WAITING, _E.SENT): _S.SENT,
        (_S.WAITING, _E.FAILED): _S.FAILED,
        (_S.WAITING, _E.EXPIRED): _S.EXPIRED,
        (_S.SENT, _E.SENT): _S.SENT,
        (_S.SENT, _E.TAKEN_BACK): _S.WAITING,
        (_S.SENT, _E.ACCEPTED): _S.ACCEPTED,
        (_S.SENT, _E.QUEUED): _S.QUEUED,
        (_S.SENT, _E.CONSUMED): _S.CONSUMED,
        (_S.SENT, _E.ANSWERED): _S.ANSWERED,
        (_S.SENT, _E.INTERRUPTED): _S.INTERRUPTED,
        (_S.SENT, _E.FAILED): _S.FAILED,
        (_S.SENT, _E.EXPIRED): _S.EXPIRED,
        (_S.ACCEPTED, _E.QUEUED): _S.QUEUED,
        (_S.ACCEPTED, _E.CONSUMED): _S.CONSUMED,
        (_S.ACCEPTED, _E.ANSWERED): _S.ANSWERED,
        (_S.ACCEPTED, _E.INTERRUPTED): _S.INTERRUPTED,
        (_S.ACCEPTED, _E.FAILED): _S.FAILED,
        (_S.ACCEPTED, _E.EXPIRED): _S.EXPIRED,
        (_S.QUEUED, _E.CONSUMED): _S.CONSUMED,
        (_S.QUEUED, _E.ANSWERED): _S.ANSWERED,
        (_S.QUEUED, _E.INTERRUPTED): _S.INTERRUPTED,
        (_S.QUEUED, _E.FAILED): _S.FAILED,
        (_S.QUEUED, _E.EXPIRED): _S.EXPIRED,
        (_S.CONSUMED, _E.ANSWERED): _S.ANSWERED,
        (_S.CONSUMED, _E.INTERRUPTED): _S.INTERRUPTED,  # in the history, but no model was ever asked
        (_S.CONSUMED, _E.FAILED): _S.FAILED,
        (_S.INTERRUPTED, _E.TRIED_ANEW): _S.WAITING,
        (_S.INTERRUPTED, _E.FAILED): _S.FAILED,
        (_S.INTERRUPTED, _E.EXPIRED): _S.EXPIRED,
    },
)
DELIVERED: Final = frozenset({MessageState.CONSUMED, MessageState.ANSWERED})


class QueueMode(StrEnum):
    """Handling of a message while its agent is busy; by default the gateway's setting.

    Gateways have another mode, ``collect``, in which the key that proves a delivery is lost.
    """

    STEER = "steer"  # added to the running turn, which answers both
    FOLLOWUP = "followup"  # gets its own turn afterwards, and keeps its key
    INTERRUPT = "interrupt"  # the running turn is aborted


class QuestionState(StrEnum):
    """State of a question to a person. The first answer counts, wherever it was given."""

    OPEN = "open"
    ANSWERED = "answered"
    WITHDRAWN = "withdrawn"
    EXPIRED = "expired"

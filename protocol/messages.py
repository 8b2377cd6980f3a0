"""Messages between agents: their kinds, their states, and what may follow what.

A message is a row before it is a frame. Its state says what is *proven*: an acknowledgement is not a
delivery, and a delivery is not an answer.
"""

from enum import Enum, StrEnum, auto
from typing import Final

from protocol.machine import Table


class MessageKind(StrEnum):
    """What a message is for."""

    NUDGE = "nudge"  # one agent of a board to another
    QUESTION = "question"  # to the lead of a board, from its gateway's main agent or a person
    HANDOFF = "handoff"  # the same: work that is handed over
    ASK_USER = "ask_user"  # to a gateway's main agent: reach the person
    ANSWER = "answer"  # what the person said, to who asked


class MessageState(StrEnum):
    """How far a message is known to have come."""

    WAITING = "waiting"  # nothing of this attempt has left
    SENT = "sent"  # it may have left; nobody has acknowledged it
    ACCEPTED = "accepted"  # acknowledged, which is not yet a delivery
    QUEUED = "queued"  # it waits at its agent behind another turn
    CONSUMED = "consumed"  # it stands in the agent's own history
    ANSWERED = "answered"  # an answer to this message is there
    INTERRUPTED = "interrupted"  # the gateway dropped it before its agent had it
    FAILED = "failed"
    EXPIRED = "expired"  # its time was over before its agent had it


class MessageEvent(Enum):
    """What happened to a message."""

    SENT = auto()  # before its frame leaves
    TAKEN_BACK = auto()  # certain that it did not leave, or had no effect
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
        (_S.CONSUMED, _E.INTERRUPTED): _S.INTERRUPTED,  # it stands there, and no model was ever asked
        (_S.CONSUMED, _E.FAILED): _S.FAILED,
        (_S.INTERRUPTED, _E.TRIED_ANEW): _S.WAITING,
        (_S.INTERRUPTED, _E.FAILED): _S.FAILED,
        (_S.INTERRUPTED, _E.EXPIRED): _S.EXPIRED,
    },
)

DELIVERED: Final = frozenset({MessageState.CONSUMED, MessageState.ANSWERED})


class QueueMode(StrEnum):
    """How a message is taken while its agent is busy; by default as its gateway is set.

    A gateway knows one more, ``collect``, in which the key that proves a delivery is lost.
    """

    STEER = "steer"  # it is put into the running turn, which answers both
    FOLLOWUP = "followup"  # it gets a turn of its own afterwards, and keeps its key
    INTERRUPT = "interrupt"  # the running turn is aborted


class QuestionState(StrEnum):
    """How a question to a person stands. The first answer counts, wherever it was given."""

    OPEN = "open"
    ANSWERED = "answered"
    WITHDRAWN = "withdrawn"
    EXPIRED = "expired"


class SoulWriteState(StrEnum):
    """How a write of an agent's SOUL.md stands."""

    WAITING = "waiting"  # committed here; what the other side has is not known
    DONE = "done"  # the other side has it, shown by its hash
    CONFLICT = "conflict"  # somebody else had written in between; theirs stays
    FAILED = "failed"


SOUL_FILE: Final = "SOUL.md"


def attempt_key(message_id: str, attempt: int) -> str:
    """The idempotency key of one attempt; gateways know its run by it."""
    return f"{message_id}-{attempt}"

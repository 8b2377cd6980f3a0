"""Frames outside runs and calls: heartbeats, requests, events, messages of agents, permissions on boards.

Messages between agents: kinds, states and moves.

A message is stored before it is sent. Its state says what is *proven*: an acknowledgement is not a delivery,
and a delivery is not an answer.

Permissions on boards: one pure table, from the caller's role and the verb to the allowed targets.

The role is the caller's relation to the board. ``hub.coordination.authority`` determines it; this module
contains only the rules.
"""

import re
from collections.abc import Iterable, Mapping
from enum import Enum, StrEnum, auto
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from protocol.errors import CodedError, ErrorCode
from protocol.frame import Count, EpochMs, ErrorBody, Frame, Id, Name, Parameters, Record, Text, Values
from protocol.lifecycles import Table


class Method(StrEnum):
    """Methods that a device may request from its hub."""

    AGENTS_LIST = "agents.list"
    AGENTS_GET = "agents.get"
    AGENTS_CREATE = "agents.create"
    AGENTS_UPDATE = "agents.update"
    AGENTS_DELETE = "agents.delete"
    STATUS_GET = "status.get"
    STATUS_SET = "status.set"
    CONFIG_GET = "config.get"
    CONFIG_SET = "config.set"
    CONFIG_UNSET = "config.unset"
    CAPABILITIES_LIST = "capabilities.list"
    CAPABILITIES_PUT = "capabilities.put"
    CAPABILITIES_REMOVE = "capabilities.remove"
    CHECKPOINTS_GET = "checkpoints.get"
    CHECKPOINTS_PUT = "checkpoints.put"
    CHECKPOINTS_CLEAR = "checkpoints.clear"
    RUNS_START = "runs.start"
    RUNS_CANCEL = "runs.cancel"
    RUNS_LIST = "runs.list"
    RUNS_GET = "runs.get"
    RUNS_REPORT = "runs.report"
    REVIEW_REPORT = "review.report"
    PLACES_REPORT = "places.report"
    LOCKS_ACQUIRE = "locks.acquire"
    LOCKS_RENEW = "locks.renew"
    LOCKS_RELEASE = "locks.release"
    LOCKS_LIST = "locks.list"
    METRICS_REPORT = "metrics.report"
    METRICS_QUERY = "metrics.query"
    MESSAGES_LIST = "messages.list"
    MESSAGES_ANSWER = "messages.answer"
    MESSAGES_NUDGE = "messages.nudge"
    QUESTIONS_LIST = "questions.list"
    QUESTIONS_ASK = "questions.ask"
    QUESTIONS_ANSWER = "questions.answer"
    BOARDS_LIST = "boards.list"
    MEMORY_LIST = "memory.list"
    MEMORY_ADD = "memory.add"
    KEYS_ROTATE = "keys.rotate"
    SESSIONS_LINK = "sessions.link"
    RECEIPTS_LIST = "receipts.list"
    RECEIPTS_GET = "receipts.get"
    PROPOSALS_LIST = "proposals.list"
    SIGN_INS_ANSWER = "sign_ins.answer"
    SUBSCRIBE = "subscribe"
    UNSUBSCRIBE = "unsubscribe"


class EventName(StrEnum):
    """Events that a hub may send to a device, about the device's own agents and runs only.

    Events about messages, questions, connectors and board memories concern all those of its user.
    """

    AGENT_CONFIG = "agent.config"
    AGENT_MOVED = "agent.moved"
    AGENT_CHANGED = "agent.changed"
    RUN_QUEUED = "run.queued"
    RUN_MOVED = "run.moved"
    MESSAGE_MOVED = "message.moved"
    MEMORY_ADDED = "memory.added"
    QUESTION_MOVED = "question.moved"
    CONNECTOR_MOVED = "connector.moved"


class AgentBeat(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Agent in a heartbeat, as its device sees it. It does not undo a person's decision.

    *status*: ``idle``, ``on_call``, ``offline``, ``error``; ``exhausted`` (it ends at its time, never by a
    heartbeat). ``busy``, ``waiting``, ``processing`` are read as ``idle``, because the runs show what an
    agent does.
    """

    agent_id: Id
    status: Name = "idle"
    state_detail: Text | None = None  # "ERROR", or "ERROR: why"; other words are ignored
    resource_usage: Record = {}  # the newest is stored; {}: no statement
    exhaust_reason: Name | None = None  # with exhausted: rate_limit (default) or billing
    recovery_at_ms: EpochMs | None = None  # with exhausted: time of recovery, if known


class Heartbeat(Frame, frozen=True, kw_only=True, tag="heartbeat"):
    """device -> hub: sign of life, every ``heartbeat_interval_ms``.

    Not answered. A device that never sends one is judged by its connection alone.
    """

    agents: Annotated[list[AgentBeat], Meta(max_length=1024)] = []


class Request(Frame, frozen=True, kw_only=True, tag="request"):
    """device -> hub: an operation that the person at the desktop requests.

    Answered by exactly one ``response`` with the same ``id``.
    """

    id: Id
    method: Name  # one of Method; others are answered with unknown_method
    params: Parameters = {}


class Response(Frame, frozen=True, kw_only=True, tag="response"):
    """hub -> device: the answer to a request, a result or an error.

    Not answered.
    """

    id: Id
    result: Values | None = None
    error: ErrorBody | None = None


class Event(Frame, frozen=True, kw_only=True, tag="event"):
    """hub -> device: notification of an event. A gap in *seq* means: request the state again.

    Not answered.
    """

    event: Name  # one of EventName
    seq: Count
    data: Values = {}


# Measurements of agents as devices report them. A sample belongs to a series: an agent, a name, and tags.
# All series of an agent with one name have one type.

MAX_SAMPLES: Final = 500  # in one report: one transaction of about 10 ms
MAX_TAGS: Final = 8  # of a series


class MetricType(StrEnum):
    """Meaning of the values of a series."""

    COUNTER = "counter"  # increments since the last sample, never below 0
    GAUGE = "gauge"  # a current level
    HISTOGRAM = "histogram"  # single observations, evaluated by percentiles


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """Sample of a metric.

    *agent_id*: the agent's id or name. Without *type*: the metric's type, or gauge if it is new. Without
    *at_ms*: the time of arrival.
    """

    agent_id: Id
    name: Annotated[str, Meta(min_length=1)]
    type: MetricType | None = None
    value: float
    tags: dict[str, str] = {}
    at_ms: EpochMs | None = None


# Names of locks, which agents agree on so that only one of them works on a resource at a time. The first
# request for a name creates its lock. Each user has a separate namespace.

LOCK_CHARACTERS: Final = 255
MAX_LOCKS: Final = 16  # acquired together by one request
MAX_OF_RUN: Final = 2 * MAX_LOCKS  # those of its agent, and its own
_LOCK: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]*", re.ASCII)


def lock_names(given: Iterable[str]) -> tuple[str, ...]:
    """Validate and sort the names without duplicates, in the order in which locks are acquired.

    Raises:
        CodedError (BAD_PARAMS): a name is invalid, or there are more than ``MAX_LOCKS``.
    """
    names = tuple(sorted(set(given)))
    for name in names:
        if len(name) > LOCK_CHARACTERS or _LOCK.fullmatch(name) is None:
            shown = name if len(name) <= 40 else f"{name[:40]}..."
            raise CodedError(
                ErrorCode.BAD_PARAMS,
                f"{shown!r} cannot be the name of a lock: expected 1 to {LOCK_CHARACTERS} characters, "
                "a letter or digit first, then letters, digits and . _ : / @ + -, as in 'mailbox:anna'",
            )
    if len(names) > MAX_LOCKS:
        raise CodedError(
            ErrorCode.BAD_PARAMS, f"{len(names)} locks at once; at most {MAX_LOCKS} can be taken together"
        )
    return names


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


class SoulWriteState(StrEnum):
    """State of a write of an agent's SOUL.md."""

    WAITING = "waiting"  # committed here; the other side's state is unknown
    DONE = "done"  # the other side has it, as its hash shows
    CONFLICT = "conflict"  # another writer came first; its version stays
    FAILED = "failed"


SOUL_FILE: Final = "SOUL.md"


def attempt_key(message_id: str, attempt: int) -> str:
    """Return the idempotency key of an attempt, by which gateways identify its run."""
    return f"{message_id}-{attempt}"


AGENT: Final = "agent:"  # prefix of the actor of an agent that acts in its own name
DEVICE: Final = "device:"  # prefix of the actor of a device, for itself or for its owner


class Verb(StrEnum):
    """Operation on a board."""

    BOARD_READ = "board.read"
    NUDGE = "nudge"
    SOUL_READ = "soul.read"
    SOUL_WRITE = "soul.write"
    ASK_USER = "ask_user"
    LEAD_MESSAGE = "lead.message"
    ENSURE_LEAD = "lead.ensure"
    BROADCAST = "broadcast"
    MEMORY_READ = "memory.read"
    MEMORY_WRITE = "memory.write"
    QUESTION_READ = "question.read"
    QUESTION_ANSWER = "question.answer"


class Role(StrEnum):
    """Role of a caller on a board."""

    OPERATOR = "operator"  # or the person at a device: owner of the board, or of the hub
    LEAD = "lead"
    WORKER = "worker"  # any other member of the board
    GATEWAY_MAIN = "gateway_main"  # main agent of the board's own gateway
    STRANGER = "stranger"  # any other agent of the same user


class Whom(StrEnum):
    """Relation of the targeted agent to the board and the caller."""

    SELF = "self"
    LEAD = "lead"
    WORKER = "worker"
    MAIN = "main"  # main agent of the board's gateway
    OUTSIDER = "outsider"  # not on the board


class Denial(msgspec.Struct, frozen=True):
    """Reason for a refusal."""

    code: ErrorCode
    words: str


AIMED: Final = frozenset({Verb.NUDGE, Verb.SOUL_READ, Verb.SOUL_WRITE})  # operations that target one agent
MEMBERS: Final = frozenset({Whom.LEAD, Whom.WORKER})
ALL: Final = MEMBERS | {Whom.SELF, Whom.MAIN}  # for operations without a target

_R, _V, _W = Role, Verb, Whom

# Missing pairs are forbidden. The targets matter only for operations in AIMED.
LAW: Final[Mapping[tuple[Role, Verb], frozenset[Whom]]] = {
    **{(_R.OPERATOR, verb): ALL for verb in Verb},
    (_R.LEAD, _V.BOARD_READ): ALL,
    (_R.LEAD, _V.NUDGE): frozenset({_W.WORKER}),
    (_R.LEAD, _V.SOUL_READ): frozenset({_W.SELF, _W.WORKER}),
    (_R.LEAD, _V.SOUL_WRITE): frozenset({_W.SELF, _W.WORKER}),
    (_R.LEAD, _V.ASK_USER): ALL,
    (_R.LEAD, _V.MEMORY_READ): ALL,
    (_R.LEAD, _V.MEMORY_WRITE): ALL,
    (_R.LEAD, _V.QUESTION_READ): ALL,
    (_R.WORKER, _V.BOARD_READ): ALL,
    (_R.WORKER, _V.NUDGE): frozenset({_W.LEAD}),
    (_R.WORKER, _V.SOUL_READ): frozenset({_W.SELF}),
    (_R.WORKER, _V.MEMORY_READ): ALL,
    (_R.WORKER, _V.MEMORY_WRITE): ALL,
    (_R.GATEWAY_MAIN, _V.BOARD_READ): ALL,
    (_R.GATEWAY_MAIN, _V.LEAD_MESSAGE): ALL,
    (_R.GATEWAY_MAIN, _V.ENSURE_LEAD): ALL,
    (_R.GATEWAY_MAIN, _V.BROADCAST): ALL,
    (_R.GATEWAY_MAIN, _V.MEMORY_READ): ALL,
    (_R.GATEWAY_MAIN, _V.MEMORY_WRITE): ALL,
    (_R.GATEWAY_MAIN, _V.QUESTION_READ): ALL,
    (_R.GATEWAY_MAIN, _V.QUESTION_ANSWER): ALL,
}

OF_THE_MAIN: Final = frozenset({Verb.LEAD_MESSAGE, Verb.ENSURE_LEAD, Verb.BROADCAST, Verb.QUESTION_ANSWER})
_DOING: Final[Mapping[Verb, str]] = {
    Verb.BOARD_READ: "see the board",
    Verb.NUDGE: "nudge",
    Verb.SOUL_READ: "read the soul of",
    Verb.SOUL_WRITE: "write the soul of",
    Verb.ASK_USER: "ask the user",
    Verb.LEAD_MESSAGE: "send messages to leads",
    Verb.ENSURE_LEAD: "see to it that a board has a lead",
    Verb.BROADCAST: "send broadcasts to leads",
    Verb.MEMORY_READ: "read the board's memory",
    Verb.MEMORY_WRITE: "write into the board's memory",
    Verb.QUESTION_READ: "read the board's questions to its people",
    Verb.QUESTION_ANSWER: "answer for a person",
}
_CALLED: Final[Mapping[Role, str]] = {
    Role.OPERATOR: "an operator",
    Role.LEAD: "the lead of a board",
    Role.WORKER: "an agent that is not the lead",
    Role.GATEWAY_MAIN: "the main agent of a gateway",
    Role.STRANGER: "an agent of another board",
}
_AIM: Final[Mapping[Whom, str]] = {
    Whom.SELF: "itself",
    Whom.LEAD: "its lead",
    Whom.WORKER: "another agent of the board",
    Whom.MAIN: "the main agent of the gateway",
    Whom.OUTSIDER: "an agent of another board",
}


def denial(role: Role, verb: Verb, whom: Whom | None = None) -> Denial | None:
    """Return the reason why a caller in this role may not do it; ``None``: allowed.

    Args:
        whom: the targeted agent; ``None``: check only whether the operation is allowed at all.
    """
    if role is Role.STRANGER:
        return Denial(ErrorCode.NOT_YOUR_BOARD, "this is not the board of the agent that asks")
    allowed = LAW.get((role, verb))
    if allowed is None:
        if verb in OF_THE_MAIN:
            words = f"only the main agent of the board's gateway, or a person, may {_DOING[verb]}"
            return Denial(ErrorCode.NOT_GATEWAY_MAIN, words)
        anybody = " others" if verb in AIMED else ""
        return Denial(ErrorCode.FORBIDDEN, f"{_CALLED[role]} may not {_DOING[verb]}{anybody}")
    if verb not in AIMED or whom is None or whom in allowed:
        return None
    if whom in (Whom.OUTSIDER, Whom.MAIN):  # agents know only those of their own board
        return Denial(ErrorCode.UNKNOWN_AGENT, "there is no such agent on this board")
    return Denial(ErrorCode.FORBIDDEN, f"{_CALLED[role]} may not {_DOING[verb]} {_AIM[whom]}")

"""Frames for heartbeats, requests, responses, events and measurements."""

import re
from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from protocol.errors import CodedError, ErrorCode
from protocol.frame import Count, EpochMs, ErrorBody, Frame, Id, Name, Parameters, Record, Text, Values


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
    FILES_CHANGED = "files.changed"
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
    HELD_LIST = "held.list"
    HELD_JUDGE = "held.judge"
    SIGN_INS_ANSWER = "sign_ins.answer"
    SUBSCRIBE = "subscribe"
    UNSUBSCRIBE = "unsubscribe"


MAX_CHANGED_AGENTS: Final = 64  # in ``files.changed``


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
LOCK: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]*", re.ASCII)


def lock_names(given: Iterable[str]) -> tuple[str, ...]:
    """Validate and sort the names without duplicates, in the order in which locks are acquired.

    Raises:
        CodedError (BAD_PARAMS): a name is invalid, or there are more than ``MAX_LOCKS``.
    """
    names = tuple(sorted(set(given)))
    for name in names:
        if len(name) > LOCK_CHARACTERS or LOCK.fullmatch(name) is None:
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

"""Frames outside runs and calls: heartbeat, request, response, event."""

from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Meta

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
    REVIEW_REPORT = "review.report"
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

"""Frames of what comes unasked: heartbeat, request, response, event."""

from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Meta

from protocol.frame import Count, ErrorBody, Frame, Id, Name, Parameters, Record, Text


class Method(StrEnum):
    """What a device may ask its hub for."""

    AGENTS_LIST = "agents.list"
    AGENTS_GET = "agents.get"
    AGENTS_CREATE = "agents.create"
    AGENTS_UPDATE = "agents.update"
    AGENTS_DELETE = "agents.delete"
    RUNS_START = "runs.start"
    RUNS_CANCEL = "runs.cancel"
    RUNS_LIST = "runs.list"
    RUNS_GET = "runs.get"
    REVIEW_REPORT = "review.report"
    LOCKS_ACQUIRE = "locks.acquire"
    LOCKS_RENEW = "locks.renew"
    LOCKS_RELEASE = "locks.release"
    METRICS_REPORT = "metrics.report"
    MESSAGES_LIST = "messages.list"
    MESSAGES_ANSWER = "messages.answer"
    KEYS_ROTATE = "keys.rotate"
    SUBSCRIBE = "subscribe"
    UNSUBSCRIBE = "unsubscribe"


class AgentBeat(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One agent in a heartbeat."""

    agent_id: Id
    status: Name = "idle"
    state_detail: Text | None = None
    resource_usage: Record = {}


class Heartbeat(Frame, frozen=True, kw_only=True, tag="heartbeat"):
    """device -> hub: still here, every ``heartbeat_interval_ms``.

    Not answered. A device that never sends one is judged by its connection alone.
    """

    agents: Annotated[list[AgentBeat], Meta(max_length=1024)] = []


class Request(Frame, frozen=True, kw_only=True, tag="request"):
    """device -> hub: the person at the desktop wants something.

    Answered by exactly one ``response`` bearing the same ``id``.
    """

    id: Id
    method: Name  # one of Method; another is answered with unknown_method
    params: Parameters = {}


class Response(Frame, frozen=True, kw_only=True, tag="response"):
    """hub -> device: the answer to a request, a result or an error.

    Not answered.
    """

    id: Id
    result: Parameters | None = None
    error: ErrorBody | None = None


class Event(Frame, frozen=True, kw_only=True, tag="event"):
    """hub -> device: something happened. A gap in *seq* means: ask for the state again.

    Not answered.
    """

    event: Name
    seq: Count
    data: Parameters = {}

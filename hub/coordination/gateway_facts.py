"""Turns and quotas of agents, extracted from events of their gateway. Pure functions.

Only the structure of events is used, never message text. Unknown events are ignored.
"""

from collections.abc import Mapping
from enum import Enum, auto
from typing import Any, Final

import msgspec

from hub.openclaw import GatewayEvent
from protocol.standing import ExhaustReason

MOST_DELAY_MS: Final = 31 * 86_400_000  # no quota lasts longer than a month

_REASONS: Final = {"rate_limit": ExhaustReason.RATE_LIMIT, "billing": ExhaustReason.BILLING}


class Turn(Enum):
    """Event in a turn of an agent."""

    BEGUN = auto()
    WAITS = auto()  # continues later, because its model has to be retried
    ENDED = auto()
    FAILED = auto()
    ABORTED = auto()


class Fact(msgspec.Struct, frozen=True, kw_only=True):
    """Content of an event about an agent's turn.

    Attributes:
        remote_id: the agent's id at its gateway.
        cause: why its model did not answer; None if unknown.
        delay_ms: delay after which the gateway asks the model again.
    """

    remote_id: str
    run_id: str
    turn: Turn
    cause: ExhaustReason | None = None
    delay_ms: int | None = None


def read_fact(event: GatewayEvent) -> Fact | None:
    """Return what *event* reports about an agent's turn, or None."""
    payload = event.payload
    if not isinstance(payload, Mapping):
        return None
    run_id, remote_id = payload.get("runId"), _agent_in(payload)
    if not isinstance(run_id, str) or remote_id is None:
        return None
    match event.name:
        case "agent":
            return _of_agent(payload, remote_id, run_id)
        case "chat":
            return _of_chat(payload, remote_id, run_id)
    return None


def _of_agent(payload: Mapping[str, Any], remote_id: str, run_id: str) -> Fact | None:
    data = payload.get("data")
    if not isinstance(data, Mapping):
        return None
    match payload.get("stream"), data.get("phase"):
        case "lifecycle", "start":
            return Fact(remote_id=remote_id, run_id=run_id, turn=Turn.BEGUN)
        case "lifecycle", "end":
            turn = Turn.ABORTED if data.get("aborted") is True else Turn.ENDED
            return Fact(remote_id=remote_id, run_id=run_id, turn=turn)
        case "lifecycle", "error":
            turn = Turn.ABORTED if data.get("aborted") is True else Turn.FAILED
            return _failed(remote_id, run_id, turn, data.get("errorObservation"))
        case "run_status", "retrying":
            cause, delay = _REASONS.get(str(data.get("reason"))), data.get("delayMs")
            is_delay = isinstance(delay, int | float) and 0 <= delay <= MOST_DELAY_MS
            return Fact(
                remote_id=remote_id,
                run_id=run_id,
                turn=Turn.WAITS,
                cause=cause,
                delay_ms=int(delay) if is_delay and delay is not None else None,
            )
    return None


def _of_chat(payload: Mapping[str, Any], remote_id: str, run_id: str) -> Fact | None:
    match payload.get("state"):
        case "final" if payload.get("message") is not None:
            return Fact(remote_id=remote_id, run_id=run_id, turn=Turn.ENDED)
        case "error":
            return _failed(remote_id, run_id, Turn.FAILED, payload.get("errorDetail"))
        case "aborted":
            return Fact(remote_id=remote_id, run_id=run_id, turn=Turn.ABORTED)
    return None  # a final event without a message ends queued input, not a turn


def _failed(remote_id: str, run_id: str, turn: Turn, told: object) -> Fact:
    detail: Mapping[str, Any] = told if isinstance(told, Mapping) else {}
    return Fact(
        remote_id=remote_id,
        run_id=run_id,
        turn=turn,
        cause=_REASONS.get(str(detail.get("failoverReason"))),
    )


def _agent_in(payload: Mapping[str, Any]) -> str | None:
    """Return the agent id in the payload, or in its session key ``agent:<id>:<rest>``."""
    if isinstance(named := payload.get("agentId"), str):
        return named
    parts = str(payload.get("sessionKey", "")).split(":", 2)
    return parts[1] if len(parts) == 3 and parts[0] == "agent" else None

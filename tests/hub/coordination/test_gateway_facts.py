"""What events of a gateway say of its agents: frames of a real one, read by structure alone."""

from typing import Any

import pytest

from hub.coordination.gateway_watch import Fact, Turn, read_fact
from hub.openclaw import GatewayEvent
from protocol.agent_status import ExhaustReason

ABOUT = {"runId": "k-1", "sessionKey": "agent:main:main", "agentId": "main", "seq": 7}
SEEN = {"provider": "scripted", "model": "scripted", "providerRuntimeFailureKind": "rate_limit"}


def read(event: str, **payload: Any) -> Fact | None:
    return read_fact(GatewayEvent("office", event, ABOUT | payload))


def fact(turn: Turn, **more: Any) -> Fact:
    return Fact(remote_id="main", run_id="k-1", turn=turn, **more)


@pytest.mark.parametrize(
    ("data", "wanted"),
    [
        ({"phase": "start", "startedAt": 1_795_214_543_688}, fact("begun")),
        ({"phase": "model", "provider": "scripted", "model": "scripted"}, None),
        ({"phase": "finishing", "stopReason": "stop", "aborted": False, "livenessState": "working"}, None),
        ({"phase": "end", "aborted": False, "terminalReply": {"text": "fine"}}, fact("ended")),
        ({"phase": "error", "error": "aborted by user", "aborted": True}, fact("aborted")),
        ({"phase": "error", "error": "Inline API key is temporarily disabled"}, fact("failed")),
        (
            {"phase": "error", "aborted": False, "errorObservation": SEEN | {"failoverReason": "billing"}},
            fact("failed", cause=ExhaustReason.BILLING),
        ),
        (
            {"phase": "error", "errorObservation": SEEN | {"failoverReason": "server_error"}},
            fact("failed"),
        ),
        ("nothing", None),
    ],
)
def test_what_becomes_of_a_turn_is_read(data: Any, wanted: Fact | None) -> None:
    assert read("agent", stream="lifecycle", data=data) == wanted


@pytest.mark.parametrize(
    ("reason", "delay", "cause", "delay_ms"),
    [
        ("rate_limit", 2748, ExhaustReason.RATE_LIMIT, 2748),
        ("billing", 600_000, ExhaustReason.BILLING, 600_000),
        ("server_error", 572, None, 572),
        ("rate_limit", "soon", ExhaustReason.RATE_LIMIT, None),
        ("rate_limit", -1, ExhaustReason.RATE_LIMIT, None),
        ("rate_limit", 10**12, ExhaustReason.RATE_LIMIT, None),
    ],
)
def test_why_a_model_is_asked_again_and_when_is_read(
    reason: str, delay: Any, cause: ExhaustReason | None, delay_ms: int | None
) -> None:
    data = {"phase": "retrying", "reason": reason, "delayMs": delay, "message": "rate limit"}
    wanted = fact("waits", cause=cause, delay_ms=delay_ms)
    assert read("agent", stream="run_status", data=data) == wanted


def test_a_final_without_a_message_is_of_what_waits_and_says_nothing_of_a_turn() -> None:
    assert read("chat", state="final") is None
    assert read("chat", state="final", message={"role": "assistant"}) == fact("ended")


def test_the_poorer_of_two_errors_names_its_agent_by_its_session_alone() -> None:
    poor = {name: value for name, value in ABOUT.items() if name != "agentId"}
    told = GatewayEvent("office", "chat", poor | {"state": "error", "errorMessage": "rate limit"})
    assert read_fact(told) == fact("failed")


@pytest.mark.parametrize(
    "event",
    [
        GatewayEvent("office", "tick", {"ts": 1}),
        GatewayEvent("office", "chat", None),
        GatewayEvent("office", "chat", ABOUT | {"state": "delta", "deltaText": "f"}),
        GatewayEvent("office", "chat", {"runId": "k", "sessionKey": "main", "state": "error"}),
        GatewayEvent("office", "chat", {"sessionKey": "agent:main:main", "state": "error"}),
        GatewayEvent("office", "agent", ABOUT | {"stream": "assistant", "data": {"text": "f"}}),
        GatewayEvent("office", "agent", ABOUT | {"stream": "run_status", "data": {"phase": "start"}}),
    ],
)
def test_what_says_nothing_of_a_turn_is_passed_over(event: GatewayEvent) -> None:
    assert read_fact(event) is None

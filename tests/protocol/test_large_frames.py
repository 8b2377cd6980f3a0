"""Heartbeats and requests of many values are read as long as their values are decoded soon."""

from typing import Any

import pytest

from protocol.codec import Codec
from protocol.coordination import AgentBeat, Heartbeat, Request, Response
from protocol.errors import CloseCode, ErrorCode
from protocol.frame import MAX_PARAMS, MAX_PARAMS_BYTES, MAX_USAGE_BYTES, Record
from protocol.handshake import Error
from protocol.session import Ended, Ignored, Received, SessionState
from tests.protocol.conftest import both_codecs, ready
from tests.support.script import Script

USAGE: Record = {"cpu": 0.25, "models": ["a", "b"], "note": "x" * 150}
TEXT = "x" * 200_000
DEEP: Any = 0
for _ in range(20):
    DEEP = [DEEP]


def received(codec: Codec, agents: list[dict[str, Any]]) -> Script:
    return ready(codec).device_says(codec.encode({"type": "heartbeat", "agents": agents}))


def asked(codec: Codec, params: dict[str, Any]) -> Script:
    return ready(codec).device_says(
        codec.encode({"type": "request", "id": "q", "method": "m", "params": params})
    )


@both_codecs
def test_resource_usage_of_a_thousand_agents_is_read(codec: Codec) -> None:
    said = [{"agent_id": f"a-{n}", "state_detail": "d", "resource_usage": USAGE} for n in range(1_000)]
    read = [AgentBeat(agent_id=f"a-{n}", state_detail="d", resource_usage=USAGE) for n in range(1_000)]
    script = received(codec, [*said, {"agent_id": "silent"}])
    script.hub_sees(Received(Heartbeat(agents=[*read, AgentBeat(agent_id="silent")])))


@both_codecs
def test_larger_resource_usage_is_refused_and_the_session_stays(codec: Codec) -> None:
    script = received(codec, [{"agent_id": "a", "resource_usage": {"note": "x" * MAX_USAGE_BYTES}}])
    (error,) = map(codec.decode_from_hub, script.session.data_to_send())
    assert isinstance(error, Error)
    assert (error.code, str(MAX_USAGE_BYTES) in error.message) == (ErrorCode.TOO_LARGE, True)
    script.hub_sees(Ignored("too_large:heartbeat")).hub_is(SessionState.READY)


@both_codecs
def test_parameters_with_long_texts_and_some_values_are_read(codec: Codec) -> None:
    params: dict[str, Any] = {"text": TEXT, "other": TEXT, "values": [0] * 20_000, "none": None}
    asked(codec, params).hub_sees(Received(Request(id="q", method="m", params=params)))


@both_codecs
@pytest.mark.parametrize(
    "params",
    [
        {"text": TEXT, "values": ["x"] * MAX_PARAMS_BYTES},
        {"a": TEXT, "b": [TEXT]},
        {"text": TEXT, **{str(n): n for n in range(MAX_PARAMS)}},
    ],
    ids=["elements", "a text in a list", "keys"],
)
def test_larger_parameters_are_refused_and_the_session_stays(codec: Codec, params: dict[str, Any]) -> None:
    script = asked(codec, params)
    (response,) = map(codec.decode_from_hub, script.session.data_to_send())
    assert isinstance(response, Response) and response.error is not None
    assert (response.id, response.error.code) == ("q", ErrorCode.TOO_LARGE)
    script.hub_sees(Ignored("too_large:q")).hub_is(SessionState.READY)


@both_codecs
def test_a_large_frame_with_an_invalid_value_ends_the_session(codec: Codec) -> None:
    scripts = [asked(codec, {"text": TEXT, "deep": DEEP})]
    for padding in (0, 100_000):
        usage = {"note": "x" * padding, "nested": {"a": 1}}
        scripts.append(received(codec, [{"agent_id": "a", "resource_usage": usage}]))
    for script in scripts:
        script.hub_sees(Ended(CloseCode.BAD_FRAME, "bad_frame"))

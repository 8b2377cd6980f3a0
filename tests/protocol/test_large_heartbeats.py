"""Heartbeats that say much: what agents use is read while it is no more than can be decoded soon."""

from typing import Any

import pytest

from protocol.codec import CODECS, Codec
from protocol.coordination import AgentBeat, Heartbeat
from protocol.errors import CloseCode, ErrorCode
from protocol.frame import MAX_USAGE_BYTES, Record
from protocol.handshake import Error
from protocol.session import Ended, HelloReceived, Ignored, Received, SessionState
from tests.support.script import HELLO, WELCOME, Script

both_codecs = pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS.keys())
USAGE: Record = {"cpu": 0.25, "models": ["a", "b"], "note": "x" * 150}


def received(codec: Codec, agents: list[dict[str, Any]]) -> Script:
    script = Script(codec).device_says(HELLO).accept().hub_says(WELCOME).hub_sees(HelloReceived(HELLO))
    return script.device_says(codec.encode({"type": "heartbeat", "agents": agents}))


@both_codecs
def test_what_a_thousand_agents_use_is_read(codec: Codec) -> None:
    said = [{"agent_id": f"a-{n}", "state_detail": "d", "resource_usage": USAGE} for n in range(1_000)]
    silent = {"agent_id": "silent"}
    read = [AgentBeat(agent_id=f"a-{n}", state_detail="d", resource_usage=USAGE) for n in range(1_000)]
    script = received(codec, [*said, silent])
    script.hub_sees(Received(Heartbeat(agents=[*read, AgentBeat(agent_id="silent")])))


@both_codecs
def test_more_than_that_is_refused_and_the_session_stays(codec: Codec) -> None:
    script = received(codec, [{"agent_id": "a", "resource_usage": {"note": "x" * MAX_USAGE_BYTES}}])
    (error,) = map(codec.decode_from_hub, script.session.data_to_send())
    assert isinstance(error, Error)
    assert (error.code, str(MAX_USAGE_BYTES) in error.message) == (ErrorCode.TOO_LARGE, True)
    script.hub_sees(Ignored("too_large:heartbeat")).hub_is(SessionState.READY)


@both_codecs
@pytest.mark.parametrize("padding", [0, 100_000], ids=["small", "large"])
def test_usage_that_is_no_record_ends_the_session(codec: Codec, padding: int) -> None:
    usage = {"note": "x" * padding, "nested": {"a": 1}}
    received(codec, [{"agent_id": "a", "resource_usage": usage}]).hub_sees(
        Ended(CloseCode.BAD_FRAME, "bad_frame")
    )

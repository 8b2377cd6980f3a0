"""Requests whose parameters are large: texts are taken, and no more values than can be decoded soon."""

from typing import Any

import pytest

from protocol.codec import CODECS, Codec
from protocol.coordination import Request, Response
from protocol.errors import CloseCode, ErrorCode
from protocol.frame import MAX_PARAMS, MAX_PARAMS_BYTES
from protocol.session import Ended, HelloReceived, Ignored, Received, SessionState
from tests.support.script import HELLO, WELCOME, Script

both_codecs = pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS.keys())
TEXT = "x" * 200_000


def asked(codec: Codec, params: dict[str, Any]) -> Script:
    script = Script(codec).device_says(HELLO).accept().hub_says(WELCOME).hub_sees(HelloReceived(HELLO))
    return script.device_says(codec.encode({"type": "request", "id": "q", "method": "m", "params": params}))


@both_codecs
def test_long_texts_and_some_values_are_taken(codec: Codec) -> None:
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
def test_more_than_that_is_refused_and_the_session_stays(codec: Codec, params: dict[str, Any]) -> None:
    script = asked(codec, params)
    (response,) = map(codec.decode_from_hub, script.session.data_to_send())
    assert isinstance(response, Response) and response.error is not None
    assert (response.id, response.error.code) == ("q", ErrorCode.TOO_LARGE)
    script.hub_sees(Ignored("too_large:q")).hub_is(SessionState.READY)


@both_codecs
def test_a_large_value_that_is_no_parameter_ends_the_session(codec: Codec) -> None:
    deep: Any = 0
    for _ in range(20):
        deep = [deep]
    asked(codec, {"text": TEXT, "deep": deep}).hub_sees(Ended(CloseCode.BAD_FRAME, "bad_frame"))

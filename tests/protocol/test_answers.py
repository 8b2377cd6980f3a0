"""A tool_result, whichever way a device spells it."""

import json
from typing import Any

import pytest

from protocol.codec import JSON, MSGPACK, Codec
from protocol.errors import CloseCode
from protocol.frame import MAX_RESULT_BYTES, ErrorBody
from protocol.ids import CallId
from protocol.session import Answered, AnsweredTogether, Ended, SessionState
from protocol.work import Answer, ToolResult
from tests.protocol.conftest import both_codecs, ready
from tests.support.families import each
from tests.support.pair import Pair
from tests.support.script import WELCOME, DeviceScript

SPELLING_BYTES = {JSON.name: 2, MSGPACK.name: 3}  # of a text of this length: quotes, or a header


def failed(code: str, message: str) -> Answer:
    return Answer(error=ErrorBody(code=code, message=message))


@both_codecs
@each(
    ("spelled", "answer"),
    [
        ({"result": {"id": "row-1"}}, Answer(result={"id": "row-1"})),
        ({"result": [1, 2.5, None]}, Answer(result=[1, 2.5, None])),
        ({"result": None}, Answer()),
        ({}, Answer()),
        ({"result": {"id": "row-1"}, "error": None}, Answer(result={"id": "row-1"})),
        ({"result": {"id": "row-1", "error": None}}, Answer(result={"id": "row-1", "error": None})),
        ({"error": {"code": "bad_record", "message": "no title"}}, failed("bad_record", "no title")),
        ({"error": "no such table"}, failed("device_error", "no such table")),
        ({"result": {"error": "no such table"}}, failed("device_error", "no such table")),
        ({"result": {"error": {"code": "busy", "message": "later"}}}, failed("busy", "later")),
        ({"result": {"error": {"message": "later"}}}, failed("device_error", "later")),
        ({"result": {"error": {"message": 5}}}, failed("device_error", '{"message":5}')),
        ({"result": {"error": 5}}, failed("device_error", "5")),
        ({"result": {"id": "row-1"}, "error": "but no"}, failed("device_error", "but no")),
    ],
)
@each("key", ["id", "call_id"])
def test_an_answer_is_read_however_it_is_spelled(
    key: str, spelled: dict[str, Any], answer: Answer, codec: Codec
) -> None:
    message = codec.encode({"type": "tool_result", key: "c-1", **spelled})
    ready(codec).device_says(message).hub_sees(Answered(CallId("c-1"), answer))


@both_codecs
def test_a_call_may_be_named_both_ways_if_they_agree(codec: Codec) -> None:
    frame = ToolResult(id="c-1", call_id="c-1", result=codec.pack(True))
    ready(codec).device_says(frame).hub_sees(Answered(CallId("c-1"), Answer(result=True)))


@both_codecs
@pytest.mark.parametrize("frame", [ToolResult(id="c-1", call_id="c-2"), ToolResult(error="why")], ids=str)
def test_an_answer_that_does_not_name_one_call_ends_the_session(frame: ToolResult, codec: Codec) -> None:
    script = ready(codec).device_says(frame)
    script.hub_sees(Ended(CloseCode.BAD_FRAME, "bad_frame")).hub_is(SessionState.CLOSING)


@both_codecs
def test_a_result_that_is_too_large_is_an_answer_and_the_session_stays(codec: Codec) -> None:
    script = ready(codec)
    largest = "x" * (MAX_RESULT_BYTES - SPELLING_BYTES[codec.name])
    script.device_says(ToolResult(id="c-1", result=codec.pack(largest)))
    script.hub_sees(Answered(CallId("c-1"), Answer(result=largest)))

    too_large = "x" * MAX_RESULT_BYTES
    script.device_says(ToolResult(id="c-2", result=codec.pack(too_large)))
    told = f"the result has {len(codec.encode(too_large))} bytes, the most is {MAX_RESULT_BYTES}"
    script.hub_sees(Answered(CallId("c-2"), failed("result_too_large", told)))
    script.hub_is(SessionState.READY)


@pytest.mark.parametrize(
    ("codec", "message"),
    [
        *(
            (JSON, b'{"type":"tool_result","id":"c-1","result":' + result + b"}")
            for result in (b'{"a":"\xff"}', b'"\xff"', b"[" * 500 + b"]" * 500, b"18446744073709551616")
        ),
        *(
            (MSGPACK, ToolResult(id="c-1", result=MSGPACK.pack(result)))
            for result in ({1: 2}, b"bytes", float("nan"))
        ),
    ],
)
def test_a_result_that_is_no_json_ends_the_session(codec: Codec, message: bytes | ToolResult) -> None:
    ready(codec).device_says(message).hub_sees(Ended(CloseCode.BAD_FRAME, "bad_frame"))


def test_a_long_plain_error_is_cut_to_what_an_error_may_hold() -> None:
    message = json.dumps({"type": "tool_result", "id": "c-1", "error": "x" * 10_000})
    ready().device_says(message).hub_sees(Answered(CallId("c-1"), failed("device_error", "x" * 4_096)))


@both_codecs
@pytest.mark.parametrize(
    "answer", [Answer(result={"id": "row-1"}), Answer(), failed("bad_record", "no title")], ids=str
)
def test_the_hub_reads_the_answer_that_a_device_sent(answer: Answer, codec: Codec) -> None:
    device = DeviceScript(codec).greet().hub_says(WELCOME).device_answers("c-1", answer)
    _, answered = device.session.data_to_send()
    ready(codec).device_says(answered).hub_sees(Answered(CallId("c-1"), answer))


@both_codecs
def test_answers_to_a_batch_take_as_few_frames_as_fit(codec: Codec) -> None:
    pair = Pair(codec)
    pair.settle()
    pair.to_hub.past.clear()
    large = "x" * (MAX_RESULT_BYTES // 3)
    answers = [Answer(result=large if number < 3 else number) for number in range(6)]
    named = [(CallId(f"c-{number}"), answer, None) for number, answer in enumerate(answers)]

    ((unspeakable, _),) = pair.device.answer([*named, (CallId("c-6"), Answer(result="\udc80"), None)])
    pair.settle()

    assert unspeakable == "c-6"
    first, second = (event for event in pair.hub_saw if isinstance(event, AnsweredTogether))
    assert [len(first.answers), len(second.answers)] == [2, 5]
    assert all(len(data) <= MAX_RESULT_BYTES for data in pair.to_hub.past)
    came = dict(first.answers + second.answers)
    assert [came[call_id] for call_id, _, _ in named] == answers
    assert came[CallId("c-6")].error is not None

"""The hub's side of a conversation, and the device's, line by line."""

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from protocol.codec import FROM_DEVICE, FROM_HUB, JSON, MSGPACK, Codec, type_of
from protocol.coordination import AgentBeat, Event, Heartbeat, Request, Response
from protocol.errors import CloseCode, ErrorCode, LocalProtocolError
from protocol.frame import (
    MAX_HELLO_BYTES,
    MAX_MESSAGE_BYTES,
    MAX_PARAMS,
    MAX_PARAMS_BYTES,
    MAX_PENDING_REQUESTS,
    MAX_REASON_BYTES,
    MAX_RESULT_BYTES,
    MAX_USAGE_BYTES,
    ErrorBody,
    Frame,
    Record,
)
from protocol.handshake import Capability, DeviceHello, Error, Goodbye, Hubs, Limits, VersionRange
from protocol.ids import CallId
from protocol.lifecycles import Table
from protocol.session import (
    ALLOWED_FROM_DEVICE,
    ALLOWED_FROM_HUB,
    DEVICE_SESSION,
    HUB_SESSION,
    MAX_UNKNOWN_ANSWERED,
    OVER,
    Allowed,
    Answered,
    AnsweredTogether,
    Challenged,
    DeviceSession,
    Ended,
    HelloReceived,
    HubSession,
    Ignored,
    Leaving,
    Received,
    Refused,
    Session,
    SessionMove,
    SessionState,
    Silent,
    Welcomed,
)
from protocol.tool_calls import Action, Answer, ToolCall, ToolCalls, ToolResult, ToolResults
from protocol.work import (
    AgentAck,
    AgentCancel,
    AgentComplete,
    AgentCredit,
    AgentData,
    AgentFetch,
    AgentManifest,
    AgentReceipt,
    AgentRun,
    FilePiece,
    RunConfig,
)
from tests.protocol.conftest import both_codecs, ready
from tests.support.families import each
from tests.support.pair import Pair
from tests.support.protocol_examples import RECEIPT
from tests.support.script import CHALLENGE, HELLO, OPENED_AT, WELCOME, DeviceScript, Script

S = SessionState


def ready_device(codec: Codec = JSON) -> DeviceScript:
    return (
        DeviceScript(codec)
        .hub_says(CHALLENGE)
        .greet()
        .device_says(HELLO)
        .hub_says(WELCOME)
        .device_sees(Challenged(CHALLENGE), Welcomed(WELCOME))
    )


@both_codecs
def test_a_hub_challenges_reads_a_hello_and_welcomes(codec: Codec) -> None:
    (
        Script(codec)
        .hub_is(S.GREETING)
        .device_says(HELLO)
        .hub_sees(HelloReceived(HELLO))
        .hub_is(S.JUDGING)
        .accept()
        .hub_is(S.READY)
        .hub_says(WELCOME)
    )


@both_codecs
def test_a_device_with_a_token_greets_without_waiting_for_the_challenge(codec: Codec) -> None:
    (
        DeviceScript(codec)
        .greet()
        .device_says(HELLO)
        .device_is(S.JUDGING)
        .hub_says(CHALLENGE, WELCOME)
        .device_sees(Challenged(CHALLENGE), Welcomed(WELCOME))
        .device_is(S.READY)
    )


def test_a_refused_hello_is_answered_in_words_before_the_close() -> None:
    refusal = Error(code=ErrorCode.AUTH_FAILED, message="no such token", hint="make a new one")
    (
        Script()
        .device_says(HELLO)
        .refuse(refusal, CloseCode.AUTH_FAILED)
        .hub_says(refusal)
        .hub_sees(HelloReceived(HELLO), Ended(CloseCode.AUTH_FAILED, "auth_failed"))
        .refuse(refusal, CloseCode.AUTH_FAILED)
        .hub_says()
        .hub_sees()
    )


def test_device_without_a_hello_within_ten_seconds_is_disconnected() -> None:
    told = Error(code=ErrorCode.HELLO_TIMEOUT, message="no device_hello within 10 s")
    (
        Script()
        .clock_moves(9.9)
        .hub_sees()
        .clock_moves(0.1)
        .hub_says(told)
        .hub_sees(Ended(CloseCode.HELLO_TIMEOUT, "hello_timeout"))
        .clock_moves(100)
        .hub_sees()
    )


def test_a_connection_stays_open_while_the_hub_decides() -> None:
    Script().device_says(HELLO).hub_sees(HelloReceived(HELLO)).clock_moves(1_000).hub_sees().accept()


def test_hub_without_a_challenge_is_given_up_after_ten_seconds() -> None:
    told = Error(code=ErrorCode.HELLO_TIMEOUT, message="the hub did not answer in time")
    (
        DeviceScript()
        .clock_moves(10)
        .device_says(told)
        .device_sees(Ended(CloseCode.HELLO_TIMEOUT, "hello_timeout"))
    )


def test_hub_without_a_welcome_is_given_up_after_thirty_seconds() -> None:
    script = DeviceScript().hub_says(CHALLENGE).clock_moves(5).greet().clock_moves(24.9)
    script.device_is(S.JUDGING).clock_moves(0.1).device_is(S.CLOSING)


def test_a_hello_of_another_version_is_refused_with_both_ranges() -> None:
    script = Script().device_says(DeviceHello(token="t", protocol=VersionRange(min=2, max=3)))
    script.hub_says(
        Error(
            code=ErrorCode.VERSION_UNSUPPORTED,
            message="the hub speaks versions 1 to 1 of the protocol, the device 2 to 3: update the hub",
        )
    ).hub_sees(Ended(CloseCode.VERSION_UNSUPPORTED, "version_unsupported"))


def test_token_in_the_hello_overrides_a_token_in_the_header() -> None:
    scripts = (
        Script(bearer="header"),
        Script(bearer="header").device_says(DeviceHello()),
        Script(bearer="header").device_says(DeviceHello(token="hello")),
        Script().device_says(DeviceHello()),
    )
    assert [script.session.token for script in scripts] == ["header", "header", "hello", None]


def test_capabilities_of_a_hello_are_kept_by_name_and_version() -> None:
    able = DeviceHello(
        token="t",
        capabilities=[Capability(name="agent_ack"), Capability(name="file.get", version="2.1.0")],
    )
    assert Script().device_says(able).session.offers == {"agent_ack": "1.0.0", "file.get": "2.1.0"}


@both_codecs
def test_a_hello_is_at_most_sixteen_kibibytes(codec: Codec) -> None:
    padded = codec.encode({"type": "device_hello", "token": "t", "padding": "x" * MAX_HELLO_BYTES})
    script = Script(codec).device_says(padded)
    script.hub_says(
        Error(code=ErrorCode.TOO_LARGE, message=f"{len(padded)} bytes, the most is {MAX_HELLO_BYTES}")
    ).hub_sees(Ended(CloseCode.TOO_LARGE, "too_large"))


def test_a_message_has_at_most_the_size_in_the_welcome() -> None:
    limits = Limits(max_message_bytes=1_000)
    script = Script().device_says(HELLO).accept(limits=limits)
    script.device_says(JSON.encode({"type": "heartbeat", "padding": "x" * 1_000}))
    script.hub_sees(HelloReceived(HELLO), Ended(CloseCode.TOO_LARGE, "too_large"))


def test_broken_frame_ends_the_session_with_the_position_of_the_fault() -> None:
    script = ready().device_says(b'{"type":"agent_data","run_id":"r-1","files":[{"path":7}]}')
    told = Error(code=ErrorCode.BAD_FRAME, message="Expected `str`, got `int` - at `$.files[0].path`")
    script.hub_says(told).hub_sees(Ended(CloseCode.BAD_FRAME, "bad_frame")).hub_is(S.CLOSING)


def test_text_with_a_lone_surrogate_is_a_broken_frame() -> None:
    ready().device_says('{"type":"error","code":"\ud800"}').hub_is(S.CLOSING)


def test_text_over_the_binary_subprotocol_is_a_broken_frame() -> None:
    ready(MSGPACK).device_says('{"type":"heartbeat"}').hub_is(S.CLOSING)


def test_an_ended_session_reads_and_sends_nothing() -> None:
    (
        ready()
        .device_says(b"{")
        .hub_sees(Ended(CloseCode.BAD_FRAME, "bad_frame"))
        .device_says(Heartbeat(), b"more nonsense", HELLO)
        .hub_ends(Goodbye(reason="stopping"), CloseCode.STOPPING)
        .hub_sees()
        .hub_says(Error(code="bad_frame", message="Input data was truncated"))
        .clock_moves(1_000)
        .device_hangs_up()
        .device_hangs_up()
        .hub_sees()
        .hub_says()
        .hub_is(S.CLOSED)
    )


@both_codecs
def test_frame_of_an_unknown_type_is_answered_with_an_error_and_ignored(codec: Codec) -> None:
    script = ready(codec).device_says(codec.encode({"type": "telemetry"}))
    told = Error(
        code=ErrorCode.UNKNOWN_TYPE, message="there is no frame of type 'telemetry'", ref="telemetry"
    )
    script.hub_says(told).hub_sees(Ignored("unknown_type:telemetry")).hub_is(S.READY)


def test_a_device_ignores_frames_of_a_newer_hub() -> None:
    script = ready_device().hub_says(b'{"type":"firmware"}')
    script.device_sees(Ignored("unknown_type:firmware")).device_is(S.READY)


def test_unknown_frame_types_are_answered_up_to_a_limit() -> None:
    script = ready()
    for number in range(MAX_UNKNOWN_ANSWERED + 10):
        script.device_says(json.dumps({"type": f"x{number}"}))
    assert len(script.session.data_to_send()) == MAX_UNKNOWN_ANSWERED
    script.hub_is(S.READY)


def test_device_without_further_heartbeats_is_silent_once_and_stays_connected() -> None:
    (
        ready()
        .device_says(Heartbeat())
        .clock_moves(44.9)
        .hub_sees(Received(Heartbeat()))
        .clock_moves(0.1)
        .hub_sees(Silent())
        .clock_moves(1_000)
        .hub_sees()
        .hub_is(S.READY)
        .device_says(Heartbeat())
        .clock_moves(45)
        .hub_sees(Received(Heartbeat()), Silent())
    )


def test_device_without_any_heartbeat_is_never_silent() -> None:
    ready().clock_moves(10_000).hub_sees().hub_is(S.READY)


def test_only_a_heartbeat_breaks_the_silence() -> None:
    data = AgentData(run_id="r-1")
    script = ready().device_says(Heartbeat()).clock_moves(40).device_says(data).clock_moves(5)
    script.hub_sees(Received(Heartbeat()), Received(data), Silent())


def test_a_goodbye_is_sent_before_every_close_on_purpose() -> None:
    goodbye = Goodbye(reason="replaced", message="this device connected again")
    (
        ready()
        .hub_ends(goodbye, CloseCode.REPLACED)
        .hub_ends(goodbye, CloseCode.REPLACED)
        .hub_says(goodbye)
        .hub_sees(Ended(CloseCode.REPLACED, "replaced"))
    )


def test_a_device_reads_the_goodbye_and_sends_nothing_more() -> None:
    goodbye = Goodbye(reason="restarting", retry_after_ms=5_000)
    script = ready_device().hub_says(goodbye).device_sees(Leaving(goodbye)).device_is(S.CLOSING)
    script.hub_says(CHALLENGE).device_sees()
    with pytest.raises(LocalProtocolError):
        script.device_sends(Heartbeat())


def test_repeated_leave_of_a_device_changes_nothing() -> None:
    (
        ready_device()
        .leave()
        .leave()
        .device_sees(Ended(CloseCode.NORMAL, "done"))
        .device_says()
        .hub_hangs_up()
        .device_is(S.CLOSED)
    )


def test_a_device_gets_an_event_for_a_refused_frame() -> None:
    refusal = Error(code="pairing_required", pairing_code="K7QF-2M9X")
    DeviceScript().greet().hub_says(refusal).device_sees(Refused(refusal)).device_is(S.JUDGING)


def test_hub_gets_an_event_for_a_frame_unreadable_to_the_device() -> None:
    error = Error(code="unknown_type", ref="firmware")
    ready().device_says(error).hub_sees(Received(error))


@pytest.mark.parametrize("reason", ["replaced", "x" * 500, "ü" * 500, '"' * 500, "\x00" * 500, ""])
def test_close_reason_is_json_within_the_size_limit(reason: str) -> None:
    text = Ended(CloseCode.STOPPING, reason).reason_text
    assert len(text.encode()) <= MAX_REASON_BYTES
    assert reason.startswith(json.loads(text)["r"])


def test_each_request_is_answered_once() -> None:
    request, response = Request(id="q-1", method="runs.list"), Response(id="q-1", result={})
    script = ready().device_says(request).hub_sees(Received(request)).hub_sends(response)
    script.hub_says(response)
    with pytest.raises(LocalProtocolError, match="q-1"):
        script.hub_sends(response)
    script.device_says(request).hub_sees(Received(request))  # an id may be used again after that


def test_second_request_with_an_open_id_is_refused_and_the_first_still_gets_the_answer() -> None:
    request, response = Request(id="q-1", method="runs.list"), Response(id="q-1", result={})
    (
        ready()
        .device_says(request, request)
        .hub_sees(Received(request), Ignored("duplicate_id:q-1"))
        .hub_says(Error(code="duplicate_id", message="request 'q-1' is open already", ref="q-1"))
        .hub_sends(response)
        .hub_says(response)
    )


def test_open_request_of_a_device_beyond_the_limit_is_refused() -> None:
    script = ready()
    for number in range(MAX_PENDING_REQUESTS):
        script.device_says(Request(id=f"q-{number}", method="runs.list"))
    script.hub_says().device_says(Request(id="one-more", method="runs.list"))
    body = ErrorBody(code="too_many_requests", message="64 requests are open", retryable=True)
    script.hub_says(Response(id="one-more", error=body)).hub_is(S.READY)
    script.hub_sends(Response(id="q-0", result={}))
    script.session.data_to_send()
    script.device_says(Request(id="one-more", method="runs.list")).hub_says()


@both_codecs
def test_unencodable_frame_raises_local_error_and_changes_nothing(codec: Codec) -> None:
    script = ready_device(codec)
    with pytest.raises(LocalProtocolError, match="agent_data cannot be spelled"):
        script.device_sends(AgentData(run_id="r-1", files=[FilePiece(path="\udcff.md")]))
    script.device_sends(Heartbeat()).device_says(Heartbeat())


def test_sending_a_frame_larger_than_the_peer_accepts_is_a_local_error() -> None:
    script = ready()
    with pytest.raises(LocalProtocolError, match="agent_fetch has"):
        script.hub_sends(AgentFetch(run_id="r-1", paths=["x" * 4_000] * 300))
    script.hub_says()


def test_a_device_sends_at_most_the_size_in_the_welcome() -> None:
    small = msgspec.structs.replace(WELCOME, limits=Limits(max_message_bytes=100))
    script = DeviceScript().greet().hub_says(small)
    with pytest.raises(LocalProtocolError, match="the other side takes 100"):
        script.device_sends(AgentComplete(run_id="r-1", error="x" * 100))


EVENT = Event(event="run.finished", seq=0)


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: Script().accept(), "GREETING"),
        (lambda: Script().device_says(HELLO).device_hangs_up().accept(), "CLOSED"),
        (lambda: DeviceScript().greet().greet(), "JUDGING"),
        (
            lambda: DeviceScript().device_sends(Heartbeat()),
            "heartbeat may not be sent while GREETING",
        ),
        (
            lambda: Script().device_says(HELLO).hub_sends(EVENT),
            "event may not be sent while JUDGING",
        ),
    ],
)
def test_session_action_in_a_wrong_state_is_a_local_error(act: Callable[[], object], message: str) -> None:
    with pytest.raises(LocalProtocolError, match=message):
        act()


def test_queued_frames_are_dropped_with_the_connection() -> None:
    script = ready().hub_sends(EVENT).device_hangs_up()
    assert script.session.data_to_send() == []
    assert script.session.next_deadline() is None


def test_message_of_exactly_the_maximum_size_is_read() -> None:
    frame = JSON.encode({"type": "heartbeat", "padding": ""})
    padded = frame[:-2] + b"x" * (MAX_MESSAGE_BYTES - len(frame)) + frame[-2:]
    assert len(padded) == MAX_MESSAGE_BYTES
    ready().device_says(padded).hub_sees(Received(Heartbeat()))


# --- a tool_result, whichever way a device spells it ---


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
def test_tool_result_is_read_in_each_spelling(
    key: str, spelled: dict[str, Any], answer: Answer, codec: Codec
) -> None:
    message = codec.encode({"type": "tool_result", key: "c-1", **spelled})
    ready(codec).device_says(message).hub_sees(Answered(CallId("c-1"), answer))


@both_codecs
def test_tool_result_may_have_equal_id_and_call_id(codec: Codec) -> None:
    frame = ToolResult(id="c-1", call_id="c-1", result=codec.pack(True))
    ready(codec).device_says(frame).hub_sees(Answered(CallId("c-1"), Answer(result=True)))


@both_codecs
@pytest.mark.parametrize("frame", [ToolResult(id="c-1", call_id="c-2"), ToolResult(error="why")], ids=str)
def test_tool_result_naming_no_single_call_ends_the_session(frame: ToolResult, codec: Codec) -> None:
    script = ready(codec).device_says(frame)
    script.hub_sees(Ended(CloseCode.BAD_FRAME, "bad_frame")).hub_is(SessionState.CLOSING)


@both_codecs
def test_too_large_result_is_a_failed_answer_and_the_session_remains_ready(codec: Codec) -> None:
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
def test_result_with_invalid_json_ends_the_session(codec: Codec, message: bytes | ToolResult) -> None:
    ready(codec).device_says(message).hub_sees(Ended(CloseCode.BAD_FRAME, "bad_frame"))


def test_long_plain_error_text_is_cut_to_the_error_limit() -> None:
    message = json.dumps({"type": "tool_result", "id": "c-1", "error": "x" * 10_000})
    ready().device_says(message).hub_sees(Answered(CallId("c-1"), failed("device_error", "x" * 4_096)))


@both_codecs
@pytest.mark.parametrize(
    "answer", [Answer(result={"id": "row-1"}), Answer(), failed("bad_record", "no title")], ids=str
)
def test_hub_reads_the_answer_sent_by_a_device(answer: Answer, codec: Codec) -> None:
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


# --- heartbeats and requests of many values are read as long as their values are decoded soon ---


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
def test_resource_usage_beyond_the_limit_is_refused_and_the_session_remains_ready(codec: Codec) -> None:
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
def test_parameters_beyond_the_limit_are_refused_and_the_session_remains_ready(
    codec: Codec, params: dict[str, Any]
) -> None:
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


# --- the tables of a session, and every frame in every state ---


def samples(codec: Codec) -> dict[type[Frame], Frame]:
    """One frame of each type; open values are spelled in *codec*."""
    made: list[Frame] = [
        CHALLENGE,
        HELLO,
        WELCOME,
        Error(code="internal", message="sorry"),
        Goodbye(reason="stopping"),
        Hubs(hubs=["wss://a.example:8770"]),
        AgentRun(run_id="r-1", fence=1, agent_id="a-1", config=RunConfig(paths=["/home"])),
        AgentAck(run_id="r-1", fence=1),
        AgentManifest(run_id="r-1", fence=1),
        AgentFetch(run_id="r-1", fence=1, paths=["notes.md"]),
        AgentData(run_id="r-1", fence=1, files=[FilePiece(path="notes.md", content="# Notes")]),
        AgentCredit(run_id="r-1", fence=1, pieces=1),
        AgentComplete(run_id="r-1", fence=1, files=1),
        AgentCancel(run_id="r-1", fence=1),
        AgentReceipt(receipt=RECEIPT),
        ToolCall(id="c-1", action=Action.INSERT, table="tasks", data={"title": "Call Ada"}),
        ToolResult(id="c-1", result=codec.pack({"id": "row-1"})),
        ToolCalls(
            calls=[ToolCall(id="c-1", action=Action.INSERT, table="tasks", data={"title": "Call Ada"})]
        ),
        ToolResults(results=[ToolResult(id="c-1", result=codec.pack({"id": "row-1"}))]),
        Request(id="q-1", method="runs.list"),
        Response(id="q-1", result={"runs": []}),
        Heartbeat(),
        Event(event="run.finished", seq=1),
    ]
    return {type(frame): frame for frame in made}


EVERY_FRAME = sorted({*FROM_DEVICE, *FROM_HUB}, key=type_of)
both_sides = pytest.mark.parametrize("table", [HUB_SESSION, DEVICE_SESSION], ids=lambda table: table.name)


def hub_in(state: SessionState, codec: Codec) -> HubSession:
    script = Script(codec)
    if state in (S.JUDGING, S.READY):
        script.device_says(HELLO)
    if state is S.READY:
        script.accept()
    if state is S.CLOSING:
        script.hub_ends(Goodbye(reason="stopping"), CloseCode.STOPPING)
    if state is S.CLOSED:
        script.device_hangs_up()
    script.session.data_to_send()
    return script.hub_is(state).session


def device_in(state: SessionState, codec: Codec) -> DeviceSession:
    script = DeviceScript(codec)
    if state in (S.JUDGING, S.READY):
        script.greet()
    if state is S.READY:
        script.hub_says(WELCOME)
    if state is S.CLOSING:
        script.leave()
    if state is S.CLOSED:
        script.hub_hangs_up()
    script.session.data_to_send()
    return script.device_is(state).session


def walk(session: Session, allowed: Allowed, frame: Frame) -> None:
    """What the table says of *frame* is what the session does with it."""
    state = session.state
    events = session.receive_data(session.codec.encode(frame), OPENED_AT)
    if state in OVER:
        assert (events, session.data_to_send()) == ([], [])
        assert session.state is state
    elif type(frame) in allowed[state]:
        assert not any(isinstance(event, Ended) for event in events)
    else:
        assert (events, session.state) == ([Ended(CloseCode.BAD_FRAME, ErrorCode.WRONG_STATE)], S.CLOSING)
        assert len(session.data_to_send()) == 1  # the error frame that says so


@both_codecs
@each("state", S)
@each("frame", EVERY_FRAME)
def test_hub_accepts_frames_allowed_by_the_table_and_ends_over_the_rest(
    frame: type[Frame], state: SessionState, codec: Codec
) -> None:
    walk(hub_in(state, codec), ALLOWED_FROM_DEVICE, samples(codec)[frame])


@both_codecs
@each("state", S)
@each("frame", EVERY_FRAME)
def test_device_accepts_frames_allowed_by_the_table_and_ends_over_the_rest(
    frame: type[Frame], state: SessionState, codec: Codec
) -> None:
    walk(device_in(state, codec), ALLOWED_FROM_HUB, samples(codec)[frame])


@both_codecs
@each("state", S)
@each("frame", EVERY_FRAME)
def test_each_frame_sendable_by_a_side_is_receivable_by_the_peer(
    frame: type[Frame], state: SessionState, codec: Codec
) -> None:
    for session, allowed in (
        (hub_in(state, codec), ALLOWED_FROM_HUB),
        (device_in(state, codec), ALLOWED_FROM_DEVICE),
    ):
        try:
            session.send(samples(codec)[frame])
        except LocalProtocolError:
            assert session.data_to_send() == []
        else:
            assert state is S.READY
            assert frame in allowed[S.READY]


def test_each_frame_is_allowed_in_some_state_and_errors_in_all() -> None:
    assert {frame for allowed in ALLOWED_FROM_DEVICE.values() for frame in allowed} == set(FROM_DEVICE)
    assert {frame for allowed in ALLOWED_FROM_HUB.values() for frame in allowed} == set(FROM_HUB)
    assert [state for state in set(S) - OVER if Error not in ALLOWED_FROM_HUB[state]] == []


def test_a_device_cannot_be_made_to_greet_twice_by_a_second_challenge() -> None:
    assert DeviceScript().hub_says(CHALLENGE, CHALLENGE).session.state is S.CLOSING


@both_sides
def test_session_moves_never_lead_to_an_earlier_state(table: Table[SessionState, SessionMove]) -> None:
    order = list(S)
    assert all(order.index(before) < order.index(after) for before, _, after in table.moves())


@both_sides
def test_each_live_session_state_can_end_and_be_hung_up(
    table: Table[SessionState, SessionMove],
) -> None:
    moves = {
        (table.after(state, SessionMove.ENDED), table.after(state, SessionMove.HUNG_UP))
        for state in S
        if state not in OVER
    }
    assert moves == {(S.CLOSING, S.CLOSED)}

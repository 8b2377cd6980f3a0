"""Frames to bytes and back, and what becomes of bytes that are no frame."""

import json
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.codec import (
    FROM_DEVICE,
    FROM_HUB,
    JSON,
    MSGPACK,
    SUBPROTOCOLS,
    Codec,
    for_subprotocol,
)
from protocol.coordination import Heartbeat
from protocol.errors import LocalProtocolError, RemoteProtocolError
from protocol.frame import MAX_RESULT_DEPTH, Frame
from protocol.session import OVER, Ended, Session
from protocol.tool_calls import ToolResult, ToolResults
from protocol.work import AgentData
from tests.protocol.conftest import both_codecs
from tests.support.families import each
from tests.support.frames import frames, open_values
from tests.support.script import HELLO, OPENED_AT, WELCOME, DeviceScript, Script


@both_codecs
@given(data=st.data())
def test_every_frame_of_a_device_survives_the_wire(codec: Codec, data: st.DataObject) -> None:
    frame = data.draw(frames(FROM_DEVICE, codec))
    read = codec.decode_from_device(codec.encode(frame))
    if isinstance(frame, ToolResult | ToolResults):  # a result comes as it was sent, or read already
        assert isinstance(read, type(frame)) and codec.encode(read) == codec.encode(frame)
    else:
        assert read == frame


@both_codecs
@given(data=st.data())
def test_every_frame_of_a_hub_survives_the_wire(codec: Codec, data: st.DataObject) -> None:
    frame = data.draw(frames(FROM_HUB, codec))
    assert codec.decode_from_hub(codec.encode(frame)) == frame


@both_codecs
@given(value=open_values())
def test_open_value_survives_encoding_and_decoding(codec: Codec, value: object) -> None:
    assert codec.unpack(codec.pack(value)) == value


@each("decode", [JSON.decode_from_device, JSON.decode_from_hub])
@each(
    "data",
    [
        b"",
        b"null",
        b"5",
        b"[]",
        b"{}",
        b'{"type":5}',
        b'{"type":null}',
        b'{"type":["error"]}',
        b'{"type":"error"}',
        b'{"type":"error","code":"x"} trailing',
        b'\xef\xbb\xbf{"type":"error","code":"x"}',
        b'{"type":"error","code":NaN}',
        b'{"type":"error","code":"\\ud800"}',
        b'{"type":"error","code":"\xff"}',
        b'{"type":"\xff"}',
        b'{"type":"error","code":"' + b"x" * 129 + b'"}',
        b'{"type":"error","code":"x","unknown":' + b"[" * 100_000,
        b"[" * 100_000,
        b'{"a":' * 100_000,
    ],
)
def test_bytes_without_a_frame_raise_bad_frame(decode: Callable[[bytes], object], data: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match="bad_frame"):
        decode(data)


@pytest.mark.parametrize(
    "value",
    [
        {b"type": "heartbeat"},
        {"type": b"heartbeat"},
        {"type": msgspec.msgpack.Ext(3, b"x")},
        {"type": "heartbeat", 1: 2},
        {"type": "tool_result", "id": msgspec.msgpack.Ext(3, b"x")},
        {"type": "heartbeat", "agents": [{"agent_id": "a", "resource_usage": {"cpu": float("nan")}}]},
        {"type": "heartbeat", "agents": [{"agent_id": "a", "resource_usage": {"cpu": float("inf")}}]},
        {"type": "heartbeat", "agents": [{"agent_id": "a", "resource_usage": {"cpu": 2**63}}]},
    ],
    ids=["bytes key", "bytes", "ext", "int key", "ext result", "nan", "inf", "2**63"],
)
def test_messagepack_frame_with_a_value_unknown_to_json_is_refused(value: object) -> None:
    with pytest.raises(RemoteProtocolError, match="bad_frame"):
        MSGPACK.decode_from_device(msgspec.msgpack.encode(value))


@pytest.mark.parametrize(
    "message",
    [{"type": "x" * 1_000_000}, {"type": "tool_call", "id": "c-1", "action": "x" * 1_000_000}],
    ids=["type", "action"],
)
def test_decode_error_does_not_repeat_a_long_text_of_the_peer(message: dict[str, str]) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        JSON.decode_from_hub(json.dumps(message).encode())
    assert len(str(caught.value)) < 500


@both_codecs
def test_frame_of_the_other_direction_is_refused_with_the_type(codec: Codec) -> None:
    with pytest.raises(RemoteProtocolError, match="goodbye"):
        codec.decode_from_device(codec.encode({"type": "goodbye", "reason": "stopping"}))
    with pytest.raises(RemoteProtocolError, match="heartbeat"):
        codec.decode_from_hub(codec.encode(Heartbeat()))


@both_codecs
def test_an_unknown_field_is_ignored(codec: Codec) -> None:
    data = codec.encode({"type": "heartbeat", "mood": {"good": True}})
    assert codec.decode_from_device(data) == Heartbeat()


def test_last_of_doubled_keys_counts() -> None:
    data = b'{"type":"agent_data","run_id":"r-1","run_id":"r-2","seq":1,"seq":2}'
    assert JSON.decode_from_device(data) == AgentData(run_id="r-2", seq=2)


@both_codecs
def test_result_deeper_than_the_limit_is_refused(codec: Codec) -> None:
    value: object = 1
    for _ in range(MAX_RESULT_DEPTH):
        value = [value]
    assert codec.unpack(codec.pack(value)) == value
    with pytest.raises(RemoteProtocolError, match="result"):
        codec.unpack(codec.pack([value]))


@pytest.mark.parametrize("value", [{1: 2}, b"bytes", msgspec.msgpack.Ext(5, b"x"), float("nan"), 2**64 - 1])
def test_result_with_a_value_unknown_to_json_or_sqlite_is_refused(value: object) -> None:
    with pytest.raises(RemoteProtocolError, match="result"):
        MSGPACK.unpack(MSGPACK.pack(value))


@both_codecs
@given(data=st.binary(max_size=64))
def test_any_bytes_are_a_frame_or_a_named_error(codec: Codec, data: bytes) -> None:
    for decode in (codec.decode_from_device, codec.decode_from_hub):
        try:
            assert isinstance(decode(data), Frame)
        except RemoteProtocolError as error:
            assert error.message
    try:
        codec.unpack(msgspec.Raw(data))
    except RemoteProtocolError as error:
        assert error.message


def test_subprotocol_selects_the_codec_and_an_unknown_subprotocol_is_a_local_error() -> None:
    assert [for_subprotocol(name) for name in (None, *SUBPROTOCOLS)] == [JSON, JSON, MSGPACK]
    with pytest.raises(LocalProtocolError):
        for_subprotocol("hub.v9.xml")
    assert (JSON.is_text, MSGPACK.is_text) == (True, False)
    assert JSON.encode(ToolResult(id="c-1")).decode() == '{"type":"tool_result","id":"c-1"}'


# --- whatever a peer sends, a session goes on or ends; it never raises ---


def sessions(codec: Codec) -> list[Session]:
    """A session of each side, greeting and ready."""
    return [
        Script(codec).session,
        Script(codec).device_says(HELLO).accept().session,
        DeviceScript(codec).session,
        DeviceScript(codec).greet().hub_says(WELCOME).session,
    ]


def feed(session: Session, data: bytes | str) -> None:
    """*data* twice: it means something, is ignored, or ends the session in words, once."""
    session.data_to_send()
    events = session.receive_data(data, OPENED_AT)
    events += session.receive_data(data, OPENED_AT) if session.state in OVER else []
    ends = [event for event in events if isinstance(event, Ended)]
    assert len(ends) <= 1
    if ends:
        assert session.state in OVER
        assert len(session.data_to_send()) == 1
        assert session.next_deadline() is None


@st.composite
def mutations(draw: st.DrawFn, codec: Codec) -> bytes:
    """A frame with something cut out, put in, overwritten or doubled."""
    data = codec.encode(draw(frames(FROM_DEVICE + FROM_HUB, codec)))
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(data)))
        end = draw(st.integers(start, min(len(data), start + 8)))
        middle = draw(st.sampled_from([b"", data[start:end] * 2]) | st.binary(max_size=4))
        data = data[:start] + middle + data[end:]
    return data


@both_codecs
@given(data=st.binary(max_size=200))
def test_session_survives_any_bytes(codec: Codec, data: bytes) -> None:
    for session in sessions(codec):
        feed(session, data)


@both_codecs
@given(text=st.text(st.characters(), max_size=50))
def test_session_survives_any_text(codec: Codec, text: str) -> None:
    for session in sessions(codec):
        feed(session, text)


@both_codecs
@given(data=st.data())
def test_session_survives_any_tampered_frame(codec: Codec, data: st.DataObject) -> None:
    tampered = data.draw(mutations(codec))
    for session in sessions(codec):
        feed(session, tampered)


@pytest.mark.parametrize("before", [b'{"type":"heartbeat","x":', b'{"type":"tool_result","id":"c","result":'])
@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'"\\u0000'])
def test_session_survives_endless_nesting(before: bytes, opening: bytes) -> None:
    for session in sessions(JSON):
        feed(session, before + opening * 100_000)


def test_message_of_a_gibibyte_ends_the_session_without_being_parsed() -> None:
    class Huge(bytes):
        def __len__(self) -> int:
            return 2**30

    for session in sessions(JSON):
        feed(session, Huge(b"{}"))
        assert session.state in OVER

"""Whatever a peer sends, a session goes on or ends; it never raises."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.codec import FROM_DEVICE, FROM_HUB, JSON, Codec
from protocol.session import OVER, Ended, Session
from tests.protocol.conftest import both_codecs
from tests.support.frames import frames
from tests.support.script import HELLO, OPENED_AT, WELCOME, DeviceScript, Script


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
def test_session_survives_any_frame(codec: Codec, data: st.DataObject) -> None:
    frame = codec.encode(data.draw(frames(FROM_DEVICE + FROM_HUB, codec)))
    for session in sessions(codec):
        feed(session, frame)


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


def test_messages_of_a_gibibyte_are_not_looked_into() -> None:
    class Huge(bytes):
        def __len__(self) -> int:
            return 2**30

    for session in sessions(JSON):
        feed(session, Huge(b"{}"))
        assert session.state in OVER

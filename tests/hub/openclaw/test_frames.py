"""What goes over the wire is closed where we send it, and read with indulgence where a gateway does."""

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.openclaw.frames import (
    BadFrame,
    ClientInfo,
    ConnectAuth,
    ConnectParams,
    EventFrame,
    GrantedScopes,
    HelloOk,
    RequestFrame,
    ResponseFrame,
    decode,
    encode,
)
from hub.openclaw.gateway_interface import GatewayEvent, NewsLost, NewsQueue, Reconnected
from tests.support.families import each


def test_a_request_has_the_keys_of_the_protocol_and_no_others() -> None:
    frame = RequestFrame(id="r1", method="agents.list", params={})
    assert json.loads(encode(frame)) == {"type": "req", "id": "r1", "method": "agents.list", "params": {}}
    traced = RequestFrame(id="r1", method="x", params={"a": 1}, traceparent="00-1-2-01")
    assert json.loads(encode(traced))["traceparent"] == "00-1-2-01"


def test_unset_connect_parameters_are_omitted_from_the_frame() -> None:
    params = ConnectParams(
        min_protocol=4,
        max_protocol=4,
        client=ClientInfo(version="0.1.0"),
        role="operator",
        scopes=["operator.read"],
        caps=[],
        auth=ConnectAuth(token="t"),
    )
    frame = json.loads(encode(RequestFrame(id="c", method="connect", params=params)))
    assert frame["params"] == {
        "minProtocol": 4,
        "maxProtocol": 4,
        "client": {"id": "gateway-client", "version": "0.1.0", "platform": "linux", "mode": "backend"},
        "role": "operator",
        "scopes": ["operator.read"],
        "caps": [],
        "auth": {"token": "t"},
    }


def test_unknown_fields_and_frames_of_a_newer_gateway_are_ignored() -> None:
    event = decode('{"type":"event","event":"tick","payload":{"ts":1},"seq":17,"stateVersion":{"x":1}}')
    assert event == EventFrame(event="tick", payload={"ts": 1}, seq=17)
    refused = decode('{"type":"res","id":"r1","ok":false,"error":{"code":"X","message":"m","new":1}}')
    assert isinstance(refused, ResponseFrame) and refused.error is not None and refused.error.code == "X"
    assert decode('{"type":"stream","id":"x"}') is None


@each(
    "text",
    [
        *(
            "",
            "{",
            "[]",
            "null",
            "7",
            '"res"',
            "{}",
            '{"type":"res"}',
            '{"type":"event","seq":1}',
            '{"type":7}',
        ),
        b'{"type":"event","event":"tick","payload":"\xff"}',
    ],
)
def test_invalid_gateway_frame_is_unreadable(text: str | bytes) -> None:
    with pytest.raises(BadFrame):
        decode(text)


def test_half_surrogate_in_a_gateway_frame_is_replaced() -> None:
    """Else the session that has it would end every connection on which it is looked at."""
    cut = r'{"type":"res","id":"r1","ok":true,"payload":["cut \ud83d","\udc00 off","\ud83d\ude00"]}'
    response = decode(cut)
    assert isinstance(response, ResponseFrame)
    assert (response.payload, decode(cut.encode())) == (["cut \ufffd", "\ufffd off", "\U0001f600"], response)
    with pytest.raises(BadFrame):
        decode(r'{"type":"res","half":"\ud83d"}')


def test_no_token_is_in_the_repr_of_credentials() -> None:
    shown = RequestFrame(id="c1", method="connect", params={"auth": ConnectAuth(token="s3cret")})
    told = HelloOk(protocol=4, auth=GrantedScopes(scopes=["operator.read"], device_token="s3cret"))
    assert "s3cret" not in repr(shown) + repr(told)
    assert b"s3cret" in encode(shown)


@given(st.binary() | st.text())
def test_arbitrary_data_is_decoded_as_a_frame_or_unreadable(data: bytes | str) -> None:
    with suppress(BadFrame):
        decode(data)


async def test_full_inbox_drops_events_with_a_single_notice_and_preserves_reconnections() -> None:
    inbox = NewsQueue(most=6)
    inbox.enqueue(Reconnected("west", "boot-1", True))
    for number in range(100):
        inbox.enqueue(GatewayEvent("west", "agent", number))
    heard = [await inbox.get() for _ in range(len(inbox))]
    assert len(heard) <= 6
    assert heard[:2] == [NewsLost(), Reconnected("west", "boot-1", True)]
    assert heard[-1] == GatewayEvent("west", "agent", 99)

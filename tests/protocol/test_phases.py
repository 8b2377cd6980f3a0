"""The tables of a session, and every frame in every state."""

import pytest

from protocol.codec import FROM_DEVICE, FROM_HUB, Codec, type_of
from protocol.coordination import Event, Heartbeat, Request, Response
from protocol.errors import CloseCode, ErrorCode, LocalProtocolError
from protocol.frame import Frame
from protocol.handshake import Error, Goodbye, Hubs
from protocol.lifecycles import Table
from protocol.session import (
    ALLOWED_FROM_DEVICE,
    ALLOWED_FROM_HUB,
    DEVICE_SESSION,
    HUB_SESSION,
    OVER,
    Allowed,
    DeviceSession,
    Ended,
    HubSession,
    Session,
    SessionMove,
    SessionState,
)
from protocol.work import (
    Action,
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
    ToolCall,
    ToolCalls,
    ToolResult,
    ToolResults,
)
from tests.protocol.conftest import both_codecs
from tests.support.families import each
from tests.support.protocol_examples import RECEIPT
from tests.support.script import CHALLENGE, HELLO, OPENED_AT, WELCOME, DeviceScript, Script


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


S = SessionState
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
def test_a_hub_takes_what_its_table_allows_and_ends_over_the_rest(
    frame: type[Frame], state: SessionState, codec: Codec
) -> None:
    walk(hub_in(state, codec), ALLOWED_FROM_DEVICE, samples(codec)[frame])


@both_codecs
@each("state", S)
@each("frame", EVERY_FRAME)
def test_a_device_takes_what_its_table_allows_and_ends_over_the_rest(
    frame: type[Frame], state: SessionState, codec: Codec
) -> None:
    walk(device_in(state, codec), ALLOWED_FROM_HUB, samples(codec)[frame])


@both_codecs
@each("state", S)
@each("frame", EVERY_FRAME)
def test_each_side_may_receive_what_the_other_may_send(
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


def test_every_frame_may_come_in_some_state_and_an_error_in_every_open_one() -> None:
    assert {frame for allowed in ALLOWED_FROM_DEVICE.values() for frame in allowed} == set(FROM_DEVICE)
    assert {frame for allowed in ALLOWED_FROM_HUB.values() for frame in allowed} == set(FROM_HUB)
    assert [state for state in set(S) - OVER if Error not in ALLOWED_FROM_HUB[state]] == []


def test_a_device_cannot_be_made_to_greet_twice_by_a_second_challenge() -> None:
    assert DeviceScript().hub_says(CHALLENGE, CHALLENGE).session.state is S.CLOSING


@both_sides
def test_no_move_leads_back(table: Table[SessionState, SessionMove]) -> None:
    order = list(S)
    assert all(order.index(before) < order.index(after) for before, _, after in table.moves())


@both_sides
def test_from_every_live_state_a_session_can_end_and_be_hung_up_on(
    table: Table[SessionState, SessionMove],
) -> None:
    moves = {
        (table.after(state, SessionMove.ENDED), table.after(state, SessionMove.HUNG_UP))
        for state in S
        if state not in OVER
    }
    assert moves == {(S.CLOSING, S.CLOSED)}

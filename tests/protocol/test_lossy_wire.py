"""Both sessions over a wire that cuts, delays, doubles, reorders, replays and garbles."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from protocol.codec import JSON, MSGPACK, Codec
from protocol.coordination import Heartbeat, Request, Response
from protocol.errors import CloseCode
from protocol.frame import MAX_PENDING_REQUESTS
from protocol.handshake import Goodbye
from protocol.ids import CallId
from protocol.lifecycles import Table
from protocol.session import (
    DEVICE_SESSION,
    HUB_SESSION,
    OVER,
    Answered,
    AnsweredTogether,
    Ended,
    Received,
    SessionEvent,
    SessionMove,
    SessionState,
)
from protocol.tool_calls import Action, Answer, ToolCall, ToolCalls
from tests.support.pair import Pair, Wire

positions = st.integers(0, 7)


def reachable(table: Table[SessionState, SessionMove], state: SessionState) -> set[SessionState]:
    found = {state}
    for _ in SessionState:
        found |= {after for before, _, after in table.moves() if before in found}
    return found


class LossyWire(RuleBasedStateMachine):
    """Nothing here may raise; what the invariants say holds after every step."""

    codec: Codec

    @initialize(greets=st.booleans())
    def connect(self, greets: bool) -> None:
        self.pair = Pair(self.codec)
        self._start_over()
        self.called: set[CallId] = set()
        self.open_calls: set[CallId] = set()  # as the hub's own side keeps them, above the session
        self.settled: dict[CallId, Answer] = {}
        self.asked = 0
        if greets:
            self.pair.settle()

    def _start_over(self) -> None:
        self.hub_was, self.device_was = self.pair.hub.state, self.pair.device.state
        self.pair.hub_saw.clear()
        self.pair.device_saw.clear()
        self.ends: dict[str, int] = {"hub": 0, "device": 0}

    # What the wire does.

    def _wire(self, to_hub: bool) -> Wire:
        return self.pair.to_hub if to_hub else self.pair.to_device

    @rule(to_hub=st.booleans(), position=st.just(0) | positions)
    def deliver(self, to_hub: bool, position: int) -> None:
        self._wire(to_hub).deliver(position)

    @rule()
    def settle(self) -> None:
        self.pair.settle()

    @rule(
        to_hub=st.booleans(),
        fault=st.sampled_from(["drop", "duplicate", "replay", "garble"]),
        position=st.integers(0, 100),
        byte=st.integers(0, 255),
    )
    def go_wrong(self, to_hub: bool, fault: str, position: int, byte: int) -> None:
        wire = self._wire(to_hub)
        match fault:
            case "drop":
                wire.drop(position)
            case "duplicate":
                wire.duplicate(position)
            case "replay":
                wire.replay(position)
            case "garble":
                wire.garble(position, byte)

    @rule(seconds=st.sampled_from([1.0, 9.0, 46.0]))
    def wait(self, seconds: float) -> None:
        self.pair.clock_moves(seconds)

    @rule(greets=st.sampled_from([True, True, False]))
    def connect_again(self, greets: bool) -> None:
        self.pair.cut()
        self.pair.connect()
        self.open_calls.clear()  # calls end with their connection; the outbox brings them again
        self._start_over()
        if greets:
            self.pair.settle()

    # What the owners of the two sessions do.

    def _hub_is_ready(self) -> bool:
        return self.pair.hub.state is SessionState.READY

    def _device_is_ready(self) -> bool:
        return self.pair.device.state is SessionState.READY

    @precondition(_hub_is_ready)
    @rule(number=st.integers(0, 3))
    def call(self, number: int) -> None:
        call_id = CallId(f"c-{number}")
        self.called.add(call_id)
        self.open_calls.add(call_id)
        self.pair.hub.send(ToolCall(id=call_id, action=Action.INSERT, table="tasks", data={"title": "x"}))
        self.pair.flush()

    @precondition(_hub_is_ready)
    @rule(numbers=st.lists(st.integers(0, 3), min_size=1, max_size=4))
    def call_together(self, numbers: list[int]) -> None:
        ids = [CallId(f"c-{number}") for number in numbers]
        self.called.update(ids)
        self.open_calls.update(ids)
        calls = [ToolCall(id=id, action=Action.INSERT, table="tasks", data={"title": "x"}) for id in ids]
        self.pair.hub.send(ToolCalls(calls=calls))
        self.pair.flush()

    @precondition(_device_is_ready)
    @rule()
    def beat(self) -> None:
        self.pair.device.send(Heartbeat())
        self.pair.flush()

    @precondition(_device_is_ready)
    @rule()
    def ask(self) -> None:
        self.asked += 1
        self.pair.device.send(Request(id=f"q-{self.asked}", method="runs.list"))
        self.pair.flush()

    @rule(how=st.sampled_from(["cut", "stop", "leave"]))
    def part(self, how: str) -> None:
        match how:
            case "cut":
                self.pair.cut()
            case "stop":
                if ended := self.pair.hub.end(Goodbye(reason="stopping"), CloseCode.STOPPING):
                    self.pair.hub_saw.append(ended)
            case "leave":
                if ended := self.pair.device.leave():
                    self.pair.device_saw.append(ended)
        self.pair.flush()

    # What always holds.

    @invariant()
    def both_sides_take_note(self) -> None:
        for event in self._take(self.pair.device_saw, "device"):
            match event:
                case Received(ToolCall() as frame) if self._device_is_ready():
                    self._answer([frame])
                case Received(ToolCalls(calls=calls)) if self._device_is_ready():
                    self._answer(calls)
        for event in self._take(self.pair.hub_saw, "hub"):
            match event:
                case Answered(call_id, answer):
                    self._settle(call_id, answer)
                case AnsweredTogether(answers):
                    for call_id, answer in answers:
                        self._settle(call_id, answer)
                case Received(Request() as request) if self._hub_is_ready():
                    self.pair.hub.send(Response(id=request.id, result={}))
        self.pair.flush()

    def _answer(self, calls: list[ToolCall]) -> None:
        self.pair.device.answer([(CallId(one.id), Answer(result={"row": one.id}), None) for one in calls])

    def _settle(self, call_id: CallId, answer: Answer) -> None:
        if call_id in self.open_calls:
            self.open_calls.remove(call_id)
            self.settled[call_id] = answer

    def _take(self, saw: list[SessionEvent], side: str) -> list[SessionEvent]:
        events = list(saw)
        saw.clear()
        self.ends[side] += sum(isinstance(event, Ended) for event in events)
        return events

    @invariant()
    def states_only_move_by_their_tables(self) -> None:
        assert self.pair.hub.state in reachable(HUB_SESSION, self.hub_was)
        assert self.pair.device.state in reachable(DEVICE_SESSION, self.device_was)
        self.hub_was, self.device_was = self.pair.hub.state, self.pair.device.state

    @invariant()
    def a_side_ends_a_session_at_most_once(self) -> None:
        assert max(self.ends.values()) <= 1

    @invariant()
    def what_is_over_waits_for_nothing(self) -> None:
        for session in (self.pair.hub, self.pair.device):
            assert session.state not in OVER or session.next_deadline() is None

    @invariant()
    def no_side_is_ready_without_a_hello_and_a_welcome(self) -> None:
        assert not self._hub_is_ready() or self.pair.hub.hello is not None
        assert not self._device_is_ready() or self.pair.device.welcome is not None

    @invariant()
    def a_call_is_settled_only_if_it_was_made(self) -> None:
        assert self.settled.keys() <= self.called

    @invariant()
    def a_device_has_a_bounded_number_of_requests_open(self) -> None:
        assert len(self.pair.hub._open_requests) <= MAX_PENDING_REQUESTS


class JsonOverLossyWire(LossyWire):
    codec = JSON


class MsgpackOverLossyWire(LossyWire):
    codec = MSGPACK


_STEADY = settings(max_examples=25, stateful_step_count=40, deadline=None, derandomize=True)
TestJson = JsonOverLossyWire.TestCase
TestJson.settings = _STEADY
TestMsgpack = MsgpackOverLossyWire.TestCase
TestMsgpack.settings = _STEADY


def test_replayed_frame_of_an_earlier_connection_ends_the_session() -> None:
    pair = Pair()
    pair.settle()
    pair.hub.send(ToolCall(id="c-1", action=Action.INSERT, table="tasks"))
    pair.settle()
    pair.cut()
    pair.connect()
    pair.to_hub.under_way.clear()
    pair.device_saw.clear()
    pair.to_device.replay(2)  # the call
    pair.to_device.deliver(-1)
    assert pair.device_saw == [Ended(CloseCode.BAD_FRAME, "wrong_state")]

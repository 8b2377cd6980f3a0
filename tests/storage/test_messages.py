"""A message is a row before it is a frame; each move is made once, with its proof."""

from typing import Any

import pytest
import sqlalchemy as sa

from protocol.agent_messages import MESSAGE, MessageEvent, MessageKind, MessageState
from protocol.errors import CodedError, ErrorCode, IllegalTransition, LimitReached
from protocol.ids import AgentId, BoardId, BootId, BroadcastId, DeviceId, GatewayId, MemoryId, MessageId
from storage import audit
from storage.coordination import boards, gateway_agents, message_rows, messages
from storage.coordination.board_memory import MemoryFilter, MemoryRow, NewMemory, add_memory, list_memory
from storage.coordination.message_rows import MessageRow, UnknownMessage
from storage.coordination.messages import Hand, MessageLimits, NewMessage
from storage.effects import retention
from storage.leases import beat
from storage.schema import broadcasts, gateways
from storage.schema import messages as message_table
from tests.storage.rows import AT, BOOT, ME, NEXT_BOOT, make_agent, seeded, some, undone
from tests.support.coded import coded
from tests.support.families import each

BOARD = BoardId("board")
WEST = GatewayId("gateway")
LEAD, WORKER, DESK = AgentId("lead"), AgentId("worker"), AgentId("agent-inbox")
DAY = 86_400_000
E, S = MessageEvent, MessageState
MINE = Hand(BOOT, is_alone=True)
SHARED = Hand(BOOT, is_alone=False)


@pytest.fixture(autouse=True)
def board(c: sa.Connection) -> None:
    seeded(c, make_board)


def make_board(c: sa.Connection) -> None:
    """Create a board with a lead and a worker at a gateway, and an agent on a laptop."""
    desk = make_agent(c)
    row = {"id": WEST, "user_id": ME, "name": "west", "created_at": AT, "updated_at": AT}
    c.execute(sa.insert(gateways), row)
    boards.create_board(c, id=BOARD, user_id=ME, name="roadmap", gateway_id=WEST, at=AT, actor="hub")
    for agent, role in ((LEAD, "lead"), (WORKER, "worker")):
        given: dict[str, Any] = {"gateway_id": WEST, "user_id": ME, "name": role, "role": role}
        gateway_agents.make_gateway_agent(c, **given, remote_id=role, fresh_id=agent, at=AT, actor="hub")
        boards.add_member(c, BOARD, agent, is_lead=agent == LEAD, at=AT, actor="hub")
    boards.add_member(c, BOARD, desk.id, at=AT, actor="hub")


def new(id: str = "m-1", **about: Any) -> NewMessage:
    given: dict[str, Any] = {
        "id": MessageId(id),
        "user_id": ME,
        "kind": MessageKind.NUDGE,
        "board_id": BOARD,
        "from_agent_id": LEAD,
        "actor": f"agent:{LEAD}",
        "to_agent_id": WORKER,
        "gateway_id": WEST,
        "content": "is the gate shut?",
        "trace_id": "0" * 32,
        "not_before": AT,
        "expires_at": AT + DAY,
        "at": AT,
    }
    return NewMessage(**given | about)


def say(c: sa.Connection, id: str = "m-1", *, most: int = 99, **about: Any) -> MessageRow:
    return messages.add_message(c, new(id, **about), limits=MessageLimits(open_messages_per_user=most))


def move(c: sa.Connection, row: MessageRow, event: MessageEvent, **about: Any) -> MessageRow:
    given: dict[str, Any] = {"at": AT + 1, "seen_version": row.version}
    if event is E.FAILED:
        given["reason_code"] = ErrorCode.GATEWAY_REFUSED
    if event is E.ANSWERED:
        given["answer"] = "yes"
    return some(message_rows.move_message(c, row.id, event, **given | about))


def led(c: sa.Connection, *events: MessageEvent, id: str = "m-1", **about: Any) -> MessageRow:
    row = say(c, id, **about)
    for event in events:
        row = move(c, row, event, gateway_id=WEST if event is E.SENT else None)
    return row


def due(c: sa.Connection, hand: Hand = MINE, at: int = AT) -> list[str]:
    return [row.id for row in messages.due_at_gateway(c, WEST, hand, at=at, most=10)]


def told(c: sa.Connection) -> list[tuple[str, str]]:
    return [(one.event_type, one.message) for one in audit.list_activity(c) if "message_id" in one.data]


def test_new_message_is_stored_as_waiting(c: sa.Connection) -> None:
    row = say(c)
    assert (
        row.state,
        row.attempt,
        row.sends,
        row.version,
        row.user,
        row.board,
        row.from_agent,
        row.to_agent,
    ) == (S.WAITING, 1, 0, 1, "me", "roadmap", "lead", "worker")
    (first,) = message_rows.moves_of(c, row.id)
    assert (first.seq, first.old_state, first.new_state) == (1, None, S.WAITING)


def test_message_with_a_known_dedupe_key_is_the_existing_message(c: sa.Connection) -> None:
    row = say(c, dedupe_key="k")
    assert say(c, "m-2", dedupe_key="k", content="something else") == row


@pytest.mark.parametrize("content", ["", " \n", "a\0b", "\ud800"])
def test_message_with_invalid_text_is_refused(c: sa.Connection, content: str) -> None:
    with pytest.raises(CodedError, check=coded(ErrorCode.BAD_PARAMS)):
        say(c, content=content)


def test_message_beyond_the_size_limit_is_refused(c: sa.Connection) -> None:
    limits = MessageLimits(agent_message_bytes=10)
    messages.add_message(c, new(content="ä" * 5), limits=limits)
    with pytest.raises(CodedError, check=coded(ErrorCode.TOO_LARGE), match="agent_message_bytes"):
        messages.add_message(c, new("m-2", content="ä" * 6), limits=limits)


def test_open_message_beyond_the_limit_of_a_user_is_refused(c: sa.Connection) -> None:
    led(c, E.SENT, E.CONSUMED, E.ANSWERED, id="m-0", most=1)
    say(c, "m-1", most=1)
    with pytest.raises(LimitReached, match="open_messages_per_user"):
        say(c, "m-2", most=1)


@each("state", list(MessageState))
def test_message_moves_follow_the_transition_table(c: sa.Connection, state: MessageState) -> None:
    with undone(c):
        row = led(c, *WAYS[state])
        for event in MessageEvent:
            if MESSAGE.allows(state, event):
                with undone(c):
                    assert move(c, row, event).state is MESSAGE.after(state, event)
            else:
                with pytest.raises(IllegalTransition):
                    move(c, row, event)
        assert message_rows.get_message(c, row.id) == row


WAYS: dict[MessageState, tuple[MessageEvent, ...]] = {
    S.WAITING: (),
    S.SENT: (E.SENT,),
    S.ACCEPTED: (E.SENT, E.ACCEPTED),
    S.QUEUED: (E.SENT, E.ACCEPTED, E.QUEUED),
    S.CONSUMED: (E.SENT, E.CONSUMED),
    S.ANSWERED: (E.SENT, E.ANSWERED),
    S.INTERRUPTED: (E.SENT, E.INTERRUPTED),
    S.FAILED: (E.FAILED,),
    S.EXPIRED: (E.EXPIRED,),
}


def test_message_move_with_an_outdated_version_changes_nothing(c: sa.Connection) -> None:
    row = say(c)
    move(c, row, E.SENT)
    late = message_rows.move_message(c, row.id, E.FAILED, seen_version=row.version, at=AT, reason_code="x")
    assert (late, message_rows.get_message(c, row.id).state) == (None, S.SENT)


def test_each_message_move_is_stored_with_the_proof(c: sa.Connection) -> None:
    row = move(c, say(c), E.SENT, proof={"letter": {"message": "hello"}})
    move(c, row, E.ACCEPTED, proof={"ack": {"status": "started"}})
    assert [move.proof for move in message_rows.moves_of(c, row.id)] == [
        {},
        {"letter": {"message": "hello"}},
        {"ack": {"status": "started"}},
    ]
    assert [move.seq for move in message_rows.moves_of(c, row.id)] == [1, 2, 3]


def test_letter_of_a_message_attempt_is_the_letter_of_the_first_send(c: sa.Connection) -> None:
    row = move(c, say(c), E.SENT, proof={"letter": {"message": "first"}})
    row = move(c, move(c, row, E.TAKEN_BACK), E.SENT, proof={})
    assert messages.letter_of(c, row.id, 1) == {"letter": {"message": "first"}}
    row = move(c, move(c, row, E.INTERRUPTED), E.TRIED_ANEW)
    assert (row.attempt, row.sends, row.state, messages.letter_of(c, row.id, 2)) == (2, 2, S.WAITING, None)


def test_delivered_message_writes_a_single_activity_entry_with_the_trace(c: sa.Connection) -> None:
    row = led(c, E.SENT, E.ACCEPTED)
    assert told(c) == []
    move(c, move(c, row, E.CONSUMED), E.ANSWERED)
    assert told(c) == [("agent.nudge.sent", "Nudge sent to worker.")]
    traces = c.exec_driver_sql("SELECT trace_id FROM activity_log WHERE trace_id IS NOT NULL").scalars()
    assert list(traces) == ["0" * 32]


@pytest.mark.parametrize(
    ("kind", "sent", "failed"),
    [
        (MessageKind.NUDGE, "agent.nudge.sent", "agent.nudge.failed"),
        (MessageKind.QUESTION, "gateway.main.lead_message.sent", "gateway.main.lead_message.failed"),
        (MessageKind.HANDOFF, "gateway.main.lead_message.sent", "gateway.main.lead_message.failed"),
        (MessageKind.ASK_USER, "gateway.lead.ask_user.sent", "gateway.lead.ask_user.failed"),
        (MessageKind.ANSWER, "agent.answer.sent", "agent.answer.failed"),
    ],
)
def test_activity_has_a_sent_and_a_failed_event_for_each_message_kind(
    c: sa.Connection, kind: MessageKind, sent: str, failed: str
) -> None:
    led(c, E.SENT, E.CONSUMED, kind=kind)
    assert [event for event, _ in told(c)] == [sent]
    move(c, say(c, "m-2", kind=kind), E.FAILED, reason="the gateway is gone", at=AT + 9)
    event, message = told(c)[0]
    assert event == failed
    assert message.endswith(": the gateway is gone")


def test_the_messages_of_a_broadcast_have_no_entries_of_their_own(c: sa.Connection) -> None:
    broadcast(c)
    led(c, E.SENT, E.CONSUMED, broadcast_id=BroadcastId("b-1"), kind=MessageKind.QUESTION)
    assert told(c) == []


def broadcast(c: sa.Connection) -> None:
    row = {"id": "b-1", "user_id": ME, "kind": "question", "content": "?", "actor": "hub", "trace_id": "0"}
    c.execute(sa.insert(broadcasts), row | {"boards": 1, "created_at": AT})


def test_messages_to_the_same_agent_are_due_in_sequence(c: sa.Connection) -> None:
    first, second = say(c, "m-1"), say(c, "m-2")
    say(c, "m-3", to_agent_id=LEAD)
    assert second.created_at > first.created_at
    assert due(c) == ["m-1", "m-3"]
    row = move(c, first, E.SENT, not_before=AT + 1_000)
    assert due(c) == ["m-3"]
    move(c, row, E.CONSUMED, not_before=AT + 1_000)
    assert due(c) == ["m-2", "m-3"]


def test_message_held_by_another_hub_is_due_only_after_the_end(c: sa.Connection) -> None:
    move(c, say(c), E.SENT, boot_id=NEXT_BOOT, gateway_id=WEST)
    beat(c, "other", NEXT_BOOT, ttl_ms=60_000)  # type: ignore[arg-type]
    assert due(c, SHARED) == []
    beat(c, "other", BootId("its next start"), ttl_ms=60_000)  # type: ignore[arg-type]
    assert due(c, SHARED) == ["m-1"]


def test_lone_hub_takes_over_messages_of_an_earlier_boot(c: sa.Connection) -> None:
    move(c, say(c), E.SENT, boot_id=NEXT_BOOT, gateway_id=WEST, not_before=AT + 60_000)
    assert (messages.release_all(c, BOOT, AT), due(c)) == (1, ["m-1"])


def test_message_is_due_at_not_before_or_after_a_stir(c: sa.Connection) -> None:
    row = say(c, not_before=AT + 100)
    assert (due(c), due(c, at=AT + 100)) == ([], ["m-1"])
    assert messages.put_off(c, row.id, seen_version=row.version, not_before=AT + 200)
    assert (due(c, at=AT + 100), messages.next_due(c, AT)) == ([], (True, AT + 200))
    assert (messages.stir(c, WEST, AT), due(c)) == (1, ["m-1"])


def test_expired_message_is_found_before_the_not_before_time(c: sa.Connection) -> None:
    say(c, not_before=AT + 10 * DAY)
    assert messages.expiring(c, MINE, at=AT + DAY - 1, most=10) == []
    assert [row.id for row in messages.expiring(c, MINE, at=AT + DAY, most=10)] == ["m-1"]


def test_messages_to_device_agents_are_due_at_the_device_of_the_agent(c: sa.Connection) -> None:
    say(c, to_agent_id=DESK, gateway_id=None)
    laptop = DeviceId("device-laptop")
    assert [row.id for row in messages.due_at_devices(c, [laptop], at=AT, most=10)] == ["m-1"]
    assert messages.due_at_devices(c, [DeviceId("another")], at=AT, most=10) == []
    assert messages.due_nowhere(c, MINE, at=AT, most=10) == []


def test_sent_message_is_due_again_when_the_device_connects(c: sa.Connection) -> None:
    move(c, say(c, to_agent_id=DESK, gateway_id=None), E.SENT, not_before=AT + 60_000)
    laptop = DeviceId("device-laptop")
    assert messages.due_at_devices(c, [laptop], at=AT, most=10) == []
    assert messages.stir_devices(c, [DeviceId("another")], AT) == 0
    assert messages.stir_devices(c, [laptop], AT) == 1
    assert [one.id for one in messages.due_at_devices(c, [laptop], at=AT, most=10)] == ["m-1"]


def test_message_to_an_unknown_lead_gets_agent_and_gateway_by_give_home(c: sa.Connection) -> None:
    row = say(c, to_agent_id=None, to_lead=True, gateway_id=None)
    assert [one.id for one in messages.due_nowhere(c, MINE, at=AT, most=10)] == ["m-1"]
    home = some(
        messages.give_home(
            c, row.id, seen_version=row.version, agent_id=LEAD, gateway_id=WEST, device_id=None, at=AT
        )
    )
    assert (home.to_agent_id, home.home_gateway_id, home.session_key) == (LEAD, WEST, "agent:lead:main")
    assert due(c) == ["m-1"]


def test_stirred_finds_sent_messages_of_the_given_gateway_sessions(c: sa.Connection) -> None:
    led(c, E.SENT)
    say(c, "m-2", to_agent_id=LEAD)
    found = messages.stirred(c, WEST, ["agent:worker:main", "agent:lead:main"], MINE, most=10)
    assert [row.id for row in found] == ["m-1"]


def test_answer_to_a_question_is_written_to_the_board_memory_at_once(c: sa.Connection) -> None:
    row = led(c, E.SENT, E.CONSUMED, kind=MessageKind.QUESTION, correlation_id="c-1")
    answered = some(
        message_rows.answer_message(
            c,
            row.id,
            seen_version=row.version,
            text="on Tuesday",
            proof={"history": {"id": "r-9"}},
            memory_id=MemoryId("memory-1"),
            at=AT + 5,
        )
    )
    assert (answered.state, answered.answer, answered.memory_id) == (S.ANSWERED, "on Tuesday", "memory-1")
    (item,) = list_memory(c, BOARD, MemoryFilter(), limit=10)
    assert (item.content, item.tags, item.source, item.reply_to, item.agent_id) == (
        "on Tuesday",
        ("gateway_main", "lead_reply"),
        "lead_to_gateway_main",
        row.id,
        WORKER,
    )


def item(c: sa.Connection, **about: Any) -> MemoryRow:
    given: dict[str, Any] = {"id": MemoryId("memory-1"), "board_id": BOARD, "content": "on Tuesday"}
    given |= {"actor": "agent:worker", "agent_id": WORKER, "reply_to": "m-1", "at": AT}
    row, _ = add_memory(c, NewMemory(**given | about))
    return row


@pytest.mark.parametrize("kind", [MessageKind.ASK_USER, MessageKind.ANSWER])
def test_memory_item_of_an_agent_does_not_answer_for_a_person(c: sa.Connection, kind: MessageKind) -> None:
    led(c, E.SENT, E.CONSUMED, kind=kind)
    assert message_rows.answer_by_memory(c, item(c), at=AT + 5) is None


def test_message_settled_as_read_may_be_answered_later(c: sa.Connection) -> None:
    row = led(c, E.SENT, E.CONSUMED)
    settled = some(
        message_rows.settle_message(c, row.id, seen_version=row.version, at=AT + 2, proof={"turn": "over"})
    )
    assert settled.settled_at == AT + 2
    answered = some(message_rows.answer_by_memory(c, item(c), at=AT + 5))
    assert (answered.state, answered.settled_at) == (S.ANSWERED, AT + 5)


def test_cancelled_sent_message_names_a_possible_delivery_in_the_reason(c: sa.Connection) -> None:
    say(c, "m-1")
    given_up = messages.cancel_message(c, "m-1", at=AT + 1, actor="operator:1")
    assert (given_up.state, given_up.reason_code, given_up.reason) == (
        S.FAILED,
        ErrorCode.CANCELLED,
        "taken back",
    )
    led(c, E.SENT, id="m-2")
    sent = messages.cancel_message(c, "m-2", at=AT + 1, actor="operator:1")
    assert sent.reason == "taken back; its agent may have it all the same"
    assert [entry.event for entry in audit.list_entries(c, limit=9) if entry.subject == "m-2"] == [
        "message.cancelled"
    ]


def test_messages_to_an_agent_at_the_same_instant_are_due_by_id(c: sa.Connection) -> None:
    for id in ("m-2", "m-1"):
        say(c, id)
    c.execute(sa.update(message_table).values(created_at=AT))
    assert due(c) == ["m-1"]


def test_a_delivered_message_is_neither_cancelled_nor_repeated(c: sa.Connection) -> None:
    led(c, E.SENT, E.CONSUMED)
    with pytest.raises(CodedError, check=coded(ErrorCode.MESSAGE_SETTLED)):
        messages.cancel_message(c, "m-1", at=AT, actor="operator:1")
    with pytest.raises(CodedError, check=coded(ErrorCode.MESSAGE_SETTLED)):
        messages.retry_message(c, "m-1", MessageId("m-2"), at=AT, actor="operator:1")


def test_retried_waiting_message_is_due_at_once(c: sa.Connection) -> None:
    say(c, not_before=AT + DAY)
    tried = messages.retry_message(c, "m-1", MessageId("m-2"), at=AT, actor="operator:1")
    assert (tried.id, tried.not_before) == ("m-1", AT)


def test_repeated_retries_of_a_failed_message_make_a_single_new_message(c: sa.Connection) -> None:
    led(c, E.FAILED)
    for n, fresh in enumerate(("m-2", "m-3", "m-4")):
        anew = messages.retry_message(c, "m-1", MessageId(fresh), at=AT + n, actor="operator:1")
        assert anew.id == "m-2"
    move(c, anew, E.FAILED)
    anew = messages.retry_message(c, "m-1", MessageId("m-5"), at=AT, actor="operator:1")
    assert (anew.id, anew.state) == ("m-5", S.WAITING)  # of the one that failed as well
    for event in (E.SENT, E.CONSUMED):
        anew = move(c, anew, event)
    with pytest.raises(CodedError, check=coded(ErrorCode.MESSAGE_SETTLED), match="m-5 is consumed"):
        messages.retry_message(c, "m-1", MessageId("m-6"), at=AT, actor="operator:1")


def test_retried_message_gets_a_full_ttl_and_the_same_broadcast(
    c: sa.Connection,
) -> None:
    broadcast(c)
    led(c, E.FAILED, broadcast_id=BroadcastId("b-1"), correlation_id="c-1")
    anew = messages.retry_message(c, "m-1", MessageId("m-2"), at=AT + 500, actor="operator:1")
    assert (anew.id, anew.state, anew.content, anew.correlation_id, anew.broadcast_id, anew.expires_at) == (
        "m-2",
        S.WAITING,
        "is the gate shut?",
        "c-1",
        "b-1",
        AT + 500 + DAY,
    )
    assert message_rows.get_message(c, "m-1").broadcast_id is None


def test_messages_are_listed_newest_first_page_by_page(c: sa.Connection) -> None:
    for n in range(5):
        say(c, f"m-{n}", correlation_id="even" if n % 2 == 0 else None, at=AT + n)
    first = message_rows.list_messages(c, user_id=ME, limit=2)
    assert [row.id for row in first] == ["m-4", "m-3"]
    last = first[-1]
    rest = message_rows.list_messages(c, user_id=ME, limit=9, after=(last.created_at, last.id))
    assert [row.id for row in rest] == ["m-2", "m-1", "m-0"]
    assert len(message_rows.list_messages(c, correlation_id="even")) == 3
    assert len(message_rows.list_messages(c, states=[S.WAITING], agent_ids=[LEAD])) == 5
    assert message_rows.list_messages(c, agent_ids=[DESK]) == []
    assert message_rows.list_messages(c, board_id="another") == []


def test_old_settled_message_is_pruned_with_the_moves(c: sa.Connection) -> None:
    led(c, E.SENT, E.CONSUMED, E.ANSWERED, id="m-old")
    say(c, "m-open")
    gone = 0
    while went := retention.prune_messages(c, before=AT + DAY, rows=2):
        gone += went
    assert gone == 5
    with pytest.raises(UnknownMessage):
        message_rows.get_message(c, "m-old")
    assert message_rows.get_message(c, "m-open").state is S.WAITING


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("ask", "index"),
    [
        (lambda c: messages.due_at_gateway(c, WEST, MINE, at=AT, most=9), "messages_due"),
        (lambda c: messages.due_nowhere(c, MINE, at=AT, most=9), "messages_due"),
        (lambda c: messages.expiring(c, MINE, at=AT, most=9), "messages_expiring"),
        (lambda c: messages.open_count(c, ME, 9), "messages_open"),
        (lambda c: messages.due_at_gateway(c, WEST, MINE, at=AT, most=9), "messages_agent"),
        (lambda c: say(c), "messages_agent"),
    ],
)
def test_frequent_message_query_uses_an_index(c: sa.Connection, ask: Any, index: str) -> None:
    statements: list[tuple[str, Any]] = []
    sa.event.listen(c, "before_cursor_execute", lambda *call: statements.append((call[2], call[3])))
    ask(c)
    steps = " ".join(
        str(step[3])
        for statement, given in list(statements)
        if statement.startswith("SELECT")
        for step in c.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", given)
    )
    assert index in steps
    assert f"SCAN {message_table.name}" not in steps

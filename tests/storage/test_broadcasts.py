"""Broadcasts as rows: whole or not at all, counted from their messages, resumed without telling twice."""

from collections.abc import Sequence
from typing import Any

import pytest
import sqlalchemy as sa

from protocol.agent_messages import MessageEvent, MessageKind, MessageState
from protocol.errors import ErrorCode, HubError
from protocol.ids import BoardId, BootId, BroadcastId, GatewayId, MessageId
from storage import audit
from storage.coordination import boards, message_rows, messages
from storage.coordination.boards import create_board, remove_board
from storage.coordination.message_rows import MessageRow
from storage.coordination.messages import (
    Aim,
    BroadcastRow,
    DeliveryTally,
    Hand,
    MessageLimits,
    NewBroadcast,
    RefusedBoard,
)
from storage.effects import retention
from tests.storage.rows import AT, ME, some
from tests.storage.test_gateways import OFFICE, put
from tests.support.coded import coded

NEWS = BroadcastId("cast")
DAY_MS = 86_400_000
NOWHERE = RefusedBoard(given="nowhere", code="unknown_board", error="there is no board 'nowhere'")


def garden(c: sa.Connection, *names: str) -> list[Aim]:
    """Boards of these names at the gateway office."""
    put(c, OFFICE)
    for name in names:
        create_board(
            c,
            id=BoardId(f"board-{name}"),
            user_id=ME,
            name=name,
            gateway_id=GatewayId("gw-office"),
            at=AT,
            actor="anna",
        )
    return [aim(name) for name in names]


def aim(name: str, number: int = 1) -> Aim:
    return Aim(
        message_id=MessageId(f"m{number}-{name}"),
        board_id=BoardId(f"board-{name}"),
        gateway_id=GatewayId("gw-office"),
        device_id=None,
    )


def send(
    c: sa.Connection, aims: Sequence[Aim], limits: MessageLimits | None = None, **more: Any
) -> BroadcastRow:
    given: dict[str, Any] = {"content": "The harvest is on Sunday.", "reply_tags": ("harvest",)}
    new = NewBroadcast(
        id=NEWS,
        user_id=ME,
        kind=MessageKind.HANDOFF,
        actor="anna",
        trace_id="1" * 32,
        at=AT,
        expires_at=AT + DAY_MS,
        **given | more,
    )
    return messages.add_broadcast(c, new, aims, limits=limits or MessageLimits())


def resume(c: sa.Connection, aims: Sequence[Aim] = (), refused: Sequence[RefusedBoard] = ()) -> BroadcastRow:
    return messages.resume(
        c,
        NEWS,
        [MessageId(f"m2-{number}") for number in range(10)],
        aims,
        refused,
        expires_at=AT + DAY_MS,
        at=AT + 1,
        actor="anna",
        limits=MessageLimits(),
    )


def move(c: sa.Connection, id: str, *events: MessageEvent, code: str = "gateway_refused") -> MessageRow:
    for event in events:
        seen = message_rows.get_message(c, id)
        reason = code if event is MessageEvent.FAILED else None
        some(
            message_rows.move_message(
                c, id, event, seen_version=seen.version, at=AT + 1, reason_code=reason, reason=reason
            )
        )
    return message_rows.get_message(c, id)


def tally(c: sa.Connection) -> DeliveryTally:
    return messages.tally_of(c, messages.get_broadcast(c, NEWS))


def events(c: sa.Connection) -> list[str]:
    return [one.event_type.rpartition(".")[2] for one in audit.list_activity(c)]


@pytest.fixture
def cast(c: sa.Connection) -> None:
    """A broadcast to one board."""
    send(c, garden(c, "roses"))


@pytest.fixture
def two_cast(c: sa.Connection) -> None:
    """A broadcast to two boards."""
    send(c, garden(c, "roses", "weeds"))


def test_broadcast_and_messages_are_written_together(c: sa.Connection) -> None:
    row = send(c, garden(c, "roses", "weeds"), refused=(NOWHERE,))
    assert (row.boards, row.rounds, row.settled_at, row.refused) == (3, 1, None, (NOWHERE,))
    assert tally(c) == DeliveryTally(sent=0, failed=1, waiting=2)
    said = message_rows.get_message(c, "m1-roses")
    assert (said.kind, said.to_lead, said.broadcast_id, said.reply_tags, said.state, said.trace_id) == (
        MessageKind.HANDOFF,
        True,
        NEWS,
        ("harvest",),
        MessageState.WAITING,
        "1" * 32,
    )
    assert [one.new_state for one in message_rows.moves_of(c, "m1-roses")] == [MessageState.WAITING]
    told = messages.results_of(c, NEWS, limit=10)
    assert [(one.board, one.gateway, one.lead) for one in told] == [
        ("roses", "office", None),
        ("weeds", "office", None),
    ]
    assert messages.results_of(c, NEWS, after=("m1-roses",), limit=10) == told[1:]


@pytest.mark.usefixtures("cast")
def test_later_broadcast_message_follows_the_earlier_message_to_the_same_lead(c: sa.Connection) -> None:
    second = NewBroadcast(
        id=BroadcastId("later"),
        user_id=ME,
        kind=MessageKind.QUESTION,
        content="And?",
        actor="anna",
        trace_id="2" * 32,
        at=AT,
        expires_at=AT + DAY_MS,
    )
    messages.add_broadcast(c, second, [aim("roses", 2)], limits=MessageLimits())
    first, then = (message_rows.get_message(c, id) for id in ("m1-roses", "m2-roses"))
    assert first.created_at < then.created_at
    hand = Hand(BootId("boot"), is_alone=True)
    due = messages.due_at_gateway(c, GatewayId("gw-office"), hand, at=AT + 9, most=9)
    assert [one.id for one in due] == ["m1-roses"]  # who leads is not known yet, and all the same


@pytest.mark.parametrize(
    ("limits", "content", "error"),
    [
        (MessageLimits(open_messages_per_user=1), "Hello.", ErrorCode.LIMIT_REACHED),
        (MessageLimits(agent_message_bytes=3), "Hello.", ErrorCode.TOO_LARGE),
        (MessageLimits(), " \n", ErrorCode.BAD_PARAMS),
    ],
)
def test_refused_broadcast_writes_nothing(
    c: sa.Connection, limits: MessageLimits, content: str, error: ErrorCode
) -> None:
    aims = garden(c, "roses", "weeds")
    with pytest.raises(HubError, check=coded(error)):
        send(c, aims, limits, content=content)
    assert messages.list_broadcasts(c) == []


@pytest.mark.usefixtures("two_cast")
def test_broadcast_without_pending_messages_is_settled_with_a_single_activity_entry(c: sa.Connection) -> None:
    move(c, "m1-roses", MessageEvent.SENT, MessageEvent.CONSUMED)
    assert messages.settle(c, NEWS, at=AT + 2) is None
    move(c, "m1-weeds", MessageEvent.FAILED)
    assert some(messages.settle(c, NEWS, at=AT + 2)).settled_at == AT + 2
    assert (messages.settle(c, NEWS, at=AT + 3), tally(c)) == (None, DeliveryTally(sent=1, failed=1))
    (told,) = audit.list_activity(c)
    assert (told.event_type, told.message) == (
        "gateway.main.lead_broadcast.sent",
        "Broadcast handoff to 1 board leads (failed: 1).",
    )


def test_a_broadcast_without_recipients_is_settled_at_once(c: sa.Connection) -> None:
    garden(c)
    assert (send(c, [], refused=(NOWHERE,)).settled_at, events(c)) == (AT, ["failed"])


def test_resumed_broadcast_replaces_failed_messages_with_new_ones(c: sa.Connection) -> None:
    send(c, garden(c, "roses", "weeds", "lawn"), refused=(NOWHERE,))
    move(c, "m1-roses", MessageEvent.SENT, MessageEvent.CONSUMED)
    move(c, "m1-weeds", MessageEvent.FAILED)
    row = resume(c, refused=(NOWHERE,))
    assert (row.rounds, row.refused, tally(c)) == (2, (NOWHERE,), DeliveryTally(sent=1, failed=1, waiting=2))
    assert message_rows.get_message(c, "m1-weeds").broadcast_id is None
    anew = message_rows.get_message(c, "m2-0")
    assert (anew.board, anew.content, anew.trace_id) == ("weeds", "The harvest is on Sunday.", "1" * 32)
    assert resume(c).rounds == 2


def test_resumed_broadcast_reaches_a_previously_refused_board(c: sa.Connection) -> None:
    send(c, garden(c, "roses", "nowhere")[:1], refused=(NOWHERE,))
    row = resume(c, [aim("nowhere", 3), aim("roses", 3)])
    assert (row.rounds, row.boards, row.refused) == (2, 2, ())
    assert [one.board for one in messages.results_of(c, NEWS, limit=9)] == ["roses", "nowhere"]


@pytest.mark.usefixtures("two_cast")
def test_resumed_broadcast_does_not_repeat_possibly_delivered_messages(c: sa.Connection) -> None:
    move(c, "m1-roses", MessageEvent.SENT, MessageEvent.CONSUMED, MessageEvent.FAILED)
    move(c, "m1-weeds", MessageEvent.SENT, MessageEvent.FAILED, code=str(ErrorCode.UNKNOWN_EFFECT))
    assert resume(c).rounds == 1


@pytest.mark.usefixtures("cast")
def test_result_of_a_broadcast_includes_the_message_of_a_removed_board(c: sa.Connection) -> None:
    remove_board(c, BoardId("board-roses"), at=AT, actor="anna")
    (one,) = messages.results_of(c, NEWS, limit=9)
    assert (one.board_id, one.board, one.state) == (None, None, MessageState.WAITING)
    move(c, "m1-roses", MessageEvent.FAILED)
    assert resume(c).rounds == 1


@pytest.mark.usefixtures("cast")
def test_retried_broadcast_message_replaces_the_failed_message_in_the_result(c: sa.Connection) -> None:
    move(c, "m1-roses", MessageEvent.FAILED)
    messages.retry_message(c, "m1-roses", MessageId("m9"), at=AT + 5, actor="anna")
    assert [one.message_id for one in messages.results_of(c, NEWS, limit=9)] == ["m9"]


@pytest.mark.usefixtures("cast")
def test_open_broadcasts_are_listed_and_old_ones_pruned_after_their_messages(c: sa.Connection) -> None:
    assert messages.list_open(c) == [NEWS]
    move(c, "m1-roses", MessageEvent.FAILED)
    messages.settle(c, NEWS, at=AT + 2)
    assert (messages.list_open(c), retention.prune_broadcasts(c, before=AT + 3)) == ([], 0)
    while retention.prune_messages(c, before=AT + 3):
        pass
    assert (retention.prune_broadcasts(c, before=AT + 3), messages.list_broadcasts(c)) == (1, [])


def test_board_places_have_a_gateway_route_or_a_refusal_reason(c: sa.Connection) -> None:
    garden(c, "roses")
    create_board(c, id=BoardId("board-shed"), user_id=ME, name="shed", at=AT, actor="anna")
    roses, shed = boards.list_places(c, ME)
    assert (roses.goes_over, roses.refusal) == (("gw-office", None), None)
    assert shed.refusal is not None and shed.refusal[0] is ErrorCode.NO_LEAD
    put(c)
    gone = some(boards.find_place(c, ME, BoardId("board-roses")))
    assert gone.refusal is not None and gone.refusal[0] is ErrorCode.NO_GATEWAY

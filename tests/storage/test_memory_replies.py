"""An item of a board's memory that replies to a message answers it, in the same transaction, once."""

from typing import Any

import pytest
import sqlalchemy as sa

from protocol.agent_messages import MessageEvent, MessageKind, MessageState
from protocol.ids import AgentId, BoardId, MemoryId, MessageId
from storage import audit
from storage.coordination import boards, message_rows, messages
from storage.coordination.board_memory import MemoryLimits, NewMemory
from storage.coordination.boards import TooManyOfBoards
from storage.coordination.messages import NewMessage
from storage.coordination.questions import Replied, ReplyIds, add_reply
from tests.storage.rows import AT, ME, declare, some
from tests.storage.test_boards import three_agents

GARDEN = BoardId("board-garden")
INBOX, NOTES = AgentId("agent-inbox"), AgentId("agent-notes")


@pytest.fixture(autouse=True)
def _a_nudge_to_inbox(c: sa.Connection) -> None:
    """The board ``garden`` with inbox and notes on it; inbox got the message ``nudge``, and has read it."""
    declare(c, *three_agents())
    boards.create_board(c, id=GARDEN, user_id=ME, name="garden", at=AT, actor="anna")
    for agent_id in (INBOX, NOTES):
        boards.add_member(c, GARDEN, agent_id, at=AT, actor="anna")
    new = NewMessage(
        id=MessageId("nudge"),
        user_id=ME,
        kind=MessageKind.NUDGE,
        board_id=GARDEN,
        actor="operator:7",
        to_agent_id=INBOX,
        content="Are the roses cut?",
        trace_id="0" * 32,
        not_before=AT,
        expires_at=AT + 60_000,
        at=AT,
    )
    row = messages.add_message(c, new)
    for event in (MessageEvent.SENT, MessageEvent.CONSUMED):
        row = some(message_rows.move_message(c, row.id, event, seen_version=row.version, proof={}, at=AT))


def reply(c: sa.Connection, id: str = "m-1", **about: Any) -> Replied:
    given: dict[str, Any] = {
        "board_id": GARDEN,
        "content": "They are.",
        "reply_to": "nudge",
        "agent_id": INBOX,
        "actor": f"agent:{INBOX}",
        "at": AT + 5,
    }
    ids = ReplyIds(activity_id=f"a-{id}", message_id=MessageId(f"to-{id}"), message_expires_at=AT + 60_000)
    limits = MemoryLimits(memory_items_per_board=2)
    return add_reply(c, NewMemory(id=MemoryId(id), **given | about), ids, limits=limits)


def state(c: sa.Connection) -> tuple[MessageState, str | None]:
    row = message_rows.get_message(c, MessageId("nudge"))
    return row.state, row.answer


@pytest.mark.parametrize("about", [{"agent_id": NOTES}, {"reply_to": "another"}, {"reply_to": None}])
def test_item_of_another_agent_or_without_a_matching_reply_answers_no_message(
    c: sa.Connection, about: dict[str, Any]
) -> None:
    assert (reply(c, **about).message, state(c)) == (None, (MessageState.CONSUMED, None))


def test_memory_item_of_another_board_answers_no_message(c: sa.Connection) -> None:
    other = boards.create_board(c, id=BoardId("other"), user_id=ME, name="other", at=AT, actor="anna")
    assert reply(c, board_id=other.id, agent_id=None, actor="operator:7").message is None


def test_memory_reply_of_a_person_for_an_agent_writes_an_audit_entry(c: sa.Connection) -> None:
    assert reply(c, agent_id=None, actor="operator:7").message is not None
    (entry,) = audit.list_entries(c, limit=1)
    assert (entry.event, entry.actor, entry.subject) == ("memory.added", "operator:7", "m-1")
    assert '"message":"nudge"' in entry.detail


def test_reply_repeated_under_the_same_key_answers_once_with_the_same_result(c: sa.Connection) -> None:
    first = reply(c, dedupe_key="a")
    again = reply(c, "m-2", dedupe_key="a")
    assert (again.memory, again.is_new, again.message) == (first.memory, False, first.message)
    other = reply(c, "m-3", dedupe_key="b")
    assert (other.is_new, other.message, reply(c, "m-4", dedupe_key="b").message) == (True, None, None)


def test_reply_refused_by_a_full_board_answers_no_message(c: sa.Connection) -> None:
    for id in ("m-1", "m-2"):
        reply(c, id, reply_to=None)
    with pytest.raises(TooManyOfBoards), c.begin_nested():
        reply(c, "m-3")
    assert state(c) == (MessageState.CONSUMED, None)

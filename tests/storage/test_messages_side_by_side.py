"""A message that one hub moves while another one hears of it. PostgreSQL alone."""

import sqlalchemy as sa

from protocol.coordination import MessageEvent, MessageKind, MessageState
from protocol.ids import AgentId, MemoryId, MessageId
from storage.coordination import message_rows, messages
from storage.coordination.boards import NewMemory
from storage.coordination.message_rows import MessageRow
from storage.coordination.messages import NewMessage
from storage.coordination.questions import Replied, ReplyIds, add_reply
from storage.kernel.database import Database
from tests.storage.jobs import while_the_other_waits
from tests.storage.rows import AT, ME
from tests.storage.test_questions import BOARD, DAY, WEST, a_board, remembered
from tests.support.postgres import Postgres

LEAD = AgentId("agent-inbox")
CONSUMED, ACCEPTED = MessageEvent.CONSUMED, MessageEvent.ACCEPTED


def a_question(c: sa.Connection) -> None:
    """The board's lead is asked something, and its device has acknowledged it."""
    a_board(c, has_gateway=True)
    new = NewMessage(
        id=MessageId("m-1"),
        user_id=ME,
        kind=MessageKind.QUESTION,
        board_id=BOARD,
        actor="operator:7",
        to_agent_id=LEAD,
        gateway_id=WEST,
        content="When?",
        trace_id="0" * 32,
        not_before=AT,
        expires_at=AT + DAY,
        at=AT,
    )
    messages.add_message(c, new)
    for version, event in enumerate((MessageEvent.SENT, ACCEPTED), 1):
        assert moved(c, event, version) is not None


def moved(c: sa.Connection, event: MessageEvent, version: int = 3) -> MessageRow | None:
    return message_rows.move_message(c, "m-1", event, seen_version=version, at=AT)


def remember(c: sa.Connection) -> Replied:
    """The lead writes its answer into the board's memory."""
    item = NewMemory(
        id=MemoryId("item"),
        board_id=BOARD,
        content="At noon.",
        reply_to="m-1",
        agent_id=LEAD,
        actor=f"agent:{LEAD}",
        at=AT,
    )
    ids = ReplyIds(activity_id="act", message_id=MessageId("m-2"), message_expires_at=AT + DAY)
    return add_reply(c, item, ids, limits=None)


def hear(c: sa.Connection) -> MessageRow | None:
    """The courier hears how the lead has ended its turn."""
    return message_rows.answer_message(
        c, "m-1", seen_version=3, text="I wrote it down.", proof={}, memory_id=MemoryId("heard"), at=AT
    )


async def test_an_answer_in_the_memory_counts_though_its_message_is_moved_just_then(
    postgres: Postgres, url: str, hubs: list[Database]
) -> None:
    await hubs[0].write(a_question)
    replied = await while_the_other_waits(postgres, url, hubs, lambda c: moved(c, CONSUMED), remember)
    assert replied.message is not None
    assert (replied.message.state, replied.message.answer) == (MessageState.ANSWERED, "At noon.")


async def test_an_answer_that_comes_second_leaves_nothing_in_the_memory(
    postgres: Postgres, url: str, hubs: list[Database]
) -> None:
    await hubs[0].write(a_question)
    assert await while_the_other_waits(postgres, url, hubs, remember, hear) is None
    assert [item.content for item in await hubs[0].read(remembered)] == ["At noon."]


async def test_a_message_is_given_up_as_it_is_by_then(
    postgres: Postgres, url: str, hubs: list[Database]
) -> None:
    await hubs[0].write(a_question)

    def cancel(c: sa.Connection) -> MessageRow:
        return messages.cancel_message(c, "m-1", at=AT, actor="operator:7")

    queued = MessageEvent.QUEUED
    cancelled = await while_the_other_waits(postgres, url, hubs, lambda c: moved(c, queued), cancel)
    assert (cancelled.state, cancelled.version) == (MessageState.FAILED, 5)

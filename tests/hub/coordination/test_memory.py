"""What may be written into a board's memory, who hears of it, and what it answers."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from hub.base.clock import IdFactory
from hub.base.log import Ring
from hub.base.metrics import Metrics
from hub.coordination.questions import BoardMemory
from protocol.agent_messages import MessageEvent, MessageKind, MessageState
from protocol.errors import CodedError, ErrorCode
from protocol.ids import MessageId
from storage.coordination import board_memory, message_rows, messages
from storage.coordination.board_memory import MemoryFilter, MemoryLimits
from storage.coordination.boards import TooManyOfBoards
from storage.coordination.message_rows import MessageRow
from storage.coordination.messages import NewMessage
from storage.coordination.questions import Replied
from storage.store import open_store
from tests.hub.coordination.garden import OWNER, Garden, open_garden
from tests.support.clock import FakeClock, SeededChance
from tests.support.coded import coded
from tests.support.families import each
from tests.support.log import opened_log


class Bench:
    """The garden, and its memory."""

    def __init__(self, garden: Garden) -> None:
        self.garden = garden
        self.answered: list[MessageRow] = []
        self.metrics = Metrics()
        clock = FakeClock()
        self.memory = BoardMemory(
            garden.store,
            clock=clock,
            ids=IdFactory(clock, SeededChance()),
            metrics=self.metrics,
            on_message=self.answered.append,
        )

    async def add(self, who: str = "lead", content: str = "cut them", **about: Any) -> Replied:
        return await self.memory.add(self.garden.callers[who], "roses", content, **about)

    async def read(self, who: str = "lead") -> list[str]:
        rows, _ = await self.memory.page(self.garden.callers[who], "roses", MemoryFilter(), limit=10)
        return [row.content for row in rows]

    async def nudge(self, to: str = "lead") -> MessageRow:
        """A message that the agent has read, and not answered."""
        new = NewMessage(
            id=MessageId(f"to-{to}"),
            user_id=OWNER,
            kind=MessageKind.NUDGE,
            board_id=self.garden.board.id,
            actor="token:mine",
            to_agent_id=(await self.garden.agent(to)).id,
            content="are they cut?",
            trace_id="0" * 32,
            not_before=1,
            expires_at=10**14,
            at=1,
        )
        store = self.garden.store
        row = await store.write(messages.add_message, new)
        for event in (MessageEvent.SENT, MessageEvent.CONSUMED):
            moved = await store.write(
                message_rows.move_message, row.id, event, seen_version=row.version, proof={}, at=1
            )
            assert moved is not None
            row = moved
        return row


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async with open_store("sqlite://") as store:
        yield Bench(await open_garden(store))


async def test_memory_content_is_stripped_and_tags_are_deduplicated(bench: Bench) -> None:
    added = await bench.add(
        content="  cut\nthem \n", tags=["weeds", " weeds", "urgent"], source=" ", correlation_id=" order-1 "
    )
    row = added.memory
    assert (row.content, row.tags, row.source, row.correlation_id) == (
        *("cut\nthem", ("weeds", "urgent")),
        *(None, "order-1"),
    )


@pytest.fixture
def ring() -> Iterator[Ring]:
    """What is logged."""
    with opened_log() as opened:
        yield opened.log.ring


@each(
    ("about", "words"),
    [
        ({"content": " \n\t"}, "content: may not be empty"),
        ({"content": "a\0b"}, "content: text has no null character"),
        ({"content": "a\ud800b"}, "content: it is no text"),
        ({"tags": [""]}, "tags: a tag has 1 to 64 characters"),
        ({"tags": ["x" * 65]}, "tags: a tag has 1 to 64 characters"),
        ({"tags": ["a\nb"]}, "tags: a tag has 1 to 64 characters that can be seen"),
        ({"tags": ["a\ud800b"]}, "tags: a tag has 1 to 64 characters that can be seen"),
        ({"tags": [f"t-{n}" for n in range(17)]}, "tags: 17 are more than 16"),
        ({"source": "x" * 129}, "source: it has at most 128 characters"),
        ({"correlation_id": "a\0b"}, "correlation_id: it has at most 128 characters that can be seen"),
        ({"reply_to": "a\nb"}, "reply_to: it has at most 128 characters that can be seen"),
    ],
)
async def test_invalid_memory_item_is_refused_with_a_reason(
    bench: Bench, about: dict[str, Any], words: str
) -> None:
    with pytest.raises(CodedError, check=coded(ErrorCode.BAD_PARAMS)) as refused:
        await bench.add(**about)
    assert words in str(refused.value)
    assert await bench.read() == []


async def test_memory_beyond_size_or_count_limit_is_refused_and_counted(bench: Bench) -> None:
    bench.memory.limits = MemoryLimits(memory_items_per_board=1, memory_bytes=9)
    with pytest.raises(
        CodedError, check=coded(ErrorCode.TOO_LARGE), match=r"10 bytes are more than 9 \(memory_bytes\)"
    ):
        await bench.add(content="äöüßé")
    await bench.add(content="123456789")
    with pytest.raises(TooManyOfBoards):
        await bench.add(content="more")
    shown = bench.metrics.render().decode()
    for limit in ("memory_bytes", "memory_items_per_board"):
        assert f'hub_limits_reached_total{{limit="{limit}"}} 1.0' in shown


@each("who", ["user", "lead", "worker", "main"])
async def test_members_of_a_board_write_and_read_the_board_memory(bench: Bench, who: str) -> None:
    added = await bench.add(who, f"said by {who}")
    caller = bench.garden.callers[who]
    assert (added.memory.agent_id, added.memory.actor) == (caller.agent_id, caller.actor)
    assert (await bench.read(who))[0] == f"said by {who}"


@each("who", ["stranger", "foreign_main", "idle"])
async def test_other_callers_cannot_write_or_read_a_board_memory(bench: Bench, who: str) -> None:
    with pytest.raises(CodedError, check=coded(ErrorCode.NOT_YOUR_BOARD)):
        await bench.add(who)
    with pytest.raises(CodedError, check=coded(ErrorCode.NOT_YOUR_BOARD)):
        await bench.read(who)


async def test_memory_added_event_omits_the_content(bench: Bench, ring: Ring) -> None:
    added = await bench.add(content="a secret", reply_to="q-1")
    (entry,) = [entry for entry in ring.since(0) if entry.event == "memory.added"]
    assert entry.fields == {
        "board_id": bench.garden.board.id,
        "memory_id": added.memory.id,
        "agent_id": added.memory.agent_id,
        "reply_to": "q-1",
    }
    assert "a secret" not in str(ring.since(0))


async def test_previously_added_item_is_not_announced_again(bench: Bench, ring: Ring) -> None:
    for _ in range(2):
        await bench.add(dedupe_key="k")
    assert len([entry for entry in ring.since(0) if entry.event == "memory.added"]) == 1
    assert await bench.read() == ["cut them"]


async def test_memory_item_in_reply_to_a_message_answers_the_message_and_wakes_callers(
    bench: Bench,
) -> None:
    heard = bench.answered
    message = await bench.nudge()
    assert (await bench.add("worker", reply_to=message.id)).message is None, "it was not told to this one"
    replied = await bench.add(reply_to=message.id)
    assert heard == [replied.message]
    assert (heard[0].state, heard[0].answer, heard[0].memory_id) == (
        *(MessageState.ANSWERED, "cut them"),
        *(replied.memory.id,),
    )
    assert ((await bench.add(content="again", reply_to=message.id)).message, len(heard)) == (None, 1)


async def test_an_operator_removes_any_item_of_a_board(bench: Bench) -> None:
    added = await bench.add("user")
    _, gone = await bench.memory.remove(bench.garden.callers["user"], "roses", added.memory.id)
    assert gone.id == added.memory.id
    assert await bench.garden.store.read(board_memory.list_memory, bench.garden.board.id) == []

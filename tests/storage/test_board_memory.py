"""What a board remembers stays, is found by its tags, and comes in pages, the newest first."""

from typing import Any

import pytest
import sqlalchemy as sa

from protocol.errors import CodedError, ErrorCode
from protocol.ids import AgentId, BoardId, MemoryId
from storage import audit
from storage.coordination import board_memory, boards
from storage.coordination.board_memory import MemoryFilter, MemoryLimits, MemoryRow, NewMemory
from storage.coordination.boards import TooManyOfBoards, UnknownBoard
from tests.storage.rows import AT, ME, make_agent
from tests.support.coded import coded

GARDEN, KITCHEN = BoardId("board-garden"), BoardId("board-kitchen")
ANNA = "operator:7"


@pytest.fixture(autouse=True)
def _two_boards(c: sa.Connection) -> None:
    make_agent(c)
    for id in (GARDEN, KITCHEN):
        boards.create_board(c, id=id, user_id=ME, name=id.partition("-")[2], at=AT, actor=ANNA)


def new(id: str, *, at: int = AT, **about: Any) -> NewMemory:
    given: dict[str, Any] = {"board_id": GARDEN, "content": f"about {id}", "actor": ANNA}
    return NewMemory(id=MemoryId(id), at=at, **given | about)


def add(c: sa.Connection, id: str, **about: Any) -> MemoryRow:
    row, is_new = board_memory.add_memory(c, new(id, **about))
    assert is_new
    return row


def found(c: sa.Connection, **wanted: Any) -> list[str]:
    return [row.id for row in board_memory.list_memory(c, GARDEN, MemoryFilter(**wanted))]


def test_memory_item_is_stored_with_all_fields(c: sa.Connection) -> None:
    row = add(
        c,
        "m-1",
        tags=("weeds", "gateway_main"),
        is_chat=True,
        source="lead",
        correlation_id="order-1",
        reply_to="q-1",
        agent_id=AgentId("agent-inbox"),
        actor="agent:agent-inbox",
    )
    assert row == board_memory.get_memory(c, GARDEN, "m-1")
    assert (row.tags, row.is_chat, row.source, row.correlation_id, row.reply_to) == (
        *(("weeds", "gateway_main"), True),
        *("lead", "order-1", "q-1"),
    )
    assert (row.agent_name, row.board_name, row.user_id, row.created_at) == ("inbox", "garden", ME, AT)


def test_memory_items_are_filtered_by_all_given_tags_and_fields(c: sa.Connection) -> None:
    add(c, "m-1", tags=("weeds",), source="lead")
    add(c, "m-2", tags=("weeds", "urgent"), is_chat=True)
    add(c, "m-3", correlation_id="order-1", reply_to="q-1")
    add(c, "m-4", board_id=KITCHEN, tags=("weeds",))
    assert (found(c), found(c, tags=("weeds",))) == (["m-3", "m-2", "m-1"], ["m-2", "m-1"])
    assert (found(c, tags=("urgent", "weeds")), found(c, tags=("weed",))) == (["m-2"], [])
    assert (found(c, is_chat=True), found(c, is_chat=False)) == (["m-2"], ["m-3", "m-1"])
    assert (found(c, source="lead"), found(c, correlation_id="order-1", reply_to="q-1")) == (["m-1"], ["m-3"])


def test_memory_page_continues_after_the_last_item_of_the_previous_page(c: sa.Connection) -> None:
    for n, at in enumerate((AT, AT + 1, AT + 1, AT + 1, AT + 2)):
        add(c, f"m-{n}", at=at)
    told: list[str] = []
    after: tuple[int, str] | None = None
    while page := board_memory.list_memory(c, GARDEN, after=after, limit=2):
        told += [row.id for row in page]
        after = (page[-1].created_at, page[-1].id)
    assert told == ["m-4", "m-3", "m-2", "m-1", "m-0"]


def test_memory_items_are_listed_in_order_of_writing(c: sa.Connection) -> None:
    for id in ("m-3", "m-1", "m-2"):
        add(c, id)
    assert found(c) == ["m-2", "m-1", "m-3"]
    add(c, "m-4", at=AT + 3_600_000)  # by a clock that was wrong
    assert add(c, "m-5", at=AT + 100).created_at == AT + 100


def test_memory_item_of_a_known_dedupe_key_is_not_written_again(c: sa.Connection) -> None:
    first = add(c, "m-1", dedupe_key="answer:q-1")
    again, is_new = board_memory.add_memory(c, new("m-2", dedupe_key="answer:q-1"))
    assert (again, is_new, found(c)) == (first, False, ["m-1"])


def test_full_board_refuses_further_memory_items_and_loses_none(c: sa.Connection) -> None:
    full = MemoryLimits(memory_items_per_board=1)
    board_memory.add_memory(c, new("m-1", is_chat=True), full)
    with pytest.raises(TooManyOfBoards, match="memory_items_per_board") as refused:
        board_memory.add_memory(c, new("m-2"), full)
    assert (refused.value.limit, found(c)) == ("memory_items_per_board", ["m-1"])
    board_memory.add_memory(c, new("m-3", board_id=KITCHEN), full)
    add(c, "m-4")  # what the hub itself writes is never refused for room


def test_removed_memory_item_is_deleted_with_an_audit_entry(c: sa.Connection) -> None:
    add(c, "m-1")
    with pytest.raises(CodedError, check=coded(ErrorCode.UNKNOWN_MEMORY)):
        board_memory.remove_memory(c, KITCHEN, "m-1", at=AT, actor=ANNA)
    assert board_memory.remove_memory(c, GARDEN, "m-1", at=AT, actor=ANNA).content == "about m-1"
    with pytest.raises(CodedError, check=coded(ErrorCode.UNKNOWN_MEMORY)):
        board_memory.get_memory(c, GARDEN, "m-1")
    (entry, *_) = audit.list_entries(c, limit=1)
    assert (entry.event, entry.subject) == ("memory.removed", "m-1")


def test_removed_board_has_no_memory_items(c: sa.Connection) -> None:
    add(c, "m-1")
    boards.remove_board(c, GARDEN, at=AT, actor=ANNA)
    assert found(c) == []
    with pytest.raises(UnknownBoard):
        board_memory.add_memory(c, new("m-2"))

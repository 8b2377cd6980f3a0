"""Memory of boards: adding, listing, limits and removal of items.

Items never expire. A board with the maximum number accepts no more items until a person removes some. Items
of the hub itself, such as the answer of a person, are always accepted.
"""

from collections.abc import Collection, Sequence
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from protocol.errors import CodedError, ErrorCode
from protocol.ids import AgentId, BoardId, MemoryId, UserId
from storage import audit
from storage.coordination.boards import TooManyOfBoards, lock_board
from storage.kernel.columns import (
    Key,
    columns_of,
    fetch_page,
    paged,
    struct_from,
    texts_in,
    values_of,
    whole_id,
)
from storage.schema import agents, board_memory, boards


class MemoryLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Limits on a board's memory; a refusal names the limit."""

    memory_items_per_board: int = 10_000
    memory_bytes: int = 64 * 1024


class MemoryFields(msgspec.Struct, frozen=True, kw_only=True):
    """Fields of an item of a board's memory.

    Attributes:
        is_chat: a casual remark, not meant to be remembered.
        source: origin in the writer's own words.
        reply_to: id of a message, a question or another item.
        agent_id: the agent that wrote it; ``None``: a person.
    """

    id: MemoryId
    board_id: BoardId
    content: str
    tags: tuple[str, ...] = ()
    is_chat: bool = False
    source: str | None = None
    correlation_id: str | None = None
    reply_to: str | None = None
    agent_id: AgentId | None = None
    actor: str


class NewMemory(MemoryFields, frozen=True, kw_only=True):
    """Validated new item."""

    dedupe_key: str | None = None
    at: int


class MemoryRow(MemoryFields, frozen=True, kw_only=True):
    """Item of a board's memory. *user_id*: the board's user; *agent_name*: ``None`` after its deletion."""

    board_name: str
    user_id: UserId
    agent_name: str | None
    created_at: int


class MemoryFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Filter of items: they must have all *tags*, and all other values that are set."""

    tags: tuple[str, ...] = ()
    is_chat: bool | None = None
    source: str | None = None
    correlation_id: str | None = None
    reply_to: str | None = None


EVERY: Final = MemoryFilter()
CLOSE_MS: Final = 1_000  # bounds the effect of a wrong clock on the timestamps of other items

MEMORY = (
    sa.select(
        *columns_of(MemoryRow, board_memory, boards, board_name=boards.c.name, agent_name=agents.c.name)
    )
    .join_from(board_memory, boards, boards.c.id == board_memory.c.board_id)
    .outerjoin(agents, agents.c.id == board_memory.c.agent_id)
)
ITEM = MEMORY.where(board_memory.c.id == sa.bindparam("item"))
OF_BOARD = MEMORY.where(board_memory.c.board_id == sa.bindparam("board"))
COUNT = sa.select(sa.func.count()).where(board_memory.c.board_id == sa.bindparam("board"))


def add_memory(
    c: sa.Connection, new: NewMemory, limits: MemoryLimits | None = None
) -> tuple[MemoryRow, bool]:
    """Add an item unless its *dedupe_key* exists. Return the stored item, and True if it is new.

    Args:
        limits: ``None``: for items of the hub itself, which are never refused.

    Raises:
        UnknownBoard: no board has the id.
        TooManyOfBoards: the memory has the maximum number of items; nothing was written.
    """
    lock_board(c, new.board_id)
    if new.dedupe_key is not None:
        known = c.execute(MEMORY.where(board_memory.c.dedupe_key == new.dedupe_key)).one_or_none()
        if known is not None:
            return struct_from(MemoryRow, known), False
    if limits is not None:
        count = c.execute(COUNT, {"board": new.board_id}).scalar_one()
        if count >= limits.memory_items_per_board:
            raise TooManyOfBoards(f"this board remembers {count} items", limit="memory_items_per_board")
    # A millisecond after the last item, so that items keep the order of their writing.
    query = sa.select(sa.func.max(board_memory.c.created_at)).where(
        board_memory.c.board_id == new.board_id, board_memory.c.created_at < new.at + CLOSE_MS
    )
    last: int | None = c.execute(query).scalar_one()
    created_at = new.at if last is None else max(new.at, last + 1)
    c.execute(sa.insert(board_memory), values_of(new, board_memory, created_at=created_at))
    return struct_from(MemoryRow, c.execute(ITEM, {"item": new.id}).one()), True


def get_memory(c: sa.Connection, board_id: BoardId, id: str) -> MemoryRow:
    """Return the item of the board with that id, or whose id ends so (``whole_id``), or raise CodedError."""
    whole = whole_id(c, board_memory, id, only=[board_memory.c.board_id == board_id])
    row = c.execute(ITEM, {"item": whole}).one_or_none()
    if row is None or row.board_id != board_id:
        raise CodedError(ErrorCode.UNKNOWN_MEMORY, f"this board remembers no item {id!r}")
    return struct_from(MemoryRow, row)


def list_memory(
    c: sa.Connection,
    board_id: BoardId,
    filter: MemoryFilter = EVERY,
    *,
    limit: int | None = None,
    after: Key | None = None,
) -> list[MemoryRow]:
    """Return the items of the board's memory that match the filter, newest first.

    Args:
        after: ``(created_at, id)`` of the last item of the previous page.
    """
    query = paged(
        OF_BOARD, board_memory.c.created_at, board_memory.c.id, limit=limit, after=after, descending=True
    )
    for column, value in _conditions(filter):
        query = query.where(column == value)
    for tag in filter.tags:
        query = query.where(sa.literal(tag).in_(texts_in(board_memory.c.tags)))
    return fetch_page(c, MemoryRow, query, limit, {"board": board_id})


def remove_memory(c: sa.Connection, board_id: BoardId, id: str, *, at: int, actor: str) -> MemoryRow:
    """Delete an item and return it. Messages and questions that it answered stay answered.

    Raises:
        CodedError (UNKNOWN_MEMORY): the board's memory has no item with that id.
    """
    item = get_memory(c, board_id, id)
    c.execute(sa.delete(board_memory).where(board_memory.c.id == item.id))
    audit.append(c, at=at, actor=actor, event="memory.removed", subject=item.id, detail={"board": board_id})
    return item


def _conditions(filter: MemoryFilter) -> Sequence[tuple[sa.Column[Any], str | bool]]:
    conditions: Collection[tuple[sa.Column[Any], str | bool | None]] = (
        (board_memory.c.is_chat, filter.is_chat),
        (board_memory.c.source, filter.source),
        (board_memory.c.correlation_id, filter.correlation_id),
        (board_memory.c.reply_to, filter.reply_to),
    )
    return [(column, value) for column, value in conditions if value is not None]

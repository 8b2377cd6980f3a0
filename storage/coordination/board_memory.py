"""What a board remembers: items that agents and people write down, tagged, some of them replies.

Nothing goes by itself. A board that remembers as much as it may takes nothing more until a person
takes something away; what the hub itself has to write, as a person's answer, it takes always.
"""

from collections.abc import Collection, Sequence
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from protocol.errors import ErrorCode, HubError
from protocol.ids import AgentId, BoardId, MemoryId, UserId
from storage.audit import audit
from storage.coordination.boards import TooManyOfBoards, lock_board
from storage.kernel.columns import texts_in
from storage.schema import agents, board_memory, boards


class UnknownMemory(HubError):
    """The board remembers no such item."""

    code = ErrorCode.UNKNOWN_MEMORY


class MemoryLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How much a board remembers; hub.toml has a key of the same name for each."""

    memory_items_per_board: int = 10_000
    memory_bytes: int = 64 * 1024


class NewMemory(msgspec.Struct, frozen=True, kw_only=True):
    """An item to be remembered, checked already; see ``MemoryRow``."""

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
    dedupe_key: str | None = None
    at: int


class MemoryRow(msgspec.Struct, frozen=True, kw_only=True):
    """An item that a board remembers.

    Attributes:
        user_id: whose board it is.
        is_chat: said in passing, not to be kept in mind.
        source: where it came from, in the writer's own words.
        reply_to: the id of a message, a question or another item.
        agent_id: who wrote it; ``None``: a person. *agent_name* is empty once that agent is gone.
    """

    id: MemoryId
    board_id: BoardId
    board_name: str
    user_id: UserId
    content: str
    tags: tuple[str, ...]
    is_chat: bool
    source: str | None
    correlation_id: str | None
    reply_to: str | None
    agent_id: AgentId | None
    agent_name: str | None
    actor: str
    created_at: int


class MemoryFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which items: those that bear all *tags*, and all else that is told."""

    tags: tuple[str, ...] = ()
    is_chat: bool | None = None
    source: str | None = None
    correlation_id: str | None = None
    reply_to: str | None = None


EVERY: Final = MemoryFilter()
CLOSE_MS: Final = 1_000  # a clock that was wrong by more moves nobody else's items

MEMORY = (
    sa.select(
        board_memory.c.id,
        board_memory.c.board_id,
        boards.c.name.label("board_name"),
        boards.c.user_id,
        board_memory.c.content,
        board_memory.c.tags,
        board_memory.c.is_chat,
        board_memory.c.source,
        board_memory.c.correlation_id,
        board_memory.c.reply_to,
        board_memory.c.agent_id,
        agents.c.name.label("agent_name"),
        board_memory.c.actor,
        board_memory.c.created_at,
    )
    .join_from(board_memory, boards, boards.c.id == board_memory.c.board_id)
    .outerjoin(agents, agents.c.id == board_memory.c.agent_id)
)
ITEM = MEMORY.where(board_memory.c.id == sa.bindparam("item"))
ITEM_OF_KEY = MEMORY.where(board_memory.c.dedupe_key == sa.bindparam("dedupe"))
OF_BOARD = MEMORY.where(board_memory.c.board_id == sa.bindparam("board")).order_by(
    board_memory.c.created_at.desc(), board_memory.c.id.desc()
)
COUNT = sa.select(sa.func.count()).where(board_memory.c.board_id == sa.bindparam("board"))
LAST = sa.select(sa.func.max(board_memory.c.created_at)).where(
    board_memory.c.board_id == sa.bindparam("board"), board_memory.c.created_at < sa.bindparam("soon")
)
FORGET = sa.delete(board_memory).where(
    board_memory.c.id == sa.bindparam("item"), board_memory.c.board_id == sa.bindparam("board")
)


def add_memory(
    c: sa.Connection, new: NewMemory, limits: MemoryLimits | None = None
) -> tuple[MemoryRow, bool]:
    """The item as it is remembered, and whether it is new: one *dedupe_key* is written once.

    Args:
        limits: ``None``: the hub's own words, which are never refused for room.

    Raises:
        UnknownBoard: there is none.
        TooManyOfBoards: the board remembers as much as it may; nothing was written.
    """
    lock_board(c, new.board_id)
    if new.dedupe_key is not None:
        known = c.execute(ITEM_OF_KEY, {"dedupe": new.dedupe_key}).one_or_none()
        if known is not None:
            return _item(known), False
    if limits is not None:
        count = c.execute(COUNT, {"board": new.board_id}).scalar_one()
        if count >= limits.memory_items_per_board:
            raise TooManyOfBoards(f"this board remembers {count} items", limit="memory_items_per_board")
    row = msgspec.structs.asdict(new) | {"tags": list(new.tags)}
    row["created_at"] = _after_the_last(c, new.board_id, row.pop("at"))
    c.execute(sa.insert(board_memory), row)
    return _item(c.execute(ITEM, {"item": new.id}).one()), True


def get_memory(c: sa.Connection, board_id: BoardId, id: str) -> MemoryRow:
    """Raises UnknownMemory: it is not remembered, or by another board."""
    row = c.execute(ITEM, {"item": id}).one_or_none()
    if row is None or row.board_id != board_id:
        raise UnknownMemory(f"this board remembers no item {id!r}")
    return _item(row)


def list_memory(
    c: sa.Connection,
    board_id: BoardId,
    wanted: MemoryFilter = EVERY,
    *,
    after: tuple[int, str] | None = None,
    limit: int | None = None,
) -> list[MemoryRow]:
    """What the board remembers, the newest first.

    Args:
        after: ``(created_at, id)`` of the last item of the page before.
    """
    query = OF_BOARD.limit(limit)
    for column, value in _wanted(wanted):
        query = query.where(column == value)
    for tag in wanted.tags:
        query = query.where(sa.literal(tag).in_(texts_in(board_memory.c.tags)))
    if after is not None:
        place = sa.tuple_(board_memory.c.created_at, board_memory.c.id)
        query = query.where(place < sa.tuple_(*map(sa.literal, after)))
    return [_item(row) for row in c.execute(query, {"board": board_id})]


def remove_memory(c: sa.Connection, board_id: BoardId, id: str, *, at: int, actor: str) -> MemoryRow:
    """The item as it was is forgotten. What it answered stays answered.

    Raises:
        UnknownMemory: it is not remembered, or by another board.
    """
    item = get_memory(c, board_id, id)
    c.execute(FORGET, {"item": id, "board": board_id})
    audit.append(c, at=at, actor=actor, event="memory.removed", subject=id, detail={"board": board_id})
    return item


def _after_the_last(c: sa.Connection, board_id: BoardId, at: int) -> int:
    """A millisecond of its own, so that items stand in the order in which they were written."""
    last: int | None = c.execute(LAST, {"board": board_id, "soon": at + CLOSE_MS}).scalar_one()
    return at if last is None else max(at, last + 1)


def _wanted(wanted: MemoryFilter) -> Sequence[tuple[sa.Column[Any], str | bool]]:
    said: Collection[tuple[sa.Column[Any], str | bool | None]] = (
        (board_memory.c.is_chat, wanted.is_chat),
        (board_memory.c.source, wanted.source),
        (board_memory.c.correlation_id, wanted.correlation_id),
        (board_memory.c.reply_to, wanted.reply_to),
    )
    return [(column, value) for column, value in said if value is not None]


def _item(row: Any) -> MemoryRow:
    return MemoryRow(**{**row._mapping, "tags": tuple(row.tags)})

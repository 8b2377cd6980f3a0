"""Requests about boards: of the user of a device, or of one of its agents."""

from typing import Annotated, Final

import msgspec
from msgspec import Meta

from hub.coordination import authority
from hub.coordination.authority import Caller
from hub.coordination.memory import BoardMemory
from hub.links.link import DeviceLink
from hub.requests.agents import agent_of
from hub.requests.params import BadParams, Methods, key_in, params_as
from protocol.coordination import Method
from protocol.frame import Parameters, Values
from storage.coordination.board_memory import MemoryFilter, MemoryRow
from storage.coordination.boards import BoardRow
from storage.store import Store

ITEMS: Final = 50  # of a board's memory in one answer, where nothing is said
MOST_ITEMS: Final = 200
ANSWER_BYTES: Final = 256 * 1024  # of text in one answer: a frame has room for four times it


class _Boards(msgspec.Struct, frozen=True, kw_only=True):
    agent_id: str | None = None


class _List(msgspec.Struct, frozen=True, kw_only=True):
    board: str
    agent_id: str | None = None
    tags: tuple[str, ...] = ()
    is_chat: bool | None = None
    source: str | None = None
    correlation_id: str | None = None
    reply_to: str | None = None
    limit: Annotated[int, Meta(ge=1, le=MOST_ITEMS)] = ITEMS
    cursor: str | None = None


class _Add(msgspec.Struct, frozen=True, kw_only=True):
    board: str
    content: str
    agent_id: str | None = None
    tags: tuple[str, ...] = ()
    is_chat: bool = False
    source: str | None = None
    correlation_id: str | None = None
    reply_to: str | None = None


class BoardRequests:
    """Handlers of ``boards.list`` and ``memory.*``."""

    def __init__(self, store: Store, memory: BoardMemory) -> None:
        self._store = store
        self._memory = memory

    @property
    def methods(self) -> Methods:
        return {
            Method.BOARDS_LIST: self._boards,
            Method.MEMORY_LIST: self._list,
            Method.MEMORY_ADD: self._add,
        }

    async def _boards(self, link: DeviceLink, params: Parameters) -> Values:
        caller = await caller_of(self._store, link, params_as(params, _Boards).agent_id)
        return {"boards": [_board_record(row) for row in await self._store.read(authority.boards_of, caller)]}

    async def _list(self, link: DeviceLink, params: Parameters) -> Values:
        asked = params_as(params, _List)
        caller = await caller_of(self._store, link, asked.agent_id)
        criteria = MemoryFilter(
            tags=asked.tags,
            is_chat=asked.is_chat,
            source=asked.source,
            correlation_id=asked.correlation_id,
            reply_to=asked.reply_to,
        )
        rows = await self._memory.page(
            caller, asked.board, criteria, after=_place(asked.cursor), limit=asked.limit + 1
        )
        page = _fitting(rows[: asked.limit])
        last = page[-1] if len(page) < len(rows) else None
        return {
            "memory": [_memory_record(row) for row in page],
            "cursor": None if last is None else f"{last.created_at} {last.id}",
        }

    async def _add(self, link: DeviceLink, params: Parameters) -> Values:
        asked = params_as(params, _Add)
        replied = await self._memory.add(
            await caller_of(self._store, link, asked.agent_id),
            asked.board,
            asked.content,
            tags=asked.tags,
            is_chat=asked.is_chat,
            source=asked.source,
            correlation_id=asked.correlation_id,
            reply_to=asked.reply_to,
            dedupe_key=key_in(params),
        )
        return {
            "memory": _memory_record(replied.memory),
            "answered_message": None if replied.message is None else replied.message.id,
            "answered_question": None if replied.question is None else replied.question.id,
        }


async def caller_of(store: Store, link: DeviceLink, agent_id: str | None) -> Caller:
    """Return the caller of a request: the person at the device, or one of its agents.

    Raises:
        UnknownAgent: the device has no agent of this id or name.
    """
    actor = f"device:{link.device_id}"
    if agent_id is None:
        return Caller(actor, link.user_id)
    agent = await agent_of(store, link.device_id, agent_id)
    return Caller(actor, agent.user_id, agent.id)


def _fitting(rows: list[MemoryRow]) -> list[MemoryRow]:
    """Return the first rows that fit into one frame, and at least one row."""
    fitting: list[MemoryRow] = []
    size = 0
    for row in rows:
        size += len(row.content.encode())
        if fitting and size > ANSWER_BYTES:
            break
        fitting.append(row)
    return fitting


def _place(cursor: str | None) -> tuple[int, str] | None:
    """Parse the cursor of a page. Raises BadParams."""
    if cursor is None:
        return None
    at, _, id = cursor.partition(" ")
    if not (at.isascii() and at.isdigit()) or len(at) > 15 or not id or "\0" in id:
        raise BadParams("cursor: take it from the answer before")
    return int(at), id


def _board_record(row: BoardRow) -> Values:
    return {
        "board_id": row.id,
        "name": row.name,
        "description": row.description,
        "gateway": row.gateway_name,
        "lead": row.lead_name,
        "lead_id": row.lead_id,
        "agents": row.members,
    }


def _memory_record(row: MemoryRow) -> Values:
    return {
        "memory_id": row.id,
        "board_id": row.board_id,
        "content": row.content,
        "tags": list(row.tags),
        "is_chat": row.is_chat,
        "source": row.source,
        "correlation_id": row.correlation_id,
        "reply_to": row.reply_to,
        "agent_id": row.agent_id,
        "agent": row.agent_name,
        "actor": row.actor,
        "created_at_ms": row.created_at,
    }

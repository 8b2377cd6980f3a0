"""Requests about messages: a device lists and answers those of its agents, and sends messages."""

from typing import Annotated, Final

import msgspec
from msgspec import Meta

from hub.coordination.messages import Messages, Nudge
from hub.links.link import DeviceLink
from hub.requests.agents import agent_of
from hub.requests.boards import caller_of
from hub.requests.params import Methods, key_in, params_as
from protocol.coordination import Method
from protocol.frame import Parameters, Values
from protocol.messages import MessageState
from storage.agents import agents
from storage.coordination.message_rows import MessageRow
from storage.store import Store

MESSAGES: Final = 50  # in one answer, where nothing is said
MOST_MESSAGES: Final = 200
ANSWER_BYTES: Final = 256 * 1024  # of text in one answer: a frame has room for four times it


class _List(msgspec.Struct, frozen=True, kw_only=True):
    agent_id: str | None = None
    states: tuple[MessageState, ...] = ()
    limit: Annotated[int, Meta(ge=1, le=MOST_MESSAGES)] = MESSAGES


class _Answer(msgspec.Struct, frozen=True, kw_only=True):
    message_id: str
    answer: str


class _Nudge(msgspec.Struct, frozen=True, kw_only=True):
    board: str
    agent: str
    content: str
    agent_id: str | None = None
    correlation_id: str | None = None
    deliver: bool = True
    queue_mode: str | None = None


class MessageRequests:
    """Handlers of ``messages.*``."""

    def __init__(self, store: Store, sent: Messages) -> None:
        self._store = store
        self._messages = sent

    @property
    def methods(self) -> Methods:
        return {
            Method.MESSAGES_LIST: self._list,
            Method.MESSAGES_ANSWER: self._answer,
            Method.MESSAGES_NUDGE: self._nudge,
        }

    async def _list(self, link: DeviceLink, params: Parameters) -> Values:
        asked = params_as(params, _List)
        if asked.agent_id is not None:
            ids = [(await agent_of(self._store, link.device_id, asked.agent_id)).id]
        else:
            ids = [row.id for row in await self._store.read(agents.list_agents, device_id=link.device_id)]
        rows = await self._messages.of_agents(ids, states=asked.states, limit=asked.limit)
        return {"messages": [_record(row) for row in _fitting(rows)]}

    async def _answer(self, link: DeviceLink, params: Parameters) -> Values:
        given = params_as(params, _Answer)
        row = await self._messages.answer_at_device(link.device_id, given.message_id, given.answer)
        return {"message": _record(row)}

    async def _nudge(self, link: DeviceLink, params: Parameters) -> Values:
        """Send a message without waiting; ``message.moved`` events report its progress."""
        given = params_as(params, _Nudge)
        row = await self._messages.nudge(
            await caller_of(self._store, link, given.agent_id),
            given.board,
            given.agent,
            Nudge(
                content=given.content,
                deliver=given.deliver,
                queue_mode=given.queue_mode,
                correlation_id=given.correlation_id,
                dedupe_key=key_in(params),
            ),
            wait_s=0.0,
        )
        return {"message": _record(row)}


def _record(row: MessageRow) -> Values:
    return {
        "message_id": row.id,
        "kind": row.kind,
        "board_id": row.board_id,
        "board": row.board,
        "from_agent_id": row.from_agent_id,
        "from": row.from_agent,
        "agent_id": row.to_agent_id,
        "agent": row.to_agent,
        "content": row.content,
        "correlation_id": row.correlation_id,
        "reply_to": row.reply_to,
        "question_id": row.question_id,
        "state": row.state,
        "answer": row.answer,
        "reason_code": row.reason_code,
        "reason": row.reason,
        "at_ms": row.created_at,
    }


def _fitting(rows: list[MessageRow]) -> list[MessageRow]:
    """Return the first rows that fit into one frame, and at least one row."""
    fitting: list[MessageRow] = []
    size = 0
    for row in rows:
        size += len(row.content.encode()) + len((row.answer or "").encode())
        if fitting and size > ANSWER_BYTES:
            break
        fitting.append(row)
    return fitting

"""Messages between agents, as operators and agents are told of them."""

from collections.abc import Callable, Sequence
from typing import Any

from hub.api.views.messages import MessageDetail, MessageMoveView, MessageView
from hub.clock import from_epoch_ms
from hub.coordination.authority import Caller
from hub.coordination.messages import Messages, Nudge
from hub.operations.moments import moment
from hub.operations.names import agent_named
from protocol.messages import MessageState, attempt_key
from storage.coordination import questions
from storage.coordination.message_rows import MessageMove, MessageRow
from storage.devices import devices
from storage.store import Store


class MessageOperations:
    """Implements ``api.facades.messages.MessageFacade``.

    Args:
        why_away: why the gateway or device of a message cannot be spoken to just now; ``None``: it can.
    """

    def __init__(
        self, store: Store, sent: Messages, *, why_away: Callable[[MessageRow], str | None] = lambda _: None
    ) -> None:
        self._store = store
        self._messages = sent
        self._why_away = why_away

    async def nudge(
        self, caller: Caller, board: str, agent: str, nudge: Nudge, *, wait_s: float
    ) -> MessageView:
        """Say something to an agent of a board."""
        is_decision = caller.agent_id is None
        row = await self._messages.nudge(caller, board, agent, nudge, wait_s=wait_s, is_decision=is_decision)
        return await self.view(row)

    async def page(
        self,
        caller: Caller,
        *,
        board: str | None = None,
        agent: str | None = None,
        states: Sequence[MessageState] = (),
        correlation_id: str | None = None,
        broadcast_id: str | None = None,
        limit: int,
        after: tuple[int, str] | None = None,
    ) -> list[MessageView]:
        """Messages, the newest first."""
        agent_ids = None
        if agent is not None:
            agent_ids = [(await agent_named(self._store, agent, caller.user_id)).id]
        rows = await self._messages.page(
            caller,
            board=board,
            agent_ids=agent_ids,
            states=states,
            correlation_id=correlation_id,
            broadcast_id=broadcast_id,
            limit=limit,
            after=after,
        )
        return await self.views(rows)

    async def get(self, caller: Caller, id: str) -> MessageDetail:
        """One message and what happened to it."""
        row, moves = await self._messages.get(caller, id)
        (told,) = await self._told([row])
        return MessageDetail(
            **told, key=attempt_key(row.id, row.attempt), moves=tuple(_move(move) for move in moves)
        )

    async def cancel(self, caller: Caller, id: str) -> MessageView:
        """Nobody tries any more to bring it."""
        return await self.view(await self._messages.cancel(caller, id))

    async def retry(self, caller: Caller, id: str) -> MessageView:
        """It is tried now, or said anew."""
        return await self.view(await self._messages.retry(caller, id))

    async def view(self, row: MessageRow) -> MessageView:
        """A message as it is told."""
        (view,) = await self.views([row])
        return view

    async def views(self, rows: Sequence[MessageRow]) -> list[MessageView]:
        """Messages as they are told."""
        return [MessageView(**told) for told in await self._told(rows)]

    async def _told(self, rows: Sequence[MessageRow]) -> list[dict[str, Any]]:
        named = await self._store.read(questions.told_actors, {row.actor for row in rows})
        known = {row.device_id for row in rows if row.device_id is not None}
        names: dict[str, str] = {}
        if known:
            names = {one.id: one.name for one in await self._store.read(devices.list_devices)}
        return [
            _fields(row, named, names)
            | {"waiting_for": self._why_away(row) if row.state is MessageState.WAITING else None}
            for row in rows
        ]


def _fields(row: MessageRow, named: dict[str, str], devices: dict[str, str]) -> dict[str, Any]:
    """The fields of its view."""
    return {
        "id": row.id,
        "user": row.user,
        "kind": row.kind.value,
        "board": row.board,
        "board_id": row.board_id,
        "broadcast_id": row.broadcast_id,
        "from_agent": row.from_agent,
        "from_agent_id": row.from_agent_id,
        "sent_by": named[row.actor],
        "agent": row.to_agent,
        "agent_id": row.to_agent_id,
        "to_lead": row.to_lead,
        "gateway": row.gateway,
        "device": None if row.device_id is None else devices.get(row.device_id),
        "content": row.content,
        "deliver": row.deliver,
        "queue_mode": row.queue_mode,
        "correlation_id": row.correlation_id,
        "reply_to": row.reply_to,
        "question_id": row.question_id,
        "state": row.state.value,
        "attempt": row.attempt,
        "sends": row.sends,
        "reason_code": row.reason_code,
        "reason": row.reason,
        "answer": row.answer,
        "memory_id": row.memory_id,
        "trace_id": row.trace_id,
        "created_at": from_epoch_ms(row.created_at),
        "updated_at": from_epoch_ms(row.updated_at),
        "next_look_at": None if row.settled_at is not None else from_epoch_ms(row.not_before),
        "expires_at": from_epoch_ms(row.expires_at),
        "settled_at": moment(row.settled_at),
    }


def _move(move: MessageMove) -> MessageMoveView:
    return MessageMoveView(
        old_state=None if move.old_state is None else move.old_state.value,
        new_state=move.new_state.value,
        attempt=move.attempt,
        proof=move.proof,
        reason=move.reason,
        at=from_epoch_ms(move.at),
    )

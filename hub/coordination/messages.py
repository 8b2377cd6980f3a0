"""Messages between agents: sending, listing, answering, cancelling and retrying.

Input is validated here, so that REST and device callers get the same errors. A committed message is delivered
in the background: an unreachable gateway is not an error for the sender.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from hub.clock import Clock, IdFactory, now_ms
from hub.coordination import authority
from hub.coordination.authority import Caller
from hub.coordination.courier import Courier
from hub.coordination.memory import checked_word
from hub.metrics import Metrics
from protocol.coordination import MESSAGE, MessageEvent, MessageKind, MessageState, QueueMode, Verb
from protocol.errors import CodedError, ErrorCode, HubError
from protocol.ids import AgentId, DeviceId, MessageId
from storage import audit
from storage.audit import Entry
from storage.coordination import message_rows, messages
from storage.coordination.message_rows import MessageMove, MessageRow, UnknownMessage
from storage.coordination.messages import MessageLimits, NewMessage
from storage.kernel.columns import Key
from storage.store import Connection, Store

EXPIRES_S: Final = 86_400.0
WAIT_S: Final = 10.0  # for delivery, before the message's state is returned
MOST_WAIT_S: Final = 120.0
_ANSWERED: Final = (MessageKind.NUDGE, MessageKind.QUESTION, MessageKind.HANDOFF)


class NoSession(HubError):
    """The agent has no home; nothing was written."""

    code = ErrorCode.NO_SESSION


class MessageNotDelivered(HubError):
    """The message was committed and has failed; its row has the reason.

    Attributes:
        members: additional fields of the problem response.
    """

    def __init__(self, row: MessageRow) -> None:
        super().__init__(row.reason or f"the message {row.state}")
        self.code = ErrorCode(row.reason_code or ErrorCode.GATEWAY_REFUSED)
        self.members: Mapping[str, Any] = {"message_id": row.id}


class Nudge(msgspec.Struct, frozen=True, kw_only=True):
    """Content of a message to an agent.

    Attributes:
        deliver: True if the agent's answer is to be forwarded to the agent's own channel.
        queue_mode: how a busy agent gets it: steer, followup or interrupt; None for the agent's setting.
        dedupe_key: the caller's idempotency key.
    """

    content: str
    deliver: bool = True
    queue_mode: str | None = None
    correlation_id: str | None = None
    dedupe_key: str | None = None


class Messages:
    """Operations on messages, for authorized callers.

    Attributes:
        limits: limits on number and size.
        expires_s: lifetime of a message until its delivery.
    """

    def __init__(
        self,
        store: Store,
        courier: Courier,
        *,
        clock: Clock,
        ids: IdFactory,
        metrics: Metrics,
    ) -> None:
        self.limits = MessageLimits()
        self.expires_s = EXPIRES_S
        self._store = store
        self._courier = courier
        self._clock = clock
        self._ids = ids
        self._metrics = metrics

    async def nudge(
        self,
        caller: Caller,
        board: str,
        agent: str,
        nudge: Nudge,
        *,
        wait_s: float = WAIT_S,
    ) -> MessageRow:
        """Send a message to an agent of a board; return its state after *wait_s* at most.

        Raises:
            UnknownBoard, CodedError, UnknownAgent,
            NoSession, BadMessage, CodedError, MessageTooLong, TooManyMessages: nothing was written.
            MessageNotDelivered: the message has failed.
        """
        found, target = await self._store.read(authority.target, caller, Verb.NUDGE, board, agent)
        if nudge.queue_mode not in (None, *QueueMode):
            modes = ", ".join(QueueMode)
            raise messages.BadMessage(f"queue_mode is one of {modes}, not {nudge.queue_mode!r}")
        home = await self._store.read(message_rows.home_of, target.id)
        if home is None:
            raise NoSession(f"agent {target.name} lives on no gateway and on no device")
        id, at = MessageId(self._ids.fresh()), now_ms(self._clock)
        key = nudge.dedupe_key
        new = NewMessage(
            id=id,
            user_id=found.user_id,
            kind=MessageKind.NUDGE,
            board_id=found.id,
            from_agent_id=caller.agent_id,
            actor=caller.actor,
            to_agent_id=target.id,
            gateway_id=home.gateway_id,
            device_id=home.device_id,
            content=nudge.content,
            deliver=nudge.deliver,
            queue_mode=nudge.queue_mode,
            correlation_id=checked_word("correlation_id", nudge.correlation_id),
            trace_id=id.replace("-", ""),
            dedupe_key=None if key is None else f"nudge:{found.id}:{target.id}:{caller.actor}:{key}",
            not_before=at,
            expires_at=at + round(self.expires_s * 1_000),
            at=at,
        )
        row = await self.add(new)
        return await self.delivered(row.id, wait_s)

    async def add(self, new: NewMessage) -> MessageRow:
        """Commit a message and wake the courier.

        Raises:
            BadMessage, MessageTooLong, TooManyMessages: nothing was written.
        """

        def entry(row: MessageRow) -> Entry | None:
            if row.id != new.id:
                return None
            detail: dict[str, str | int | bool | None] = {"kind": str(row.kind), "to": row.to_agent_id}
            return Entry(at=new.at, actor=new.actor, event="message.sent", subject=row.id, detail=detail)

        with self._metrics.count_limits():
            row = await self._store.write(audit.audited(messages.add_message, entry), new, limits=self.limits)
        self._courier.kick()
        return row

    async def delivered(self, id: str, wait_s: float) -> MessageRow:
        """Return the message once it is delivered, or its state after *wait_s*.

        Raises:
            MessageNotDelivered: the message has failed.
        """
        row = await self._courier.settled_or(id, min(MOST_WAIT_S, max(0.0, wait_s)))
        if row.state is MessageState.FAILED:
            raise MessageNotDelivered(row)
        return row

    async def page(
        self,
        caller: Caller,
        *,
        board: str | None = None,
        agent_ids: Sequence[AgentId] | None = None,
        states: Sequence[MessageState] = (),
        correlation_id: str | None = None,
        broadcast_id: str | None = None,
        limit: int | None,
        after: Key | None = None,
    ) -> list[MessageRow]:
        """Return messages visible to the caller's user, newest first.

        Args:
            agent_ids: agents as senders or recipients.

        Raises:
            UnknownBoard, CodedError
        """
        board_id = None
        if board is not None:
            board_id = (await self._store.read(authority.board, caller, board)).id
        return await self._store.read(
            message_rows.list_messages,
            user_id=caller.user_id,
            board_id=board_id,
            agent_ids=agent_ids,
            broadcast_id=broadcast_id,
            states=tuple(states) or None,
            correlation_id=correlation_id,
            limit=limit,
            after=after,
        )

    async def of_agents(
        self, agent_ids: Sequence[AgentId], *, states: Sequence[MessageState], limit: int
    ) -> list[MessageRow]:
        """Return messages that the agents sent or received, newest first."""
        return await self._store.read(
            message_rows.list_messages, agent_ids=agent_ids, states=tuple(states) or None, limit=limit
        )

    async def get(self, caller: Caller, id: str) -> tuple[MessageRow, list[MessageMove]]:
        """Return a message and its history. An agent sees messages that it sent or receives.

        Raises:
            UnknownMessage
        """
        return await self._store.read(lambda c: (_seen(c, caller, id), message_rows.moves_of(c, id)))

    async def cancel(self, caller: Caller, id: str) -> MessageRow:
        """Cancel a message, so that no further delivery is attempted.

        Raises:
            UnknownMessage, CodedError
        """
        row = await self._seen(caller, id)
        moved = await self._store.write(
            messages.cancel_message, row.id, at=now_ms(self._clock), actor=caller.actor
        )
        self._courier.moving.report(moved)
        return moved

    async def retry(self, caller: Caller, id: str) -> MessageRow:
        """Retry a waiting message now, or send an undelivered one again as a new message.

        Raises:
            UnknownMessage, CodedError, TooManyMessages
        """
        row = await self._seen(caller, id)
        tried = await self._store.write(
            messages.retry_message,
            row.id,
            MessageId(self._ids.fresh()),
            at=now_ms(self._clock),
            actor=caller.actor,
            limits=self.limits,
        )
        self._courier.kick()
        return tried

    async def answer_at_device(self, device_id: DeviceId, id: str, text: str) -> MessageRow:
        """Store the answer of a device's agent, or of the person there, to a received message.

        Repeating the same text has no effect.

        Raises:
            UnknownMessage: no agent of this device received a message with this id.
            BadMessage: the text is empty.
            CodedError (MESSAGE_SETTLED): the message was answered with another text, or has ended.
        """
        row = await self._store.read(message_rows.find_sight, id)
        if row is None or row.home_device_id != device_id or row.home_gateway_id is not None:
            raise UnknownMessage(f"there is no message {id} to an agent of this device")
        answer = text.strip()
        if not answer:
            raise messages.BadMessage("text: an answer may not be empty")
        if row.state is MessageState.ANSWERED and row.answer == answer:
            return row
        if row.kind not in _ANSWERED or not MESSAGE.allows(row.state, MessageEvent.ANSWERED):
            raise CodedError(ErrorCode.MESSAGE_SETTLED, f"message {id} is {row.state}: it takes no answer")
        moved = await self._courier.moving.answer(row, answer, {"device": device_id})
        return moved if moved is not None else await self.answer_at_device(device_id, id, text)

    async def _seen(self, caller: Caller, id: str) -> MessageRow:
        return await self._store.read(_seen, caller, id)


def _seen(c: Connection, caller: Caller, id: str) -> MessageRow:
    row = message_rows.find_message(c, id)
    is_theirs = row is not None and caller.user_id in (None, row.user_id)
    if row is not None and caller.agent_id is not None:
        is_theirs = is_theirs and caller.agent_id in (row.from_agent_id, row.to_agent_id)
    if row is None or not is_theirs:
        raise UnknownMessage(f"there is no message {id}")
    return row

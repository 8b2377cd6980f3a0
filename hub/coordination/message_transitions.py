"""State changes of messages, waiting callers, and the gateway or device of each recipient."""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import anyio

from hub.base.clock import Clock, IdFactory, now_ms, wait_for_event
from hub.base.log import Channel
from hub.base.metrics import Metrics
from hub.coordination.questions import memory_added
from protocol.agent_messages import MessageEvent, MessageKind
from protocol.errors import ErrorCode, HubError
from protocol.ids import AgentId, BoardId, MemoryId
from storage.coordination import boards, message_rows, messages
from storage.coordination.boards import UnknownBoard
from storage.coordination.message_rows import MessageRow, MessageSight
from storage.store import Store

log = Channel(__name__)

Listener = Callable[[MessageRow], None]

MAX_WORDS = 500  # of a foreign error text that is stored and shown
ANSWER_CHARACTERS = 65_536  # of a stored answer; the agent's own history has the whole text
# Kinds whose recipient answers in its own chat; a question to a person is answered by the person.
ANSWERABLE = (MessageKind.NUDGE, MessageKind.QUESTION, MessageKind.HANDOFF)


T = TypeVar("T")


class Waiters:
    """Callers that wait for a change of a row, by its id."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._events: defaultdict[str, set[anyio.Event]] = defaultdict(set)

    def notify(self, id: str) -> None:
        """Wake the callers that wait for this row, after the commit of its change."""
        for event in self._events.get(id, ()):
            event.set()

    async def wait(
        self,
        id: str,
        wait_s: float,
        read: Callable[[], Awaitable[T]],
        is_enough: Callable[[T], bool],
        *,
        poll_s: float,
    ) -> T:
        """Return the row once it satisfies *is_enough*, or its state after *wait_s*.

        Args:
            poll_s: interval of reads, because another hub may change the row.
        """
        until = self._clock.monotonic() + wait_s
        while True:
            changed = anyio.Event()  # registered before the read, so that no change is missed
            self._events[id].add(changed)
            try:
                row = await read()
                left_s = until - self._clock.monotonic()
                if is_enough(row) or left_s <= 0:
                    return row
                await wait_for_event(changed, self._clock, min(left_s, poll_s))
            finally:
                self._events[id].discard(changed)
                if not self._events[id]:
                    del self._events[id]


class MessageTransitions:
    """Writes the state changes of messages."""

    def __init__(self, store: Store, *, clock: Clock, ids: IdFactory, metrics: Metrics) -> None:
        self._store = store
        self._clock = clock
        self._ids = ids
        self._metrics = metrics
        self._listeners: list[Listener] = []
        self._waiters = Waiters(clock)

    def now(self) -> int:
        """Return the current time in epoch milliseconds."""
        return now_ms(self._clock)

    def listen(self, listener: Listener) -> None:
        """Register a callback for messages changed by this hub, after the commit; it must not wait."""
        self._listeners.append(listener)

    async def move(
        self,
        seen: MessageRow,
        event: MessageEvent,
        *,
        proof: Mapping[str, Any] | None = None,
        code: str | None = None,
        reason: str | None = None,
        after_ms: int | None = None,
        settles: bool = False,
        **sent: Any,
    ) -> MessageRow | None:
        """Move a message and return its new row, or None if another process has changed it meanwhile.

        Args:
            code, reason: error code and text of a failure.
            after_ms: milliseconds until the message is checked again.
            sent: further arguments for SENT, see ``messages.move_message``.
        """
        at = self.now()
        moved = await self._store.write(
            message_rows.move_message,
            seen.id,
            event,
            seen_version=seen.version,
            at=at,
            proof=proof,
            reason_code=code,
            reason=None if reason is None else shortened(reason),
            not_before=None if after_ms is None else at + after_ms,
            settles=settles,
            **sent,
        )
        self._notify(moved)
        return moved

    async def fail(
        self, seen: MessageRow, code: ErrorCode | str, reason: str, *, proof: Mapping[str, Any] | None = None
    ) -> MessageRow | None:
        """Move the message to FAILED, with code and reason."""
        return await self.move(seen, MessageEvent.FAILED, proof=proof, code=str(code), reason=reason)

    async def answer(self, seen: MessageRow, text: str, proof: Mapping[str, Any]) -> MessageRow | None:
        """Store the agent's answer."""
        moved = await self._store.write(
            message_rows.answer_message,
            seen.id,
            seen_version=seen.version,
            text=text[:ANSWER_CHARACTERS],
            proof=proof,
            memory_id=MemoryId(self._ids.fresh()),
            at=self.now(),
        )
        self._notify(moved)
        if moved is not None and moved.memory_id is not None and moved.board_id is not None:
            memory_added(moved.board_id, moved.memory_id, agent_id=moved.to_agent_id, reply_to=moved.id)
        return moved

    async def settle(self, seen: MessageRow, proof: Mapping[str, Any]) -> MessageRow | None:
        """Settle a delivered message for which no answer is expected."""
        moved = await self._store.write(
            message_rows.settle_message, seen.id, seen_version=seen.version, at=self.now(), proof=proof
        )
        self._notify(moved)
        return moved

    async def postpone(self, seen: MessageRow, wait_ms: int) -> None:
        """Postpone the next check of the message."""
        until = self.now() + wait_ms
        await self._store.write(messages.put_off, seen.id, seen_version=seen.version, not_before=until)

    def report(self, moved: MessageRow) -> None:
        """Report a message that another component moved, after its commit."""
        self._notify(moved)

    async def wait_for(self, id: str, wait_s: float, is_enough: Callable[[MessageRow], bool]) -> MessageRow:
        """Return the message once it satisfies *is_enough*, or its state after *wait_s*.

        It is read each second, because another hub may move the message.

        Raises:
            UnknownMessage: no message has this id.
        """

        async def read() -> MessageRow:
            return await self._store.read(message_rows.get_message, id)

        return await self._waiters.wait(id, wait_s, read, is_enough, poll_s=1.0)

    def _notify(self, moved: MessageRow | None) -> None:
        if moved is None:
            return
        log.info(
            "message.moved",
            message_id=moved.id,
            kind=moved.kind,
            state=moved.state,
            user_id=moved.user_id,
            board_id=moved.board_id,
            agent_id=moved.to_agent_id,
            from_agent_id=moved.from_agent_id,
            attempt=moved.attempt,
            sends=moved.sends,
            reason=moved.reason_code,
        )
        self._metrics.messages.labels(moved.kind, moved.state).inc()
        self._waiters.notify(moved.id)
        for listener in self._listeners:
            try:
                listener(moved)
            except Exception as exc:  # an error of a listener must not affect the caller
                log.error("message.listener_failed", exc=exc, message_id=moved.id)


def is_delivered_or_over(row: MessageRow) -> bool:
    """Return True if the message was delivered, or has ended."""
    return row.is_delivered or row.settled_at is not None


def shortened(words: str) -> str:
    """Return a foreign text on one line, truncated."""
    line = " ".join(words.split())
    return line if len(line) <= MAX_WORDS else f"{line[: MAX_WORDS - 3]}..."


EnsureLead = Callable[[BoardId], Awaitable[AgentId]]


class RecipientDirectory:
    """Resolver of messages' homes. *ensure_lead* creates the lead of a board at its gateway."""

    def __init__(
        self, store: Store, moving: MessageTransitions, ensure_lead: EnsureLead | None = None
    ) -> None:
        self._ensure_lead = ensure_lead
        self._store = store
        self._moving = moving

    async def settle(self, seen: MessageSight) -> MessageSight | None:
        """Return the message with its home, or None if it has none and was failed.

        Raises:
            GatewayError: the gateway of its lead is unreachable; the caller retries later.
        """
        if seen.to_lead and seen.to_agent_id is None:
            return await self._to_lead(seen)
        if seen.to_agent_id is None or seen.is_removed:
            await self._moving.fail(seen, ErrorCode.UNKNOWN_AGENT, "the agent it is for was removed")
            return None
        if seen.home_gateway_id is None and seen.home_device_id is None:
            reason = f"agent {seen.to_agent} lives on no gateway and on no device"
            await self._moving.fail(seen, ErrorCode.NO_SESSION, reason)
            return None
        return await self._at_home(seen, seen)

    async def made_ready(self, seen: MessageSight) -> MessageSight | None:
        """Create the message's lead at its gateway. Return None if the recipient is not the board's lead."""
        if self._ensure_lead is None or seen.board_id is None or seen.to_agent_id is None:
            return None
        lead = await self._store.read(boards.lead_of, seen.board_id)
        if lead is None or lead.agent_id != seen.to_agent_id:
            return None
        await self._ensure_lead(seen.board_id)
        return await self._store.read(message_rows.find_sight, seen.id)

    async def _to_lead(self, seen: MessageSight) -> MessageSight | None:
        if seen.board_id is None:
            await self._moving.fail(seen, ErrorCode.UNKNOWN_BOARD, "the board it is for was removed")
            return None
        try:
            board = await self._store.read(boards.get_board, seen.board_id)
        except UnknownBoard as error:
            await self._moving.fail(seen, error.code, str(error))
            return None
        agent_id = board.lead_id
        if board.gateway_id is not None and self._ensure_lead is not None:
            try:
                agent_id = await self._ensure_lead(board.id)
            except HubError as error:
                if error.retryable:
                    raise
                await self._moving.fail(seen, error.code, str(error))
                return None
        if agent_id is None:
            await self._moving.fail(seen, ErrorCode.NO_LEAD, f"board {board.name} has no lead")
            return None
        found = await self._store.write(
            messages.give_home,
            seen.id,
            seen_version=seen.version,
            agent_id=agent_id,
            gateway_id=seen.gateway_id,
            device_id=None,
            at=self._moving.now(),
        )
        return None if found is None else await self._at_home(found, found)

    async def _at_home(self, seen: MessageSight, home: MessageSight) -> MessageSight | None:
        """Store the recipient's current home in the message's row, so that the courier finds it there."""
        device_id = None if home.home_gateway_id is not None else home.home_device_id
        if (seen.gateway_id, seen.device_id) == (home.home_gateway_id, device_id):
            return seen
        return await self._store.write(
            messages.give_home,
            seen.id,
            seen_version=seen.version,
            agent_id=seen.to_agent_id,
            gateway_id=home.home_gateway_id,
            device_id=device_id,
            at=self._moving.now(),
        )

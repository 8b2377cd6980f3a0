"""Messages between agents and to leads: checks, sending, listing, answering, cancelling, retrying.

Input is validated here, so that REST and device callers get the same errors. A retry is stored by
``storage.coordination.messages``. A committed message is delivered in the background: an unreachable gateway
is not an error for the sender.

Leads of boards, and messages to them.

Leads of boards: chosen by a person, or created at the board's gateway.

The row of a lead is created in one idempotent transaction. Then ``provisioning`` creates the agent at the
gateway, which may take long and can be resumed.

Questions and handoffs to the lead of a board, from its gateway's main agent or a person.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import anyio
import msgspec

from hub.base.clock import Clock, IdFactory, now_ms
from hub.base.log import Channel
from hub.base.metrics import Metrics
from hub.coordination import board_access
from hub.coordination.board_access import Caller
from hub.coordination.message_delivery import MessageDeliveryService
from hub.coordination.message_transitions import ANSWERABLE
from hub.coordination.provisioning import Provisioning
from hub.coordination.questions import checked_tags, checked_word
from hub.openclaw import GatewayError
from protocol.agent_messages import MESSAGE, MessageEvent, MessageKind, MessageState, QueueMode
from protocol.agent_status import Health
from protocol.board_permissions import Verb
from protocol.errors import CodedError, ErrorCode, HubError
from protocol.ids import AgentId, BoardId, DeviceId, MessageId, RunId, trace_id_of
from storage import audit
from storage.agents import agent_states
from storage.agents.declared_agents import AgentLimits
from storage.audit import AuditEntry
from storage.coordination import boards, gateway_agents, message_rows, messages
from storage.coordination import leads as coordination_leads
from storage.coordination.boards import BoardLimits, BoardRow, LeadHome, MemberRow, UnknownBoard
from storage.coordination.gateway_agents import GatewayAgentRow
from storage.coordination.leads import Led, NoGateway
from storage.coordination.message_rows import MessageMove, MessageRow, UnknownMessage
from storage.coordination.messages import MessageLimits, NewMessage
from storage.kernel.columns import Key
from storage.store import Connection, Store

EXPIRES_S: Final = 86_400.0
WAIT_S: Final = 10.0  # for delivery, before the message's state is returned
MAX_WAIT_S: Final = 120.0


class NoSession(HubError):
    """The agent has no home; nothing was written."""

    code = ErrorCode.NO_SESSION


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


class MessageService:
    """Operations on messages, for authorized callers.

    Attributes:
        limits: limits on number and size.
        expires_s: lifetime of a message until its delivery.
    """

    def __init__(
        self,
        store: Store,
        courier: MessageDeliveryService,
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
            UnknownBoard, CodedError,
            NoSession, CodedError, LimitReached: nothing was written.
            CodedError (GATEWAY_REFUSED): the message has failed.
        """
        found, target = await self._store.read(board_access.target, caller, Verb.NUDGE, board, agent)
        if nudge.queue_mode not in (None, *QueueMode):
            modes = ", ".join(QueueMode)
            raise CodedError(ErrorCode.BAD_PARAMS, f"queue_mode is one of {modes}, not {nudge.queue_mode!r}")
        home = await self._store.read(message_rows.home_of, target.id)
        if home is None:
            raise NoSession(f"agent {target.name} lives on no gateway and on no device")
        gateway_id, device_id = home
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
            gateway_id=gateway_id,
            device_id=device_id,
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
            CodedError, LimitReached: nothing was written.
        """

        def entry(row: MessageRow) -> AuditEntry | None:
            if row.id != new.id:
                return None
            detail: dict[str, str | int | bool | None] = {"kind": str(row.kind), "to": row.to_agent_id}
            return AuditEntry(at=new.at, actor=new.actor, event="message.sent", subject=row.id, detail=detail)

        with self._metrics.count_limits():
            row = await self._store.write(audit.audited(messages.add_message, entry), new, limits=self.limits)
        self._courier.kick()
        return row

    async def delivered(self, id: str, wait_s: float) -> MessageRow:
        """Return the message once it is delivered, or its state after *wait_s*.

        Raises:
            CodedError (GATEWAY_REFUSED): the message has failed.
        """
        row = await self._courier.settled_or(id, min(MAX_WAIT_S, max(0.0, wait_s)))
        if row.state is MessageState.FAILED:
            raise CodedError(
                ErrorCode(row.reason_code or ErrorCode.GATEWAY_REFUSED),
                row.reason or f"the message {row.state}",
                members={"message_id": row.id},
            )
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
            board_id = (await self._store.read(board_access.board, caller, board)).id
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
        return await self._store.read(
            lambda c: (row := _seen(c, caller, id), message_rows.moves_of(c, row.id))
        )

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
            UnknownMessage, CodedError, LimitReached
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
            CodedError (BAD_PARAMS): the text is empty.
            CodedError (MESSAGE_SETTLED): the message was answered with another text, or has ended.
        """
        row = await self._store.read(message_rows.find_sight, id)
        if row is None or row.home_device_id != device_id or row.home_gateway_id is not None:
            raise UnknownMessage(f"there is no message {id} to an agent of this device")
        answer = text.strip()
        if not answer:
            raise CodedError(ErrorCode.BAD_PARAMS, "text: an answer may not be empty")
        if row.state is MessageState.ANSWERED and row.answer == answer:
            return row
        if row.kind not in ANSWERABLE or not MESSAGE.allows(row.state, MessageEvent.ANSWERED):
            raise CodedError(ErrorCode.MESSAGE_SETTLED, f"message {id} is {row.state}: it takes no answer")
        moved = await self._courier.moving.answer(row, answer, {"device": device_id})
        return moved if moved is not None else await self.answer_at_device(device_id, id, text)

    async def _seen(self, caller: Caller, id: str) -> MessageRow:
        return await self._store.read(_seen, caller, id)


def _seen(c: Connection, caller: Caller, id: str) -> MessageRow:
    row = message_rows.find_message(c, id, caller.user_id)
    is_theirs = row is not None and caller.user_id in (None, row.user_id)
    if row is not None and caller.agent_id is not None:
        is_theirs = is_theirs and caller.agent_id in (row.from_agent_id, row.to_agent_id)
    if row is None or not is_theirs:
        raise UnknownMessage(f"there is no message {id}")
    return row


log = Channel(__name__)

ACTOR: Final = "hub"  # actor for leads created to deliver a message


class Ensured(NamedTuple):
    """A board's lead.

    Attributes:
        home: the lead's row at its gateway; None if it lives on a device or has no home.
        is_created: True if this call created it.
    """

    board: BoardRow
    lead: MemberRow
    home: GatewayAgentRow | None
    is_created: bool

    @property
    def is_ready(self) -> bool:
        """True if messages to the lead can be delivered."""
        return self.home is None or self.home.state == gateway_agents.READY


class LeadService:
    """Lookup and creation of leads."""

    def __init__(
        self,
        store: Store,
        provisioning: Provisioning,
        *,
        clock: Clock,
        ids: IdFactory,
        metrics: Metrics,
    ) -> None:
        self._store = store
        self._provisioning = provisioning
        self._clock = clock
        self._ids = ids
        self._metrics = metrics

    async def ensure(self, board_id: BoardId) -> AgentId:
        """Return the board's lead, ready for messages; see ``message_transitions.RecipientDirectory``.

        Raises:
            UnknownBoard, CodedError, NoGateway, LimitReached, TooManyOfBoards
            GatewayError: the gateway is unreachable or refused.
        """
        led = await self.led(board_id, ACTOR)
        home = await self._store.read(gateway_agents.find_gateway_agent, led.lead.agent_id)
        if home is not None:
            await self._made_ready(home)
        return led.lead.agent_id

    async def see_to(self, caller: Caller, board: str, *, wait_s: float = 30.0) -> Ensured:
        """Return the board's lead in its state after *wait_s*; its creation continues in the background.

        A lead that was deleted at its gateway is created there again. An unreachable gateway is not an error:
        the lead is created once the gateway is reachable.

        Raises:
            UnknownBoard,
            CodedError, NoGateway, LimitReached, TooManyOfBoards: nothing was written.
            GatewayError: the gateway refused.
        """
        found = await self._store.read(board_access.board_for, caller, Verb.ENSURE_LEAD, board)
        led = await self.led(found.id, caller.actor)
        home = await self._store.read(gateway_agents.find_gateway_agent, led.lead.agent_id)
        if home is not None:
            try:
                with anyio.move_on_after(min(MAX_WAIT_S, max(0.0, wait_s))):
                    await self._made_ready(home, is_asked=True)
            except HubError as error:
                if not (isinstance(error, GatewayError) and error.retryable):
                    raise
                log.info("lead.put_off", board_id=found.id, agent_id=home.agent_id, code=error.code)
            self._provisioning.kick()
        board_row = await self._store.read(boards.get_board, found.id)
        home = await self._store.read(gateway_agents.find_gateway_agent, led.lead.agent_id)
        return Ensured(board_row, led.lead, home, led.is_created)

    async def led(self, board_id: BoardId, actor: str) -> Led:
        """Return the row of the board's lead, creating it if there is none, without asking the gateway.

        Raises:
            UnknownBoard, CodedError, NoGateway, LimitReached, TooManyOfBoards: nothing was written.
        """
        lead = await self._store.read(boards.lead_of, board_id)
        board = await self._store.read(boards.get_board, board_id)
        if lead is not None and (lead.gateway_id is None or lead.gateway_id == board.gateway_id):
            return Led(lead, False)  # the usual case: nothing to write
        with self._metrics.count_limits():
            led = await self._store.write(
                coordination_leads.ensure_lead,
                board_id,
                fresh_id=AgentId(self._ids.fresh()),
                limits=AgentLimits(),
                board_limits=BoardLimits(),
                at=now_ms(self._clock),
                actor=actor,
            )
        if led.is_created:
            log.info("lead.created", board_id=board_id, agent_id=led.lead.agent_id, actor=actor)
            log.info("agent.changed", agent_id=led.lead.agent_id, change="created", actor=actor)
        return led

    async def _made_ready(self, home: GatewayAgentRow, *, is_asked: bool = False) -> None:
        """Create the lead at its gateway if necessary. Raises NoGateway, GatewayError."""
        if not home.is_listed:
            problem = f"gateway {home.gateway_name} of agent {home.agent_name} is not in hub.toml any more"
            raise NoGateway(problem)
        if home.state == gateway_agents.READY:
            if not is_asked:
                state = await self._store.read(agent_states.find_state, home.agent_id)
                if state.health is not Health.ERROR:
                    return
            await self._provisioning.verify(home)
        await self._provisioning.ready(home.agent_id)


KINDS: Final = (MessageKind.QUESTION, MessageKind.HANDOFF)


class ToLead(msgspec.Struct, frozen=True, kw_only=True):
    """Content of a message to one or many leads.

    Attributes:
        kind: question or handoff.
        reply_tags, reply_source: tags and source of the lead's answer in the board's memory, to override the
        defaults.
        dedupe_key: the caller's idempotency key.
    """

    content: str
    kind: MessageKind = MessageKind.QUESTION
    correlation_id: str | None = None
    reply_tags: Sequence[str] = ()
    reply_source: str | None = None
    dedupe_key: str | None = None

    def checked(self) -> "ToLead":
        """Return a normalized copy.

        Raises:
            CodedError: a field is invalid.
        """
        if self.kind not in KINDS:
            raise CodedError(ErrorCode.BAD_PARAMS, f"kind: expected question or handoff, not {self.kind!r}")
        return msgspec.structs.replace(
            self,
            correlation_id=checked_word("correlation_id", self.correlation_id),
            reply_tags=checked_tags(self.reply_tags),
            reply_source=checked_word("reply_source", self.reply_source),
        )


class SentToLead(msgspec.Struct, frozen=True):
    """A message to a lead with its lead.

    Attributes:
        lead_created: True if the lead was created for the message.
    """

    message: MessageRow
    lead: MemberRow
    lead_created: bool


class LeadMessages:
    """Sender of questions and handoffs to leads."""

    def __init__(
        self,
        store: Store,
        sent: MessageService,
        leads: LeadService,
        *,
        clock: Clock,
        ids: IdFactory,
    ) -> None:
        self._store = store
        self._messages = sent
        self._leads = leads
        self._clock = clock
        self._ids = ids

    async def send(
        self,
        caller: Caller,
        board: str,
        message: ToLead,
        *,
        wait_s: float = WAIT_S,
    ) -> SentToLead:
        """Send a message to a board's lead, creating the lead if there is none.

        Returns once the message is delivered, or its state after *wait_s*; delivery continues in the
        background.

        Raises:
            UnknownBoard,
            CodedError, NoGateway, LimitReached, TooManyOfBoards, CodedError,
                CodedError (TOO_LARGE): nothing was written.
            LimitReached: no message was written; the lead may have been created.
            CodedError (GATEWAY_REFUSED): the message has failed.
        """
        found = await self._store.read(board_access.board_for, caller, Verb.LEAD_MESSAGE, board)
        checked = message.checked()
        messages.check_content(checked.content, self._messages.limits)
        led = await self._leads.led(found.id, caller.actor)
        place = await self._store.read(boards.find_place, found.user_id, found.id)
        if place is None:
            raise UnknownBoard(f"there is no board {found.id}")
        _check(place)
        gateway_id, device_id = place.goes_over
        id, at = MessageId(self._ids.fresh()), now_ms(self._clock)
        key = checked.dedupe_key
        new = NewMessage(
            id=id,
            user_id=found.user_id,
            kind=checked.kind,
            board_id=found.id,
            from_agent_id=caller.agent_id,
            actor=caller.actor,
            to_lead=True,
            gateway_id=gateway_id,
            device_id=device_id,
            content=checked.content,
            correlation_id=checked.correlation_id,
            reply_tags=tuple(checked.reply_tags),
            reply_source=checked.reply_source,
            trace_id=trace_id_of(RunId(id)),
            dedupe_key=None if key is None else f"lead:{found.id}:{caller.actor}:{key}",
            not_before=at,
            expires_at=at + round(self._messages.expires_s * 1_000),
            at=at,
        )
        row = await self._messages.add(new)
        row = await self._messages.delivered(row.id, wait_s)
        return SentToLead(row, led.lead, led.is_created)


def _check(place: LeadHome) -> None:
    """Check that the board can receive messages. Raises CodedError, NoGateway."""
    match place.refusal:
        case (ErrorCode.NO_GATEWAY, words):
            raise NoGateway(words)
        case (ErrorCode.NO_LEAD, words):
            raise CodedError(ErrorCode.NO_LEAD, words)
        case _:
            pass  # a lead without a home fails later, with an error of its own

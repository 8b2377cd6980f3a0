"""Questions and handoffs to the lead of a board, from its gateway's main agent or a person."""

from collections.abc import Sequence
from typing import Final

import msgspec

from hub.clock import Clock, IdFactory, epoch_ms
from hub.coordination import authority
from hub.coordination.authority import Caller
from hub.coordination.leads import Leads
from hub.coordination.memory import checked_tags, checked_word
from hub.coordination.messages import WAIT_S, Messages
from protocol.authority import Verb
from protocol.errors import ErrorCode, HubError
from protocol.ids import MessageId, RunId
from protocol.messages import MessageKind
from protocol.trace import trace_id_of
from storage.coordination import boards, messages
from storage.coordination.boards import BoardPlace, MemberRow, UnknownBoard
from storage.coordination.gateway_making import NoGateway, NoLead
from storage.coordination.message_rows import MessageRow
from storage.coordination.messages import NewMessage
from storage.store import Store

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
            BadMessage, BadMemory: a field is invalid.
        """
        if self.kind not in KINDS:
            raise BadKind(f"kind: a lead gets a question or a handoff, not {self.kind!r}")
        return msgspec.structs.replace(
            self,
            correlation_id=checked_word("correlation_id", self.correlation_id),
            reply_tags=checked_tags(self.reply_tags),
            reply_source=checked_word("reply_source", self.reply_source),
        )


class BadKind(HubError):
    """The kind is not allowed for messages to a lead; nothing was written."""

    code = ErrorCode.BAD_PARAMS


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
        sent: Messages,
        leads: Leads,
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
            UnknownBoard, AmbiguousBoard, NotAllowed, NotYourBoard, NotGatewayMain
            NoLead, NoGateway, TooManyAgents, TooManyOfBoards, BadKind, BadMessage, BadMemory,
                MessageTooLong: nothing was written.
            TooManyMessages: no message was written; the lead may have been created.
            MessageNotDelivered: the message has failed.
        """
        found = await self._store.read(authority.board_for, caller, Verb.LEAD_MESSAGE, board)
        checked = message.checked()
        messages.check_content(checked.content, self._messages.limits)
        led = await self._leads.led(found.id, caller.actor)
        place = await self._store.read(boards.find_place, found.user_id, found.id)
        if place is None:
            raise UnknownBoard(f"there is no board {found.id}")
        _check(place)
        gateway_id, device_id = place.goes_over
        id, at = MessageId(self._ids.fresh()), epoch_ms(self._clock.now())
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
        row = await self._messages.add(new, is_decision=caller.is_operator)
        row = await self._messages.delivered(row.id, wait_s)
        return SentToLead(row, led.lead, led.is_created)


def _check(place: BoardPlace) -> None:
    """Check that the board can receive messages. Raises NoLead, NoGateway."""
    match place.refusal:
        case (ErrorCode.NO_GATEWAY, words):
            raise NoGateway(words)
        case (ErrorCode.NO_LEAD, words):
            raise NoLead(words)
        case _:
            pass  # a lead without a home fails later, with an error of its own

"""Messages between agents: sent, listed, cancelled, retried."""

from collections.abc import Callable, Sequence
from typing import Annotated, Any, ClassVar, Final

from msgspec import Meta, structs

from hub.api.device import Link, OwnAgents, fitting, object_of
from hub.api.door.roles import AGENT, Scope
from hub.api.noun import ALL, Noun, Part, audited, command, device, listed, route
from hub.api.paging import MOST_LONG, Paging
from hub.api.parameters import Key
from hub.api.view import Instant, View
from hub.clock import epoch_ms
from hub.coordination.authority import Caller
from hub.coordination.messages import MOST_WAIT_S, WAIT_S, Nudge
from hub.coordination.messages import Messages as MessageService
from protocol.coordination import MessageKind, MessageState, Method, QueueMode, attempt_key
from protocol.errors import ErrorCode
from protocol.ids import DeviceId
from storage import audit
from storage.agents import agents
from storage.coordination.message_rows import MessageRow
from storage.devices import devices
from storage.devices.devices import Grant
from storage.store import Connection, Store

_E = ErrorCode
_Word = Annotated[str, Meta(max_length=128)]
_Wait = Annotated[
    float,
    Meta(ge=0, le=MOST_WAIT_S, description="So many seconds the answer waits for the message's delivery."),
]
_NUDGING: Final = (
    _E.UNKNOWN_BOARD,
    _E.UNKNOWN_AGENT,
    _E.NO_SESSION,
    _E.LIMIT_REACHED,
    _E.GATEWAY_REFUSED,
    _E.GATEWAY_FORBIDDEN,
    _E.CALL_UNSUPPORTED,
)
_STATES_HELP: Final = """Show a message with its history and the proofs of delivery.

\b
waiting      It is not sent yet.
sent         It may have left; its arrival is not confirmed.
accepted     The gateway has confirmed it.
queued       The agent has other work to do first.
consumed     The agent has received it.
answered     The agent has answered.
interrupted  It was dropped before the agent received it; it is sent again.
failed       It could not be delivered, or was cancelled.
expired      Its time ran out before the agent received it."""


class SentView(View, kw_only=True):
    """Fields of messages, questions and broadcasts in responses.

    *settled_at*: when it got its final state; None: it is still being delivered, or has no answer.
    """

    id: str
    user: str
    content: str
    correlation_id: str | None = None
    trace_id: str
    created_at: Instant
    settled_at: Instant | None = None


class MessageView(SentView, kw_only=True):
    """A message to an agent, and its state as far as that is proven.

    *sent_by* is for people: the name of an agent or a device, else the actor as in history. *attempt*
    counts the keys that it was sent under, *sends* how often it may have been sent. *reason_code* is an
    error code. *memory_id* is the answer in the board's memory.
    """

    kind: MessageKind
    board: str | None = None  # None: of no board, or it was deleted since
    board_id: str | None = None
    broadcast_id: str | None = None
    from_agent: str | None = None  # None: a person sent it
    from_agent_id: str | None = None
    sent_by: str
    agent: str | None = None  # that is to get it; None: a board's lead that is not known yet
    agent_id: str | None = None
    to_lead: bool = False
    gateway: str | None = None
    device: str | None = None
    deliver: bool = False
    queue_mode: str | None = None
    reply_to: str | None = None
    question_id: str | None = None
    state: MessageState
    attempt: int
    sends: int
    waiting_for: str | None = None  # a sentence: what has to happen before it can be sent
    reason_code: str | None = None
    reason: str | None = None
    answer: str | None = None
    memory_id: str | None = None
    updated_at: Instant
    next_look_at: Instant | None = None  # None: it is settled
    expires_at: Instant  # by then its agent has it, or never


_TEXTS = ("board_id", "board", "content", "correlation_id", "reply_to", "question_id", "state", "answer")
_OF_ALL = ("id as message_id", "kind", *_TEXTS, "reason_code", "reason", "created_at as at_ms")
_SENDER = ("from_agent_id", "from_agent as from")
_RECORD = object_of(*_OF_ALL, *_SENDER, "agent_id", "agent")
_ROW = object_of(*_OF_ALL, *_SENDER, "to_agent_id as agent_id", "to_agent as agent")


class MessageMoveView(View, kw_only=True):
    """A change of a message's state. *proof*: what the gateway or the device answered."""

    old_state: MessageState | None = None
    new_state: MessageState
    attempt: int
    proof: dict[str, Any]
    reason: str | None = None
    at: Instant


class MessageDetail(MessageView, kw_only=True):
    """A message with its moves. *key*: the idempotency key of its current attempt."""

    key: str
    moves: tuple[MessageMoveView, ...] = ()


class NudgeBody(View):
    """A message to an agent. Its text is *content*, or *message*.

    *deliver*: its answer is also sent to its own channel. *queue_mode*: how it is taken while the agent
    is busy: put into the running turn, after it, or instead of it; left out, as its gateway is set.
    """

    aliases: ClassVar = {"message": "content"}

    content: Annotated[str, Meta(examples=["The release is at noon: is the changelog ready?"])]
    deliver: bool = True
    queue_mode: Annotated[_Word, Meta(examples=[str(mode) for mode in QueueMode])] | None = None
    correlation_id: Annotated[_Word, Meta(examples=["order-17"])] | None = None


class Messages(Noun):
    """Messages to agents.

    Args:
        why_away: why the gateway or device of a message cannot be reached just now; ``None``: it can.
    """

    name, path = "messages", ""
    is_scoped = False

    def __init__(
        self,
        store: Store,
        sent: MessageService,
        *,
        why_away: Callable[[MessageRow], str | None] = lambda _: None,
    ) -> None:
        self._store = store
        self._messages = sent
        self._why_away = why_away

    @command(
        "messages nudge BOARD AGENT CONTENT...",
        example="hub messages nudge house notes 'Please report.'",
        json="message",
        help="Send a message to an agent of a board. The hub stores it, and delivers it as soon as possible.",
        options={
            "queue_mode": "Handling while the agent is busy: steer, followup or interrupt"
            " [default: the setting of its gateway].",
            "deliver": "--deliver/--no-deliver: Deliver the answer to the agent's own channel, or not.",
            "correlation_id": "Your own reference, to find the message by.",
            "wait_s": "Time to wait for the delivery.",
        },
        message="{*|delivery}",
    )
    @route("POST", "/v1/boards/{board}/agents/{agent}/nudge", Scope.RUN, errors=_NUDGING, status=201)
    @route(
        "POST",
        "/v1/agent/boards/{board}/agents/{agent}/nudge",
        AGENT,
        errors=[*_NUDGING, _E.NOT_YOUR_BOARD],
        status=201,
    )
    @device(
        Method.MESSAGES_NUDGE,
        "its user's boards",
        Grant.COORDINATION,
        answer=lambda message: {"message": _RECORD(message)},
        arguments={"wait_s": 0.0},
    )
    @audited("message.sent")
    async def nudge(
        self,
        caller: Caller,
        board: str,
        agent: str,
        body: NudgeBody,
        wait_s: _Wait = WAIT_S,
        key: Key = None,
    ) -> MessageView:
        """Send a message to an agent of a board.

        An agent may send one as the board's lead to any other, else to the lead. The response is sent once
        the receiver has the message, or after *wait_s* with its state by then: it is stored, and delivered
        as soon as that is possible. The same ``Idempotency-Key`` sends it only once.
        """
        nudge = Nudge(**structs.asdict(body), dedupe_key=key)
        row = await self._messages.nudge(caller, board, agent, nudge, wait_s=wait_s)
        return await self.view(row)

    @command(
        "messages ls",
        example="hub messages ls --board house",
        json="messages",
        options={
            "board": "Only messages of this board.",
            "agent": "Only messages from or to this agent.",
            "state": "--only: Only messages in this state; may be given several times.",
            "correlation_id": "Only messages with this correlation id.",
            "broadcast_id": "--broadcast: Only messages of this broadcast.",
            "limit": "--limit=20: Maximum number of messages.",
        },
        table=(
            "id|id as message",
            "created_at|at as sent",
            "kind",
            "state",
            "*|route as from > to",
            "content|short as text",
        ),
        empty="no messages",
    )
    @listed(
        "/v1/messages",
        Scope.READ,
        key=lambda message: (epoch_ms(message.created_at), message.id),
        errors=[_E.UNKNOWN_BOARD, _E.UNKNOWN_AGENT],
        most=MOST_LONG,
    )
    async def page(
        self,
        caller: Caller,
        board: Annotated[str, Meta(max_length=200, description="Only of this board, by name or id.")]
        | None = None,
        agent: Annotated[
            str, Meta(max_length=200, description="Only those that this agent sent or is to get.")
        ]
        | None = None,
        state: Annotated[
            list[MessageState], Meta(max_length=9, description="Only in this state; several: in one of them.")
        ]
        | None = None,
        correlation_id: Annotated[str, Meta(max_length=128)] | None = None,
        broadcast_id: Annotated[str, Meta(max_length=128)] | None = None,
        part: Part = ALL,
    ) -> list[MessageView]:
        """List the messages to agents, the newest first."""
        agent_ids = None
        if agent is not None:
            agent_ids = [(await self._store.read(agents.agent_called, agent, caller.user_id)).id]
        rows = await self._messages.page(
            caller,
            board=board,
            agent_ids=agent_ids,
            states=state or (),
            correlation_id=correlation_id,
            broadcast_id=broadcast_id,
            limit=part.limit,
            after=part.after,
        )
        return await self._views(rows)

    @command(
        "messages show MESSAGE_ID",
        example="hub messages show 4e21a9",
        json="message",
        help=_STATES_HELP,
        ids="message_id",
        facts=(
            "id as message",
            "state",
            "*|waits_for as reason",
            "kind",
            "board",
            "sent_by as from",
            "*|recipient as to",
            "*|home as via",
            "created_at|moment as created",
            "next_look_at|moment as next check",
            "expires_at|moment as expires",
            "settled_at|moment as settled",
            "correlation_id",
            "key",
        ),
        quotes=("content", "answer|->"),
        rows="moves",
        table=("at|at_second", "new_state as state", "attempt", "*|proof as proof"),
    )
    @route("GET", "/v1/messages/{message_id}", Scope.READ, errors=[_E.UNKNOWN_MESSAGE])
    @route("GET", "/v1/agent/messages/{message_id}", AGENT, errors=[_E.UNKNOWN_MESSAGE])
    async def get(self, caller: Caller, message_id: str) -> MessageDetail:
        """Return a message, and each of its moves with its proof.

        An agent sees those that it sent or is to get.
        """
        row, moves = await self._messages.get(caller, message_id)
        return MessageDetail.from_row(
            await self.view(row),
            key=attempt_key(row.id, row.attempt),
            moves=tuple(map(MessageMoveView.from_row, moves)),
        )

    @command(
        "messages cancel MESSAGE_ID",
        example="hub messages cancel 4e21a9",
        json="message",
        help="Cancel a message before it is delivered. A message that was sent cannot be recalled.",
        ids="message_id",
        message="{reason}: {content|short}",
    )
    @route(
        "POST",
        "/v1/messages/{message_id}/cancel",
        Scope.RUN,
        errors=[_E.UNKNOWN_MESSAGE, _E.MESSAGE_SETTLED],
    )
    @audited("message.cancelled")
    async def cancel(self, caller: Caller, message_id: str) -> MessageView:
        """Cancel a message that its agent does not have yet. One that was sent cannot be called back."""
        return await self.view(await self._messages.cancel(caller, message_id))

    @command(
        "messages retry MESSAGE_ID",
        example="hub messages retry 4e21a9",
        json="message",
        help="Retry a message now if it waits; send it again if it failed or expired.",
        ids="message_id",
        message="{*|delivery}",
    )
    @route(
        "POST",
        "/v1/messages/{message_id}/retry",
        Scope.RUN,
        errors=[_E.UNKNOWN_MESSAGE, _E.MESSAGE_SETTLED, _E.LIMIT_REACHED],
    )
    @audited("message.retried")
    async def retry(self, caller: Caller, message_id: str) -> MessageView:
        """Try a waiting message now; send a failed or expired one again, as another message."""
        return await self.view(await self._messages.retry(caller, message_id))

    @device(Method.MESSAGES_LIST, "its own agents", Grant.COORDINATION)
    async def of_device(
        self, agents: OwnAgents, paging: Paging, states: tuple[MessageState, ...] = ()
    ) -> dict[str, Any]:
        """Return the messages to agents of a device, the newest first."""
        ids = [agent.id for agent in agents]
        rows = await self._messages.of_agents(ids, states=states, limit=paging.limit)
        return {"messages": list(map(_ROW, rows[: fitting(rows)]))}

    @device(Method.MESSAGES_ANSWER, "its own agents", Grant.COORDINATION)
    @audited("message.answered")
    async def answer(self, link: Link, message_id: str, answer: str) -> dict[str, Any]:
        """Answer a message to an agent of a device."""
        return {"message": _ROW(await self._messages.answer_at_device(link.device_id, message_id, answer))}

    async def view(self, row: MessageRow) -> MessageView:
        """Return the response model of a message."""
        (view,) = await self._views([row])
        return view

    async def _views(self, rows: Sequence[MessageRow]) -> list[MessageView]:
        senders, names = await self._store.read(_names, rows)
        return [
            MessageView.from_row(
                row,
                sent_by=senders[row.actor],
                agent=row.to_agent,
                agent_id=row.to_agent_id,
                device=None if row.device_id is None else names.get(row.device_id),
                waiting_for=self._why_away(row) if row.state is MessageState.WAITING else None,
                next_look_at=row.not_before if row.settled_at is None else None,
            )
            for row in rows
        ]


def _names(c: Connection, rows: Sequence[MessageRow]) -> tuple[dict[str, str], dict[DeviceId, str]]:
    """Return the names of the senders and of the devices of messages."""
    device_ids = {row.device_id for row in rows if row.device_id is not None}
    actors = audit.actor_names(c, {row.actor for row in rows})
    return actors, devices.names_of_devices(c, device_ids)

"""Routes of messages between agents, to leads of boards, and of broadcasts to many boards."""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Final, Literal, cast

from msgspec import Meta, structs

from hub.api.device import Link, OwnAgents, fitting, object_of
from hub.api.resource import (
    ALL,
    MAX_LONG,
    Instant,
    ListPart,
    NotBlank,
    Paging,
    Resource,
    RetryKey,
    View,
    audited,
    command,
    cursor_of,
    device,
    listed,
    route,
)
from hub.base.clock import epoch_ms
from hub.base.roles import AGENT, Scope
from hub.coordination.board_access import Caller
from hub.coordination.broadcasts import BroadcastService, BroadcastStatus
from hub.coordination.messages import (
    MAX_WAIT_S,
    WAIT_S,
    LeadMessages,
    LeadService,
    MessageService,
    Nudge,
    ToLead,
)
from protocol.agent_messages import DELIVERED, MessageKind, MessageState, QueueMode
from protocol.calls import REPLY_TAGS
from protocol.coordination import Method, attempt_key
from protocol.errors import ErrorCode
from protocol.grants import Grant
from protocol.ids import DeviceId
from storage import audit
from storage.agents import agents
from storage.coordination.message_rows import MessageRow
from storage.coordination.messages import BoardResult, RefusedBoard
from storage.devices import devices
from storage.kernel.columns import Key as SortKey
from storage.store import Connection, Store

_E = ErrorCode
_Word = Annotated[str, Meta(max_length=128)]
_Wait = Annotated[
    float,
    Meta(ge=0, le=MAX_WAIT_S, description="So many seconds the answer waits for the message's delivery."),
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

    content: Annotated[NotBlank, Meta(examples=["The release is at noon: is the changelog ready?"])]
    deliver: bool = True
    queue_mode: Annotated[_Word, Meta(examples=[str(mode) for mode in QueueMode])] | None = None
    correlation_id: Annotated[_Word, Meta(examples=["order-17"])] | None = None


class MessagesResource(Resource):
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
        key: RetryKey = None,
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
        most=MAX_LONG,
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
        part: ListPart = ALL,
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


Wait = Annotated[
    float, Meta(ge=0, le=MAX_WAIT_S, description="So many seconds the answer waits for what was asked for.")
]
_SENDING: Final = (
    _E.UNKNOWN_BOARD,
    _E.NO_LEAD,
    _E.NO_GATEWAY,
    _E.NO_SESSION,
    _E.LIMIT_REACHED,
    _E.GATEWAY_REFUSED,
    _E.GATEWAY_FORBIDDEN,
)
_ENSURING: Final = (
    _E.UNKNOWN_BOARD,
    _E.NO_LEAD,
    _E.NO_GATEWAY,
    _E.LIMIT_REACHED,
    _E.GATEWAY_REFUSED,
    _E.GATEWAY_FORBIDDEN,
    _E.GATEWAY_INVALID,
)
MESSAGE_OPTIONS: Final = {
    "kind": "--handoff: Send a handoff of work instead of a question.",
    "correlation_id": "Your own reference, to find the message by.",
}
_OF_THE_MAIN: Final = (_E.NOT_YOUR_BOARD, _E.NOT_GATEWAY_MAIN)
LeadStateWord = Literal["ready", "wanted", "creating", "failed"]
LeadKindWord = Literal["question", "handoff"]


class LeadView(View, kw_only=True):
    """A board's lead.

    *state*: of its creation at its gateway; one that lives on a device is ready. *problem*: why it is not
    ready. *lead_created*: it was created by this request.
    """

    board: str
    board_id: str
    agent: str
    agent_id: str
    gateway: str | None = None
    device: str | None = None
    remote_id: str | None = None  # its id at its gateway
    state: LeadStateWord
    problem: str | None = None
    lead_created: bool = False


class LeadMessageView(View, kw_only=True):
    """A message to the lead of a board. *lead_created*: the lead was created for it."""

    board: str | None = None
    board_id: str | None = None
    lead_agent_id: str
    lead_agent_name: str
    lead_created: bool = False
    message: MessageView


class LeadMessageBody(View):
    """A message to a lead. *kind*: whether it is to answer a question or to take over work."""

    content: Annotated[NotBlank, Meta(examples=["Is the changelog ready?"])]
    kind: LeadKindWord = "question"
    correlation_id: Annotated[_Word, Meta(examples=["order-17"])] | None = None
    reply_tags: Annotated[
        tuple[str, ...], Meta(max_length=REPLY_TAGS, examples=[["gateway_main", "lead_reply"]])
    ] = ()
    reply_source: Annotated[_Word, Meta(examples=["lead_to_gateway_main"])] | None = None

    def message(self, dedupe_key: str | None) -> ToLead:
        """Return the message to send; one with the same key is sent only once."""
        return ToLead(
            content=self.content,
            kind=MessageKind(self.kind),
            correlation_id=self.correlation_id,
            reply_tags=self.reply_tags,
            reply_source=self.reply_source,
            dedupe_key=dedupe_key,
        )


class LeadsResource(Resource):
    """Leads of boards."""

    name, path = "leads", ""
    is_scoped = False

    def __init__(self, leads: LeadService, sent: LeadMessages, messages: MessagesResource) -> None:
        self._leads = leads
        self._sent = sent
        self._messages = messages

    @command(
        "boards ensure-lead BOARD",
        example="hub boards ensure-lead house --wait 30",
        json="lead",
        help="Make sure that a board has a lead. If needed, one is created at the board's gateway.",
        options={"wait_s": "Time to wait until the lead is ready."},
        message="{agent} {*|lead_origin} board {board}",
        notes=("*|lead_creation",),
    )
    @route("POST", "/v1/boards/{board}/lead/ensure", Scope.RUN, errors=_ENSURING)
    @route("POST", "/v1/agent/boards/{board}/lead/ensure", AGENT, errors=[*_ENSURING, *_OF_THE_MAIN])
    @audited("board.lead")
    async def ensure(self, caller: Caller, board: str, wait_s: Wait = 30.0) -> LeadView:
        """Ensure that a board has a lead: where it has none, one is created at its gateway.

        Of agents, for the main agent of the board's gateway. The response is sent once the lead is ready,
        or after *wait_s* with its state by then: its creation goes on.
        """
        found = await self._leads.see_to(caller, board, wait_s=wait_s)
        home = found.home
        return LeadView(
            board=found.board.name,
            board_id=found.board.id,
            agent=found.lead.name,
            agent_id=found.lead.agent_id,
            gateway=None if home is None else home.gateway_name,
            device=found.lead.device_name,
            remote_id=None if home is None else home.remote_id,
            state=cast("LeadStateWord", "ready" if home is None else home.state),
            problem=None if home is None else home.problem,
            lead_created=found.is_created,
        )

    @command(
        "messages lead BOARD CONTENT...",
        example="hub messages lead house 'Report by noon.'",
        json="message",
        help="Send a message to the lead of a board, which is created if needed.",
        options=MESSAGE_OPTIONS | {"wait_s": "Time to wait for the delivery."},
        message="{message|delivery}",
    )
    @route("POST", "/v1/boards/{board}/lead/message", Scope.RUN, errors=_SENDING, status=201)
    @route(
        "POST",
        "/v1/agent/boards/{board}/lead/message",
        AGENT,
        errors=[*_SENDING, *_OF_THE_MAIN],
        status=201,
    )
    @audited("message.sent")
    async def message(
        self, caller: Caller, board: str, body: LeadMessageBody, wait_s: Wait = WAIT_S, key: RetryKey = None
    ) -> LeadMessageView:
        """Send a message to the lead of a board, which is created where there is none.

        Of agents, for the main agent of the board's gateway. The response is sent once the lead has the
        message, or after *wait_s* with its state by then: it is stored, and delivered as soon as possible.
        """
        sent = await self._sent.send(caller, board, body.message(key), wait_s=wait_s)
        row = sent.message
        return LeadMessageView.from_row(
            row,
            lead_agent_id=row.to_agent_id or sent.lead.agent_id,
            lead_agent_name=row.to_agent or sent.lead.name,
            lead_created=sent.lead_created,
            message=await self._messages.view(row),
        )


MAX_RESULTS: Final = 1_000  # in the response to the sender; the others are read by the broadcast's id
MAX_BROADCASTS: Final = 100  # in one page, as each may be long
MAX_NAMED: Final = 10_000  # boards in one request; the limit of a broadcast is boards_per_broadcast
_WAIT_HELP: Final = "Time to wait until all leads have received it."
ResultWord = Literal[
    "waiting",
    "sent",
    "accepted",
    "queued",
    "consumed",
    "answered",
    "interrupted",
    "failed",
    "expired",
    "refused",
]


class BroadcastResultView(View, kw_only=True):
    """The result of a broadcast at one board.

    *ok*: its lead has it. *code* and *error* say why not. Of an unknown board, *board_id* is missing, and
    *board* is the name from the request. A board that was refused got no message. *lead_agent_id* and
    *lead_agent_name* are *lead_id* and *lead*, as ``LeadMessageView`` names them.
    """

    board: str | None = None
    board_id: str | None = None
    ok: bool
    state: ResultWord
    lead: str | None = None
    lead_id: str | None = None
    lead_agent_id: str | None = None
    lead_agent_name: str | None = None
    lead_created: bool = False
    gateway: str | None = None
    message_id: str | None = None
    code: str | None = None
    error: str | None = None


class BroadcastView(SentView, kw_only=True):
    """A broadcast to the leads of boards, and how many of them have it.

    *ok*: all of them. *waiting* ones are being delivered, or will be once their gateway is connected;
    *failed* ones are not tried again until the broadcast is resumed. *rounds* counts how often it was
    sent. *gateway*: whose main agent sent it; none: a person.
    """

    gateway: str | None = None
    kind: LeadKindWord
    from_agent: str | None = None
    sent_by: str
    ok: bool
    boards: int
    sent: int
    failed: int
    waiting: int
    rounds: int


class BroadcastDetail(BroadcastView):
    """A broadcast with its results at boards; *next_cursor* leads to the other results."""

    results: tuple[BroadcastResultView, ...] = ()
    next_cursor: str | None = None


class BroadcastBody(LeadMessageBody):
    """A message to the leads of many boards. *boards*, or *board_ids*: names or ids; left out, all boards."""

    aliases: ClassVar = {"board_ids": "boards"}

    boards: (
        Annotated[
            tuple[Annotated[str, Meta(min_length=1, max_length=200)], ...],
            Meta(min_length=1, max_length=MAX_NAMED, examples=[["roadmap", "garden"]]),
        ]
        | None
    ) = None


def _key(broadcast: BroadcastView) -> SortKey:
    return epoch_ms(broadcast.created_at), broadcast.id


class BroadcastsResource(Resource):
    """Broadcasts of operators, and of the main agents of gateways.

    Args:
        why_away: why the gateway of this name cannot be reached just now; ``None``: it can.
    """

    name, path = "broadcasts", ""
    is_scoped = False

    def __init__(
        self, store: Store, sent: BroadcastService, *, why_away: Callable[[str], str | None]
    ) -> None:
        self._store = store
        self._broadcasts = sent
        self._why_away = why_away

    @command(
        "messages broadcast CONTENT...",
        example="hub messages broadcast 'Report by noon.' --board house",
        json="broadcast",
        help="Send a message to the leads of all boards, or of some.\n\nMessages that cannot be delivered now"
        " are delivered later: see hub messages broadcast-show.",
        options=MESSAGE_OPTIONS
        | {"boards": "--board: Only to this board; may be given several times.", "wait_s": _WAIT_HELP},
        message="{*|counts}: {id}{results|errors}",
        fails_if="failed",
    )
    @route("POST", "/v1/broadcasts", Scope.RUN, errors=[_E.LIMIT_REACHED], status=201)
    @route("POST", "/v1/agent/broadcasts", AGENT, errors=[_E.LIMIT_REACHED, _E.NOT_GATEWAY_MAIN], status=201)
    @audited("broadcast.sent")
    async def send(
        self, caller: Caller, body: BroadcastBody, wait_s: Wait = WAIT_S, key: RetryKey = None
    ) -> BroadcastDetail:
        """Send a message to the leads of boards; of an agent, to those of its gateway.

        The response is sent once each lead has it or never will, or after *wait_s*: delivery goes on. An
        unknown board is reported among the results.
        """
        sent = await self._broadcasts.send(caller, body.message(key), body.boards, wait_s=wait_s)
        return await self._with_first_results(sent)

    @command(
        "messages broadcasts",
        example="hub messages broadcasts",
        json="broadcasts",
        help="List broadcasts, the newest first.",
        options={"limit": "--limit=20: Maximum number of broadcasts."},
        table=(
            "id|id as broadcast",
            "created_at|at as sent",
            "sent_by as from",
            "*|counts as result",
            "content|short as text",
        ),
        empty="no broadcasts",
    )
    @listed("/v1/broadcasts", Scope.READ, key=_key, most=MAX_BROADCASTS)
    @listed("/v1/agent/broadcasts", AGENT, key=_key, errors=[_E.NOT_GATEWAY_MAIN], most=MAX_BROADCASTS)
    async def page(self, caller: Caller, part: ListPart = ALL) -> list[BroadcastView]:
        """List broadcasts, the newest first; for the main agent of a gateway, its own."""
        found = await self._broadcasts.page(caller, limit=part.limit, after=part.after)
        named = await self._named(found)
        return [_view(broadcast, named) for broadcast in found]

    @route("GET", "/v1/broadcasts/{broadcast_id}", Scope.READ, errors=[_E.UNKNOWN_BROADCAST])
    @route(
        "GET",
        "/v1/agent/broadcasts/{broadcast_id}",
        AGENT,
        errors=[_E.UNKNOWN_BROADCAST, _E.NOT_GATEWAY_MAIN],
    )
    async def get(self, caller: Caller, paging: Paging, broadcast_id: str) -> BroadcastDetail:
        """Return a broadcast in its present state, with a page of its results at boards."""
        found = await self._broadcasts.get(caller, broadcast_id)
        rows = await self._broadcasts.results(found.row.id, after=paging.after, limit=paging.limit + 1)
        page = paging.fetched(rows, key=lambda one: (one.message_id,))
        refused = found.row.refused if paging.after is None else ()
        return await self._detail(found, refused, page.items, page.next_cursor)

    @command(
        "messages resume BROADCAST_ID",
        example="hub messages resume 4e21a9",
        json="broadcast",
        help="Send a broadcast again to the leads that have not received it.",
        options={"wait_s": _WAIT_HELP},
        message="{*|counts}: {id}{results|errors}",
        fails_if="failed",
    )
    @route(
        "POST",
        "/v1/broadcasts/{broadcast_id}/resume",
        Scope.RUN,
        errors=[_E.UNKNOWN_BROADCAST, _E.LIMIT_REACHED],
    )
    @route(
        "POST",
        "/v1/agent/broadcasts/{broadcast_id}/resume",
        AGENT,
        errors=[_E.UNKNOWN_BROADCAST, _E.LIMIT_REACHED, _E.NOT_GATEWAY_MAIN],
    )
    @audited("broadcast.resumed")
    async def resume(self, caller: Caller, broadcast_id: str, wait_s: Wait = WAIT_S) -> BroadcastDetail:
        """Send a broadcast again to those leads that never got it. Leads that may have it get nothing."""
        return await self._with_first_results(
            await self._broadcasts.resume(caller, broadcast_id, wait_s=wait_s)
        )

    async def _with_first_results(self, found: BroadcastStatus) -> BroadcastDetail:
        rows = await self._broadcasts.results(found.row.id, limit=MAX_RESULTS + 1)
        first = rows[:MAX_RESULTS]
        cursor = cursor_of((first[-1].message_id,)) if len(rows) > MAX_RESULTS else None
        return await self._detail(found, found.row.refused, first, cursor)

    async def _detail(
        self,
        found: BroadcastStatus,
        refused: Sequence[RefusedBoard],
        rows: Sequence[BoardResult],
        cursor: str | None,
    ) -> BroadcastDetail:
        results = (*map(_refused, refused), *map(self._result, rows))
        view = _view(found, await self._named([found]))
        return BroadcastDetail.from_row(view, results=results, next_cursor=cursor)

    async def _named(self, found: Sequence[BroadcastStatus]) -> dict[str, str]:
        """Return the names of the senders."""
        return await self._store.read(audit.actor_names, {broadcast.row.actor for broadcast in found})

    def _result(self, found: BoardResult) -> BroadcastResultView:
        code, error = found.code, found.error
        if found.state is MessageState.WAITING and found.gateway is not None:
            away = self._why_away(found.gateway)
            if away is not None:
                code, error = str(ErrorCode.GATEWAY_UNREACHABLE), away
        return BroadcastResultView.from_row(
            found,
            lead_agent_id=found.lead_id,
            lead_agent_name=found.lead,
            ok=found.state in DELIVERED,
            code=code,
            error=error,
        )


def _refused(one: RefusedBoard) -> BroadcastResultView:
    return BroadcastResultView.from_row(one, board=one.board or one.given, ok=False, state="refused")


def _view(found: BroadcastStatus, named: Mapping[str, str]) -> BroadcastView:
    return BroadcastView.from_row(
        found.row,
        found.tally,
        sent_by=named[found.row.actor],
        ok=found.is_ok,
        # A message that is retried by hand, or that was not received after all, is on its way again.
        settled_at=None if found.tally.waiting else found.row.settled_at,
    )

"""Leads of boards: created where there is none, and messages to them."""

from typing import Annotated, Final, Literal, cast

from msgspec import Meta

from hub.api.door.roles import AGENT, Scope
from hub.api.noun import Noun, audited, command, route
from hub.api.nouns.messages import Messages, MessageView
from hub.api.parameters import Key
from hub.api.view import View
from hub.coordination.authority import Caller
from hub.coordination.messages import MOST_WAIT_S, WAIT_S, LeadMessages, ToLead
from hub.coordination.messages import Leads as LeadService
from protocol.calls import REPLY_TAGS
from protocol.coordination import MessageKind
from protocol.errors import ErrorCode

_E = ErrorCode
_Word = Annotated[str, Meta(max_length=128)]
Wait = Annotated[
    float, Meta(ge=0, le=MOST_WAIT_S, description="So many seconds the answer waits for what was asked for.")
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

    content: Annotated[str, Meta(examples=["Is the changelog ready?"])]
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


class Leads(Noun):
    """Leads of boards."""

    name, path = "leads", ""
    is_scoped = False

    def __init__(self, leads: LeadService, sent: LeadMessages, messages: Messages) -> None:
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
        self, caller: Caller, board: str, body: LeadMessageBody, wait_s: Wait = WAIT_S, key: Key = None
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

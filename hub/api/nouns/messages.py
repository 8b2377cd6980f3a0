"""Messages between agents: said, looked at, taken back, tried again."""

from typing import Annotated, Final

from fastapi import Query
from pydantic import Field

from hub.api.deps import AnAgent, AnOperator, Key, NounRouter, WholeHub
from hub.api.errors import refusals
from hub.api.paging import Paging
from hub.api.views.messages import MessageDetail, MessageView
from hub.api.views.view import View
from hub.clock import epoch_ms
from hub.coordination.messages import MOST_WAIT_S, WAIT_S, Nudge
from protocol.errors import ErrorCode
from protocol.messages import MessageState, QueueMode

router = NounRouter(tags=["messages"])

_E = ErrorCode
MOST_MESSAGES: Final = 100  # in one page, as each may be long
_Word = Annotated[str, Field(max_length=128)]
_Wait = Annotated[
    float,
    Query(ge=0, le=MOST_WAIT_S, description="So many seconds the answer waits for the message's delivery."),
]
_SAYING: Final = (
    _E.UNKNOWN_BOARD,
    _E.UNKNOWN_AGENT,
    _E.NO_SESSION,
    _E.LIMIT_REACHED,
    _E.GATEWAY_REFUSED,
    _E.GATEWAY_FORBIDDEN,
    _E.CALL_UNSUPPORTED,
)


class MessagesPage(View):
    """Some messages, the newest first; *next_cursor* leads to those that are older."""

    messages: tuple[MessageView, ...]
    next_cursor: str | None = None


class NudgeBody(View):
    """What is said to the agent.

    *deliver*: its answer goes on to its own channel. *queue_mode*: how it is taken while the agent
    is busy: put into the running turn, after it, or instead of it; left out, as its gateway is set.
    """

    content: Annotated[str, Field(examples=["The release is at noon: is the changelog ready?"])]
    deliver: bool = True
    queue_mode: Annotated[_Word | None, Field(examples=[str(mode) for mode in QueueMode])] = None
    correlation_id: Annotated[_Word | None, Field(examples=["order-17"])] = None

    def nudge(self, key: str | None) -> Nudge:
        """As the hub takes it. *key*: what is said twice under one is said once."""
        return Nudge(**self.model_dump(), dedupe_key=key)


@router.post("/v1/boards/{board}/agents/{agent}/nudge", status_code=201, responses=refusals(*_SAYING))
async def nudge(
    hub: WholeHub,
    caller: AnOperator,
    board: str,
    agent: str,
    body: NudgeBody,
    wait_s: _Wait = WAIT_S,
    key: Key = None,
) -> MessageView:
    """Say something to an agent of a board.

    Answered once the agent has it, or after *wait_s* with the state that it has by then: it is kept,
    and brought as soon as that can be done.
    """
    return await hub.messages.nudge(caller, board, agent, body.nudge(key), wait_s=wait_s)


@router.get("/v1/messages", responses=refusals(_E.UNKNOWN_BOARD, _E.UNKNOWN_AGENT))
async def list_messages(
    hub: WholeHub,
    caller: AnOperator,
    paging: Paging,
    board: Annotated[
        str | None, Query(max_length=200, description="Only of this board, by name or id.")
    ] = None,
    agent: Annotated[
        str | None, Query(max_length=200, description="Only those that this agent sent or is to get.")
    ] = None,
    state: Annotated[
        list[MessageState] | None,
        Query(max_length=9, description="Only in this state; several: in one of them."),
    ] = None,
    correlation_id: Annotated[str | None, Query(max_length=128)] = None,
    broadcast_id: Annotated[str | None, Query(max_length=128)] = None,
) -> MessagesPage:
    """Messages to agents, the newest first."""
    paging.limit = min(paging.limit, MOST_MESSAGES)
    found = await hub.messages.page(
        caller,
        board=board,
        agent=agent,
        states=state or (),
        correlation_id=correlation_id,
        broadcast_id=broadcast_id,
        limit=paging.limit + 1,
        after=paging.after_number_and_text(),
    )
    page = paging.fetched(found, key=lambda one: (epoch_ms(one.created_at), one.id))
    return MessagesPage(messages=page.items, next_cursor=page.next_cursor)


@router.get("/v1/messages/{message_id}", responses=refusals(_E.UNKNOWN_MESSAGE))
async def get_message(hub: WholeHub, caller: AnOperator, message_id: str) -> MessageDetail:
    """One message, and each of its moves with what proves it."""
    return await hub.messages.get(caller, message_id)


@router.post("/v1/messages/{message_id}/cancel", responses=refusals(_E.UNKNOWN_MESSAGE, _E.MESSAGE_SETTLED))
async def cancel_message(hub: WholeHub, caller: AnOperator, message_id: str) -> MessageView:
    """Give a message up that its agent has not got yet. What has left cannot be called back."""
    return await hub.messages.cancel(caller, message_id)


@router.post(
    "/v1/messages/{message_id}/retry",
    responses=refusals(_E.UNKNOWN_MESSAGE, _E.MESSAGE_SETTLED, _E.LIMIT_REACHED),
)
async def retry_message(hub: WholeHub, caller: AnOperator, message_id: str) -> MessageView:
    """Try a message now that waits; say one anew, as another message, that failed or whose time was over."""
    return await hub.messages.retry(caller, message_id)


@router.post(
    "/v1/agent/boards/{board}/agents/{agent}/nudge",
    status_code=201,
    responses=refusals(*_SAYING, _E.NOT_YOUR_BOARD),
)
async def nudge_as_agent(
    hub: WholeHub,
    caller: AnAgent,
    board: str,
    agent: str,
    body: NudgeBody,
    wait_s: _Wait = WAIT_S,
    key: Key = None,
) -> MessageView:
    """Say something to an agent of the board: its lead to any other, any other to its lead."""
    return await hub.messages.nudge(caller, board, agent, body.nudge(key), wait_s=wait_s)


@router.get("/v1/agent/messages/{message_id}", responses=refusals(_E.UNKNOWN_MESSAGE))
async def get_message_as_agent(hub: WholeHub, caller: AnAgent, message_id: str) -> MessageDetail:
    """One message that the agent sent or is to get."""
    return await hub.messages.get(caller, message_id)

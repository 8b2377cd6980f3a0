"""Leads of boards: seen to, and spoken to, one or many at once."""

from typing import Annotated, Final, Literal

from fastapi import Query
from pydantic import Field

from hub.api.deps import AnAgent, AnOperator, Key, NounRouter, WholeHub
from hub.api.errors import refusals
from hub.api.facades.broadcasts import BroadcastStanding
from hub.api.paging import Paging, cursor_of
from hub.api.views.leads import BroadcastDetail, BroadcastView, LeadMessageView, LeadView
from hub.api.views.view import View
from hub.clock import epoch_ms
from hub.coordination.lead_messages import ToLead
from hub.coordination.messages import MOST_WAIT_S, WAIT_S
from protocol.errors import ErrorCode
from protocol.messages import MessageKind

router = NounRouter(tags=["leads"])

_E = ErrorCode
MOST_RESULTS: Final = 1_000  # in the answer to who sends; the others come by the id of the broadcast
_LIMIT: Final = MOST_RESULTS + 1  # one more says that there are more
MOST_BROADCASTS: Final = 100  # in one page, as each may be long
MOST_NAMED: Final = 10_000  # boards in one request; the limit of a broadcast is boards_per_broadcast
REPLY_TAGS: Final = 16
_Word = Annotated[str, Field(max_length=128)]
_Wait = Annotated[
    float,
    Query(ge=0, le=MOST_WAIT_S, description="So many seconds the answer waits for what was asked for."),
]
_SAYING: Final = (
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
_OF_THE_MAIN: Final = (_E.NOT_YOUR_BOARD, _E.NOT_GATEWAY_MAIN)


class LeadMessageBody(View):
    """What is said to a lead. *kind*: whether it is to answer something or to take work over."""

    content: Annotated[str, Field(examples=["Is the changelog ready?"])]
    kind: Literal["question", "handoff"] = "question"
    correlation_id: Annotated[_Word | None, Field(examples=["order-17"])] = None
    reply_tags: Annotated[
        tuple[str, ...], Field(max_length=REPLY_TAGS, examples=[["gateway_main", "lead_reply"]])
    ] = ()
    reply_source: Annotated[_Word | None, Field(examples=["lead_to_gateway_main"])] = None

    def said(self, dedupe_key: str | None) -> ToLead:
        """As the hub takes it; what comes under one key twice, is said once."""
        return ToLead(
            content=self.content,
            kind=MessageKind(self.kind),
            correlation_id=self.correlation_id,
            reply_tags=self.reply_tags,
            reply_source=self.reply_source,
            dedupe_key=dedupe_key,
        )


class BroadcastBody(LeadMessageBody):
    """What is said to the leads of many boards. *boards*: by name or id; left out, all that there are."""

    boards: Annotated[
        tuple[Annotated[str, Field(min_length=1, max_length=200)], ...] | None,
        Field(min_length=1, max_length=MOST_NAMED, examples=[["roadmap", "garden"]]),
    ] = None


class BroadcastsPage(View):
    """Some broadcasts, the newest first; *next_cursor* leads to those that are older."""

    broadcasts: tuple[BroadcastView, ...]
    next_cursor: str | None = None


@router.post("/v1/boards/{board}/lead/ensure", responses=refusals(*_ENSURING))
async def ensure_lead(hub: WholeHub, caller: AnOperator, board: str, wait_s: _Wait = 30.0) -> LeadView:
    """See to it that a board has a lead; where it has none, one is made at its gateway.

    Answered once it is ready, or after *wait_s* as far as it is: it goes on by itself.
    """
    return await hub.leads.ensure(caller, board, wait_s=wait_s)


@router.post("/v1/boards/{board}/lead/message", status_code=201, responses=refusals(*_SAYING))
async def message_lead(
    hub: WholeHub,
    caller: AnOperator,
    board: str,
    body: LeadMessageBody,
    wait_s: _Wait = WAIT_S,
    key: Key = None,
) -> LeadMessageView:
    """Say something to the lead of a board, which is made where there is none.

    Answered once the lead has it, or after *wait_s* with the state that it has by then: it is kept,
    and brought as soon as that can be done.
    """
    return await hub.leads.say(caller, board, body.said(key), wait_s=wait_s)


@router.post("/v1/broadcasts", status_code=201, responses=refusals(_E.LIMIT_REACHED))
async def send_broadcast(
    hub: WholeHub,
    caller: AnOperator,
    body: BroadcastBody,
    wait_s: _Wait = WAIT_S,
    key: Key = None,
) -> BroadcastDetail:
    """Say something to the leads of boards.

    Answered once all have it or never will, or after *wait_s*: what is on its way goes on. A board that
    there is not is told among the results.
    """
    limit = MOST_RESULTS + 1
    return _detail(await hub.broadcasts.send(caller, body.said(key), body.boards, wait_s=wait_s, limit=limit))


@router.get("/v1/broadcasts")
async def list_broadcasts(hub: WholeHub, caller: AnOperator, paging: Paging) -> BroadcastsPage:
    """Broadcasts, the newest first."""
    return await _page(hub, caller, paging)


@router.get("/v1/broadcasts/{broadcast_id}", responses=refusals(_E.UNKNOWN_BROADCAST))
async def get_broadcast(
    hub: WholeHub, caller: AnOperator, paging: Paging, broadcast_id: str
) -> BroadcastDetail:
    """A broadcast as it stands now, and what became of it at its boards, page by page."""
    return await _one(hub, caller, paging, broadcast_id)


@router.post(
    "/v1/broadcasts/{broadcast_id}/resume", responses=refusals(_E.UNKNOWN_BROADCAST, _E.LIMIT_REACHED)
)
async def resume_broadcast(
    hub: WholeHub, caller: AnOperator, broadcast_id: str, wait_s: _Wait = WAIT_S
) -> BroadcastDetail:
    """Say it again to those leads that never got it; whose lead has it, or may have it, gets nothing."""
    return _detail(await hub.broadcasts.resume(caller, broadcast_id, wait_s=wait_s, limit=_LIMIT))


@router.post("/v1/agent/boards/{board}/lead/ensure", responses=refusals(*_ENSURING, *_OF_THE_MAIN))
async def ensure_lead_as_agent(hub: WholeHub, caller: AnAgent, board: str, wait_s: _Wait = 30.0) -> LeadView:
    """See to it that a board has a lead. For the main agent of the board's gateway."""
    return await hub.leads.ensure(caller, board, wait_s=wait_s)


@router.post(
    "/v1/agent/boards/{board}/lead/message",
    status_code=201,
    responses=refusals(*_SAYING, *_OF_THE_MAIN),
)
async def message_lead_as_agent(
    hub: WholeHub,
    caller: AnAgent,
    board: str,
    body: LeadMessageBody,
    wait_s: _Wait = WAIT_S,
    key: Key = None,
) -> LeadMessageView:
    """Say something to the lead of a board. For the main agent of the board's gateway."""
    return await hub.leads.say(caller, board, body.said(key), wait_s=wait_s)


@router.post(
    "/v1/agent/broadcasts", status_code=201, responses=refusals(_E.LIMIT_REACHED, _E.NOT_GATEWAY_MAIN)
)
async def send_broadcast_as_agent(
    hub: WholeHub,
    caller: AnAgent,
    body: BroadcastBody,
    wait_s: _Wait = WAIT_S,
    key: Key = None,
) -> BroadcastDetail:
    """Say something to the leads of boards of the gateway whose main agent asks."""
    limit = MOST_RESULTS + 1
    return _detail(await hub.broadcasts.send(caller, body.said(key), body.boards, wait_s=wait_s, limit=limit))


@router.get("/v1/agent/broadcasts", responses=refusals(_E.NOT_GATEWAY_MAIN))
async def list_broadcasts_as_agent(hub: WholeHub, caller: AnAgent, paging: Paging) -> BroadcastsPage:
    """Broadcasts of the gateway's main agent, the newest first."""
    return await _page(hub, caller, paging)


@router.get(
    "/v1/agent/broadcasts/{broadcast_id}", responses=refusals(_E.UNKNOWN_BROADCAST, _E.NOT_GATEWAY_MAIN)
)
async def get_broadcast_as_agent(
    hub: WholeHub, caller: AnAgent, paging: Paging, broadcast_id: str
) -> BroadcastDetail:
    """A broadcast of the gateway's main agent as it stands now."""
    return await _one(hub, caller, paging, broadcast_id)


@router.post(
    "/v1/agent/broadcasts/{broadcast_id}/resume",
    responses=refusals(_E.UNKNOWN_BROADCAST, _E.LIMIT_REACHED, _E.NOT_GATEWAY_MAIN),
)
async def resume_broadcast_as_agent(
    hub: WholeHub, caller: AnAgent, broadcast_id: str, wait_s: _Wait = WAIT_S
) -> BroadcastDetail:
    """Say a broadcast of the gateway's main agent again to those leads that never got it."""
    return _detail(await hub.broadcasts.resume(caller, broadcast_id, wait_s=wait_s, limit=_LIMIT))


async def _page(hub: WholeHub, caller: AnOperator, paging: Paging) -> BroadcastsPage:
    paging.limit = min(paging.limit, MOST_BROADCASTS)
    found = await hub.broadcasts.page(caller, limit=paging.limit + 1, after=paging.after_number_and_text())
    page = paging.fetched(found, key=lambda one: (epoch_ms(one.created_at), one.id))
    return BroadcastsPage(broadcasts=page.items, next_cursor=page.next_cursor)


async def _one(hub: WholeHub, caller: AnOperator, paging: Paging, id: str) -> BroadcastDetail:
    found = await hub.broadcasts.get(caller, id, limit=paging.limit + 1, after=paging.after_text())
    refused = [one for one in found.results if one.message_id is None]
    page = paging.fetched(
        [one for one in found.results if one.message_id is not None], key=lambda one: (one.message_id or "",)
    )
    return BroadcastDetail(
        **found.view.model_dump(), results=(*refused, *page.items), next_cursor=page.next_cursor
    )


def _detail(found: BroadcastStanding) -> BroadcastDetail:
    """With the first results; those that are left are told by the id of the broadcast."""
    results = found.results
    brought = [one for one in found.results if one.message_id is not None]
    cursor = None
    if len(brought) > MOST_RESULTS:
        results = found.results[:-1]
        cursor = cursor_of((brought[MOST_RESULTS - 1].message_id or "",))
    return BroadcastDetail(**found.view.model_dump(), results=results, next_cursor=cursor)

"""Boards: the agents that work on one thing together, their lead, and what they remember."""

from typing import Annotated, Final

from fastapi import Depends, Query, Response
from pydantic import Field

from hub.api.deps import AnAgent, AnOperator, Key, NounRouter, WholeHub
from hub.api.errors import refusals
from hub.api.etags import Match, tag_of
from hub.api.facade import HubFacade
from hub.api.paging import PageOf, Paging
from hub.api.views.boards import AgentSelfView, BoardDetail, BoardView, MemoryView, RememberedView
from hub.api.views.view import View
from hub.clock import epoch_ms
from hub.coordination.authority import Caller
from hub.settings.values import Name
from protocol.errors import ErrorCode
from storage.coordination.board_memory import MemoryFilter

router = NounRouter(tags=["boards"])

_E = ErrorCode
MOST_ITEMS: Final = 100  # in one page, as each may be long
_OF_AGENTS: Final = refusals(_E.UNKNOWN_BOARD, _E.NOT_YOUR_BOARD)
_Word = Annotated[str, Field(max_length=128)]
Description = Annotated[str, Field(max_length=2_000, pattern=r"^[^\x00]*$")]


class Boards(View):
    """Some boards in order; *next_cursor* leads to those after them."""

    boards: tuple[BoardView, ...]
    next_cursor: str | None = None


class BoardBody(View):
    """A board to be made. *gateway*: the OpenClaw gateway whose main agent serves it, by its name."""

    name: Name
    description: Description | None = None
    gateway: Annotated[str, Field(max_length=200, examples=["home"])] | None = None


class BoardChanges(View):
    """What is to change; what is left out stays, and null takes away."""

    name: Name | None = None
    description: Description | None = None
    gateway: Annotated[str, Field(max_length=200, examples=["home"])] | None = None


class NewMember(View):
    """An agent to come on a board, by its name or id."""

    agent: Annotated[str, Field(min_length=1, max_length=200)]
    is_lead: bool = False


class Lead(View):
    """Which agent of the board is to be its lead, by its name or id; null: none."""

    agent: Annotated[str, Field(min_length=1, max_length=200)] | None


class Memory(View):
    """Some of what a board remembers, the newest first; *next_cursor* leads to what is older."""

    memory: tuple[MemoryView, ...]
    next_cursor: str | None = None


class MemoryBody(View):
    """What is to be remembered. *reply_to*: the id of a message or a question that it answers."""

    content: Annotated[str, Field(examples=["The invoices are done."])]
    tags: Annotated[tuple[str, ...], Field(max_length=64, examples=[["gateway_main", "lead_reply"]])] = ()
    is_chat: bool = False
    source: Annotated[_Word | None, Field(examples=["lead_to_gateway_main"])] = None
    correlation_id: Annotated[_Word | None, Field(examples=["order-17"])] = None
    reply_to: _Word | None = None


def _wanted(
    tag: Annotated[
        list[str] | None, Query(max_length=16, description="Only items with this tag; several: with all.")
    ] = None,
    is_chat: Annotated[bool | None, Query(description="Only chat, or only what is to be kept.")] = None,
    source: Annotated[str | None, Query(max_length=128)] = None,
    correlation_id: Annotated[str | None, Query(max_length=128)] = None,
    reply_to: Annotated[str | None, Query(max_length=128, description="Only replies to this.")] = None,
) -> MemoryFilter:
    return MemoryFilter(
        tags=tuple(tag or ()),
        is_chat=is_chat,
        source=source,
        correlation_id=correlation_id,
        reply_to=reply_to,
    )


Wanted = Annotated[MemoryFilter, Depends(_wanted)]


@router.get("/v1/boards")
async def list_boards(hub: WholeHub, caller: AnOperator, paging: Paging) -> Boards:
    """The boards, by name."""
    page = paging.cut(await hub.boards.all(caller), key=_key)
    return Boards(boards=page.items, next_cursor=page.next_cursor)


@router.post(
    "/v1/boards",
    status_code=201,
    responses=refusals(_E.NAME_TAKEN, _E.UNKNOWN_GATEWAY, _E.LIMIT_REACHED, _E.UNKNOWN_USER),
)
async def create_board(
    hub: WholeHub, caller: AnOperator, body: BoardBody, match: Match, response: Response
) -> BoardDetail:
    """Make a board; with ``user``, as that user's."""
    made = await hub.boards.create(caller, body.name, description=body.description, gateway=body.gateway)
    response.headers["location"] = f"/v1/boards/{made.id}"
    match.tell(_tag_of(made))
    return made


@router.get("/v1/boards/{board}", responses=refusals(_E.UNKNOWN_BOARD))
async def get_board(hub: WholeHub, caller: AnOperator, board: str, match: Match) -> BoardDetail:
    """One board, by its id or name, with the agents on it."""
    found = await hub.boards.get(caller, board)
    match.tell(_tag_of(found))
    return found


@router.patch("/v1/boards/{board}", responses=refusals(_E.UNKNOWN_BOARD, _E.NAME_TAKEN, _E.UNKNOWN_GATEWAY))
async def edit_board(
    hub: WholeHub, caller: AnOperator, board: str, changes: BoardChanges, match: Match
) -> BoardDetail:
    """Change what is said of a board."""
    if match.is_asked:
        match.check(_tag_of(await hub.boards.get(caller, board)))
    said = changes.model_dump(exclude_unset=True)
    if said.get("name", "") is None:
        del said["name"]
    done = await hub.boards.edit(caller, board, said)
    match.tell(_tag_of(done))
    return done


@router.delete("/v1/boards/{board}", responses=refusals(_E.UNKNOWN_BOARD))
async def remove_board(hub: WholeHub, caller: AnOperator, board: str, match: Match) -> BoardView:
    """Remove a board with all that it remembers. Its agents stay; they are on no board then."""
    if match.is_asked:
        match.check(_tag_of(await hub.boards.get(caller, board)))
    return await hub.boards.remove(caller, board)


@router.get("/v1/boards/{board}/agents", responses=refusals(_E.UNKNOWN_BOARD))
async def list_board_agents(hub: WholeHub, caller: AnOperator, board: str) -> BoardDetail:
    """The agents on a board, its lead first."""
    return await hub.boards.get(caller, board)


@router.post(
    "/v1/boards/{board}/agents",
    status_code=201,
    responses=refusals(_E.UNKNOWN_BOARD, _E.UNKNOWN_AGENT, _E.ILLEGAL_TRANSITION, _E.LIMIT_REACHED),
)
async def add_board_agent(hub: WholeHub, caller: AnOperator, board: str, new: NewMember) -> BoardDetail:
    """Let an agent come on a board. It is on one at most."""
    return await hub.boards.add_agent(caller, board, new.agent, is_lead=new.is_lead)


@router.delete("/v1/boards/{board}/agents/{agent}", responses=refusals(_E.UNKNOWN_BOARD, _E.UNKNOWN_AGENT))
async def drop_board_agent(hub: WholeHub, caller: AnOperator, board: str, agent: str) -> BoardDetail:
    """Take an agent off a board."""
    return await hub.boards.drop_agent(caller, board, agent)


@router.put("/v1/boards/{board}/lead", responses=refusals(_E.UNKNOWN_BOARD, _E.UNKNOWN_AGENT))
async def set_board_lead(hub: WholeHub, caller: AnOperator, board: str, lead: Lead) -> BoardDetail:
    """Make one of the board's agents its lead. There is one at most."""
    return await hub.boards.set_lead(caller, board, lead.agent)


@router.get("/v1/boards/{board}/memory", responses=refusals(_E.UNKNOWN_BOARD))
async def list_memory(
    hub: WholeHub, caller: AnOperator, board: str, paging: Paging, wanted: Wanted
) -> Memory:
    """What a board remembers, the newest first."""
    return await _page_of(hub, caller, board, paging, wanted)


@router.post(
    "/v1/boards/{board}/memory",
    status_code=201,
    responses=refusals(_E.UNKNOWN_BOARD, _E.LIMIT_REACHED),
)
async def add_memory(
    hub: WholeHub, caller: AnOperator, board: str, body: MemoryBody, key: Key = None
) -> RememberedView:
    """Write into a board's memory. An item that replies to a message or a question answers it."""
    return await hub.boards.remember(caller, board, **body.model_dump(), key=key)


@router.delete(
    "/v1/boards/{board}/memory/{memory_id}", responses=refusals(_E.UNKNOWN_BOARD, _E.UNKNOWN_MEMORY)
)
async def remove_memory(hub: WholeHub, caller: AnOperator, board: str, memory_id: str) -> MemoryView:
    """Take an item out of a board's memory. What it answered stays answered."""
    return await hub.boards.forget(caller, board, memory_id)


@router.get("/v1/agent", responses=refusals(_E.UNKNOWN_AGENT))
async def who_am_i(hub: WholeHub, caller: AnAgent) -> AgentSelfView:
    """What the agent that asks is: its name, its board, and what it is there."""
    return await hub.boards.me(caller)


@router.get("/v1/agent/boards", responses=refusals(_E.UNKNOWN_AGENT))
async def list_own_boards(hub: WholeHub, caller: AnAgent, paging: Paging) -> Boards:
    """The board of the agent that asks; of a gateway's main agent: those of its gateway."""
    page = paging.cut(await hub.boards.all(caller), key=_key)
    return Boards(boards=page.items, next_cursor=page.next_cursor)


@router.get("/v1/agent/boards/{board}", responses=_OF_AGENTS)
async def get_own_board(hub: WholeHub, caller: AnAgent, board: str) -> BoardDetail:
    """A board of the agent that asks, with the agents on it."""
    return await hub.boards.get(caller, board)


@router.get("/v1/agent/boards/{board}/memory", responses=_OF_AGENTS)
async def list_own_memory(
    hub: WholeHub, caller: AnAgent, board: str, paging: Paging, wanted: Wanted
) -> Memory:
    """What a board of the agent that asks remembers, the newest first."""
    return await _page_of(hub, caller, board, paging, wanted)


@router.post(
    "/v1/agent/boards/{board}/memory",
    status_code=201,
    responses=refusals(_E.UNKNOWN_BOARD, _E.NOT_YOUR_BOARD, _E.LIMIT_REACHED),
)
async def add_own_memory(
    hub: WholeHub, caller: AnAgent, board: str, body: MemoryBody, key: Key = None
) -> RememberedView:
    """Write into a board's memory in the agent's own name. So messages and questions are answered."""
    return await hub.boards.remember(caller, board, **body.model_dump(), key=key)


def _key(board: BoardView) -> tuple[str, str]:
    return board.name, board.id


async def _page_of(
    hub: HubFacade, caller: Caller, board: str, paging: PageOf, wanted: MemoryFilter
) -> Memory:
    paging.limit = min(paging.limit, MOST_ITEMS)
    after, limit = paging.after_number_and_text(), paging.limit + 1
    found = await hub.boards.memory(caller, board, wanted, after=after, limit=limit)
    page = paging.fetched(found, key=lambda item: (epoch_ms(item.created_at), item.id))
    return Memory(memory=page.items, next_cursor=page.next_cursor)


def _tag_of(board: BoardView) -> str:
    return tag_of(board.id, board.name, board.description, board.gateway)

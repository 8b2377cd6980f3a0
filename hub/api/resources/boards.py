"""Routes of boards and board memories: create, edit, assign agents, write and list memory items."""

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Final, Literal

from msgspec import UNSET, Meta, UnsetType, structs

from hub.api.binding import BodyField, From
from hub.api.device import object_of
from hub.api.resource import (
    ALL,
    MAX_LONG,
    Instant,
    ListPage,
    ListPart,
    Name,
    Paging,
    Resource,
    RetryKey,
    View,
    audited,
    command,
    device,
    listed,
    route,
)
from hub.base.clock import Clock, IdFactory
from hub.base.log import Channel
from hub.base.metrics import Metrics
from hub.base.roles import AGENT, Scope
from hub.coordination import board_access
from hub.coordination.board_access import Caller
from hub.coordination.questions import BoardMemory
from protocol.board_permissions import BoardCallerRole, Verb
from protocol.coordination import Method
from protocol.errors import CodedError, ErrorCode
from protocol.grants import Grant
from protocol.ids import AgentId, BoardId, GatewayId, UserId
from storage.agents import agents
from storage.coordination import boards, gateways
from storage.coordination.board_memory import MemoryFilter
from storage.coordination.boards import BoardLimits, BoardRow, MemberRow, TooManyOfBoards
from storage.store import Connection, Store

log = Channel(__name__)

_E = ErrorCode
Description = Annotated[str, Meta(max_length=2_000, pattern=r"^[^\x00]*$")]
BoardRole = Literal["lead", "worker", "gateway_main"]

_ROLES: Mapping[BoardCallerRole, BoardRole] = {
    BoardCallerRole.LEAD: "lead",
    BoardCallerRole.WORKER: "worker",
    BoardCallerRole.GATEWAY_MAIN: "gateway_main",
}


_RECORD = object_of("id as board_id", "name", "description", "gateway", "lead", "lead_id", "agents")


class BoardView(View, kw_only=True):
    """A board. *lead*: the name of its lead; *agents* counts those on it, the lead too."""

    id: str
    name: str
    user: str = ""
    description: str | None = None
    gateway: str | None = None
    lead: str | None = None
    lead_id: str | None = None
    agents: int
    created_at: Instant
    updated_at: Instant


class BoardAgentView(View, kw_only=True):
    """An agent on a board, and where it lives: on a device or on a gateway."""

    id: str
    name: str
    is_lead: bool
    device: str | None = None
    gateway: str | None = None
    availability: str
    connectivity: str
    joined_at: Instant


class BoardDetail(BoardView):
    """A board with the agents on it, its lead first."""

    members: tuple[BoardAgentView, ...] = ()


class AgentSelfView(View):
    """An agent as it sees itself. *board*: its own; *gateway*: of which it is the main agent."""

    id: str
    name: str
    user: str
    role: BoardRole | None = None  # None: it is on no board
    board: BoardView | None = None
    gateway: str | None = None


_BOARD_BODY: Final = BodyField(
    "BoardBody", "A board to create. *gateway*: name of the OpenClaw gateway whose main agent serves it."
)


_BOARD_CHANGES: Final = BodyField(
    "BoardChanges", "Changes of a board: what is left out stays, and null removes a value."
)


_NEW_MEMBER: Final = BodyField("NewMember", "An agent to add to a board, by its name or id.")


class BoardsResource(Resource):
    """Boards, by name or id."""

    name, path = "boards", ""
    tagged = ("id", "name", "description", "gateway")
    is_scoped = False

    def __init__(
        self,
        store: Store,
        *,
        owner_id: UserId,
        clock: Clock,
        ids: IdFactory,
        metrics: Metrics,
    ) -> None:
        self._store = store
        self._owner_id = owner_id
        self._clock = clock
        self._ids = ids
        self._limits_reached = metrics.limits_reached
        self.limits = BoardLimits()

    @command(
        "boards ls",
        help="List the boards by name.",
        example="hub boards ls",
        json="boards",
        table=("name as board", "user", "lead", "agents", "gateway", "description"),
        empty="no boards; create one: hub boards create NAME",
    )
    @listed("/v1/boards", Scope.READ, key=lambda board: (board.name, board.id))
    @listed("/v1/agent/boards", AGENT, key=lambda board: (board.name, board.id), errors=[_E.UNKNOWN_AGENT])
    @device(
        Method.BOARDS_LIST,
        "its user's boards",
        Grant.COORDINATION,
        answer=lambda boards: {"boards": list(map(_RECORD, boards))},
    )
    async def all(self, caller: Caller, part: ListPart = ALL) -> list[BoardView]:
        """List the boards by name.

        An agent sees its own board, the main agent of a gateway those of its gateway.
        """
        rows = await self._store.read(board_access.boards_of, caller, limit=part.limit, after=part.after)
        return [_view(row) for row in rows]

    @command(
        "boards create NAME",
        help="Create a board; with --user, as that user's board.",
        example="hub boards create house --gateway home",
        json="board",
        options={
            "gateway": "Gateway whose main agent serves the board.",
            "description": "Description of the board.",
        },
        message="board {name} is created; add agents to it: hub boards add {name} AGENT",
    )
    @route(
        "POST",
        "/v1/boards",
        Scope.DEVICES,
        errors=[_E.NAME_TAKEN, _E.UNKNOWN_GATEWAY, _E.LIMIT_REACHED, _E.UNKNOWN_USER],
        status=201,
        is_tagged=True,
        location="/v1/boards/{0.id}",
    )
    @audited("board.created")
    async def create(
        self,
        caller: Caller,
        name: Annotated[Name, _BOARD_BODY],
        description: Annotated[Description | None, _BOARD_BODY] = None,
        gateway: Annotated[
            Annotated[str, Meta(max_length=200, examples=["home"])] | None, _BOARD_BODY
        ] = None,
    ) -> BoardDetail:
        """Create a board; with ``user``, as that user's, else as the owner's."""
        user_id = caller.user_id or self._owner_id
        try:
            made = await self._store.write(
                boards.create_board,
                id=BoardId(self._ids.fresh()),
                user_id=user_id,
                name=name,
                description=description,
                gateway_id=await self._gateway(gateway, user_id),
                limits=self.limits,
                at=self._now,
                actor=caller.actor,
            )
        except TooManyOfBoards as exc:
            raise self._counted(exc) from None
        log.info("board.created", board_id=made.id, actor=caller.actor)
        return await self._detail(made)

    @command(
        "boards show BOARD",
        example="hub boards show house",
        json="board",
        facts=("name as board", "id", "user", "gateway", "description", "created_at|moment as created"),
        rows="members",
        table=(
            "name as agent",
            "*|board_role as role",
            "*|home as gateway/device",
            "availability",
            "connectivity",
            "joined_at|at as joined",
        ),
        empty="no agents on the board; add one: hub boards add {name} AGENT",
    )
    @route("GET", "/v1/boards/{board}", Scope.READ, errors=[_E.UNKNOWN_BOARD], is_tagged=True)
    async def get(self, caller: Caller, board: str) -> BoardDetail:
        """Return a board, by its id or name, with its agents."""
        return _detail(*await self._store.read(_read_board, caller, board))

    @command(
        "boards edit BOARD",
        example="hub boards edit house --description 'the move'",
        json="board",
        options={
            "name": "New name of the board.",
            "gateway": "--gateway/--no-gateway: Gateway whose main agent serves the board.",
            "description": "Description of the board.",
        },
        message="board {name} is changed",
    )
    @route(
        "PATCH",
        "/v1/boards/{board}",
        Scope.DEVICES,
        errors=[_E.UNKNOWN_BOARD, _E.NAME_TAKEN, _E.UNKNOWN_GATEWAY],
        is_tagged=True,
    )
    @audited("board.changed")
    async def edit(
        self,
        caller: Caller,
        board: str,
        name: Annotated[Name | None, _BOARD_CHANGES] = None,
        description: Annotated[Description | UnsetType | None, _BOARD_CHANGES] = UNSET,
        gateway: Annotated[
            Annotated[str, Meta(max_length=200, examples=["home"])] | UnsetType | None, _BOARD_CHANGES
        ] = UNSET,
    ) -> BoardDetail:
        """Change the name, the description or the gateway of a board."""
        found = await self._store.read(board_access.board, caller, board)
        changed: dict[str, Any] = {}
        if name is not None:
            changed["name"] = name
        if description is not UNSET:
            changed["description"] = description
        if gateway is not UNSET:
            changed["gateway_id"] = await self._gateway(gateway, found.user_id)
        done = await self._store.write(
            boards.edit_board, found.id, **changed, at=self._now, actor=caller.actor
        )
        log.info("board.changed", board_id=done.id, actor=caller.actor)
        return await self._detail(done)

    @command(
        "boards delete BOARD",
        example="hub boards delete house --yes",
        json="board",
        message="board {name} is deleted; its agents are on no board now",
        confirm="delete board {board} and its memory?",
    )
    @route("DELETE", "/v1/boards/{board}", Scope.DEVICES, errors=[_E.UNKNOWN_BOARD], is_tagged=True)
    @audited("board.removed")
    async def remove(self, caller: Caller, board: str) -> BoardView:
        """Delete a board with its memory. Its agents stay; they are on no board then."""
        found = await self._store.read(board_access.board, caller, board)
        removed = await self._store.write(boards.remove_board, found.id, at=self._now, actor=caller.actor)
        log.info("board.removed", board_id=removed.id, actor=caller.actor)
        return _view(removed)

    @route("GET", "/v1/boards/{board}/agents", Scope.READ, errors=[_E.UNKNOWN_BOARD])
    @route("GET", "/v1/agent/boards/{board}", AGENT, errors=[_E.UNKNOWN_BOARD, _E.NOT_YOUR_BOARD])
    async def members(self, caller: Caller, board: str) -> BoardDetail:
        """Return a board with its agents, its lead first."""
        return _detail(*await self._store.read(_read_board, caller, board))

    @command(
        "boards add BOARD AGENT",
        example="hub boards add house notes --lead",
        json="board",
        options={"is_lead": "Make the agent the board's lead."},
        message="{agent} is on board {name}",
    )
    @route(
        "POST",
        "/v1/boards/{board}/agents",
        Scope.DEVICES,
        errors=[_E.UNKNOWN_BOARD, _E.UNKNOWN_AGENT, _E.ILLEGAL_TRANSITION, _E.LIMIT_REACHED],
        status=201,
    )
    @audited("board.joined")
    async def add_agent(
        self,
        caller: Caller,
        board: str,
        agent: Annotated[str, Meta(min_length=1, max_length=200), _NEW_MEMBER],
        is_lead: Annotated[bool, _NEW_MEMBER] = False,
    ) -> BoardDetail:
        """Add an agent to a board. An agent is on one board at most."""
        found = await self._store.read(board_access.board, caller, board)
        agent_id = await self._agent(found, agent)
        try:
            await self._store.write(
                boards.add_member,
                found.id,
                agent_id,
                is_lead=is_lead,
                limits=self.limits,
                at=self._now,
                actor=caller.actor,
            )
        except TooManyOfBoards as exc:
            raise self._counted(exc) from None
        log.info("board.joined", board_id=found.id, agent_id=agent_id, actor=caller.actor)
        return await self._again(found.id)

    @command(
        "boards drop BOARD AGENT",
        example="hub boards drop house notes",
        json="board",
        message="{agent} is on no board now",
    )
    @route(
        "DELETE",
        "/v1/boards/{board}/agents/{agent}",
        Scope.DEVICES,
        errors=[_E.UNKNOWN_BOARD, _E.UNKNOWN_AGENT],
    )
    @audited("board.left")
    async def drop_agent(self, caller: Caller, board: str, agent: str) -> BoardDetail:
        """Remove an agent from a board."""
        found = await self._store.read(board_access.board, caller, board)
        agent_id = await self._agent(found, agent)
        await self._store.write(boards.drop_member, found.id, agent_id, at=self._now, actor=caller.actor)
        log.info("board.left", board_id=found.id, agent_id=agent_id, actor=caller.actor)
        return await self._again(found.id)

    @command(
        "boards lead BOARD [AGENT]",
        example="hub boards lead house notes",
        json="board",
        options={"agent": "/--none: The board has no lead then."},
        message="the lead of board {name}: {lead|or_none}",
    )
    @route("PUT", "/v1/boards/{board}/lead", Scope.DEVICES, errors=[_E.UNKNOWN_BOARD, _E.UNKNOWN_AGENT])
    @audited("board.lead")
    async def set_lead(
        self,
        caller: Caller,
        board: str,
        agent: Annotated[
            Annotated[str, Meta(min_length=1, max_length=200)] | None,
            BodyField("Lead", "The agent of the board that is to be its lead, by name or id; null: none."),
        ],
    ) -> BoardDetail:
        """Make one of the board's agents its lead. There is one at most."""
        found = await self._store.read(board_access.board, caller, board)
        agent_id = None if agent is None else await self._agent(found, agent)
        await self._store.write(boards.set_lead, found.id, agent_id, at=self._now, actor=caller.actor)
        log.info("board.lead_set", board_id=found.id, agent_id=agent_id, actor=caller.actor)
        return await self._again(found.id)

    @route("GET", "/v1/agent", AGENT, errors=[_E.UNKNOWN_AGENT])
    async def me(self, caller: Caller) -> AgentSelfView:
        """Return the name of the calling agent, its board, and its role there."""
        place = await self._store.read(board_access.place, caller)
        agent = await self._store.read(agents.get_agent, place.agent_id)
        role: BoardRole | None = None
        board = gateway = None
        if place.main_of is not None:
            role = "gateway_main"
            gateway = await self._store.read(gateways.find_gateway, place.main_of)
        elif found := await self._store.read(board_access.boards_of, caller):
            (board,) = found
            role = _ROLES[await self._store.read(board_access.role, caller, board)]
        return AgentSelfView.from_row(
            agent,
            role=role,
            board=None if board is None else _view(board),
            gateway=None if gateway is None else gateway.name,
        )

    async def _agent(self, board: BoardRow, given: str) -> AgentId:
        """Find an agent of the board's user, by name or id. Raises CodedError."""
        found = await self._store.read(agents.find_agent, given, user_id=board.user_id)
        if found is None:
            raise CodedError(ErrorCode.UNKNOWN_AGENT, f"{board.user_name} has no agent {given!r}")
        return found.id

    async def _gateway(self, given: str | None, user_id: UserId) -> GatewayId | None:
        """Find a gateway of this user, by name or id. Raises UnknownGateway."""
        if given is None:
            return None
        return (await self._store.read(gateways.get_gateway, given, user_id=user_id)).id

    async def _again(self, id: BoardId) -> BoardDetail:
        return await self._detail(await self._store.read(boards.get_board, id))

    async def _detail(self, row: BoardRow) -> BoardDetail:
        return _detail(row, await self._store.read(boards.list_members, row.id))

    def _counted(self, refusal: TooManyOfBoards) -> TooManyOfBoards:
        self._limits_reached.labels(refusal.limit).inc()
        return refusal


def _read_board(c: Connection, caller: Caller, given: str) -> tuple[BoardRow, list[MemberRow]]:
    row = board_access.board_for(c, caller, Verb.BOARD_READ, given)
    return row, boards.list_members(c, row.id)


def _detail(row: BoardRow, members: Iterable[MemberRow]) -> BoardDetail:
    views = (BoardAgentView.from_row(member, id=member.agent_id) for member in members)
    return BoardDetail.from_row(_view(row), members=tuple(views))


def _view(row: BoardRow) -> BoardView:
    return BoardView.from_row(row, agents=row.members)


_MEMORY: Final = "/v1/boards/{board}/memory"
_AGENTS_MEMORY: Final = "/v1/agent/boards/{board}/memory"
_Word = Annotated[str, Meta(max_length=128)]


class MemoryView(View, kw_only=True):
    """An item of a board's memory. *agent*: its writer; None: a person, in *actor*.

    *actor_name*: in lists, the name of the actor's id, as in the audit log.
    """

    id: str
    board: str
    board_id: str
    content: str
    tags: tuple[str, ...] = ()
    is_chat: bool = False
    source: str | None = None
    correlation_id: str | None = None
    reply_to: str | None = None
    agent: str | None = None
    agent_id: str | None = None
    actor: str
    actor_name: str | None = None
    created_at: Instant


_MEMORY_RECORD = object_of(
    *("id as memory_id", "board_id", "content", "tags", "is_chat", "source", "correlation_id", "reply_to"),
    *("agent_id", "agent", "actor", "created_at as created_at_ms"),
)

_ANSWERED = object_of("answered_message", "answered_question")


class RememberedView(MemoryView):
    """An item just written, and what it answered: ids of the message and of the question, if any."""

    answered_message: str | None = None
    answered_question: str | None = None


class MemoryBody(View):
    """An item to write. *reply_to*: the id of a message or a question that it answers."""

    content: Annotated[str, Meta(examples=["The invoices are done."])]
    tags: Annotated[tuple[str, ...], Meta(max_length=64, examples=[["gateway_main", "lead_reply"]])] = ()
    is_chat: bool = False
    source: Annotated[_Word, Meta(examples=["lead_to_gateway_main"])] | None = None
    correlation_id: Annotated[_Word, Meta(examples=["order-17"])] | None = None
    reply_to: _Word | None = None


def _requested(
    tag: Annotated[list[str], Meta(max_length=16, description="Only items with this tag; several: with all.")]
    | None = None,
    is_chat: Annotated[bool, Meta(description="Only chat, or only what is to be kept.")] | None = None,
    source: Annotated[str, Meta(max_length=128)] | None = None,
    correlation_id: Annotated[str, Meta(max_length=128)] | None = None,
    reply_to: Annotated[str, Meta(max_length=128, description="Only replies to this.")] | None = None,
) -> MemoryFilter:
    return MemoryFilter(
        tags=tuple(tag or ()),
        is_chat=is_chat,
        source=source,
        correlation_id=correlation_id,
        reply_to=reply_to,
    )


class BoardMemoriesResource(Resource):
    """Memories of boards."""

    name, path = "memory", ""
    commands_help = "List, add and remove the memory of a board."
    is_scoped = False

    def __init__(self, memory: BoardMemory) -> None:
        self._memory = memory

    @command(
        "boards memory BOARD ls",
        example="hub boards memory house ls --tag lead_reply",
        json="memory",
        options={
            "tag": "Only items with this tag; with several, items that have all.",
            "is_chat": "--chat/--no-chat: Only chat, or only items that are not chat.",
            "source": "Only items from this source.",
            "correlation_id": "Only items with this correlation id.",
            "reply_to": "Only replies to this message or question.",
            "limit": "--last,-n: Maximum number of items.",
        },
        table=(
            "created_at|at as written",
            "id|id",
            "*|author as by",
            "*|tags as tags",
            "content|short as text",
        ),
        rows="memory",
        empty="board {board} has no matching memory",
    )
    @route("GET", _MEMORY, Scope.READ, errors=[_E.UNKNOWN_BOARD], page="Memory.memory")
    @route("GET", _AGENTS_MEMORY, AGENT, errors=[_E.UNKNOWN_BOARD, _E.NOT_YOUR_BOARD], page="Memory.memory")
    @device(
        Method.MEMORY_LIST,
        "its user's boards",
        Grant.COORDINATION,
        answer=lambda page: {"memory": list(map(_MEMORY_RECORD, page.items)), "cursor": page.next_cursor},
        names={"tag": "tags"},
    )
    async def page(
        self, caller: Caller, board: str, paging: Paging, requested: Annotated[MemoryFilter, From(_requested)]
    ) -> ListPage[MemoryView]:
        """List the items of a board's memory, the newest first."""
        paging.limit = min(paging.limit, MAX_LONG)
        rows, names = await self._memory.page(
            caller, board, requested, limit=paging.limit + 1, after=paging.after
        )
        page = paging.fetched(rows, key=lambda row: (row.created_at, row.id))
        memory = tuple(MemoryView.from_row(row, actor_name=names.get(row.actor)) for row in page.items)
        return ListPage(memory, page.next_cursor)

    @command(
        "boards memory BOARD add CONTENT",
        help="Write an item into a board's memory. An item that replies to a message or a question answers"
        " it.",
        example="hub boards memory house add 'The invoices are done.'",
        json="memory_item",
        options={
            "tags": "--tag: Tag of the item; may be given several times.",
            "is_chat": "Mark the item as chat, not as lasting memory.",
            "source": "Source of the item.",
            "correlation_id": "Your own reference, to find the item by.",
            "reply_to": "Message or question that the item answers.",
        },
        message="added to the memory of board {board}",
        notes=("*|answered",),
    )
    @route("POST", _MEMORY, Scope.RUN, errors=[_E.UNKNOWN_BOARD, _E.LIMIT_REACHED], status=201)
    @route(
        "POST",
        _AGENTS_MEMORY,
        AGENT,
        errors=[_E.UNKNOWN_BOARD, _E.NOT_YOUR_BOARD, _E.LIMIT_REACHED],
        status=201,
    )
    @device(
        Method.MEMORY_ADD,
        "its user's boards",
        Grant.COORDINATION,
        answer=lambda added: {"memory": _MEMORY_RECORD(added)} | _ANSWERED(added),
    )
    @audited("memory.added")
    async def add(self, caller: Caller, board: str, body: MemoryBody, key: RetryKey = None) -> RememberedView:
        """Write an item into a board's memory. One that replies to a message or a question answers it.

        The same ``Idempotency-Key`` returns the item that it returned before.
        """
        replied = await self._memory.add(caller, board, **structs.asdict(body), dedupe_key=key)
        return RememberedView.from_row(
            replied.memory,
            answered_message=None if replied.message is None else replied.message.id,
            answered_question=None if replied.question is None else replied.question.id,
        )

    @command(
        "boards memory BOARD rm MEMORY_ID",
        example="hub boards memory house rm 019d2f45-daf6-7e31-94bf-446f3398b18f",
        json="memory_item",
        message="removed from the memory of board {board}",
        confirm="remove {memory_id} from the memory of board {board}?",
    )
    @route("DELETE", _MEMORY + "/{memory_id}", Scope.RUN, errors=[_E.UNKNOWN_BOARD, _E.UNKNOWN_MEMORY])
    @audited("memory.removed")
    async def remove(self, caller: Caller, board: str, memory_id: str) -> MemoryView:
        """Delete an item from a board's memory. What it answered stays answered."""
        _, item = await self._memory.remove(caller, board, memory_id)
        return MemoryView.from_row(item)

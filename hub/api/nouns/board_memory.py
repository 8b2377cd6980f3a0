"""Memories of boards: items that people and agents write, and replies to messages and questions."""

from typing import Annotated, Final

from msgspec import Meta, structs

from hub.api.binding import From
from hub.api.device import object_of
from hub.api.door.roles import AGENT, Scope
from hub.api.noun import Noun, audited, command, device, route
from hub.api.paging import MOST_LONG, Paging
from hub.api.parameters import Key
from hub.api.view import Instant, View
from hub.coordination.authority import Caller
from hub.coordination.memory import BoardMemory
from protocol.coordination import Method
from protocol.errors import ErrorCode
from storage.coordination.boards import MemoryFilter
from storage.devices.devices import Grant

_E = ErrorCode
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


_RECORD = object_of(
    *("id as memory_id", "board_id", "content", "tags", "is_chat", "source", "correlation_id", "reply_to"),
    *("agent_id", "agent", "actor", "created_at as created_at_ms"),
)

_ANSWERED = object_of("answered_message", "answered_question")


class RememberedView(MemoryView):
    """An item just written, and what it answered: ids of the message and of the question, if any."""

    answered_message: str | None = None
    answered_question: str | None = None


class Memory(View):
    """A page of a board's memory, the newest items first; *next_cursor* leads to the older ones."""

    memory: tuple[MemoryView, ...]
    next_cursor: str | None = None


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


class BoardMemories(Noun):
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
    @route("GET", _MEMORY, Scope.READ, errors=[_E.UNKNOWN_BOARD])
    @route("GET", _AGENTS_MEMORY, AGENT, errors=[_E.UNKNOWN_BOARD, _E.NOT_YOUR_BOARD])
    @device(
        Method.MEMORY_LIST,
        "its user's boards",
        Grant.COORDINATION,
        answer=lambda page: {"memory": list(map(_RECORD, page.memory)), "cursor": page.next_cursor},
        names={"tag": "tags"},
    )
    async def page(
        self, caller: Caller, board: str, paging: Paging, requested: Annotated[MemoryFilter, From(_requested)]
    ) -> Memory:
        """List the items of a board's memory, the newest first."""
        paging.limit = min(paging.limit, MOST_LONG)
        rows, names = await self._memory.page(
            caller, board, requested, limit=paging.limit + 1, after=paging.after
        )
        page = paging.fetched(rows, key=lambda row: (row.created_at, row.id))
        memory = tuple(MemoryView.from_row(row, actor_name=names.get(row.actor)) for row in page.items)
        return Memory(memory=memory, next_cursor=page.next_cursor)

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
        answer=lambda added: {"memory": _RECORD(added)} | _ANSWERED(added),
    )
    @audited("memory.added")
    async def add(self, caller: Caller, board: str, body: MemoryBody, key: Key = None) -> RememberedView:
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

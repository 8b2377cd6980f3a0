"""Boards and what they remember, as operators and agents ask for them."""

from collections.abc import Mapping, Sequence
from typing import Any

from hub.api.views.boards import (
    AgentSelfView,
    BoardAgentView,
    BoardDetail,
    BoardRole,
    BoardView,
    MemoryView,
    RememberedView,
)
from hub.clock import Clock, IdFactory, epoch_ms, from_epoch_ms
from hub.coordination.authority import Authority, Caller
from hub.coordination.memory import BoardMemory
from hub.log import Channel
from hub.metrics import Metrics
from hub.operations.names import user_names
from protocol.authority import Standing, Verb
from protocol.ids import AgentId, BoardId, GatewayId, UserId
from storage.agents import agents
from storage.agents.agents import UnknownAgent
from storage.coordination import board_members, boards, gateways
from storage.coordination.board_members import MemberRow
from storage.coordination.board_memory import MemoryFilter, MemoryRow
from storage.coordination.boards import BoardLimits, BoardRow, TooManyOfBoards
from storage.store import Store

log = Channel(__name__)

_ROLES: Mapping[Standing, BoardRole] = {
    Standing.LEAD: "lead",
    Standing.WORKER: "worker",
    Standing.GATEWAY_MAIN: "gateway_main",
}


class BoardOperations:
    """Implements ``api.facades.boards.BoardFacade``."""

    def __init__(
        self,
        store: Store,
        memory: BoardMemory,
        *,
        authority: Authority,
        owner_id: UserId,
        clock: Clock,
        ids: IdFactory,
        metrics: Metrics,
    ) -> None:
        self._store = store
        self._memory = memory
        self._authority = authority
        self._owner_id = owner_id
        self._clock = clock
        self._ids = ids
        self._limits_reached = metrics.limits_reached
        self.limits = BoardLimits()

    async def all(self, caller: Caller) -> list[BoardView]:
        """The boards that the caller may see."""
        return [board_view(row) for row in await self._authority.boards_of(caller)]

    async def get(self, caller: Caller, board: str) -> BoardDetail:
        """One board with its agents."""
        return await self._detail(await self._authority.board_for(caller, Verb.BOARD_READ, board))

    async def create(
        self, caller: Caller, name: str, *, description: str | None = None, gateway: str | None = None
    ) -> BoardDetail:
        """Make a board, as the caller's user's, or the owner's."""
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
            raise self._reached(exc) from None
        log.info("board.created", board_id=made.id, actor=caller.actor)
        return await self._detail(made)

    async def edit(self, caller: Caller, board: str, said: Mapping[str, str | None]) -> BoardDetail:
        """Change what is said of a board."""
        found = await self._authority.board(caller, board)
        changed: dict[str, Any] = {key: said[key] for key in ("name", "description") if key in said}
        if "gateway" in said:
            changed["gateway_id"] = await self._gateway(said["gateway"], found.user_id)
        done = await self._store.write(
            boards.edit_board, found.id, **changed, at=self._now, actor=caller.actor
        )
        log.info("board.changed", board_id=done.id, actor=caller.actor)
        return await self._detail(done)

    async def remove(self, caller: Caller, board: str) -> BoardView:
        """Remove a board with all that it remembers."""
        found = await self._authority.board(caller, board)
        gone = await self._store.write(boards.remove_board, found.id, at=self._now, actor=caller.actor)
        log.info("board.removed", board_id=gone.id, actor=caller.actor)
        return board_view(gone)

    async def add_agent(self, caller: Caller, board: str, agent: str, *, is_lead: bool) -> BoardDetail:
        """Let an agent come on a board."""
        found = await self._authority.board(caller, board)
        agent_id = await self._agent(found, agent)
        try:
            await self._store.write(
                board_members.add_member,
                found.id,
                agent_id,
                is_lead=is_lead,
                limits=self.limits,
                at=self._now,
                actor=caller.actor,
            )
        except TooManyOfBoards as exc:
            raise self._reached(exc) from None
        log.info("board.joined", board_id=found.id, agent_id=agent_id, actor=caller.actor)
        return await self._again(found.id)

    async def drop_agent(self, caller: Caller, board: str, agent: str) -> BoardDetail:
        """Take an agent off a board."""
        found = await self._authority.board(caller, board)
        agent_id = await self._agent(found, agent)
        await self._store.write(
            board_members.drop_member, found.id, agent_id, at=self._now, actor=caller.actor
        )
        log.info("board.left", board_id=found.id, agent_id=agent_id, actor=caller.actor)
        return await self._again(found.id)

    async def set_lead(self, caller: Caller, board: str, agent: str | None) -> BoardDetail:
        """Make one of the board's agents its lead."""
        found = await self._authority.board(caller, board)
        agent_id = None if agent is None else await self._agent(found, agent)
        await self._store.write(board_members.set_lead, found.id, agent_id, at=self._now, actor=caller.actor)
        log.info("board.lead_set", board_id=found.id, agent_id=agent_id, actor=caller.actor)
        return await self._again(found.id)

    async def memory(
        self,
        caller: Caller,
        board: str,
        wanted: MemoryFilter,
        *,
        after: tuple[int, str] | None = None,
        limit: int,
    ) -> list[MemoryView]:
        """What the board remembers, the newest first."""
        rows = await self._memory.page(caller, board, wanted, after=after, limit=limit)
        return [memory_view(row) for row in rows]

    async def remember(
        self,
        caller: Caller,
        board: str,
        content: str,
        *,
        tags: Sequence[str] = (),
        is_chat: bool = False,
        source: str | None = None,
        correlation_id: str | None = None,
        reply_to: str | None = None,
        key: str | None = None,
    ) -> RememberedView:
        """Write an item, which may answer a message or a question."""
        replied = await self._memory.add(
            caller,
            board,
            content,
            tags=tags,
            is_chat=is_chat,
            source=source,
            correlation_id=correlation_id,
            reply_to=reply_to,
            dedupe_key=key,
            is_decision=caller.agent_id is None,
        )
        return RememberedView(
            **memory_view(replied.memory).model_dump(),
            answered_message=None if replied.message is None else replied.message.id,
            answered_question=None if replied.question is None else replied.question.id,
        )

    async def forget(self, caller: Caller, board: str, memory_id: str) -> MemoryView:
        """Take an item away."""
        _, item = await self._memory.remove(caller, board, memory_id)
        return memory_view(item)

    async def me(self, caller: Caller) -> AgentSelfView:
        """What the agent that asks is."""
        place = await self._authority.place(caller)
        agent = await self._store.read(agents.get_agent, place.agent_id)
        if place.main_of is not None:
            gateway = await self._store.read(gateways.find_gateway, place.main_of)
            name = None if gateway is None else gateway.name
            return AgentSelfView(
                id=agent.id,
                name=agent.name,
                user=await self._user(agent.user_id),
                role="gateway_main",
                gateway=name,
            )
        (board,) = await self._authority.boards_of(caller) or (None,)
        return AgentSelfView(
            id=agent.id,
            name=agent.name,
            user=await self._user(agent.user_id),
            role=None if board is None else _ROLES[await self._authority.standing(caller, board)],
            board=None if board is None else board_view(board),
        )

    @property
    def _now(self) -> int:
        return epoch_ms(self._clock.now())

    async def _agent(self, board: BoardRow, given: str) -> AgentId:
        """Raises UnknownAgent."""
        found = await self._store.read(agents.find_agent, given, user_id=board.user_id)
        if found is None:
            raise UnknownAgent(f"{board.user_name} has no agent {given!r}")
        return found.id

    async def _gateway(self, given: str | None, user_id: UserId) -> GatewayId | None:
        """Raises UnknownGateway."""
        if given is None:
            return None
        return (await self._store.read(gateways.get_gateway, given, user_id=user_id)).id

    async def _user(self, user_id: UserId) -> str:
        return (await user_names(self._store))[user_id]

    async def _again(self, id: BoardId) -> BoardDetail:
        return await self._detail(await self._store.read(boards.get_board, id))

    async def _detail(self, row: BoardRow) -> BoardDetail:
        members = await self._store.read(board_members.list_members, row.id)
        return BoardDetail(**board_view(row).model_dump(), members=tuple(map(_member_view, members)))

    def _reached(self, refusal: TooManyOfBoards) -> TooManyOfBoards:
        self._limits_reached.labels(refusal.limit).inc()
        return refusal


def board_view(row: BoardRow) -> BoardView:
    """A board, as it is told."""
    return BoardView(
        id=row.id,
        name=row.name,
        user=row.user_name,
        description=row.description,
        gateway=row.gateway_name,
        lead=row.lead_name,
        agents=row.members,
        created_at=from_epoch_ms(row.created_at),
        updated_at=from_epoch_ms(row.updated_at),
    )


def memory_view(row: MemoryRow) -> MemoryView:
    """What a board remembers, as it is told."""
    return MemoryView(
        id=row.id,
        board=row.board_name,
        content=row.content,
        tags=row.tags,
        is_chat=row.is_chat,
        source=row.source,
        correlation_id=row.correlation_id,
        reply_to=row.reply_to,
        agent=row.agent_name,
        actor=row.actor,
        created_at=from_epoch_ms(row.created_at),
    )


def _member_view(row: MemberRow) -> BoardAgentView:
    return BoardAgentView(
        id=row.agent_id,
        name=row.name,
        is_lead=row.is_lead,
        device=row.device_name,
        gateway=row.gateway_name,
        availability=row.availability,
        connectivity=row.connectivity,
        joined_at=from_epoch_ms(row.joined_at),
    )

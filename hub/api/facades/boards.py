"""Boards and what they remember, as they are asked for.

Who asks is a ``Caller``: an operator, or an agent in its own name. What an agent may is decided by
``protocol.authority``; that an operator may come here at all, by the table of routes.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from hub.api.views.boards import (
    AgentSelfView,
    BoardDetail,
    BoardView,
    MemoryView,
    RememberedView,
)
from hub.coordination.authority import Caller
from storage.coordination.board_memory import MemoryFilter


class BoardFacade(Protocol):
    """Boards. Every method may raise UnknownBoard or AmbiguousBoard, and for agents NotAllowed."""

    async def all(self, caller: Caller) -> list[BoardView]:
        """The boards that the caller may see, by name."""
        ...

    async def get(self, caller: Caller, board: str) -> BoardDetail:
        """One board with its agents."""
        ...

    async def create(
        self, caller: Caller, name: str, *, description: str | None = None, gateway: str | None = None
    ) -> BoardDetail:
        """Make a board.

        Raises:
            BoardNameTaken, UnknownGateway, TooManyOfBoards: nothing was made.
        """
        ...

    async def edit(self, caller: Caller, board: str, said: Mapping[str, str | None]) -> BoardDetail:
        """Change *name*, *description* or *gateway*; what is not said stays, None takes away.

        Raises:
            BoardNameTaken, UnknownGateway: nothing changed.
        """
        ...

    async def remove(self, caller: Caller, board: str) -> BoardView:
        """Remove a board with all that it remembers; its agents stay, on no board."""
        ...

    async def add_agent(self, caller: Caller, board: str, agent: str, *, is_lead: bool) -> BoardDetail:
        """Let an agent of the board's user come on it; one that is on it already stays.

        Raises:
            UnknownAgent, OnAnotherBoard, TooManyOfBoards: nothing changed.
        """
        ...

    async def drop_agent(self, caller: Caller, board: str, agent: str) -> BoardDetail:
        """Take an agent off a board.

        Raises:
            UnknownAgent: it is not on it.
        """
        ...

    async def set_lead(self, caller: Caller, board: str, agent: str | None) -> BoardDetail:
        """Make one of the board's agents its lead, and no other; None: nobody.

        Raises:
            UnknownAgent: it is not on it.
        """
        ...

    async def memory(
        self,
        caller: Caller,
        board: str,
        wanted: MemoryFilter,
        *,
        after: tuple[int, str] | None = None,
        limit: int,
    ) -> list[MemoryView]:
        """What the board remembers, the newest first, after the item with this time and id."""
        ...

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
        """Write an item. One that replies to a message or a question answers it, if that still waits.

        Args:
            key: the same one of the same caller means the same item.

        Raises:
            BadMemory, MemoryTooLarge, TooManyOfBoards: nothing was written.
        """
        ...

    async def forget(self, caller: Caller, board: str, memory_id: str) -> MemoryView:
        """Take an item away; what it answered stays answered.

        Raises:
            UnknownMemory
        """
        ...

    async def me(self, caller: Caller) -> AgentSelfView:
        """What the agent that asks is."""
        ...

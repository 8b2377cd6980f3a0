"""A database that tells which agents moved, once that is on the disk."""

from collections.abc import Callable, Sequence
from typing import Concatenate, ParamSpec, TypeVar

import sqlalchemy as sa

from protocol.standing import AgentMoved
from storage.agents.agent_moves import told_moves
from storage.kernel.database import Database

P = ParamSpec("P")
T = TypeVar("T")


class ToldDatabase:
    """What *database* is, and promises. One place for all moves: no writer can forget to tell of one.

    Args:
        on_moves: told of the moves of each write that made some, after its commit. A write
            whose caller was cancelled is not told of, nor what another hub writes: who
            needs every move reads the history.
    """

    def __init__(self, database: Database, on_moves: Callable[[Sequence[AgentMoved]], None]) -> None:
        self._database = database
        self._on_moves = on_moves

    @property
    def is_shared(self) -> bool:
        """See ``Database.is_shared``."""
        return self._database.is_shared

    async def read(
        self, fn: Callable[Concatenate[sa.Connection, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """See ``Database.read``."""
        return await self._database.read(fn, *args, **kwargs)

    async def write(
        self, fn: Callable[Concatenate[sa.Connection, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """See ``Database.write``."""
        moves: list[AgentMoved] = []

        def watched(c: sa.Connection) -> T:
            with told_moves(c) as made:
                value = fn(c, *args, **kwargs)
            moves[:] = made  # of this try: an earlier one was undone
            return value

        value = await self._database.write(watched)
        if moves:
            self._on_moves(moves)
        return value

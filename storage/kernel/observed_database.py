"""Wrappers of a database: one reports state changes of agents, the other measures writes."""

from collections.abc import Callable, Sequence
from typing import Concatenate, ParamSpec, TypeVar

import sqlalchemy as sa

from protocol.standing import AgentMoved
from storage.agents.agent_moves import told_moves
from storage.kernel.database import Database

P = ParamSpec("P")
T = TypeVar("T")


class ToldDatabase:
    """Wrapper of *database* that reports all state changes of agents, whichever function wrote them.

    Args:
        on_moves: callback with the state changes of a committed write that made any. Not reported: writes
            whose caller was cancelled, and writes of other hubs. A reader that needs every change reads the
            history.
    """

    def __init__(self, database: Database, on_moves: Callable[[Sequence[AgentMoved]], None]) -> None:
        self._database = database
        self._on_moves = on_moves

    @property
    def is_shared(self) -> bool:
        """True if other hubs may write to the database too."""
        return self._database.is_shared

    async def read(
        self, fn: Callable[Concatenate[sa.Connection, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run *fn* in one snapshot; see ``Database.read``."""
        return await self._database.read(fn, *args, **kwargs)

    async def write(
        self, fn: Callable[Concatenate[sa.Connection, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run *fn* in one transaction and report its state changes; see ``Database.write``."""
        moves: list[AgentMoved] = []

        def watched(c: sa.Connection) -> T:
            with told_moves(c) as made:
                value = fn(c, *args, **kwargs)
            moves[:] = made  # replaces those of an earlier attempt, which was rolled back
            return value

        value = await self._database.write(watched)
        if moves:
            self._on_moves(moves)
        return value


class MeasuredDatabase:
    """Wrapper of *database* that measures its writes.

    Args:
        monotonic: clock, in seconds.
        on_write: callback with the seconds of each write, queueing included; also after a failed write.
    """

    def __init__(
        self, database: Database, *, monotonic: Callable[[], float], on_write: Callable[[float], None]
    ) -> None:
        self._database = database
        self._monotonic = monotonic
        self._on_write = on_write

    @property
    def is_shared(self) -> bool:
        """True if other hubs may write to the database too."""
        return self._database.is_shared

    async def read(
        self, fn: Callable[Concatenate[sa.Connection, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run *fn* in one snapshot; see ``Database.read``."""
        return await self._database.read(fn, *args, **kwargs)

    async def write(
        self, fn: Callable[Concatenate[sa.Connection, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run *fn* in one transaction and measure its time; see ``Database.write``."""
        began = self._monotonic()
        try:
            return await self._database.write(fn, *args, **kwargs)
        finally:
            self._on_write(self._monotonic() - began)

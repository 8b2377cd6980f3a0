"""Locks, as an operator asks for them."""

from collections.abc import Sequence
from typing import Protocol

from hub.api.views.locks import LockView
from protocol.errors import ErrorCode, HubError


class UnknownLock(HubError):
    """Nobody ever took a lock of this name."""

    code = ErrorCode.UNKNOWN_LOCK


class AmbiguousLock(HubError):
    """Several users have a lock of this name."""

    code = ErrorCode.BAD_PARAMS


class LockFacade(Protocol):
    """Locks of agents: of their runs and of their devices."""

    async def all(self, *, agent: str | None = None, and_free: bool = False) -> Sequence[LockView]:
        """Locks that somebody holds or waits for, by user and name.

        Args:
            agent: those only that this agent holds or waits for.
            and_free: those too that nobody has or wants.

        Raises:
            UnknownAgent, AmbiguousAgent
        """
        ...

    async def release(self, resource: str, *, fence: int | None = None, actor: str) -> LockView:
        """Take a lock from whoever holds it; the next in turn has it then. One that is free stays free.

        What the old holder does under its fence is refused from then on.

        Args:
            fence: only if it is held under this one still.

        Raises:
            UnknownLock, AmbiguousLock, LockLost: nothing changed.
        """
        ...

"""Broadcasts to the leads of boards: by operators, and by gateways' main agents."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from hub.api.views.leads import BroadcastResultView, BroadcastView
from hub.coordination.authority import Caller
from hub.coordination.lead_messages import ToLead


class BroadcastStanding(NamedTuple):
    """A broadcast, and what became of it at some of its boards; those first that were refused."""

    view: BroadcastView
    results: tuple[BroadcastResultView, ...] = ()


class BroadcastFacade(Protocol):
    """Broadcasts. Every method may raise, of agents, NotGatewayMain."""

    async def send(
        self,
        caller: Caller,
        said: ToLead,
        boards: Sequence[str] | None,
        *,
        wait_s: float,
        limit: int,
    ) -> BroadcastStanding:
        """Say something to the leads of boards. What an operator says stands in the audit log.

        Args:
            boards: by name or id; ``None``: all that the caller has.
            limit: so many results, at most; one more says that there are more.

        Raises:
            TooManyBoards, TooManyMessages, BadBroadcast, BadKind, BadMemory, BadMessage,
                MessageTooLong: nothing was written.
        """
        ...

    async def page(
        self, caller: Caller, *, limit: int, after: tuple[int, str] | None = None
    ) -> list[BroadcastView]:
        """Broadcasts, the newest first."""
        ...

    async def get(
        self, caller: Caller, id: str, *, limit: int, after: str | None = None
    ) -> BroadcastStanding:
        """A broadcast as it stands now, with the results that follow the message *after*.

        Raises:
            UnknownBroadcast
        """
        ...

    async def resume(self, caller: Caller, id: str, *, wait_s: float, limit: int) -> BroadcastStanding:
        """Say it again to those leads that never got it.

        Raises:
            UnknownBroadcast
            TooManyMessages: nothing was written.
        """
        ...

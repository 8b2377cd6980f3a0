"""Souls of agents, as an operator or an agent asks for them."""

from collections.abc import Sequence
from typing import Protocol

from hub.api.views.souls import SoulTextView, SoulVersionView, SoulView, SoulWriteView, WantedSoul
from hub.coordination.authority import Caller


class SoulFacade(Protocol):
    """Souls of the agents of a board, and of the main agent of its gateway.

    Each method raises UnknownBoard, UnknownAgent, NotAllowed.
    """

    async def get(self, caller: Caller, board: str, agent: str) -> SoulView:
        """The soul as it is now where the agent lives.

        Raises:
            NoSession, NoGateway, GatewayError, DeliveryError, DeviceRefused
        """
        ...

    async def put(
        self, caller: Caller, board: str, agent: str, wanted: WantedSoul, *, wait_s: float
    ) -> SoulWriteView:
        """Write the soul: done, or waiting for the agent's gateway or device after *wait_s*.

        Raises:
            BadSoul, SoulTooLarge, NoSession, NoGateway, SoulBusy: nothing was written, nor will be.
            SoulConflict, SoulNotWritten: how it ended.
        """
        ...

    async def writes(self, caller: Caller, board: str, agent: str, *, limit: int) -> Sequence[SoulWriteView]:
        """The newest writes first, open or not."""
        ...

    async def history(
        self, caller: Caller, board: str, agent: str, *, limit: int, below: int | None = None
    ) -> Sequence[SoulVersionView]:
        """The newest versions first; *below*: those with a smaller number only."""
        ...

    async def version(self, caller: Caller, board: str, agent: str, seq: int) -> SoulTextView:
        """A version with its text. Raises UnknownSoulVersion."""
        ...

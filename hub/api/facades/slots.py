"""Slots of agents' calendars, as an operator asks for them."""

from typing import Protocol

from hub.api.views.slots import SlotView, WakeView


class SlotFacade(Protocol):
    """When agents are woken. Each method raises UnknownAgent."""

    async def of_agent(self, name: str) -> list[SlotView]:
        """The agent's slots by label, with the next five times of each."""
        ...

    async def wakes(self, name: str, *, limit: int, after: tuple[int, str] | None = None) -> list[WakeView]:
        """What became of the slots that have come, the newest first.

        Args:
            after: the beginning of a slot (epoch ms) and its wake's id; those that follow it.
        """
        ...

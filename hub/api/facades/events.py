"""What happens in the hub, as an operator follows it."""

from collections.abc import AsyncGenerator, Collection
from typing import Protocol

from hub.api.views.events import EventView
from protocol.ids import AgentId


class EventFacade(Protocol):
    """Events: devices that come and go, runs that move, schedules that fire."""

    def follow(
        self, after: str | None, *, kinds: Collection[str] = (), agent_id: AgentId | None = None
    ) -> AsyncGenerator[EventView]:
        """Events from now on, or those after the one with the id *after*, which were missed.

        Args:
            kinds: names of events, or the words they begin with, as ``agent`` or ``run.finished``;
                none: all of them.
            agent_id: only what is about this agent.

        The first one is ``open``, or ``reset`` where the missed ones are gone; ``reset`` comes again
        when a reader is so slow that it loses some. Whoever reads it closes it.
        """
        ...

"""The log and the hub's insides, as an operator asks for them."""

from typing import Protocol

from hub.api.views.observe import DumpView


class DebugFacade(Protocol):
    """What only somebody asks for who looks for a fault."""

    def dump(self) -> DumpView:
        """Tasks, threads, connections and queues, now. Without I/O."""
        ...

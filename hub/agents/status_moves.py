"""Log events about status changes of agents, one for each change, after its commit.

People follow these events (``GET /v1/events``), and devices subscribe to them.
"""

from collections.abc import Callable, Sequence

from hub.base.log import Channel
from protocol.agent_status import AgentMoved

log = Channel(__name__)


class AgentMoveListeners:
    """Listeners to agents' moves, in addition to the log."""

    def __init__(self) -> None:
        self._listeners: list[Callable[[AgentMoved], None]] = []

    def listen(self, listener: Callable[[AgentMoved], None]) -> None:
        """Register a callback for every subsequent move; it must not wait."""
        self._listeners.append(listener)

    def publish(self, moves: Sequence[AgentMoved]) -> None:
        """Log the moves and pass them to the listeners; see ``storage.store.ObservedDatabase``."""
        for move in moves:
            log.info(
                "agent.moved",
                agent_id=move.agent_id,
                axis=str(move.axis),
                before=move.before,
                after=move.after,
                reason=move.reason,
                actor=move.actor,
            )
        for move in moves:
            for listener in self._listeners:
                listener(move)

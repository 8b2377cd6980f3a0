"""Moves of agents, told: one log event each, whoever made it, once it is on the disk.

The events are what people follow (``GET /v1/events``) and what devices subscribe to.
"""

from collections.abc import Callable, Sequence

from hub.log import Channel
from protocol.standing import AgentMoved

log = Channel(__name__)


class Moves:
    """Who hears of moves, beside the log: services that wait for one."""

    def __init__(self) -> None:
        self._listeners: list[Callable[[AgentMoved], None]] = []

    def listen(self, heard: Callable[[AgentMoved], None]) -> None:
        """Call *heard* with every move from now on; it must not wait."""
        self._listeners.append(heard)

    def tell(self, moves: Sequence[AgentMoved]) -> None:
        """Log the moves, and tell them to who listens."""
        tell_moves(moves)
        for move in moves:
            for heard in self._listeners:
                heard(move)


def tell_moves(moves: Sequence[AgentMoved]) -> None:
    """One ``agent.moved`` for each; see ``storage.kernel.observed_database``."""
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

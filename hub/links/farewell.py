"""Goodbyes to devices when the hub stops, each with its own time to reconnect."""

from dataclasses import dataclass
from typing import Final

from hub.clock import Chance
from protocol.errors import CloseCode
from protocol.handshake import Goodbye

SHORTEST_MS: Final = 200
LONGEST_MS: Final = 1_000  # with few devices
EACH_MS: Final = 2  # 10,000 devices connected in 8 s on two cores, so they are spread over 20 s


@dataclass(frozen=True, slots=True)
class Farewell:
    """Reason and close code of the hub's stop."""

    reason: str
    close: CloseCode

    def to_one_of(self, connections: int, chance: Chance) -> Goodbye:
        """Return the goodbye of one out of *connections*, with a random time for its reconnect."""
        longest_ms = max(LONGEST_MS, EACH_MS * connections)
        return Goodbye(reason=self.reason, retry_after_ms=round(chance.uniform(SHORTEST_MS, longest_ms)))


STOPPING: Final = Farewell("stopping", CloseCode.STOPPING)
RESTARTING: Final = Farewell("restarting", CloseCode.RESTARTING)

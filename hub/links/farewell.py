"""What devices are told when the hub stops, each with a time of its own to come back at."""

from dataclasses import dataclass
from typing import Final

from hub.clock import Chance
from protocol.errors import CloseCode
from protocol.handshake import Goodbye

SHORTEST_MS: Final = 200
LONGEST_MS: Final = 1_000  # of a few devices
EACH_MS: Final = 2  # 10,000 devices connected in 8 s on two cores, so they are spread over 20


@dataclass(frozen=True, slots=True)
class Farewell:
    """Why the hub goes, and whether it comes back."""

    reason: str
    close: CloseCode

    def to_one_of(self, connections: int, chance: Chance) -> Goodbye:
        """The goodbye of one of so many connections: no two come back in the same moment."""
        longest_ms = max(LONGEST_MS, EACH_MS * connections)
        return Goodbye(reason=self.reason, retry_after_ms=round(chance.uniform(SHORTEST_MS, longest_ms)))


STOPPING: Final = Farewell("stopping", CloseCode.STOPPING)
RESTARTING: Final = Farewell("restarting", CloseCode.RESTARTING)

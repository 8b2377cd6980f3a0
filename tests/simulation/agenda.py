"""What is to happen in a world, and when."""

import heapq
import math
from collections.abc import Callable

Step = Callable[[], None]


class Agenda:
    """Steps by the second at which they are due; at the same second, as they were added."""

    def __init__(self) -> None:
        self._steps: list[tuple[float, int, Step]] = []
        self._added = 0

    def add(self, second: float, step: Step) -> None:
        """Note a step."""
        self._added += 1
        heapq.heappush(self._steps, (second, self._added, step))

    def take(self, now_s: float) -> Step | None:
        """The next step that is due, if one is."""
        return heapq.heappop(self._steps)[2] if self.next_s <= now_s else None

    @property
    def next_s(self) -> float:
        """When the next step is due."""
        return self._steps[0][0] if self._steps else math.inf

    def clear(self) -> None:
        """Nothing of all that is to happen."""
        self._steps.clear()

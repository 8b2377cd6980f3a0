"""Agenda of a simulated world: its planned steps."""

import heapq
import math
from collections.abc import Callable

Step = Callable[[], None]


class Agenda:
    """Planned steps, ordered by the second at which they are due, then by the order of ``add``."""

    def __init__(self) -> None:
        self._steps: list[tuple[float, int, Step]] = []
        self._added = 0

    def add(self, second: float, step: Step) -> None:
        """Add a step."""
        self._added += 1
        heapq.heappush(self._steps, (second, self._added, step))

    def take(self, now_s: float) -> Step | None:
        """Remove and return the next due step, or None."""
        return heapq.heappop(self._steps)[2] if self.next_s <= now_s else None

    @property
    def next_s(self) -> float:
        """Return the second at which the next step is due."""
        return self._steps[0][0] if self._steps else math.inf

    def clear(self) -> None:
        """Remove all steps."""
        self._steps.clear()

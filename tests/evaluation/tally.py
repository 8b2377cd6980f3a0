"""Found against planted: what is missing, what is false, what came twice."""

from collections import Counter
from collections.abc import Iterable

import msgspec


class Tally(msgspec.Struct):
    """Sums over documents."""

    planted: int = 0
    found: int = 0
    false: int = 0
    doubled: int = 0
    failed: int = 0  # documents that ended with an error somebody is told
    silent: int = 0  # documents that ended as if nothing stood in them, and nobody is told

    def add(self, planted: Iterable[str], found: Iterable[str]) -> None:
        """Count the titles found in one document against those planted there."""
        wanted, counted = set(planted), Counter(found)
        self.planted += len(wanted)
        self.found += len(wanted & counted.keys())
        self.false += sum(counted[title] for title in counted.keys() - wanted)
        self.doubled += sum(counted[title] - 1 for title in counted.keys() & wanted)

    @property
    def recall(self) -> float:
        """The share that was found."""
        return self.found / (self.planted or 1)

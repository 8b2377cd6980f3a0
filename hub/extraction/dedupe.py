"""Pure: what is said once in a document is suggested once.

Two items are the same when they are of one table, their naming field compares
alike and they come from the same place. The same words at another place are
another item: a list may well say "call Bob" twice and mean it.
"""

from bisect import bisect_right
from collections.abc import Iterable

from hub.extraction.folding import fold
from hub.extraction.items import Dropped, Item
from protocol.tables import TABLES


def once(items: Iterable[Item]) -> tuple[tuple[Item, ...], tuple[Dropped, ...]]:
    """The first item of each kind, in the order given, and a note for every other."""
    taken: dict[tuple[str, str], _Places] = {}
    kept: list[Item] = []
    doubles: list[Dropped] = []
    for item in items:
        if taken.setdefault(_meaning(item), _Places()).take(item.start, item.end):
            kept.append(item)
        else:
            doubles.append(Dropped(table=item.table, reason="duplicate"))
    return tuple(kept), tuple(doubles)


class _Places:
    """Places that do not overlap, in order: then only a neighbour can overlap a new one.

    A table may say the same in each of its 20,000 rows; comparing all with all takes seconds.
    """

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []

    def take(self, start: int, end: int) -> bool:
        """Add a place; false, and nothing is added, when it overlaps one that was taken."""
        at = bisect_right(self._ends, start)
        if at < len(self._starts) and self._starts[at] < end:
            return False
        self._starts.insert(at, start)
        self._ends.insert(at, end)
        return True


def _meaning(item: Item) -> tuple[str, str]:
    said = item.data.get(TABLES[item.table].title)
    return item.table, fold(said) if isinstance(said, str) else ""

"""Pure: what is said once in a document is suggested once.

Two items are the same when they are of one table, their naming field compares
alike and they come from the same place. The same words at another place are
another item: a list may well say "call Bob" twice and mean it.
"""

from collections.abc import Iterable

from hub.extraction.folding import fold
from hub.extraction.items import Dropped, Item
from protocol.tables import TABLES


def once(items: Iterable[Item]) -> tuple[tuple[Item, ...], tuple[Dropped, ...]]:
    """The first item of each kind, in the order given, and a note for every other."""
    seen: dict[tuple[str, str], list[Item]] = {}
    kept: list[Item] = []
    doubles: list[Dropped] = []
    for item in items:
        alike = seen.setdefault(_meaning(item), [])
        if any(item.start < other.end and other.start < item.end for other in alike):
            doubles.append(Dropped(table=item.table, reason="duplicate"))
        else:
            alike.append(item)
            kept.append(item)
    return tuple(kept), tuple(doubles)


def _meaning(item: Item) -> tuple[str, str]:
    said = item.data.get(TABLES[item.table].title)
    return item.table, fold(said) if isinstance(said, str) else ""

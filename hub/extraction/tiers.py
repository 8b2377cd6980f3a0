"""Tiers of a document's items: suggested, kept as unsure, or nothing. Pure functions.

The judge's probability decides, moved by what the owner has decided about items of the same source and
evidence. Of a document without any mark of work, at most ``MAX_UNMARKED`` items are suggested until its owner
has decided about some of it. One in ``SHOWN_SHARE`` of the unsure is suggested all the same, so that an owner
also sees what folding would hide.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple
from zlib import crc32

from hub.extraction.items import Item, by_place
from hub.extraction.judge import odds, probability, weights

MAX_UNMARKED: Final = 5
SHOWN_SHARE: Final = 20


class TieredItems(NamedTuple):
    """Items of a document by tier, each in the order of the text."""

    suggested: Sequence[Item]
    unsure: Sequence[Item]
    unlikely: Sequence[Item]


def tiers_of(
    items: Iterable[Item],
    *,
    shift: Callable[[Item], float] = lambda _: 0.0,
    is_decided: bool = False,
) -> TieredItems:
    """Return the items of a document by tier.

    Args:
        shift: of an item's log-odds, by the decisions of its owner.
        is_decided: the owner has decided about items of this document.
    """
    learned = weights()
    suggested, unsure, unlikely = list[Item](), list[Item](), list[Item]()
    for item in items:
        likelihood = shifted(item, shift)
        if likelihood >= learned.suggested:
            suggested.append(item)
        elif likelihood >= learned.unsure:
            unsure.append(item)
        else:
            unlikely.append(item)
    if not is_decided and all(_is_unmarked(item) for item in (*suggested, *unsure)):
        first = sorted(suggested, key=lambda item: (-shifted(item, shift), item.start))[:MAX_UNMARKED]
        chosen = {id(item) for item in first}
        unsure += (item for item in suggested if id(item) not in chosen)
        suggested = [item for item in suggested if id(item) in chosen]
    elif any(map(_is_sample, unsure)):
        suggested += filter(_is_sample, unsure)
        unsure = [item for item in unsure if not _is_sample(item)]
    return TieredItems(by_place(suggested), by_place(unsure), unlikely)


def shifted(item: Item, shift: Callable[[Item], float]) -> float:
    """Return the probability of an item after the owner's decisions; items without one are certain."""
    if item.likelihood is None:
        return 1.0
    return probability(odds(item.likelihood) + shift(item))


def _is_unmarked(item: Item) -> bool:
    return item.evidence is not None and item.evidence.mark == "words"


def _is_sample(item: Item) -> bool:
    return crc32(item.quote.encode("utf-8", "replace")) % SHOWN_SHARE == 0

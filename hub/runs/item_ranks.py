"""Ranks of items: which words may change, cover or settle an item of the ledger. Pure functions.

An approved item is its owner's, by any author. An older release or a device records no rank: the source
tells it, or the key of the unit. An item of a file is the owner's, so that no owner is asked again about a
decided line.

The handbook lists where words of others meet those of an owner (``extraction.md``, "Authors have a rank").
"""

from collections.abc import Collection, Iterable
from operator import attrgetter

import msgspec

from hub.extraction.authorship import rank_of_unit
from protocol.items import Provenance, Rank
from storage.runs.items import OWNED, TAKEN, FoundItem, ItemRow, KnownItem


def rank_of(row: ItemRow) -> int:
    """Return the rank of the author of an item's words."""
    if row.rank is not None:
        return row.rank
    provenance = (row.source or {}).get("provenance")
    known = rank_of_unit(row.unit_key)
    return known if provenance is None else msgspec.convert(provenance, Provenance).rank


def covering_rank(row: ItemRow) -> int:
    """Return the highest rank of words that an item may stand for, or whose rejection it is."""
    return Rank.OWN if row.verdict in OWNED else rank_of(row)


def with_ranks(known: Collection[KnownItem], found: Iterable[FoundItem]) -> list[KnownItem]:
    """Return known items of a unit with their ranks, the highest first.

    One without a recorded rank has that of its words in the unit now, if they are in words of others.
    """
    if not known:
        return []
    now = dict[tuple[bool, str], Rank]()
    for item in sorted(found, key=attrgetter("rank")):
        now |= {(False, item.quote_hash): item.rank, (True, item.words_hash): item.rank}

    def ranked(known: KnownItem) -> KnownItem:
        row = known.row
        if row.rank is not None:
            return known
        rank = min(rank_of(row), now.get((row.config_fingerprint == TAKEN, row.quote_hash), Rank.OWN))
        return msgspec.structs.replace(known, row=msgspec.structs.replace(row, rank=rank))

    return sorted(map(ranked, known), key=lambda known: -rank_of(known.row))


def may_pair(item: FoundItem, row: ItemRow) -> bool:
    """Return True if words in the unit of an item are so high that they may be the item's."""
    rank = rank_of(row)
    # the sender of a mail that was read before may be known by now
    is_same = item.rank < Rank.OWN and item.quote_hash == row.quote_hash
    return item.rank == rank or (item.rank > rank and (row.verdict != "rejected" or is_same))


def is_raised(item: FoundItem, row: ItemRow) -> bool:
    """Return True for an open item that becomes that of words of a higher rank."""
    return row.verdict in ("open", "held") and item.rank > rank_of(row)

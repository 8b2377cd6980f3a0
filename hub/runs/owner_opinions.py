"""Tiers of a document's items by the judge and what their owner has decided about others of the agent.

An item's log-odds fall by a beta prior for each source of an agent and kind of evidence, by ``MAX_SHIFT`` at
most. Its mean is the middle of the unsure tier, not the probability of the item, because owners decide about
doubtful items too; its strength is ``STRENGTH`` verdicts. The fall is computed from the verdicts that there
are, so that one that is taken back counts no more. What the judge would hold is never dropped for it: a kind
that is rejected sinks to the unsure items.

A kind falls only while more of it is rejected than approved, and one with a mark in the line only after
``MIN_OF_MARKED`` rejections. None rises above the judge: in labelled files, odds that approvals raised
showed more false items than rejections hid.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from hub.document import Document
from hub.extraction.authorship import rank_of_document
from hub.extraction.items import Extraction, Item
from hub.extraction.judge import MARKED, odds, probability, weights
from hub.extraction.tiers import TieredItems, shifted, tiers_of
from protocol.ids import AgentId
from storage.runs.items import DecidedKinds, decided_kinds, source_of
from storage.runs.plans import UNLIKELY
from storage.store import Store

STRENGTH: Final = 3.0
MAX_SHIFT: Final = 2.0
MIN_OF_MARKED: Final = 10  # rejected items; a rejected check box says little of the others
_ROUNDING: Final = 1e-9  # so that an item at the threshold does not fall below it


def shift_of(item: Item, kinds: Mapping[str, tuple[int, int]]) -> float:
    """Return by how much the owner's verdicts lower the log-odds of an item, as a number up to 0.

    Args:
        kinds: numbers of approved and rejected items, by kind of evidence.
    """
    if item.likelihood is None or item.evidence is None:
        return 0.0
    accepted, rejected = kinds.get(item.evidence.mark, (0, 0))
    if rejected <= accepted or (item.evidence.mark in MARKED and rejected < MIN_OF_MARKED):
        return 0.0
    before = odds(item.likelihood)
    mean = (weights().suggested + weights().unsure) / 2
    share = (STRENGTH * mean + accepted) / (STRENGTH + accepted + rejected)
    shift = max(-MAX_SHIFT, odds(share) - odds(mean))
    floor = odds(weights().unsure) - before + _ROUNDING
    return max(shift, floor) if floor <= 0 else shift


def are_certain(items: Sequence[Item]) -> bool:
    """Return True if all items are suggested, whatever their owner has decided."""
    least = probability(odds(weights().suggested) + MAX_SHIFT)
    judged = [item for item in items if item.likelihood is not None]
    has_mark = any(item.evidence is None or item.evidence.mark != "words" for item in items)
    return (has_mark or not judged) and all((item.likelihood or 0.0) >= least for item in judged)


def tiered(document: Document, found: Extraction, decided: DecidedKinds) -> tuple[Extraction, TieredItems]:
    """Return what was extracted without the unlikely items, and all items by tier.

    Its notes count the unlikely ones as dropped.
    """
    kinds = _kinds_of(document, decided)
    tiers = tiers_of(
        found.items,
        shift=lambda item: shift_of(item, kinds),
        is_decided=document.unit_key in decided.units,
    )
    if not tiers.unlikely:
        return found, tiers
    unlikely = {id(item) for item in tiers.unlikely}
    dropped = found.notes.dropped | {UNLIKELY: len(unlikely)}
    likely = tuple(item for item in found.items if id(item) not in unlikely)
    notes = msgspec.structs.replace(found.notes, dropped=dropped)
    return msgspec.structs.replace(found, items=likely, notes=notes), tiers


def _kinds_of(document: Document, decided: DecidedKinds) -> dict[str, tuple[int, int]]:
    """Return the numbers of the document's source, by kind of evidence."""
    if not decided.kinds:
        return {}
    source = source_of(document.unit_key, rank_of_document(document))
    return {mark: counts for (other, mark), counts in decided.kinds.items() if other == source}


def correction(item: Item, document: Document, decided: DecidedKinds) -> str:
    """Return which verdicts moved an item to another tier, as a sentence; empty: none did."""
    kinds = _kinds_of(document, decided)
    before = item.likelihood
    if before is None or item.evidence is None or item.evidence.mark not in kinds:
        return ""
    after, limits = shifted(item, lambda one: shift_of(one, kinds)), (weights().suggested, weights().unsure)
    if all((before >= limit) == (after >= limit) for limit in limits):
        return ""
    accepted, rejected = kinds[item.evidence.mark]
    source = source_of(document.unit_key, rank_of_document(document))
    place = f"of {source}" if source else "of its agent"
    counted = f"{accepted} approved and {rejected} rejected"
    return f"moved to {after:.2f} by verdicts on items {place} with such evidence: {counted}"


async def tiers_for(
    store: Store, document: Document, found: Extraction, agent_id: AgentId
) -> tuple[Extraction, TieredItems]:
    """Return the result of ``tiered`` with the verdicts that there are now."""
    decided = DecidedKinds() if are_certain(found.items) else await store.read(decided_kinds, agent_id)
    return tiered(document, found, decided)

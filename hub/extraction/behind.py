"""Pure: whether a model stopped before the text did.

Some models tell the first few records of a long list and say that this is all. Records
lie about evenly in a text, so many of them at its beginning and none behind are unlikely:
that all of n lie in the first part p of it has the chance pⁿ.
"""

from collections.abc import Set
from typing import Final

from hub.extraction.chunk import Chunk
from hub.extraction.structure import sentences

UNLIKELY: Final = 0.05  # the price: of so many honest answers with two records and more, the rest is asked
DOUBTFUL: Final = 0.5  # for a text of which an earlier answer is known to have left something out
LEAST_CHARS: Final = 40  # of a rest: no sentence that says something is shorter


def rest_of(text: str, piece: Chunk, places: Set[tuple[int, int]], doubt: float) -> Chunk | None:
    """What of *piece* stands behind the last of *places*, where it is doubtful that nothing is there.

    Args:
        places: of the records that were told; two in one place count once.
        doubt: the chance below which it is doubted.
    """
    if not places:
        return None
    last = max(end for _, end in places)
    share = (last - piece.start) / (piece.end - piece.start)
    if share ** len(places) >= doubt:
        return None
    said = list(sentences(text, piece.start, piece.end))
    nth = next((nth for nth, (start, _) in enumerate(said) if start >= last), None)
    if nth is None or piece.end - said[nth][0] < LEAST_CHARS:
        return None
    before = said[nth - 1] if nth else (0, 0)
    return Chunk(said[nth][0], piece.end, piece.headings, before, piece.columns)

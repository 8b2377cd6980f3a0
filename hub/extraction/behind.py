"""Detection of answers that stop before the end of the text. Pure functions.

Some models return the first few records of a long list and end. Records are distributed about evenly in a
text, so many records at its start and none in the rest are unlikely: all n records lie in the first part p
with probability pⁿ.
"""

from collections.abc import Set
from typing import Final

from hub.extraction.chunk import Chunk
from hub.extraction.structure import sentences

# Also the share of correct answers with two or more records whose rest is asked for in vain.
UNLIKELY: Final = 0.05
DOUBTFUL: Final = 0.5  # for a text for which an earlier answer was incomplete
LEAST_CHARS: Final = 40  # of a rest: shorter sentences contain no record


def rest_of(text: str, piece: Chunk, places: Set[tuple[int, int]], doubt: float) -> Chunk | None:
    """Return the rest of *piece* after the last of *places* if it probably contains records, else None.

    Args:
        places: places of the returned records; two at the same place count once.
        doubt: probability below which the answer is doubted.
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

"""Comparison of two evaluations, and whether their difference is significant."""

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

from hub.lab.evaluation import DocumentResult, ShownItem

LIKELY: Final = 0.05  # probability from which on a difference counts as chance


class LabelPosition(NamedTuple):
    """Label or item of a document."""

    document: str
    shown: ShownItem


class EvaluationComparison(NamedTuple):
    """Labels that both evaluations, one of them or neither found, over the documents that both read.

    Attributes:
        only_first: labels that the first alone found; *only_second* likewise.
        false_first: items without a label of the first; *false_second* likewise.
    """

    documents: int
    both: int
    neither: int
    only_first: tuple[LabelPosition, ...]
    only_second: tuple[LabelPosition, ...]
    false_first: int
    false_second: int

    @property
    def chance(self) -> float:
        """Probability of a difference at least as large if both find labels equally well (sign test)."""
        return sign_test(len(self.only_first), len(self.only_second))

    @property
    def is_chance(self) -> bool:
        """True if the difference of the labels found may be chance."""
        return self.chance >= LIKELY


def compare(first: Sequence[DocumentResult], second: Sequence[DocumentResult]) -> EvaluationComparison:
    """Compare two evaluations of the same agent's record types, by the documents that both read."""
    others = {document.id: document for document in second}
    pairs = [(document, others[document.id]) for document in first if document.id in others]
    both = neither = 0
    only_first: list[LabelPosition] = []
    only_second: list[LabelPosition] = []
    for document, other in pairs:
        for number, label in enumerate(document.labels):
            match number not in document.missed, number not in other.missed:
                case True, True:
                    both += 1
                case True, False:
                    only_first.append(LabelPosition(document.id, label))
                case False, True:
                    only_second.append(LabelPosition(document.id, label))
                case _:
                    neither += 1
    return EvaluationComparison(
        documents=len(pairs),
        both=both,
        neither=neither,
        only_first=tuple(only_first),
        only_second=tuple(only_second),
        false_first=sum(len(document.false) for document, _ in pairs),
        false_second=sum(len(other.false) for _, other in pairs),
    )


def sign_test(first: int, other: int) -> float:
    """Return the probability that fair coins differ at least that much: two-sided and exact."""
    tosses, fewer = first + other, min(first, other)
    if first == other:
        return 1.0
    tail = sum(math.comb(tosses, heads) for heads in range(fewer + 1))
    return min(1.0, float(2 * tail / 2**tosses))

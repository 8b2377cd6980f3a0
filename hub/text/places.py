"""Positions in a text, each from a start to an end: merged, and found by a character. Pure functions."""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from operator import itemgetter

Place = tuple[int, int]


def merged(places: Iterable[Place]) -> list[Place]:
    """Sort places and merge those that touch."""
    found: list[Place] = []
    for start, end in sorted(places):
        if found and start <= found[-1][1]:
            found[-1] = found[-1][0], max(end, found[-1][1])
        elif start < end:
            found.append((start, end))
    return found


def place_at(places: Sequence[Place], at: int) -> int | None:
    """Return the index of the place that covers *at*; they are in order and disjoint."""
    nth = bisect_right(places, at, key=itemgetter(0)) - 1
    return nth if nth >= 0 and at < places[nth][1] else None

"""Suggestions ("did you mean") for unknown names."""

from bisect import bisect
from collections.abc import Iterable
from typing import Final

MAX_SIMILAR: Final = 64  # characters of a word: names are shorter, and comparing costs their product
MAX_COMPARED: Final = 500  # names that a word is compared with: 5 us each


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return a hint with the most similar name of *known*, ignoring case; empty if no name is similar."""
    near = nearest(word, known)
    return f"did you mean '{near}'?" if near else ""


def nearest(word: str, known: Iterable[str]) -> str:
    """Return the most similar name of *known*, or an empty string if no name is similar.

    Of very many names only those are compared that come next to *word* in alphabetical order.
    """
    from difflib import get_close_matches

    if len(word) > MAX_SIMILAR:
        return ""
    word = word.lower()
    spelled = {name.lower(): name for name in sorted(known, reverse=True)}
    names = sorted(spelled)
    if len(names) > MAX_COMPARED:
        place = bisect(names, word)
        names = names[max(0, place - MAX_COMPARED // 2) : place + MAX_COMPARED // 2]
    near = get_close_matches(word, names, n=1)
    return spelled[near[0]] if near else ""

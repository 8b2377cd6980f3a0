"""Formatting of lists of names ("a, b and 3 more") and of numbers ("1 item", "3 entries") in a sentence."""

from collections.abc import Sequence


def listed(names: Sequence[str], most: int) -> str:
    """Return the first *most* names with commas between, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def counted(count: int, noun: str, shown: str | None = None) -> str:
    """Return a number with its noun, as *shown* if given: ``1 file``, ``2 entries``, ``3/20 files``."""
    plural = f"{noun.removesuffix('y')}ies" if noun.endswith("y") else f"{noun}s"
    return f"{count if shown is None else shown} {noun if count == 1 else plural}"

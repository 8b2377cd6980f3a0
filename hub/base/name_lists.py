"""Formatting of lists of names ("a, b and 3 more"), numbers ("1 item") and times ("once") in a sentence."""

import re
from collections.abc import Sequence


def listed(names: Sequence[str], most: int) -> str:
    """Return the first *most* names with commas between, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def counted(count: int, noun: str, shown: str | None = None) -> str:
    """Return a number with its noun, as *shown* if given: ``1 file``, ``2 entries``, ``3/20 keys``."""
    plural = re.sub("(?<![aeiou])y$", "ie", noun) + "s"
    return f"{count if shown is None else shown} {noun if count == 1 else plural}"


def often(count: int) -> str:
    """Return how many times something happened: ``once``, ``3 times``."""
    return "once" if count == 1 else f"{count} times"


def count_waiting(count: int, noun: str) -> str:
    """Return a number with its noun and verb: ``1 run waits``, ``3 runs wait``."""
    return f"{counted(count, noun)} {'waits' if count == 1 else 'wait'}"

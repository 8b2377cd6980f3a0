"""Formatting of a list of names in a sentence ("a, b and 3 more")."""

from collections.abc import Sequence


def listed(names: Sequence[str], most: int) -> str:
    """Return the first *most* names with commas between, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more

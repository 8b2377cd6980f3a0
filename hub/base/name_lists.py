"""Lists of names in a sentence."""

from collections.abc import Sequence


def listed(names: Sequence[str], most: int) -> str:
    """Return the first *most* names with commas between, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more

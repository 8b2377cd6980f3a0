"""Number of fires of a schedule in words."""

from typing import Final

MAX_WALKED: Final = 1_000


def describe_count(fires: int) -> str:
    """Return a number of fires in words; one that may be a lower bound as ``2000 or more``."""
    return f"{fires} or more" if fires >= MAX_WALKED else str(fires)

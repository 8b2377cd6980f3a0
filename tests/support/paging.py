"""Pages of lists, for tests that call nouns without a request."""

from hub.api.noun import PageOf, cursor_of
from storage.kernel.columns import Key


def page_of(limit: int = 99, after: Key | None = None) -> PageOf:
    """Return the part of a list that follows *after*."""
    return PageOf(limit=limit, cursor=None if after is None else cursor_of(after))

"""Pages of lists: ``limit`` items at most, and a ``cursor`` that leads to the next ones.

A cursor is the sort key of the last item of its page, so concurrent additions and removals
neither repeat nor hide other items. It is opaque to clients.

``@listed`` does this for a method. A method with a ``Paging`` of its own reads ``paging.part``, and gives the
items to ``paging.fetched``.
"""

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import Annotated, Final, Generic, NamedTuple, TypeVar
from urllib.parse import urlencode

import msgspec
from msgspec import Meta

from hub.api.binding import Call, From
from hub.api.noun import Part
from protocol.errors import CodedError, ErrorCode
from storage.kernel.columns import Key

DEFAULT_LIMIT: Final = 100
MOST: Final = 1_000
MOST_LONG: Final = 200  # of items with a text that may be long

T = TypeVar("T")


class Page(NamedTuple, Generic[T]):
    """Page of ordered items; *next_cursor* is the cursor of the next page, None on the last page."""

    items: tuple[T, ...]
    next_cursor: str | None


class PageOf:
    """The requested part of a list.

    Args:
        call: the request whose URL, with another cursor, its response links to; without it there is no link.

    Attributes:
        limit: number of items at most.
        after: the sort key of the last item of the page before; None: from the start.
    """

    def __init__(
        self,
        *,
        limit: int = DEFAULT_LIMIT,
        cursor: str | None = None,
        call: Call | None = None,
    ) -> None:
        self._call = call
        self.limit = limit
        self.after = None if cursor is None else _key(cursor)

    @property
    def part(self) -> Part:
        """The part to read: one item more than the page has, which tells whether another page follows."""
        return Part(self.limit + 1, self.after)

    def fetched(self, items: Sequence[T], *, key: Callable[[T], Key], rest: Key | None = None) -> Page[T]:
        """Return the page out of the ``limit + 1`` items after ``after``, or fewer, and set its ``Link``.

        Args:
            rest: the sort key after which other items may follow fewer ones.
        """
        page = tuple(items[: self.limit])
        if len(items) > self.limit:
            rest = key(page[-1])
        if rest is None:
            return Page(page, None)
        cursor = cursor_of(rest)
        if self._call is not None:
            others = [(name, value) for name, value in self._call.query if name not in ("cursor", "limit")]
            query = [*others, ("cursor", cursor), ("limit", str(self.limit))]
            path = self._call.scope["path"]
            self._call.head.headers["link"] = f'<{path}?{urlencode(query)}>; rel="next"'
        return Page(page, cursor)


def page(
    call: Call,
    limit: Annotated[int, Meta(ge=1, le=MOST, description="Maximum number of items.")] = DEFAULT_LIMIT,
    cursor: Annotated[str, Meta(max_length=1_000, description="``next_cursor`` of the page before.")]
    | None = None,
) -> PageOf:
    """Return the part of a list that a REST request asks for."""
    return PageOf(limit=limit, cursor=cursor, call=call)


Paging = Annotated[PageOf, From(page)]


def cursor_of(key: Key) -> str:
    """Return the cursor that leads to the items after the one with this sort key."""
    return base64.urlsafe_b64encode(msgspec.json.encode(key)).decode().rstrip("=")


def _key(cursor: str) -> Key:
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        key = msgspec.json.decode(raw, type=Key)
    except (ValueError, binascii.Error, msgspec.MsgspecError) as error:
        raise CodedError(
            ErrorCode.BAD_PARAMS, "cursor: take it from next_cursor of the page before"
        ) from error
    if not key or not all(map(_is_bearable, key)):
        raise CodedError(ErrorCode.BAD_PARAMS, "cursor: take it from next_cursor of the page before")
    return key


def _is_bearable(part: str | int) -> bool:
    """Return whether every database takes this part of a key."""
    return "\0" not in part if isinstance(part, str) else abs(part) < 2**63

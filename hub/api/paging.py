"""Pages of lists: ``limit`` items at most, and a ``cursor`` that leads to the next ones.

A cursor is the sort key of the last item of its page, so concurrent additions and removals
neither repeat nor hide other items. It is opaque to clients.

``@listed`` cuts a whole list into pages. Where the store pages, ask it for ``paging.limit + 1`` items
after ``paging.after``, and give them to ``paging.fetched``.
"""

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import Annotated, Final, Generic, NamedTuple, TypeVar
from urllib.parse import quote, urlencode

import msgspec
from msgspec import Meta

from hub.api.binding import Call, From
from hub.api.noun import Key
from protocol.errors import ErrorCode, HubError

DEFAULT_LIMIT: Final = 100
MOST: Final = 1_000

T = TypeVar("T")


class BadCursor(HubError):
    """The cursor is not one that this list gave."""

    code = ErrorCode.BAD_PARAMS


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

    def cut(self, items: Sequence[T], *, key: Callable[[T], Key], descending: bool = False) -> Page[T]:
        """Return the page out of all *items*, which are in the order of *key*.

        Raises:
            BadCursor: it came from another list.
        """
        after, found = self.after, list(items)
        if after is not None:
            try:
                found = [item for item in items if (key(item) < after if descending else key(item) > after)]
            except TypeError as error:
                raise BadCursor("cursor: it came from another list") from error
        return self.fetched(found[: self.limit + 1], key=key)

    def fetched(self, items: Sequence[T], *, key: Callable[[T], Key]) -> Page[T]:
        """Return the page out of the ``limit + 1`` items after ``after``, or fewer, and set its ``Link``."""
        page = tuple(items[: self.limit])
        if len(items) <= self.limit:
            return Page(page, None)
        cursor = cursor_of(key(page[-1]))
        if self._call is not None:
            kept = [(name, value) for name, value in self._call.query if name not in ("cursor", "limit")]
            query = [*kept, ("cursor", cursor), ("limit", str(self.limit))]
            path = quote(self._call.scope["path"])
            self._call.head.headers["link"] = f'<{path}?{urlencode(query)}>; rel="next"'
        return Page(page, cursor)

    def after_text(self) -> str | None:
        """Return ``after`` of a list whose sort key is one text, as an id.

        Raises:
            BadCursor: it came from another list.
        """
        match self.after:
            case None:
                return None
            case (str(text),):
                return text
        raise BadCursor("cursor: it came from another list")

    def after_number(self) -> int | None:
        """Return ``after`` of a list whose sort key is one number. Raises BadCursor as ``after_text``."""
        match self.after:
            case None:
                return None
            case (int(number),):
                return number
        raise BadCursor("cursor: it came from another list")

    def after_number_and_text(self) -> tuple[int, str] | None:
        """Return ``after`` of a list whose sort key is a number and a text. Raises BadCursor too."""
        match self.after:
            case None:
                return None
            case (int(number), str(text)):
                return number, text
        raise BadCursor("cursor: it came from another list")


def _page(
    call: Call,
    limit: Annotated[int, Meta(ge=1, le=MOST, description="Maximum number of items.")] = DEFAULT_LIMIT,
    cursor: Annotated[str, Meta(max_length=1_000, description="``next_cursor`` of the page before.")]
    | None = None,
) -> PageOf:
    return PageOf(limit=limit, cursor=cursor, call=call)


Paging = Annotated[PageOf, From(_page)]


def cursor_of(key: Key) -> str:
    """Return the cursor that leads to the items after the one with this sort key."""
    return base64.urlsafe_b64encode(msgspec.json.encode(key)).decode().rstrip("=")


def _key(cursor: str) -> Key:
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        key = msgspec.json.decode(raw, type=Key)
    except (ValueError, binascii.Error, msgspec.MsgspecError) as error:
        raise BadCursor("cursor: take it from next_cursor of the page before") from error
    if not key or not all(map(_is_bearable, key)):
        raise BadCursor("cursor: take it from next_cursor of the page before")
    return key


def _is_bearable(part: str | int) -> bool:
    """Return whether every database takes this part of a key."""
    return "\0" not in part if isinstance(part, str) else abs(part) < 2**63

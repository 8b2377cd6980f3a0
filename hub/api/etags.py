"""``ETag`` and ``If-Match`` (RFC 9110, 8.8.3 and 13.1.1): an edit of an outdated version is refused.

A tag covers the fields that an edit may change. Fields that change without an edit, such as the time
when a device was last seen, are left out. ``If-Match`` is optional; with it, a client
never overwrites a change that another caller made after the client's read.

A route that is declared with ``is_tagged`` does both. A method with a ``Match`` of its own calls
``match.check`` before the change, and ``match.tell`` after it.
"""

from typing import Annotated

from msgspec import Meta

from hub.api.binding import Call, From, Head, Header
from protocol.errors import ErrorCode, HubError


class ChangedMeanwhile(HubError):
    """An edit refused because the object changed after the client read it."""

    code = ErrorCode.CHANGED_MEANWHILE


class Matching:
    """``If-Match`` of a request, and ``ETag`` of its response."""

    def __init__(self, head: Head, if_match: str | None) -> None:
        self._head = head
        self._if_match = if_match

    @property
    def is_asked(self) -> bool:
        """True if the request has ``If-Match``; only then the current object has to be read."""
        return self._if_match is not None

    @property
    def given(self) -> str | None:
        """Value of ``If-Match``, stripped; None if the request has none."""
        return None if self._if_match is None else self._if_match.strip()

    def check(self, tag: str) -> None:
        """Raise ChangedMeanwhile if the request has an ``If-Match`` without *tag*."""
        if self._if_match is None or self._if_match.strip() == "*":
            return
        if tag not in (named.strip() for named in self._if_match.split(",")):
            raise ChangedMeanwhile("it changed since it was read; nothing was done")

    def tell(self, tag: str) -> None:
        """Set the ``ETag`` of the response."""
        self._head.headers["etag"] = tag


def _matching(
    call: Call,
    if_match: Annotated[
        Annotated[str, Meta(max_length=1_000, description="``ETag`` of what was read.")] | None,
        Header("if-match"),
    ] = None,
) -> Matching:
    return Matching(call.head, if_match)


Match = Annotated[Matching, From(_matching)]

"""``ETag`` and ``If-Match`` (RFC 9110, 8.8.3 and 13.1.1): an edit of what changed meanwhile is refused.

A tag is made of what an edit may change, not of what changes by itself, as when a
device was last seen. An ``If-Match`` is never needed; who gives one is sure that
nobody came between reading and changing::

    match.check(tag_of(device.id, device.name))      # before the change
    match.tell(tag_of(changed.id, changed.name))     # after it, and on every GET
"""

import hashlib
from typing import Annotated

import msgspec
from fastapi import Depends, Header, Response

from protocol.errors import ErrorCode, HubError


class ChangedMeanwhile(HubError):
    """Somebody changed it since it was read; nothing was done."""

    code = ErrorCode.CHANGED_MEANWHILE


class Matching:
    """What the one who asks has read, and the tag that the answer bears."""

    def __init__(self, response: Response, if_match: str | None) -> None:
        self._response = response
        self._if_match = if_match

    @property
    def is_asked(self) -> bool:
        """Whether an ``If-Match`` was given, so that it is worth looking at what there is."""
        return self._if_match is not None

    @property
    def given(self) -> str | None:
        """The ``If-Match`` as it was said."""
        return None if self._if_match is None else self._if_match.strip()

    def check(self, tag: str) -> None:
        """Raises ChangedMeanwhile when an ``If-Match`` was given that names other tags than *tag*."""
        if self._if_match is None or self._if_match.strip() == "*":
            return
        if tag not in (named.strip() for named in self._if_match.split(",")):
            raise ChangedMeanwhile("it changed since it was read; nothing was done")

    def tell(self, tag: str) -> None:
        """Let the answer bear *tag*."""
        self._response.headers["etag"] = tag


def _matching(
    response: Response,
    if_match: Annotated[
        str | None, Header(max_length=1_000, description="``ETag`` of what was read.")
    ] = None,
) -> Matching:
    return Matching(response, if_match)


Match = Annotated[Matching, Depends(_matching)]


def tag_of(*parts: object) -> str:
    """A strong tag of what *parts*, which JSON can tell, are now."""
    told = msgspec.json.encode(parts, enc_hook=str)
    return f'"{hashlib.sha256(told).hexdigest()[:24]}"'

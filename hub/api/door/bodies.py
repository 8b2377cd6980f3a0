"""The body of a request: received within a time limit, before any lock is taken for its change.

Its length is limited before: a request declares it in its head, or is refused (``hub.api.door.connection``).
"""

import anyio
from starlette.types import Message, Receive

from protocol.errors import ErrorCode, HubError


class BodyTooSlow(HubError):
    """A body that was not received in time."""

    code = ErrorCode.HELLO_TIMEOUT


async def read_body(receive: Receive, *, within_s: float) -> bytes | None:
    """Return the whole body, or None if the peer left before its end.

    Raises:
        BodyTooSlow: the body was not received *within_s* seconds.
    """
    body = bytearray()
    with anyio.move_on_after(within_s):
        while True:
            message = await receive()
            if message["type"] != "http.request":
                return None
            body += message.get("body", b"")
            if not message.get("more_body", False):
                return bytes(body)
    raise BodyTooSlow(f"the body was not here within {within_s:g} s")


def replaying(body: bytes, receive: Receive) -> Receive:
    """Return an ASGI ``receive`` that yields the whole body once, then the messages of *receive*."""
    is_told = False

    async def replay() -> Message:
        nonlocal is_told
        if is_told:
            return await receive()
        is_told = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay

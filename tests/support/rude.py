"""An ASGI application before that of a provider, which answers wrongly."""

from collections.abc import Callable
from typing import Final, Literal

import anyio.lowlevel
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

Wrong = Literal["cut", "busy", "broken", "page", "drip"]
EVERY: Final = 20  # requests, of which the last one is answered wrongly
_PIECE_BYTES: Final = 64
_ANSWERS: Final = {
    "busy": (429, {"retry-after": "1"}),
    "broken": (500, {}),
    "page": (502, {"content-type": "text/html"}),
}


class Cut(Exception):
    """The end of a connection, in the middle of an answer."""


class Rude:
    """The application.

    Attributes:
        wrong: what becomes of the request of a number, from 1; None: it is passed on.
    """

    def __init__(self) -> None:
        self.wrong: Callable[[int], Wrong | None] = lambda _: None
        self.requests = 0

    def before(self, app: ASGIApp) -> ASGIApp:
        """Return the application that passes requests on to *app*."""

        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            self.requests += 1
            match self.wrong(self.requests):
                case None:
                    await app(scope, receive, send)
                case "drip":
                    await app(scope, receive, lambda message: _drip(send, message))
                case "cut":
                    headers = [(b"content-length", b"1000")]
                    await send({"type": "http.response.start", "status": 200, "headers": headers})
                    await send({"type": "http.response.body", "body": b'{"value": [', "more_body": True})
                    raise Cut
                case wrong:
                    status, told = _ANSWERS[wrong]
                    await Response("<html>Error</html>", status, headers=told)(scope, receive, send)

        return answer


async def _drip(send: Send, message: Message) -> None:
    """Send a message, the body of an answer in small pieces."""
    body = message.get("body", b"")
    for at in range(0, len(body), _PIECE_BYTES):
        piece = body[at : at + _PIECE_BYTES]
        await send({"type": "http.response.body", "body": piece, "more_body": True})
        await anyio.lowlevel.checkpoint()
    await send({**message, **({"body": b""} if "body" in message else {})})


def each_nth(wrong: Wrong) -> Callable[[int], Wrong | None]:
    """Answer each request of ``EVERY`` wrongly."""
    return lambda number: None if number % EVERY else wrong


def in_a_row(wrong: Wrong, first: int = 30, last: int = 41) -> Callable[[int], Wrong | None]:
    """Answer some requests in a row wrongly, more than a client tries one."""
    return lambda number: wrong if first <= number <= last else None

"""Server-sent event streams: how many a caller may open, keep-alive comments, and ends of a stream.

The number of open streams is limited, in total and per caller. All streams end at a drain, as an open
stream would delay the server's shutdown. A silent stream sends comments, so that proxies keep it open and
a disconnected reader is noticed. A stream ends when its token is revoked or expires.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import ExitStack, aclosing, contextmanager
from typing import Any, Final

import anyio
import msgspec
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from hub.api.http.access import FairShares, NoCapacity
from hub.base.roles import PRINCIPAL, Principal
from hub.base.web.problem import ProblemResponse

BEAT_S: Final = 15.0  # proxies commonly give up after 30 or 60
RECHECK_S: Final = 0.5  # a revocation has to take effect within a second
_BEAT: Final = b": still here\n\n"  # a comment, which readers ignore

StillValid = Callable[[Principal], Awaitable[bool]]


async def counts_for_ever(_: Principal) -> bool:
    """Return True: the rights of this principal do not end."""
    return True


class Streams:
    """The open event streams.

    Args:
        limit: maximum number of streams; each costs a task and a connection.
        beat_s: seconds of silence after which a stream sends a comment.
        still_counts: returns whether the principal of a stream is still permitted to read.
        on_refusal: called with the error code of a stream for which there is no place.
    """

    def __init__(
        self,
        limit: int,
        *,
        beat_s: float = BEAT_S,
        still_counts: StillValid = counts_for_ever,
        on_refusal: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._shares = FairShares(limit, "no further event stream")
        self.beat_s = beat_s
        self.still_counts = still_counts
        self._on_refusal = on_refusal
        self._open: set[anyio.CancelScope] = set()
        self._has_ended = False

    @contextmanager
    def place(self, principal: Principal) -> Iterator[None]:
        """Hold a place for a stream of *principal*.

        Raises:
            NoPlace: the total limit or the limit of this principal is reached.
        """
        with ExitStack() as places:
            try:
                places.enter_context(self._shares.hold(principal.share))
            except NoCapacity as refusal:
                self._on_refusal(refusal.code)
                raise
            yield

    @contextmanager
    def scope(self) -> Iterator[anyio.CancelScope]:
        """Yield the cancel scope of a stream, which is cancelled when all streams are ended."""
        with anyio.CancelScope() as scope:
            self._open.add(scope)
            if self._has_ended:
                scope.cancel()
            try:
                yield scope
            finally:
                self._open.discard(scope)

    def end(self) -> None:
        """End every stream; later streams end immediately."""
        self._has_ended = True
        for scope in self._open:
            scope.cancel()


class StreamedResponse(Response):
    """Base of responses that are sent as they come, so that no other node can pass them on."""


class EventStream(StreamedResponse):
    """Response that streams *events* as JSON, and closes the generator at the end.

    All have the same *name*; without one, each names itself by its fields ``id`` and ``event``.
    Where the limit of streams is reached, it is a refusal instead; *events* is not started then.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        events: AsyncGenerator[Any],
        *,
        name: str = "",
        streams: Streams,
    ) -> None:
        super().__init__(headers={"cache-control": "no-store"})
        del self.headers["content-length"]  # the length of a stream is unknown
        self._texts = _spelled(events, name)
        self._streams = streams

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        principal: Principal = scope["state"][PRINCIPAL]
        with ExitStack() as places:
            try:
                places.enter_context(self._streams.place(principal))
            except NoCapacity as refusal:
                await ProblemResponse.of(refusal)(scope, receive, send)
                return
            await send(
                {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
            )
            if scope["method"] != "HEAD":
                await self._send_all(principal, receive, send)
            with anyio.move_on_after(1.0, shield=True):  # the peer may have disconnected
                await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send_all(self, principal: Principal, receive: Receive, send: Send) -> None:
        sending = anyio.Lock()  # an event and a beat do not mix

        async def send_text(text: bytes) -> None:
            async with sending:
                await send({"type": "http.response.body", "body": text, "more_body": True})

        with self._streams.scope() as streaming:
            async with anyio.create_task_group() as watch, aclosing(self._texts) as texts:
                watch.start_soon(_cancel_when_disconnected, receive, streaming)
                watch.start_soon(_beat, send_text, self._streams.beat_s)
                watch.start_soon(cancel_when_revoked, self._streams.still_counts, principal, streaming)
                async for text in texts:
                    await send_text(text)
                watch.cancel_scope.cancel()


async def _spelled(events: AsyncGenerator[Any], name: str) -> AsyncGenerator[bytes]:
    async with aclosing(events):
        async for event in events:
            head = f"event: {name}" if name else f"id: {event.id}\nevent: {event.event}"
            yield f"{head}\ndata: {msgspec.json.encode(event).decode()}\n\n".encode()


async def _beat(send_text: Callable[[bytes], Awaitable[None]], every_s: float) -> None:
    while True:
        await anyio.sleep(every_s)
        await send_text(_BEAT)


async def _cancel_when_disconnected(receive: Receive, streaming: anyio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    streaming.cancel()


async def cancel_when_revoked(
    still_counts: StillValid, principal: Principal, streaming: anyio.CancelScope
) -> None:
    """Cancel a stream when its token is revoked or expires."""
    while True:
        if not await still_counts(principal):
            streaming.cancel()
            return
        await anyio.sleep(RECHECK_S)

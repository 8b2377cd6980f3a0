"""Server-sent events: an answer that goes on until its subject ends, or the server does.

The number of open streams is bounded, in all and for each who follows, and all of them end
at a drain: an open one would hold up the server's shutdown. A silent one beats, so that what stands between
keeps it open, and a reader that is gone is noticed. One whose token counts no more is cut.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import aclosing, contextmanager
from typing import Final, TypeVar

import anyio
from pydantic import BaseModel
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from hub.api.door.fair_quota import Shares
from hub.api.door.roles import PRINCIPAL, Principal
from protocol.errors import ErrorCode, HubError

BEAT_S: Final = 15.0  # proxies commonly give up after 30 or 60
LOOK_S: Final = 0.5  # a revocation takes effect within a second (SEC-7)
_BEAT: Final = b": still here\n\n"  # a comment: no reader takes it for an event

E = TypeVar("E", bound=BaseModel)
StillCounts = Callable[[Principal], Awaitable[bool]]


async def _counts_for_ever(_: Principal) -> bool:
    return True


class TooManyStreams(HubError):
    """As many event streams are open as may be."""

    code = ErrorCode.OVERLOADED


class Streams:
    """The event streams that are open now.

    Args:
        limit: how many there may be; each costs a task and a connection.
        beat_s: how long one is silent at most.
        still_counts: whether who opened one may still be told.
    """

    def __init__(
        self, limit: int, *, beat_s: float = BEAT_S, still_counts: StillCounts = _counts_for_ever
    ) -> None:
        self._shares = Shares(limit)
        self.beat_s = beat_s
        self.still_counts = still_counts
        self.on_refusal: Callable[[str], None] = lambda _: None  # told the code when one is too many
        self._open: set[anyio.CancelScope] = set()
        self._has_ended = False

    @contextmanager
    def place(self, principal: Principal) -> Iterator[None]:
        """What a stream of *principal*'s takes up.

        Raises:
            TooManyStreams: it would be one too many, in all or of this principal's.
        """
        if lack := self._shares.lack(principal.share):
            self.on_refusal(TooManyStreams.code)
            raise TooManyStreams(f"no further event stream: {lack}")
        with self._shares.taken(principal.share):
            yield

    @contextmanager
    def scope(self) -> Iterator[anyio.CancelScope]:
        """What a stream runs in: cancelled when all streams are ended."""
        with anyio.CancelScope() as scope:
            self._open.add(scope)
            if self._has_ended:
                scope.cancel()
            try:
                yield scope
            finally:
                self._open.discard(scope)

    def end(self) -> None:
        """End every stream, and every later one at once."""
        self._has_ended = True
        for scope in self._open:
            scope.cancel()


def named(name: str) -> Callable[[BaseModel], str]:
    """Spells every event under the same *name*, with JSON data."""
    return lambda event: f"event: {name}\ndata: {event.model_dump_json()}\n\n"


class EventStream(Response):
    """Sends each of *events* as *spell* spells it, and closes them at the end.

    Raises:
        TooManyStreams: when it is to be sent; *events* was not touched.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        events: AsyncGenerator[E],
        *,
        name: str = "message",
        spell: Callable[[E], str] | None = None,
        streams: Streams,
    ) -> None:
        super().__init__(headers={"cache-control": "no-store"})
        del self.headers["content-length"]  # nobody knows it yet
        self._texts = _spelled(events, spell or named(name))
        self._streams = streams

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        principal: Principal = scope["state"][PRINCIPAL]
        with self._streams.place(principal):
            await send(
                {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
            )
            await self._tell_all(principal, receive, send)
            with anyio.move_on_after(1.0, shield=True):  # a peer that left reads no end
                await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _tell_all(self, principal: Principal, receive: Receive, send: Send) -> None:
        sending = anyio.Lock()  # an event and a beat do not mix

        async def tell(text: bytes) -> None:
            async with sending:
                await send({"type": "http.response.body", "body": text, "more_body": True})

        with self._streams.scope() as streaming:
            async with anyio.create_task_group() as watch, aclosing(self._texts) as texts:
                watch.start_soon(_cancel_when_gone, receive, streaming)
                watch.start_soon(_beat, tell, self._streams.beat_s)
                watch.start_soon(_cancel_when_revoked, self._streams.still_counts, principal, streaming)
                async for text in texts:
                    await tell(text)
                watch.cancel_scope.cancel()


async def _spelled(events: AsyncGenerator[E], spell: Callable[[E], str]) -> AsyncGenerator[bytes]:
    async with aclosing(events):
        async for event in events:
            yield spell(event).encode()


async def _beat(tell: Callable[[bytes], Awaitable[None]], every_s: float) -> None:
    while True:
        await anyio.sleep(every_s)
        await tell(_BEAT)


async def _cancel_when_gone(receive: Receive, streaming: anyio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    streaming.cancel()


async def _cancel_when_revoked(
    still_counts: StillCounts, principal: Principal, streaming: anyio.CancelScope
) -> None:
    while True:
        if not await still_counts(principal):
            streaming.cancel()
            return
        await anyio.sleep(LOOK_S)

"""Server-sent events: an answer that goes on until its subject ends, or the server does.

The number of open streams is bounded, and all of them end at a drain: an open one
would hold up the server's shutdown.
"""

from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager

import anyio
from pydantic import BaseModel
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from protocol.errors import ErrorCode, HubError


class TooManyStreams(HubError):
    """As many event streams are open as may be."""

    code = ErrorCode.OVERLOADED


class Streams:
    """The event streams that are open now.

    Args:
        limit: how many there may be; each costs a task and a connection.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._open: set[anyio.CancelScope] = set()
        self._has_ended = False

    def check_room(self) -> None:
        """Raises TooManyStreams when one more would be too many."""
        if len(self._open) >= self._limit:
            raise TooManyStreams(f"{self._limit} event streams are open already")

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


class EventStream(Response):
    """Sends each of *events* as an event *name* with JSON data, and closes them at the end.

    Raises:
        TooManyStreams: *events* was not touched.
    """

    media_type = "text/event-stream"

    def __init__(self, events: AsyncGenerator[BaseModel], *, name: str, streams: Streams) -> None:
        streams.check_room()
        super().__init__(headers={"cache-control": "no-store"})
        del self.headers["content-length"]  # nobody knows it yet
        self._events = events
        self._name = name
        self._streams = streams

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        with self._streams.scope() as streaming:
            async with anyio.create_task_group() as watch, aclosing(self._events) as events:
                watch.start_soon(_cancel_when_gone, receive, streaming)
                async for event in events:
                    message = f"event: {self._name}\ndata: {event.model_dump_json()}\n\n"
                    await send({"type": "http.response.body", "body": message.encode(), "more_body": True})
                watch.cancel_scope.cancel()
        with anyio.move_on_after(1.0, shield=True):  # a peer that left reads no end
            await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _cancel_when_gone(receive: Receive, streaming: anyio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    streaming.cancel()

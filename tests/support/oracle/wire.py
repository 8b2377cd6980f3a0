"""As much HTTP/1.1 as a client of a model needs: a request read, a response spelled, a hang-up noticed."""

import json
import re
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, NamedTuple

import anyio
from anyio.abc import SocketStream

_MAX_HEAD_BYTES = 64 * 1024
_DRIP_S = 0.02


class HttpRequest(NamedTuple):
    """One request; names of headers are lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class HttpResponse(NamedTuple):
    """HTTP response; with *breaks_off_at*, the connection ends after so many bytes of the content.

    *drip* follows again and again, until the client hangs up; if it is empty, nothing does.
    """

    content: bytes
    breaks_off_at: int | None = None
    drip: bytes | None = None


def respond(
    status: int, body: object, *headers: tuple[str, str], kind: str = "application/json"
) -> HttpResponse:
    """*body* as JSON, or as it is where it is bytes."""
    content = body if isinstance(body, bytes) else json.dumps(body, ensure_ascii=False).encode()
    told = [("Content-Type", kind), ("Content-Length", str(len(content))), *headers]
    head = "".join(f"{name}: {value}\r\n" for name, value in told)
    return HttpResponse(f"HTTP/1.1 {status} Oracle\r\n{head}\r\n".encode() + content)


def body_of(response: HttpResponse) -> bytes:
    """What stands below the headers."""
    return response.content.partition(b"\r\n\r\n")[2]


def refusal(status: int, code: str, *headers: tuple[str, str], message: str | None = None) -> HttpResponse:
    """An error as OpenAI spells it."""
    told = message or f"the oracle was told to say {code}"
    error: dict[str, Any] = {"message": told, "type": code, "code": code, "param": None}
    return respond(status, {"error": error}, *headers)


class Connection:
    """One client, kept alive from request to request."""

    def __init__(self, stream: SocketStream) -> None:
        self._stream = stream
        self._received = b""

    async def serve(self, answer: Callable[["HttpRequest", "Connection"], Awaitable[HttpResponse]]) -> None:
        """Answer one request after the other, until the client is gone."""
        async with self._stream:
            with suppress(anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
                while True:
                    response = await answer(await self._request(), self)
                    await self._stream.send(response.content[: response.breaks_off_at])
                    if response.breaks_off_at is not None:
                        return
                    if response.drip is not None:
                        await self._drip(response.drip)

    async def _drip(self, drip: bytes) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._watch, tasks.cancel_scope)
            with suppress(anyio.BrokenResourceError):  # in here: the group would wrap it
                while True:
                    await self._stream.send(drip) if drip else None
                    await anyio.sleep(_DRIP_S)
            tasks.cancel_scope.cancel()

    async def while_there(self, work: Callable[[], Awaitable[HttpResponse]]) -> HttpResponse | None:
        """What comes of *work*; ``None`` when the client hung up meanwhile."""
        done: list[HttpResponse] = []
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._watch, tasks.cancel_scope)
            done.append(await work())
            tasks.cancel_scope.cancel()
        return done[0] if done else None

    async def _watch(self, scope: anyio.CancelScope) -> None:
        try:
            while True:
                self._received += await self._stream.receive()
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            scope.cancel()

    async def _request(self) -> HttpRequest:
        while b"\r\n\r\n" not in self._received[:_MAX_HEAD_BYTES]:
            self._received += await self._stream.receive()
        head, _, self._received = self._received.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {
            name.lower(): value for name, value in (re.split(r":\s*", line, maxsplit=1) for line in lines)
        }
        size = int(headers.get("content-length", 0))
        pieces, missing = [self._received], size - len(self._received)
        while missing > 0:
            pieces.append(await self._stream.receive())
            missing -= len(pieces[-1])
        received = b"".join(pieces)
        body, self._received = received[:size], received[size:]
        method, path, _ = first.split(" ", 2)
        return HttpRequest(method, path, headers, body)

"""As much of HTTP/1.1 as a fake of Graph needs: requests without a body, answers of known length."""

import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

import anyio
from anyio.abc import SocketAttribute, SocketStream


class Request(NamedTuple):
    """*path* is still quoted; header names are in small letters."""

    method: str
    target: str
    path: tuple[str, ...]
    query: dict[str, str]
    headers: dict[str, str]

    @property
    def prefer(self) -> set[str]:
        return {part.strip() for part in self.headers.get("prefer", "").split(",") if part.strip()}


def with_query(request: Request, base_url: str, **more: int) -> str:
    """The same address with other options: ``skip=2`` is ``$skip=2``."""
    query = request.query | {f"${name}": str(value) for name, value in more.items()}
    path = "/".join(quote(step, safe="@:$") for step in request.path[1:])
    return f"{base_url}/{path}?{urlencode(query, safe='$/,:', quote_via=quote)}"


class Response(NamedTuple):
    status: int
    body: Any = None  # JSON, or bytes as they are
    headers: Mapping[str, str] = {}


@asynccontextmanager
async def serving(respond: Callable[[Request], Response]) -> AsyncIterator[str]:
    """Answer on loopback; gives the origin."""

    async def talk(stream: SocketStream) -> None:
        async with stream:
            waiting = b""
            try:
                while True:
                    while b"\r\n\r\n" not in waiting:
                        waiting += await stream.receive()
                    head, _, waiting = waiting.partition(b"\r\n\r\n")
                    await stream.send(_spell(respond(_read(head.decode()))))
            except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
                return  # the client has left

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, talk)
        yield f"http://127.0.0.1:{listener.extra(SocketAttribute.local_port)}"
        tasks.cancel_scope.cancel()


def _read(head: str) -> Request:
    first, *lines = head.split("\r\n")
    method, target, _ = first.split(" ")
    parts = urlsplit(target)
    path = tuple(unquote(step) for step in parts.path.split("/") if step)
    headers: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        name = name.strip().lower()
        headers[name] = f"{headers[name]}, {value.strip()}" if name in headers else value.strip()
    return Request(method, target, path, dict(parse_qsl(parts.query, keep_blank_values=True)), headers)


def _spell(response: Response) -> bytes:
    body = response.body if isinstance(response.body, bytes) else json.dumps(response.body).encode()
    headers = {"content-type": "application/json", "content-length": str(len(body)), **response.headers}
    lines = [f"HTTP/1.1 {response.status} Told", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body

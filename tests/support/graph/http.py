"""Requests to the fake of Graph and its answers, over HTTP on loopback."""

import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, quote, unquote, urlencode

from starlette.datastructures import Headers
from starlette.responses import Response as HttpResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from tests.support import asgi


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
async def serving(
    respond: Callable[[Request], Response], around: Callable[[ASGIApp], ASGIApp] = lambda app: app
) -> AsyncIterator[str]:
    """Answer on loopback; gives the origin. *around*: puts something before the application."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raw, query = scope["raw_path"].decode(), scope["query_string"].decode()
        headers: dict[str, str] = {}
        for name, value in Headers(scope=scope).items():
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        path = tuple(unquote(step) for step in raw.split("/") if step)
        options = dict(parse_qsl(query, keep_blank_values=True))
        target = f"{raw}?{query}" if query else raw
        status, body, more = respond(Request(scope["method"], target, path, options, headers))
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        told = HttpResponse(data, status, headers={"content-type": "application/json", **more})
        await told(scope, receive, send)

    async with asgi.serving(around(app)) as origin:
        yield origin

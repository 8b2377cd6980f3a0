"""``Idempotency-Key``: which responses are stored and replayed when a request is repeated.

The first successful response is stored and replayed. A refused request changed nothing, so it is
executed again. A response with a secret (``Cache-Control: no-store``) is never stored: a repeated
request then learns only that it was executed.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import anyio
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hub.base.clock import Clock, epoch_ms
from hub.base.web.problem import ProblemResponse
from protocol.errors import ErrorCode, HubError
from storage.devices import idempotency
from storage.devices.idempotency import StoredResponse
from storage.kernel.database import Conflict
from storage.store import Store

LONGEST_KEY: Final = 128
STORED_HEADERS: Final = ("location", "etag")
REPLAYED: Final = "idempotency-replayed"


class Replays:
    """Stored responses to requests with an ``Idempotency-Key``."""

    def __init__(self, store: Store, *, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._locks: defaultdict[tuple[str, str], anyio.Lock] = defaultdict(anyio.Lock)
        self._waiting: defaultdict[tuple[str, str], int] = defaultdict(int)

    async def answer(
        self,
        app: ASGIApp,
        scope: Scope,
        receive: Receive,
        send: Send,
        *,
        body: bytes,
        key: str,
        within: str,
    ) -> None:
        """Call *app*, or replay its stored response.

        Args:
            body: the whole body.
            key: the ``Idempotency-Key`` of the request.
            within: scope of the key: the caller and the route.
        """
        if not (0 < len(key) <= LONGEST_KEY and key.isascii() and key.isprintable()):
            message = f"Idempotency-Key: 1 to {LONGEST_KEY} printable characters"
            await ProblemResponse(ErrorCode.BAD_PARAMS, message)(scope, receive, send)
            return
        digest = _digest(scope, body)
        async with self._alone(within, key):
            try:
                stored = await self._store.read(idempotency.find_answer, within, key)
                if stored is None:
                    stored = await self._asked(
                        app, scope, receive, send, key=key, within=within, digest=digest
                    )
            except HubError as error:
                await ProblemResponse.of(error)(scope, receive, send)
                return
        if stored is not None:
            await _replayed(stored, digest, key)(scope, receive, send)

    async def _asked(
        self,
        app: ASGIApp,
        scope: Scope,
        receive: Receive,
        send: Send,
        *,
        key: str,
        within: str,
        digest: str,
    ) -> StoredResponse | None:
        """Call *app* and store its response before sending it; return the response that was stored first."""
        messages: list[Message] = []

        async def capture(message: Message) -> None:
            messages.append(message)

        try:
            await app(scope, receive, capture)
        except Exception:  # a fault: the response is sent, and not stored
            for message in messages:
                await send(message)
            raise
        if messages and 200 <= messages[0]["status"] < 300:
            at = epoch_ms(self._clock.now())
            answer = _stored_part(messages)
            try:
                await self._store.write(
                    idempotency.keep_answer, within, key, request_hash=digest, response=answer, at=at
                )
            except Conflict:  # another hub process answered the same request concurrently
                return await self._store.read(idempotency.find_answer, within, key)
        for message in messages:
            await send(message)
        return None

    @asynccontextmanager
    async def _alone(self, within: str, key: str) -> AsyncIterator[None]:
        """Hold the lock of a key: a second request with the same key waits for the first response."""
        name = (within, key)
        self._waiting[name] += 1
        try:
            async with self._locks[name]:
                yield
        finally:
            self._waiting[name] -= 1
            if not self._waiting[name]:
                del self._waiting[name], self._locks[name]


def _digest(scope: Scope, body: bytes) -> str:
    """Hash the parts that identify a request. JSON in another spelling is another request."""
    asked = b"\0".join((scope["method"].encode(), scope["path"].encode(), scope["query_string"], body))
    return hashlib.sha256(asked).hexdigest()


def _stored_part(messages: list[Message]) -> dict[str, Any]:
    start, *rest = messages
    headers = Headers(raw=start["headers"])
    stored: dict[str, Any] = {"status": start["status"]}
    if headers.get("cache-control") == "no-store":
        return stored | {"withheld": True}
    body = b"".join(message.get("body", b"") for message in rest)
    selected = {name: headers[name] for name in STORED_HEADERS if name in headers}
    return stored | {"headers": selected, "body": json.loads(body) if body else None}


def _replayed(stored: StoredResponse, digest: str, key: str) -> Response:
    if stored.request_hash != digest:
        return ProblemResponse(ErrorCode.KEY_USED, f"the key {key!r} was used for another request")
    answer = stored.response
    if answer.get("withheld"):
        message = "this was done before; its answer bore a secret and was not kept"
        return ProblemResponse(ErrorCode.KEY_USED, message)
    body = b"" if answer["body"] is None else json.dumps(answer["body"]).encode()
    headers = {**answer["headers"], REPLAYED: "true"}
    return Response(body, answer["status"], headers, media_type="application/json")

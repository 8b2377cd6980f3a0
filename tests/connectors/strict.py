"""A proxy that makes the emulated Google strict: tokens end, faults come when they are told to."""

from dataclasses import dataclass, field
from urllib.parse import parse_qs

import httpx2
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from tests.support.gmail import Fault, refusal

_PASSED_ON = ("content-type", "authorization", "accept")


@dataclass
class StrictGoogle:
    """An ASGI application before *upstream*. *asked*: paths alone, for nobody needs to keep a secret."""

    upstream: str
    client: httpx2.AsyncClient
    faults: list[Fault] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    refreshed: int = 0
    _good: dict[str, str] = field(default_factory=dict)  # access token -> its refresh token

    def expire(self) -> None:
        """Every access token ends; refresh tokens stay good."""
        self._good.clear()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        await (await self._answer(request, await request.body()))(scope, receive, send)

    async def _answer(self, request: Request, body: bytes) -> Response:
        path = request.url.path
        self.asked.append(path)
        for fault in self.faults:
            if fault.part in path and fault.times:
                fault.times -= 1
                return fault.answer()
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        if path.startswith("/gmail/") and token not in self._good:
            return refusal(401, "authError", "Invalid Credentials")
        headers = {name: request.headers[name] for name in _PASSED_ON if name in request.headers}
        url = f"{self.upstream}{path}?{request.url.query}".rstrip("?")
        told = await self.client.request(request.method, url, headers=headers, content=body)
        self._look(path, parse_qs(body.decode(errors="replace")), told)
        kept = {name: told.headers[name] for name in ("content-type", "location") if name in told.headers}
        return Response(told.content, told.status_code, headers=kept)

    def _look(self, path: str, said: dict[str, list[str]], told: httpx2.Response) -> None:
        if path == "/oauth2/token" and told.status_code == 200:
            given = told.json()
            self.refreshed += said.get("grant_type") == ["refresh_token"]
            self._good[given["access_token"]] = given.get("refresh_token") or said["refresh_token"][0]
        if path == "/oauth2/revoke":
            for token, renewal in list(self._good.items()):
                if said.get("token", [""])[0] in (token, renewal):
                    del self._good[token]

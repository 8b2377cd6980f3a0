"""The npm package ``emulate``: Gmail and Google's OAuth as others understood them, in a process of its own.

It takes any bearer token and never forgets history: ``StrictGoogle`` stands before it and is strict.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs

import httpx2
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from tests.connectors.software import SOFTWARE, node_server, why_no
from tests.support.gmail import Fault, refusal
from tests.support.programs import free_port

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


CLIENT_ID: Final = "hub.apps.googleusercontent.com"
CLIENT_SECRET: Final = "GOCSPX-of-the-test"
REDIRECT: Final = "http://127.0.0.1:8765/cb"
ME: Final = "me@example.com"

_ENTRY: Final = "node_modules/emulate/dist/index.js"
_SEED: Final = f"""\
google:
  users: [{{email: {ME}, name: Me}}]
  oauth_clients:
    - {{client_id: {CLIENT_ID}, client_secret: {CLIENT_SECRET}, redirect_uris: ["{REDIRECT}"]}}
  messages:
    - {{id: msg_a, user_email: {ME}, from: "Ann <ann@acme.test>", to: {ME}, subject: "Invoice 1",
       body_text: "Please pay by Friday", label_ids: [INBOX, UNREAD], date: "2026-11-18T10:00:00Z"}}
    - {{id: msg_b, user_email: {ME}, from: "Bob <bob@acme.test>", to: {ME}, subject: "Lunch",
       body_html: "<p>Lunch <b>Tuesday</b>?</p>", label_ids: [INBOX], date: "2026-11-17T10:00:00Z"}}
"""


def why_no_emulate() -> str | None:
    """Return why it cannot be used here; None: it can."""
    return why_no("emulate", _ENTRY)


@asynccontextmanager
async def running_emulate(folder: Path) -> AsyncIterator[str]:
    """A seeded emulate; gives its base URL."""
    entry, seed, port = Path(os.environ[SOFTWARE]) / _ENTRY, folder / "seed.yaml", free_port()
    seed.write_text(_SEED, encoding="utf-8")
    words = ["start", "--service", "google", "--port", str(port), "--seed", str(seed)]
    async with node_server(folder / "emulate.log", port, str(entry), *words) as url:
        yield url

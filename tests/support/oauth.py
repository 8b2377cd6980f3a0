"""A strict OAuth server: codes with PKCE, device codes, rotation with reuse detection, revocation.

A refresh token that is shown twice ends its whole grant, as does a device code that is shown after it
was used. It is an ASGI application; ``tests.support.asgi.serving`` listens for it.
"""

import hashlib
import itertools
from base64 import urlsafe_b64encode
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import urlencode

import anyio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

CLIENT = "the-hub"


@dataclass
class Family:
    """All that came of one consent."""

    refresh: str = ""
    spent: set[str] = field(default_factory=set)
    access: dict[str, float] = field(default_factory=dict)  # token -> when it is over
    is_alive: bool = True


class OAuthServer:
    """Args: *now*: seconds; *ttl_s*: of access tokens."""

    def __init__(self, now: Callable[[], float], *, ttl_s: float = 3600.0, rotates: bool = True) -> None:
        self.now = now
        self.ttl_s = ttl_s
        self.rotates = rotates
        self.omits_refresh = False  # as Google does
        self.refreshes: list[int] = []  # the status of each
        self.posts = 0
        self.hold: anyio.Event | None = None  # a refresh waits for it
        self.is_asked = anyio.Event()  # a refresh has come
        self.next: list[Response] = []  # answers of /token before its own
        self.families: list[Family] = []
        self._codes: dict[str, dict[str, str]] = {}
        self.device_codes: dict[str, Family | str] = {}
        self._count = itertools.count(1)
        self.app = Starlette(
            routes=[
                Route("/authorize", self._authorize),
                Route("/token", self._token, methods=["POST"]),
                Route("/device", self._device, methods=["POST"]),
                Route("/revoke", self._revoke, methods=["POST"]),
                Route("/me", self._me),
            ]
        )

    def consent(self) -> dict[str, object]:
        """What somebody gets who has just allowed it."""
        self.families.append(Family())
        return self._issue(self.families[-1])

    def approve(self, device_code: str) -> None:
        """Somebody types the code."""
        self.device_codes[device_code] = "approved"

    def is_good(self, token: str) -> bool:
        """What introspection says."""
        return any(family.is_alive and family.access.get(token, 0) > self.now() for family in self.families)

    def _issue(self, family: Family) -> dict[str, object]:
        number = next(self._count)
        access = f"access-{number}-{'a' * 20}"
        family.access[access] = self.now() + self.ttl_s
        told: dict[str, object] = {"access_token": access, "token_type": "Bearer", "expires_in": self.ttl_s}
        if not family.refresh or self.rotates:
            if family.refresh:
                family.spent.add(family.refresh)
            family.refresh = f"refresh-{number}-{'r' * 20}"
        if not self.omits_refresh:
            told["refresh_token"] = family.refresh
        return told | {"scope": "mail.read"}

    async def _authorize(self, request: Request) -> Response:
        asked = dict(request.query_params)
        code = f"code-{next(self._count)}-{'c' * 20}"
        self._codes[code] = asked
        return RedirectResponse(
            f"{asked['redirect_uri']}?{urlencode({'state': asked['state'], 'code': code})}", 302
        )

    async def _token(self, request: Request) -> Response:
        self.posts += 1
        form = {name: str(value) for name, value in (await request.form()).items()}
        if self.next:
            return self.next.pop(0)
        if form.get("client_id") != CLIENT:
            return _error("invalid_client", 401)
        match form["grant_type"]:
            case "authorization_code":
                return self._by_code(form)
            case "refresh_token":
                answer = self._by_refresh(form["refresh_token"])
                self.refreshes.append(answer.status_code)
                self.is_asked.set()
                if self.hold is not None:
                    await self.hold.wait()
                return answer
            case _:
                return self._by_device(form["device_code"])

    def _by_code(self, form: dict[str, str]) -> Response:
        asked = self._codes.pop(form["code"], None)
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        challenge = urlsafe_b64encode(digest).rstrip(b"=").decode()
        if (
            asked is None
            or asked["redirect_uri"] != form["redirect_uri"]
            or asked["code_challenge"] != challenge
        ):
            return _error("invalid_grant")
        return JSONResponse(self.consent())

    def _by_refresh(self, token: str) -> Response:
        for family in self.families:
            if token in family.spent:
                family.is_alive = False  # somebody else has it, too
            elif token == family.refresh and family.is_alive:
                return JSONResponse(self._issue(family))
        return _error("invalid_grant")

    def _by_device(self, code: str) -> Response:
        match self.device_codes.get(code):
            case "pending":
                return _error("authorization_pending")
            case "approved":
                told = self.consent()
                self.device_codes[code] = self.families[-1]
                return JSONResponse(told)
            case Family() as family:
                family.is_alive = False
        return _error("invalid_grant")

    async def _device(self, _: Request) -> Response:
        code = f"device-{next(self._count)}-{'d' * 20}"
        self.device_codes[code] = "pending"
        told = {
            "device_code": code,
            "user_code": "ABCD-EFGH",
            "verification_uri": "https://op.example/device",
        }
        return JSONResponse(told | {"interval": 5, "expires_in": 600})

    async def _revoke(self, request: Request) -> Response:
        token = str((await request.form())["token"])
        for family in self.families:
            if token in (family.refresh, *family.access):
                family.is_alive = False
        return Response()

    async def _me(self, request: Request) -> Response:
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        return JSONResponse({"email": "ana@example.org"}, 200 if self.is_good(token) else 401)


def _error(word: str, status: int = 400) -> Response:
    return JSONResponse({"error": word, "error_description": "words that nobody matches"}, status)

"""Our Gmail connector before a Gmail of others (npm ``emulate``), made strict by a proxy."""

import base64
import hashlib
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest

from hub.base.outbound.client import OutboundClient
from hub.base.outbound.rules import OutboundRules
from hub.connectors.calling import CursorLost, ProviderCaller, SignInNeeded, Throttle
from hub.connectors.connector import Context, Cursor, Message
from hub.connectors.gmail import Gmail, GmailFilter, GmailSettings
from hub.document import Document
from tests.connectors.emulate import (
    CLIENT_ID,
    CLIENT_SECRET,
    ME,
    REDIRECT,
    StrictGoogle,
    running_emulate,
    why_no_emulate,
)
from tests.hub.connectors.gmail_rig import HastyClock, read_all
from tests.support.asgi import serving
from tests.support.clock import SeededChance
from tests.support.gmail import Fault, plain, refusal

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(why_no_emulate() is not None, reason=str(why_no_emulate())),
]

SINCE = datetime(2026, 11, 16, tzinfo=UTC)
VERIFIER = "a-verifier-that-is-long-enough-to-be-one-of-rfc-7636"


class SignedIn:
    """Tokens by a sign-in with PKCE at the emulated Google, and its refresh token."""

    def __init__(self, base: str, client: httpx2.AsyncClient) -> None:
        self._base = base
        self._client = client
        self._access = self._renewal = ""

    async def sign_in(self) -> None:
        challenge = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).decode().rstrip("=")
        asked = {"client_id": CLIENT_ID, "redirect_uri": REDIRECT, "response_type": "code", "state": "s"}
        asked |= {"scope": Gmail.oauth(GmailSettings()).scopes[0]}
        asked |= dict(Gmail.oauth(GmailSettings()).authorize)
        asked |= {"code_challenge": challenge, "code_challenge_method": "S256"}
        page = await self._client.get(f"{self._base}/o/oauth2/v2/auth", params=asked)
        form = dict(re.findall(r'name="([^"]+)" value="([^"]*)"', page.text)) | {"email": ME}
        answer = await self._client.post(f"{self._base}/o/oauth2/v2/auth/callback", data=form)
        code = parse_qs(urlsplit(answer.headers["location"]).query)["code"][0]
        await self._exchange(
            grant_type="authorization_code", code=code, redirect_uri=REDIRECT, code_verifier=VERIFIER
        )

    async def token(self, rejected: str | None = None) -> str:
        if rejected == self._access:
            await self._exchange(grant_type="refresh_token", refresh_token=self._renewal)
        return self._access

    async def revoke(self) -> None:
        await self._client.post(f"{self._base}/oauth2/revoke", data={"token": self._renewal})

    async def _exchange(self, **said: str) -> None:
        said |= {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}
        answer = await self._client.post(f"{self._base}/oauth2/token", data=said)
        if answer.status_code != 200:
            raise SignInNeeded("the emulated Google does not renew the token")
        told = answer.json()
        self._access, self._renewal = told["access_token"], told.get("refresh_token", self._renewal)


class Mailbox:
    def __init__(
        self, base: str, google: StrictGoogle, out: OutboundClient, client: httpx2.AsyncClient
    ) -> None:
        self.google = google
        self.tokens = SignedIn(base, client)
        self.clock = HastyClock()
        self._settings = GmailSettings(base_url=base)
        self._out = out
        self._client = client

    def open(self, **wanted: object) -> Gmail:
        caller = ProviderCaller(
            self._out,
            tokens=self.tokens,
            throttle=Throttle(Gmail.quota(self._settings), self.clock),
            origins=Gmail.origins(self._settings),
            clock=self.clock,
            chance=SeededChance(1),
            judge=Gmail.judge,
        )
        context = Context(account="work", clock=self.clock, chance=SeededChance(2), caller=caller)
        return Gmail(context, self._settings, GmailFilter(**wanted))  # type: ignore[arg-type]

    async def run(
        self, cursor: Cursor | None = None, **wanted: object
    ) -> tuple[list[Message], Cursor | None]:
        told: list[Message] = []
        async for page in self.open(**wanted).pages(cursor, SINCE):
            told += page.messages
            cursor = page.cursor or cursor
        return told, cursor

    async def deliver(self, raw: bytes) -> None:
        """A mail arrives, past the proxy."""
        raw = raw.replace(b"Mon, 5 Jan 2026", b"Thu, 19 Nov 2026")  # it is filed under its date
        body = {"raw": base64.urlsafe_b64encode(raw).decode(), "labelIds": ["INBOX", "UNREAD"]}
        url = f"{self.google.upstream}/gmail/v1/users/me/messages/import"
        answer = await self._client.post(
            url, json=body, headers={"Authorization": f"Bearer {await self.tokens.token()}"}
        )
        assert answer.status_code == 200, answer.text


@asynccontextmanager
async def signed_in(folder: Path) -> AsyncIterator[Mailbox]:
    async with running_emulate(folder) as upstream, httpx2.AsyncClient() as client:
        google = StrictGoogle(upstream, client)
        async with serving(google) as base, OutboundClient(OutboundRules()) as out:
            mailbox = Mailbox(base, google, out, client)
            await mailbox.tokens.sign_in()
            yield mailbox


async def test_gmail_mailbox_is_read_and_then_only_new_messages(tmp_path: Path) -> None:
    async with signed_in(tmp_path) as mailbox:
        first, cursor = await mailbox.run()
        assert {message.subject for message in first} == {"Invoice 1", "Lunch"}
        told = await read_all(mailbox.open(), first)
        lunch = told["Lunch"]
        assert isinstance(lunch, Document) and "Lunch Tuesday?" in lunch.text
        await mailbox.deliver(plain("Rent", "The rent is due on the third of December."))
        second, cursor = await mailbox.run(cursor)
        assert [message.subject for message in second] == ["Rent"]
        rent = (await read_all(mailbox.open(), second))["Rent"]
        assert isinstance(rent, Document) and "third of December" in rent.text
        assert (await mailbox.run(cursor))[0] == []


async def test_expired_gmail_token_is_renewed_once(tmp_path: Path) -> None:
    async with signed_in(tmp_path) as mailbox:
        _, cursor = await mailbox.run()
        await mailbox.deliver(plain("Rent"))
        mailbox.google.expire()
        assert [one.subject for one in (await mailbox.run(cursor))[0]] == ["Rent"]
        assert mailbox.google.refreshed == 1


async def test_revoked_gmail_sign_in_requires_a_person(tmp_path: Path) -> None:
    async with signed_in(tmp_path) as mailbox:
        _, cursor = await mailbox.run()
        await mailbox.tokens.revoke()
        with pytest.raises(SignInNeeded):
            await mailbox.run(cursor)


async def test_expired_gmail_history_is_a_lost_cursor_without_losing_mail(tmp_path: Path) -> None:
    async with signed_in(tmp_path) as mailbox:
        _, cursor = await mailbox.run()
        await mailbox.deliver(plain("Rent"))
        mailbox.google.faults.append(Fault("/history", lambda: refusal(404, "notFound")))
        with pytest.raises(CursorLost):
            await mailbox.run(cursor)
        told, _ = await mailbox.run(None)
        assert "Rent" in {message.subject for message in told}


@pytest.mark.parametrize(
    ("status", "reason"),
    [(403, "rateLimitExceeded"), (429, "userRateLimitExceeded"), (503, "backendError"), (502, "badGateway")],
)
async def test_transient_gmail_refusal_loses_no_mail(tmp_path: Path, status: int, reason: str) -> None:
    async with signed_in(tmp_path) as mailbox:
        for part in ("/messages", "/messages/msg_a", "/history"):
            mailbox.google.faults.append(Fault(part, lambda: refusal(status, reason), times=2))
        told, _ = await mailbox.run()
        assert {message.subject for message in told} == {"Invoice 1", "Lunch"}

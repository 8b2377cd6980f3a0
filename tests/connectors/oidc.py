"""A certified OAuth server of others (npm ``oidc-provider``), and a person with a browser before it."""

import os
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urljoin

import httpx2

from hub.connectors.connector import Account, OAuth
from tests.connectors.software import SOFTWARE, node_server, why_no
from tests.hub.accounts.bench import Mail
from tests.support.programs import free_port

_ENTRY: Final = "node_modules/oidc-provider/lib/index.js"
_SERVER: Final = Path(__file__).with_name("oidc_server.mjs")
_PAGES: Final = 20  # that a person clicks through at most
_FIELD: Final = re.compile(r'<input[^>]*\bname="([^"]+)"[^>]*\bvalue="([^"]*)"')
_ACTION: Final = re.compile(r'<form[^>]*\baction="([^"]+)"')


class OidcMail(Mail):
    """A provider whose people sign in there."""

    @classmethod
    def oauth(cls, settings: Any) -> OAuth | None:
        base = settings.base
        return OAuth(
            authorize_url=f"{base}/auth",
            token_url=f"{base}/token",
            device_url=f"{base}/device/auth",
            revoke_url=f"{base}/token/revocation",
            scopes=("openid", "offline_access", "email"),
            authorize=(("prompt", "consent"),),
        )

    async def check(self) -> Account:
        answer = await self.context.caller.ask("GET", f"{self.settings.base}/me")
        return Account(name=answer.json()["email"])


def why_no_oidc() -> str | None:
    """Return why it cannot be used here; None: it can."""
    return why_no("oidc-provider", _ENTRY)


@asynccontextmanager
async def running_oidc(folder: Path, *, ttl_s: int) -> AsyncIterator[str]:
    """The server; gives its base URL. *ttl_s*: of access tokens."""
    entry, port = Path(os.environ[SOFTWARE]) / _ENTRY, free_port()
    words = [str(_SERVER), str(entry), str(port), str(ttl_s)]
    async with node_server(folder / "oidc.log", port, *words) as base:
        yield base


async def click_through(url: str, **typed: str) -> str:
    """Open *url*, sign in as ana, allow what is asked, type what pages ask for; where the browser ends.

    That is the address it is sent to and cannot open, or that of a page without anything to fill in.
    """
    typed = {"login": "ana", "password": "any"} | typed
    async with httpx2.AsyncClient() as browser:
        answer = await browser.get(url)
        for _ in range(_PAGES):
            if answer.is_redirect:
                url = urljoin(url, answer.headers["location"])
                if "code=" in url or "error=" in url:
                    return url
                answer = await browser.get(url)
                continue
            assert answer.status_code == 200, answer.text
            form = _ACTION.search(answer.text)
            if form is None:
                return url
            url = urljoin(url, form[1])
            answer = await browser.post(url, data=_filled(answer.text, typed))
    raise AssertionError(f"pages without end: {url}")


def _filled(page: str, typed: Mapping[str, str]) -> dict[str, str]:
    asked = {name: typed[name] for name in typed if f'name="{name}"' in page}
    return dict(_FIELD.findall(page)) | asked

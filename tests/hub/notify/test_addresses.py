"""Addresses that no notification goes to: by hub.toml, by redirect, and by what a name resolves to."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from hub.base.outbound.client import OutboundClient
from hub.base.outbound.rules import OutboundRules
from hub.base.toml.notify_targets import NotifySettings
from hub.notify.sending import Sender
from tests.hub.notify.bench import opened
from tests.hub.notify.test_plain_targets import delivery, mail
from tests.support.clock import FakeClock
from tests.support.families import each

REFUSED_ADDRESSES = (
    "10.0.0.1",
    "169.254.169.254",  # metadata
    "127.0.0.1",  # by another name than this machine's
    "::1",
    "::ffff:10.0.0.1",
)
REFUSED_URLS = (
    "http://example.org/hook",
    "https://user:password@example.org/hook",
    "https://user@example.org",
    "https://example.org/#here",
    "ftp://example.org",
    "file:///etc/passwd",
    "smtp://example.org",
    "gopher://example.org",
    "https://",
    "https://exa mple.org:x",
    "https://exa mple.org/hook",
    "https://example.org/hook\n",
    "https://[::1",
    "example.org",
)


@each("url", REFUSED_URLS)
async def test_url_barred_from_hub_toml_is_refused(tmp_path: Path, url: str) -> None:
    async with opened(tmp_path) as bench:
        with pytest.raises(ValidationError):
            bench.target(url)


MAIL = {
    "kind": "smtp",
    "url": "smtps://mail.example.org",
    "to": ("a@example.org",),
    "sender": "h@example.org",
}
MATRIX = {"kind": "matrix", "url": "https://example.org", "to": ("!r:example.org",)}


@each(
    ("about", "why"),
    [
        (MAIL | {"to": ()}, "sender and to"),
        (MAIL | {"sender": None}, "sender and to"),
        (MAIL | {"to": ("!r:example.org",)}, "mail addresses"),
        (MAIL | {"sender": "!r:example.org"}, "mail addresses"),
        (MAIL | {"to": ("a@example.org\nBcc: e@example.org",)}, "neither a mail address"),
        (MAIL | {"to": ("a@example.org, e@example.org",)}, "neither a mail address"),
        (MAIL | {"to": ("a@\u0435xample.org",)}, "neither a mail address"),
        (MAIL | {"login": "hub"}, "given together"),
        (MATRIX | {"to": (), "secret": {"env": "TOKEN"}}, "one room"),
        (MATRIX | {"to": ("a@example.org",), "secret": {"env": "TOKEN"}}, "id of a room"),
        (MATRIX, "sent with a token"),
        ({"kind": "webhook", "url": "https://example.org"}, "signed with a key"),
        ({"kind": "ntfy", "url": "https://example.org/"}, "topic is missing"),
        ({"kind": "fax", "url": "https://example.org/"}, "webhook"),
        ({"kind": "ntfy", "url": "https://example.org/t", "events": ("run.done",)}, "run.completed"),
    ],
)
def test_incomplete_target_is_refused(about: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        NotifySettings.model_validate({"name": "ops"} | about)


@each("address", REFUSED_ADDRESSES)
async def test_name_resolving_to_a_refused_address_is_not_called(tmp_path: Path, address: str) -> None:
    async def resolve(host: str, port: int) -> Sequence[str]:
        return [address]

    async with opened(tmp_path) as bench:
        for url in ("https://inner.example.org/hook", f"https://{_literal(address)}/hook"):
            if url.endswith(("127.0.0.1/hook", "[::1]/hook")):
                continue
            sender = Sender(
                bench.target(url), hub="h", rules=OutboundRules(), clock=FakeClock(), pages=lambda: None
            )
            sender._client = OutboundClient(OutboundRules(), resolve=resolve)
            answer = await sender.send([delivery()])
            assert (answer.outcome, "is not called" in answer.text) == ("later", True), answer
            await sender.aclose()
        by_mail = mail(25).model_copy(update={"url": "smtps://inner.example.org"})
        sender = Sender(by_mail, hub="h", rules=OutboundRules(), clock=FakeClock(), pages=lambda: None)
        sender._client = OutboundClient(OutboundRules(), resolve=resolve)
        assert "is not called" in (await sender.send([delivery()])).text
        await sender.aclose()


def _literal(address: str) -> str:
    return f"[{address}]" if ":" in address else address

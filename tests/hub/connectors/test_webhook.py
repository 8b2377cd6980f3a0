"""What was posted becomes messages: title, text, link and sender from wherever they stand in it."""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from hub.connectors.calling import Misconfigured, Unread
from hub.connectors.catalogue import find
from hub.connectors.connector import Context, Message, Posted
from hub.connectors.webhook import (
    PAGE,
    Source,
    VerifiedPost,
    Webhook,
    WebhookFilter,
    WebhookSettings,
    judge,
    problem_of,
)
from hub.document import Document
from protocol.items import Provenance, ProvenanceOrigin
from tests.support.clock import FakeClock, SeededChance
from tests.support.families import each

pytestmark = pytest.mark.anyio

AT = datetime(2026, 6, 3, tzinfo=UTC)
ISSUE = {
    "action": "opened",
    "issue": {"title": "It is broken", "body": "- [ ] mend it", "html_url": "https://git.example/1"},
    "sender": {"login": "ana"},
}


class Box:
    """An inbox of posts."""

    def __init__(self, *posts: Posted) -> None:
        self.posts = list(posts)
        self.asked: list[tuple[str, int]] = []

    async def waiting(self, after: str, most: int) -> Sequence[Posted]:
        self.asked.append((after, most))
        return [post for post in self.posts if post.id > after][:most]


def post(number: int, body: Any, *, kind: str = "application/json", event: str = "") -> Posted:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    id = f"{number:04}"
    return Posted(id=id, key=f"webhook:{id}", received_at=AT, media_type=kind, event=event, body=raw)


def webhook(box: Box | None, filter: dict[str, Any] | None = None, **settings: Any) -> Webhook:
    context = Context(
        account="builds",
        clock=FakeClock(),
        chance=SeededChance(),
        caller=None,  # type: ignore[arg-type]  # nobody is asked
        inbox=None if box is None else box.waiting,
    )
    return Webhook(context, WebhookSettings(**settings), WebhookFilter(**(filter or {})))


async def listing(connector: Webhook) -> tuple[list[Message], dict[str, Document | Unread]]:
    heads: list[Message] = []
    texts: dict[str, Document | Unread] = {}
    async for page in connector.pages(None, AT):
        assert page.cursor is None
        heads += page.messages
        async for message, said in connector.read(page.messages):
            texts[message.key] = said
    return heads, texts


async def one(body: Any, *, kind: str = "application/json", **settings: Any) -> tuple[Message, Document]:
    (head,), texts = await listing(webhook(Box(post(1, body, kind=kind)), **settings))
    said = texts[head.key]
    assert isinstance(said, Document)
    return head, said


async def test_all_pages_of_the_inbox_are_read_and_few_bodies_are_held_at_once() -> None:
    box = Box(*(post(number, {"text": str(number)}) for number in range(2 * PAGE + 1)))
    heads, texts = await listing(webhook(box))
    assert len(heads) == len(texts) == 2 * PAGE + 1
    assert [asked for asked, _ in box.asked] == ["", "0019", "0039", "0040"]
    assert find("webhook") is Webhook


async def test_github_webhook_post_is_read_as_an_issue_with_text_and_link() -> None:
    box = Box(post(1, ISSUE, event="issues"))
    (head,), texts = await listing(webhook(box, source="github"))
    assert (head.subject, head.link, head.labels) == (
        "It is broken",
        "https://git.example/1",
        ("issues", "opened", "issues.opened"),
    )
    assert head.sender is not None and head.sender.name == "ana"
    said = texts[head.key]
    assert isinstance(said, Document)
    assert (said.text, said.title, said.link, said.unit_key, said.modified_at) == (
        "It is broken\n\n- [ ] mend it",
        "It is broken",
        head.link,
        head.key,
        AT,
    )
    assert said.provenance == Provenance(origin=ProvenanceOrigin.WEB, author="ana", trusted=False)
    mail = head.document("x", "0" * 64).provenance
    assert mail == Provenance(origin=ProvenanceOrigin.MAIL, author="ana", trusted=False)


FORM = "application/x-www-form-urlencoded"  # what curl says of everything
PARTS = {
    "a": {"b": [{"c": "Title"}]},
    "n": 7,
    "who": "eve",
    "url": "javascript:alert(1)",
    "to": "https://x.y",
}
BUILD = {"build": {"state": "red", "by": ["ana", {"x": None}]}, "n": 3, "ok": True}
SAID = {"type": "event_callback", "event": {"type": "message", "text": "lunch?", "user": "U1"}}
PLACES = {"title": "a.b.0.c", "text": "n", "sender": "who", "link": "url", "event": "who"}


@each(
    ("body", "kind", "settings", "text", "labels"),
    [
        (SAID, "", {"source": "slack"}, "lunch?", ("message",)),
        (
            b"command=%2Ftodo&text=buy+milk",
            f"{FORM}; charset=utf-8",
            {"source": "slack"},
            "/todo\n\nbuy milk",
            ("/todo",),
        ),
        (b"payload=%7B%22text%22%3A%22hi%22%7D", FORM, {"source": "slack"}, "hi", ()),
        (b'{"title": "red", "text": "look at it"}', FORM, {}, "red\n\nlook at it", ()),
        (b"the build is red", FORM, {}, "the build is red", ()),
        (PARTS, "", PLACES, "Title\n\n7", ("eve",)),
        (BUILD, "", {}, "build.state: red\nbuild.by.0: ana\nn: 3", ()),
    ],
)
async def test_webhook_post_fields_are_found_by_default_or_configured_paths(
    body: Any, kind: str, settings: dict[str, str], text: str, labels: tuple[str, ...]
) -> None:
    head, said = await one(body, kind=kind or "application/json", **settings)
    assert (said.text, head.labels) == (text, labels)
    assert said.link is None  # none that a browser may open


async def test_link_of_a_webhook_post_is_the_document_link() -> None:
    assert (await one(PARTS, link="to"))[1].link == "https://x.y"


@each(
    "body",
    [
        b"",
        b"\xff\xfe\x00",
        b"[" * 100_000,
        b"{" * 9,
        b'{"a":' * 2_000 + b"1" + b"}" * 2_000,
        b"null",
        b'"\\ud800"',
    ],
)
async def test_webhook_post_of_any_content_is_converted_to_bounded_text(body: bytes) -> None:
    for kind in ("application/json", "application/x-www-form-urlencoded", "text/plain", "\x00;;"):
        _, said = await one(body, kind=kind)
        said.text.encode()
        assert len(said.text) <= 12_000


async def test_the_lines_of_a_wide_post_are_limited() -> None:
    _, said = await one({str(number): "x" for number in range(5_000)})
    assert said.text.count("\n") == 499
    _, said = await one({str(number): {} for number in range(20_000)})
    assert said.text == ""


async def test_webhook_post_of_an_unwanted_event_is_settled_unread() -> None:
    box = Box(post(1, ISSUE, event="issues"), post(2, {"zen": "x"}, event="ping"))
    for wanted in ("issues", "issues.opened", "Opened"):
        _, texts = await listing(webhook(box, {"events": [wanted]}, source="github"))
        first, second = texts.values()
        assert isinstance(first, Document)
        assert isinstance(second, Unread) and second.is_removed


async def test_webhook_check_reports_a_missing_listener_or_the_waiting_posts() -> None:
    with pytest.raises(Misconfigured, match="no listener for webhooks"):
        await webhook(None).check()
    assert (await webhook(Box(post(1, {}))).check()).detail == "1 posts wait"


@each("settings", [{"source": "gitlab"}, {"title": "a..b"}, {"titel": "a"}])
def test_invalid_webhook_settings_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        WebhookSettings(**settings)


NOW = datetime(2026, 6, 3, 12, 0, tzinfo=UTC)
SECRET, OLD, WRONG = "a secret of both sides", "the one before that one", "somebody else's secret"
BODY = b'{"text": "hello"}'

Signed = dict[str, str]


def mac(secret: str, signed: bytes) -> bytes:
    return hmac.new(secret.encode(), signed, hashlib.sha256).digest()


def standard(body: bytes = BODY, secret: str = SECRET, at: datetime = NOW, id: str = "msg_1") -> Signed:
    seconds = str(int(at.timestamp()))
    made = base64.b64encode(mac(secret, f"{id}.{seconds}.".encode() + body)).decode()
    return {"webhook-id": id, "webhook-timestamp": seconds, "webhook-signature": f"v1a,x v1,{made}"}


def github(body: bytes = BODY, secret: str = SECRET) -> Signed:
    return {"x-hub-signature-256": f"sha256={mac(secret, body).hex()}", "x-github-event": "issues"}


def slack(body: bytes = BODY, secret: str = SECRET, at: datetime = NOW) -> Signed:
    seconds = str(int(at.timestamp()))
    made = mac(secret, f"v0:{seconds}:".encode() + body).hex()
    return {"x-slack-request-timestamp": seconds, "x-slack-signature": f"v0={made}"}


def generic(body: bytes = BODY, secret: str = SECRET) -> Signed:
    return {"authorization": f"Bearer {secret}"}


WAYS: dict[Source, Callable[..., Signed]] = {
    Source.STANDARD: standard,
    Source.GITHUB: github,
    Source.SLACK: slack,
    Source.GENERIC: generic,
}


def judged(
    source: Source | None, headers: Mapping[str, str], body: bytes = BODY, *secrets: str, now: datetime = NOW
) -> VerifiedPost | None:
    return judge(source, headers, body, secrets or (SECRET,), now)


@each("source", Source)
def test_webhook_signature_is_accepted_only_in_the_scheme_of_the_source(source: Source) -> None:
    for way, sign in WAYS.items():
        assert (judged(source, sign()) is not None) is (way is source)
    assert judged(None, WAYS[source]()) is None


@each("source", Source)
def test_webhook_post_without_a_valid_signature_is_refused(source: Source) -> None:
    assert judged(source, {}) is None
    assert judged(source, WAYS[source](secret=WRONG)) is None
    assert judge(source, WAYS[source](secret=""), BODY, (), NOW) is None  # a webhook that has no secret


@each("source", [Source.STANDARD, Source.GITHUB, Source.SLACK])
def test_webhook_post_with_a_changed_body_is_refused(source: Source) -> None:
    assert judged(source, WAYS[source](), BODY + b" ") is None


@each("source", Source)
def test_old_webhook_secret_is_accepted_beside_the_new_secret_during_rotation(source: Source) -> None:
    for secret in (SECRET, OLD):
        assert judged(source, WAYS[source](secret=secret), BODY, SECRET, OLD) is not None
    assert judged(source, WAYS[source](secret=OLD), BODY, SECRET) is None


@pytest.mark.parametrize("source", [Source.STANDARD, Source.SLACK])
@pytest.mark.parametrize(("minutes", "is_good"), [(-6, False), (-4, True), (4, True), (6, False)])
def test_webhook_signature_outside_the_time_window_is_refused(
    source: Source, minutes: int, is_good: bool
) -> None:
    assert (judged(source, WAYS[source](at=NOW + timedelta(minutes=minutes))) is not None) is is_good


@each("header", ["webhook-id", "webhook-timestamp", "x-slack-request-timestamp", "x-github-event"])
def test_webhook_post_with_a_changed_signed_header_is_refused(header: str) -> None:
    for source, sign in WAYS.items():
        if header in (headers := sign()):
            told = judged(source, headers | {header: "1780488001" if "stamp" in header else "msg_2"})
            if header == "x-github-event":  # no signature covers it, so nothing is told apart by it
                assert told is not None and told.keys == judged(source, headers).keys  # type: ignore[union-attr]
            else:
                assert told is None


@each(
    "headers",
    [
        {"webhook-id": "é", "webhook-timestamp": "\uff19", "webhook-signature": "v1,é v1,===="},
        {"webhook-id": "a", "webhook-timestamp": "9" * 400, "webhook-signature": "v1," * 400},
        {"x-hub-signature-256": "sha256=xyz", "x-slack-signature": "v0=é"},
        {"x-slack-request-timestamp": "-1", "x-slack-signature": "v0=00"},
        {"authorization": "Bearer "},
        {"authorization": "Basic eA=="},
    ],
)
def test_webhook_post_with_invalid_headers_is_refused_without_an_error(headers: Signed) -> None:
    for source in Source:
        assert judged(source, headers) is None


def test_webhook_secret_with_the_whsec_prefix_is_decoded_as_base64() -> None:
    key = b"0123456789abcdef01234567"
    secret = "whsec_" + base64.b64encode(key).decode()
    seconds = str(int(NOW.timestamp()))
    made = hmac.new(key, f"m.{seconds}.".encode() + BODY, hashlib.sha256).digest()
    signed = {
        "webhook-id": "m",
        "webhook-timestamp": seconds,
        "webhook-signature": "v1," + base64.b64encode(made).decode(),
    }
    assert judged(Source.STANDARD, signed, BODY, secret) is not None
    assert problem_of(Source.STANDARD, secret) is None
    assert "base64" in (problem_of(Source.STANDARD, "whsec_!!!!!!!!!!!!!!!!") or "")
    assert "16" in (problem_of(Source.GENERIC, "short") or "")


def test_webhook_delivery_is_deduplicated_by_signed_values() -> None:
    def keys(source: Source, headers: Signed, body: bytes = BODY) -> tuple[str, ...]:
        found = judged(source, headers, body)
        assert found is not None
        return found.keys

    later = NOW + timedelta(seconds=9)
    assert keys(Source.STANDARD, standard()) == keys(Source.STANDARD, standard(at=later))
    assert keys(Source.STANDARD, standard()) != keys(Source.STANDARD, standard(id="msg_2"))
    renamed = github() | {"x-github-delivery": "another"}
    assert (keys(Source.GITHUB, github()), keys(Source.SLACK, slack())) == (
        keys(Source.GITHUB, renamed),
        keys(Source.SLACK, slack(at=later)),
    )
    assert keys(Source.SLACK, slack()) != keys(Source.SLACK, slack(b"{}"), b"{}")
    named = generic() | {"idempotency-key": "k"}
    assert keys(Source.GENERIC, named) == keys(Source.GENERIC, named, b"{}")


def test_equal_bearer_token_post_is_a_duplicate_only_for_ten_minutes() -> None:
    first = judged(Source.GENERIC, generic())
    soon = judged(Source.GENERIC, generic(), now=NOW + timedelta(minutes=5))
    later = judged(Source.GENERIC, generic(), now=NOW + timedelta(minutes=11))
    assert first and soon and later
    assert first.keys[0] in soon.keys and first.keys[0] not in later.keys
    assert soon.since == NOW

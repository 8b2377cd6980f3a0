"""What was posted becomes messages: title, text, link and sender from wherever they stand in it."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import ValidationError

from hub.connectors.calling import Misconfigured
from hub.connectors.connector import Context, Message, Posted, Unread, find
from hub.connectors.webhook import PAGE, Webhook, WebhookFilter, WebhookSettings
from hub.document import Document
from protocol.work import Provenance, ProvenanceOrigin
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
        inbox=box,
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


async def test_what_github_posts_is_an_issue_with_its_text_and_link() -> None:
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


async def test_what_slack_posts_is_what_was_said_also_in_a_form() -> None:
    body = {"type": "event_callback", "event": {"type": "message", "text": "lunch?", "user": "U1"}}
    head, said = await one(body, source="slack")
    assert (said.text, head.labels) == ("lunch?", ("message",))
    _, said = await one(
        b"command=%2Ftodo&text=buy+milk",
        kind="application/x-www-form-urlencoded; charset=utf-8",
        source="slack",
    )
    assert said.text == "/todo\n\nbuy milk"
    form = b"payload=" + b"%7B%22text%22%3A%22hi%22%7D"
    _, said = await one(form, kind="application/x-www-form-urlencoded", source="slack")
    assert said.text == "hi"


async def test_what_a_program_calls_a_form_and_is_none_is_read_for_what_it_is() -> None:
    form = "application/x-www-form-urlencoded"  # what curl says of everything
    _, said = await one(b'{"title": "red", "text": "look at it"}', kind=form)
    assert said.text == "red\n\nlook at it"
    _, said = await one(b"the build is red", kind=form)
    assert said.text == "the build is red"


async def test_an_owner_says_where_the_parts_stand() -> None:
    body = {
        "a": {"b": [{"c": "Title"}]},
        "n": 7,
        "who": "eve",
        "url": "javascript:alert(1)",
        "to": "https://x.example",
    }
    head, said = await one(body, title="a.b.0.c", text="n", sender="who", link="url", event="who")
    assert (said.text, said.title, said.link, head.labels) == ("Title\n\n7", "Title", None, ("eve",))
    assert (await one(body, link="to"))[1].link == "https://x.example"


async def test_without_a_text_field_the_whole_post_is_used() -> None:
    _, said = await one({"build": {"state": "red", "by": ["ana", {"x": None}]}, "n": 3, "ok": True})
    assert said.text == "build.state: red\nbuild.by.0: ana\nn: 3"


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
async def test_whatever_is_posted_becomes_a_text(body: bytes) -> None:
    for kind in ("application/json", "application/x-www-form-urlencoded", "text/plain", "\x00;;"):
        _, said = await one(body, kind=kind)
        said.text.encode()
        assert len(said.text) <= 12_000


async def test_the_lines_of_a_wide_post_are_limited() -> None:
    _, said = await one({str(number): "x" for number in range(5_000)})
    assert said.text.count("\n") == 499
    _, said = await one({str(number): {} for number in range(100_000)})
    assert said.text == ""


async def test_what_is_about_something_else_is_settled_unread() -> None:
    box = Box(post(1, ISSUE, event="issues"), post(2, {"zen": "x"}, event="ping"))
    for wanted in ("issues", "issues.opened", "Opened"):
        _, texts = await listing(webhook(box, {"events": [wanted]}, source="github"))
        first, second = texts.values()
        assert isinstance(first, Document)
        assert isinstance(second, Unread) and second.is_removed


async def test_without_a_listener_it_says_so_and_with_one_how_much_waits() -> None:
    with pytest.raises(Misconfigured, match="no listener for webhooks"):
        await webhook(None).check()
    assert (await webhook(Box(post(1, {}))).check()).detail == "1 posts wait"


@each("settings", [{"source": "gitlab"}, {"title": "a..b"}, {"titel": "a"}])
def test_settings_that_mean_nothing_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        WebhookSettings(**settings)

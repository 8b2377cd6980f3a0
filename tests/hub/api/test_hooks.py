"""Webhooks over their real listener: believed, kept once, answered; and everybody else kept out cheaply."""

import json
import logging
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import anyio
import httpx2
import pytest
import sqlalchemy as sa

from hub.api.http.server import NewPostQueue, WebhookApplication, WebhookEndpoint, WebhookServer
from hub.base.certificates import Certificates
from hub.base.clock import IdFactory
from hub.base.metrics import Metrics
from hub.base.toml.values import HostPort
from hub.connectors.webhook import Source
from hub.links.connection_limits import Gate, PortLimits
from hub.links.hosts import Hosts, TrustedProxies
from storage.connectors import connectors
from storage.connectors.connectors import DeclaredConnector
from storage.schema import posted as table
from storage.store import Store, open_store
from tests.hub.connectors.test_webhook import NOW, OLD, SECRET, WRONG, github, slack, standard
from tests.support.certificates import write_certificate
from tests.support.clock import FakeClock, SeededChance

pytestmark = pytest.mark.anyio

BODY = b'{"text": "hello"}'
NAMES = ("builds", "code", "chat", "door")
SOURCES = dict(zip(NAMES, Source, strict=True))
ROOMY = PortLimits(
    connections=2_000,
    connections_per_network=2_000,
    strangers=2_000,
    strangers_per_network=2_000,
    new_at_once=10_000,
    new_per_s=10_000.0,
)


class Door:
    """A listener, and what came through it."""

    def __init__(self, store: Store, clock: FakeClock, tell: Callable[[str], Awaitable[None]] | None) -> None:
        self.store, self.clock = store, clock
        self.metrics = Metrics()
        self.told: list[str] = []
        self.refused: list[str] = []
        self.news = NewPostQueue(store, tell or self.hear)
        self.hooks = WebhookApplication(
            store,
            clock=clock,
            ids=IdFactory(clock, SeededChance()),
            metrics=self.metrics,
            news=self.news.news,
            hosts=Hosts(),
            proxies=TrustedProxies(),
            body_s=5.0,
        )
        self.hooks.use([WebhookEndpoint(name, source, (SECRET, OLD)) for name, source in SOURCES.items()])
        self.at = HostPort("127.0.0.1", 0)

    def refuse(self, code: str, reason: str) -> None:
        self.refused.append(code)
        self.hooks.note_refusal(code, reason)

    async def hear(self, connector_id: str) -> None:
        self.told.append(connector_id)

    async def rows(self) -> list[Any]:
        def listed(c: sa.Connection) -> list[Any]:
            return list(c.execute(sa.select(table).order_by(table.c.id)))

        return await self.store.read(listed)

    def server(self, *, limits: PortLimits = ROOMY, head_s: float = 5.0, **options: Any) -> WebhookServer:
        gate = Gate(limits, clock=self.clock, metrics=self.metrics, prefix="webhook_")
        return WebhookServer(
            self.hooks,
            self.news,
            address=HostPort("127.0.0.1", 0),
            gate=gate,
            head_s=head_s,
            on_refusal=self.refuse,
            clock=self.clock,
            **options,
        )


@asynccontextmanager
async def door(
    url: str = "sqlite://", tell: Callable[[str], Awaitable[None]] | None = None, **options: Any
) -> AsyncIterator[Door]:
    clock = FakeClock(NOW)
    async with open_store(url) as store:
        declared = [DeclaredConnector(name=name, user_name="owner", provider="webhook") for name in NAMES]
        ids = [id for name in NAMES for id in (f"id-{name}", f"user-{name}")]
        await store.write(connectors.reconcile_connectors, declared=declared, at=1, fresh_ids=ids)
        made = Door(store, clock, tell)
        async with anyio.create_task_group() as tasks:
            made.at = await tasks.start(made.server(**options).serve)
            yield made
            tasks.cancel_scope.cancel()


@asynccontextmanager
async def client(door: Door, **options: Any) -> AsyncIterator[httpx2.AsyncClient]:
    base = f"http://{door.at}"
    async with httpx2.AsyncClient(base_url=base, trust_env=False, timeout=20.0, **options) as made:
        yield made


@pytest.fixture
async def here() -> AsyncIterator[Door]:
    """A listener."""
    async with door() as opened:
        yield opened


@pytest.fixture
async def other(here: Door) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of the listener."""
    async with client(here) as opened:
        yield opened


async def test_webhook_post_is_stored_once_before_the_answer(here: Door, other: httpx2.AsyncClient) -> None:
    for _ in range(3):
        answer = await other.post("/hooks/builds", content=BODY, headers=standard())
        assert (answer.status_code, answer.json()) == (202, {})
    (row,) = await here.rows()
    assert (row.connector_id, row.body, row.settled_at) == ("id-builds", BODY, None)
    while not here.told:
        await anyio.lowlevel.checkpoint()
    assert here.told == ["id-builds"]


async def test_webhook_accepts_the_signature_scheme_of_each_sender(
    here: Door, other: httpx2.AsyncClient
) -> None:
    for name, headers in (
        ("builds", standard()),
        ("builds", standard(secret=OLD, id="msg_2")),
        ("code", github()),
        ("chat", slack()),
        ("door", {"authorization": f"Bearer {SECRET}"}),
    ):
        answer = await other.post(f"/hooks/{name}", content=BODY, headers=headers)
        assert answer.status_code == 202
    assert Counter(row.connector_id for row in await here.rows())["id-builds"] == 2
    assert [row.event for row in await here.rows() if row.connector_id == "id-code"] == ["issues"]


async def test_unknown_webhook_and_bad_signature_have_identical_answers(
    here: Door, other: httpx2.AsyncClient
) -> None:
    answers = [
        await other.post(f"/hooks/{name}", content=BODY, headers=headers)
        for name, headers in (
            ("nobody", standard()),
            ("builds", standard(secret=WRONG)),
            ("builds", {}),
            ("door", {"authorization": f"Bearer {WRONG}"}),
            ("builds", standard(at=NOW - timedelta(minutes=6))),
            ("builds%00", standard()),
        )
    ]
    tampered = await other.post("/hooks/builds", content=BODY + b" ", headers=standard())
    told = {(one.status_code, one.text, tuple(sorted(one.headers))) for one in (*answers, tampered)}
    assert (len(told), answers[0].status_code, answers[0].json()["code"]) == (1, 401, "bad_signature")
    assert await here.rows() == []
    assert SECRET not in answers[0].text and SECRET not in repr(here.hooks.hooks)


async def test_webhook_with_a_duplicate_signature_header_is_refused(other: httpx2.AsyncClient) -> None:
    twice = [*standard().items(), ("webhook-signature", "v1,xx")]
    assert (await other.post("/hooks/builds", content=BODY, headers=twice)).status_code == 401


ELSEWHERE: Final = [
    ("GET", "/hooks/builds", 405),
    ("PUT", "/hooks/builds", 405),
    ("GET", "/hooks/nobody", 405),
    ("GET", "/", 404),
    ("POST", "/", 404),
    ("POST", "/hooks/", 404),
    ("POST", "/hooks/builds/", 404),
    ("POST", "/hooks/../healthz", 404),
    ("GET", "/healthz", 404),
    ("GET", "/metrics", 404),
    ("GET", "/v1/status", 404),
    ("GET", "/dashboard", 404),
]


async def test_webhook_listener_answers_only_webhook_routes(other: httpx2.AsyncClient) -> None:
    for method, path, status in ELSEWHERE:
        answer = await other.request(method, path, headers=standard())
        assert answer.status_code == status, path
        assert answer.headers["content-type"] == "application/problem+json", path


async def test_slack_url_verification_is_answered_only_if_signed(
    here: Door, other: httpx2.AsyncClient
) -> None:
    asked = json.dumps({"type": "url_verification", "challenge": "c-1"}).encode()
    json_kind = {"content-type": "application/json"}
    answer = await other.post("/hooks/chat", content=asked, headers=slack(asked) | json_kind)
    assert (answer.status_code, answer.text) == (200, "c-1")
    forged = await other.post("/hooks/chat", content=asked, headers=slack(asked, WRONG) | json_kind)
    assert (forged.status_code, "c-1" in forged.text, await here.rows()) == (401, False, [])


async def test_webhook_body_too_long_or_compressed_is_refused_and_counted(
    here: Door, other: httpx2.AsyncClient
) -> None:
    here.hooks.body_bytes = 2_000
    long = await other.post("/hooks/builds", content=b"x" * 2_001)
    packed = await other.post("/hooks/builds", content=b"x", headers={"content-encoding": "gzip"})
    assert [one.status_code for one in (long, packed)] == [413, 415]
    counted = here.metrics.registry.get_sample_value
    assert counted("hub_limits_reached_total", {"limit": "posted_bytes"}) == 1
    assert counted("hub_webhook_refusals_total", {"code": "too_large"}) == 1


# A key of Standard Webhooks, as senders show it, and as their libraries use it.
TEXT_OF_KEY, BASE64 = "twenty-four bytes of key", "dHdlbnR5LWZvdXIgYnl0ZXMgb2Yga2V5"
LONG: Final = {"content-length": "6000000"}
CHUNKED: Final = {"transfer-encoding": "chunked"}


def in_chunks(body: bytes) -> bytes:
    return b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)


# Secret of the hub, headers of the sender, begin of the body, and status and code of the response.
POSTS: Final[dict[str, tuple[str, dict[str, str], bytes, int, str]]] = {
    "chunked": (SECRET, standard() | CHUNKED, in_chunks(BODY), 202, ""),
    "6 MB in chunks": (SECRET, standard() | CHUNKED, in_chunks(b"x" * 6_000_000), 413, "too_large"),
    "6 MB": (SECRET, standard() | LONG, b"x" * 6_000_000, 413, "too_large"),
    "secret with its prefix": (f"whsec_{BASE64}", standard(secret=TEXT_OF_KEY), BODY, 202, ""),
    "secret without its prefix": (BASE64, standard(secret=TEXT_OF_KEY), BODY, 202, ""),
    "secret as text": (BASE64, standard(secret=BASE64), BODY, 202, ""),
    "another secret": (BASE64, standard(secret=WRONG), BODY, 401, "bad_signature"),
    "signed with an empty key": (SECRET, standard(secret=""), BODY, 401, "bad_signature"),
}


@pytest.mark.parametrize("kind", POSTS)
async def test_odd_webhook_post_is_answered_logged_and_counted_by_the_code(
    here: Door, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    caplog.set_level(logging.INFO)
    secret, headers, body, status, code = POSTS[kind]
    here.hooks.use([WebhookEndpoint("builds", Source.STANDARD, (secret,))])
    length = {} if "transfer-encoding" in headers else {"content-length": str(len(body))}
    lines = [f"{name}: {value}" for name, value in ({"host": str(here.at)} | length | headers).items()]
    head = "\r\n".join(["POST /hooks/builds HTTP/1.1", *lines, "", ""])
    async with await anyio.connect_tcp("127.0.0.1", here.at.port) as stream:
        await stream.send(head.encode() + body)
        answer = await stream.receive()
    assert answer.startswith(f"HTTP/1.1 {status} ".encode())
    assert (f'"code":"{code}"'.encode() in answer) == bool(code)
    logged = [str(vars(record)) for record in caplog.records if "hook.refused" in str(vars(record))]
    assert [
        code in line and "'connector': 'builds'" in line and "'why': ''" not in line for line in logged
    ] == [True] * bool(code)
    refusals = here.metrics.registry.get_sample_value("hub_webhook_refusals_total", {"code": code})
    assert (refusals, len(await here.rows())) == (1 if code else None, 0 if code else 1)


async def test_webhook_with_a_foreign_host_or_forwarded_header_is_refused(other: httpx2.AsyncClient) -> None:
    foreign = await other.post("/hooks/builds", content=BODY, headers=standard() | {"host": "evil.example"})
    forwarded = await other.post(
        "/hooks/builds", content=BODY, headers=standard() | {"x-forwarded-for": "10.0.0.1"}
    )
    assert [foreign.json()["code"], forwarded.json()["code"]] == ["wrong_host", "untrusted_proxy"]


async def test_webhook_post_beyond_the_waiting_limit_is_refused_with_retry_after(
    here: Door, other: httpx2.AsyncClient
) -> None:
    here.hooks.most_waiting = 1
    answers = [
        await other.post("/hooks/builds", content=BODY, headers=standard(id=id)) for id in ("m1", "m2", "m1")
    ]
    assert [one.status_code for one in answers] == [202, 429, 202]
    assert int(answers[1].headers["retry-after"]) > 0
    counted = here.metrics.registry.get_sample_value
    assert counted("hub_limits_reached_total", {"limit": "posted_waiting"}) == 1


@pytest.mark.parametrize("posts", [100, pytest.param(1_000, marks=pytest.mark.soak)])
async def test_concurrent_webhook_posts_are_stored_or_refused_with_retry_after(
    here: Door, posts: int
) -> None:
    limits = httpx2.Limits(max_connections=200, max_keepalive_connections=200)
    async with client(here, limits=limits) as other:
        found: Counter[int] = Counter()
        most = 0

        async def post(number: int) -> None:
            nonlocal most
            headers = standard(id=f"m{number}")
            while True:
                try:
                    answer = await other.post("/hooks/builds", content=BODY, headers=headers)
                except httpx2.ReadError:  # one that was slow to ask is let go, and asks again
                    continue
                most = max(most, here.hooks._taken)
                found[answer.status_code] += 1
                if answer.status_code != 503:
                    return
                assert "retry-after" in answer.headers

        async with anyio.create_task_group() as tasks:
            for number in range(posts):
                tasks.start_soon(post, number)
    assert set(found) <= {202, 503}
    assert found[202] == len(await here.rows()) == posts
    assert most <= here.hooks.at_once


async def test_slow_webhook_connections_time_out_while_others_are_served() -> None:
    async with door(head_s=0.2) as here, client(here) as other:
        here.hooks._body_s = 0.2
        slow = [await anyio.connect_tcp("127.0.0.1", here.at.port) for _ in range(3)]
        await slow[1].send(b"POST /hooks/builds HTTP/1.1\r\nhost: 127")
        await slow[2].send(b"POST /hooks/builds HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 9\r\n\r\nx")
        assert (await other.post("/hooks/builds", content=BODY, headers=standard())).status_code == 202
        for stream in slow:
            async with stream:
                with anyio.fail_after(5):
                    assert (await stream.receive()).startswith(b"HTTP/1.1 408 ")


async def test_webhook_connection_beyond_the_limit_is_refused_and_counted() -> None:
    from dataclasses import replace

    async with door(limits=replace(ROOMY, connections=1)) as here:
        async with await anyio.connect_tcp("127.0.0.1", here.at.port) as first:
            await first.send(b"GET / HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
            assert (await first.receive()).startswith(b"HTTP/1.1 404 ")
            async with await anyio.connect_tcp("127.0.0.1", here.at.port):
                assert (await first.receive()).startswith(b"HTTP/1.1 503 ")
        counted = here.metrics.registry.get_sample_value
        assert counted("hub_limits_reached_total", {"limit": "webhook_connections"}) == 1


async def test_stored_webhook_posts_are_announced_after_a_restart(tmp_path: Path) -> None:
    """As after a death between the write and the answer: who posts comes again, and it is there once."""
    url = f"sqlite:///{tmp_path}/hub.db"

    async def dies(connector_id: str) -> None:
        await anyio.sleep_forever()

    async with door(url, tell=dies) as here, client(here) as other:
        assert (await other.post("/hooks/builds", content=BODY, headers=standard())).status_code == 202
        assert here.told == []
    async with door(url) as here, client(here) as other:
        with anyio.fail_after(5):
            while here.told != ["id-builds"]:
                await anyio.lowlevel.checkpoint()
        assert (await other.post("/hooks/builds", content=BODY, headers=standard())).status_code == 202
        assert (len(await here.rows()), here.told) == (1, ["id-builds"])


async def test_webhook_post_repeated_after_a_crash_is_stored_once(
    here: Door, other: httpx2.AsyncClient
) -> None:
    def dies(connector_id: str) -> None:
        raise RuntimeError("as if killed here")

    news, here.hooks._news = here.hooks._news, dies
    assert (await other.post("/hooks/builds", content=BODY, headers=standard())).status_code == 500
    here.hooks._news = news
    assert (await other.post("/hooks/builds", content=BODY, headers=standard())).status_code == 202
    assert len(await here.rows()) == 1


async def test_webhook_post_over_tls_is_accepted(tmp_path: Path) -> None:
    write_certificate(tmp_path)
    pair = Certificates(tmp_path / "hub.crt", tmp_path / "hub.key")
    async with door(tls=pair.context) as here, httpx2.AsyncClient(verify=False, trust_env=False) as other:
        url = f"https://{here.at}/hooks/builds"
        assert (await other.post(url, content=BODY, headers=standard())).status_code == 202

"""Requests that are let in, and those that are refused before their route."""

import json
import os
import re
import socket
from pathlib import Path
from typing import Any, Final

import anyio
import pytest
from starlette.types import Message, Receive, Scope, Send

from hub.api.http.access import PEER_UID, SOCKET_PATH, Access
from hub.api.http.request_parser import peer_uid
from hub.base.loop_meter import LATE_S, OVER_S, SHARE, LoopMeter
from hub.base.roles import Role
from hub.links.hosts import Hosts, TrustedProxies
from protocol.errors import ErrorCode
from protocol.frame import MAX_VALUES
from storage import audit
from storage.devices.tokens import OPERATOR_TOKENS
from tests.support.clock import FakeClock
from tests.support.families import each
from tests.support.hub import ServedHub, over_tcp, over_unix, serving, too_long

POST_A_RUN = ("POST", "/v1/agents/notes/runs")


async def _status(uid: int | None, *, path: str | None) -> int:
    """What a request by *uid*, over the Unix socket at *path*, is answered with."""
    sent: list[Message] = []

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 204, "headers": []})

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    access = Access(application, hosts=Hosts(), body_bytes=10, guarded=("/run/hub/admin.sock",))
    request = {"type": "http", "method": "GET", "path": "/v1/status", "query_string": b"", "headers": []}
    about = {"client": None, "state": {PEER_UID: uid, SOCKET_PATH: path}}
    await access(request | about, receive, send)
    return int(sent[0]["status"])


OWN, MANAGED = "/var/lib/hub/hub.sock", "/run/hub/admin.sock"


@each(
    ("uid", "path", "status"),
    [
        (os.getuid(), OWN, 204),
        (0, OWN, 204),
        (os.getuid() + 1, OWN, 403),
        (65_534, OWN, 403),
        (os.getuid() + 1, MANAGED, 204),  # the service manager decides who opens it
        (None, None, 421),  # a stranger over TCP
    ],
)
async def test_unix_socket_admits_the_hubs_user_and_root_or_whom_the_service_manager_admits(
    uid: int | None, path: str | None, status: int
) -> None:
    assert await _status(uid, path=path) == status


def test_peer_uid_is_read_from_unix_sockets_only() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    with ours, theirs, socket.socket(socket.AF_INET) as other:
        assert peer_uid(ours) == os.getuid()
        assert peer_uid(other) is None


async def test_tcp_requests_except_health_require_a_token(hub: ServedHub) -> None:
    async with over_tcp(hub) as stranger:
        assert (await stranger.get("/healthz")).status_code == 200
        assert (await stranger.get("/readyz")).status_code in (200, 503)  # not ready: a busy machine
        door = (await stranger.get("/v1/agent")).json()
        assert "hub_agt_" in door["detail"] and "hub agents token NAME" in door["hint"]
        for method, path in (("GET", "/v1/status"), ("GET", "/metrics"), ("GET", "/nothing"), POST_A_RUN):
            answer = await stranger.request(method, path)
            assert (answer.status_code, answer.json()["code"]) == (401, "auth_failed")
            assert answer.headers["www-authenticate"] == "Bearer"


async def test_request_without_exactly_a_single_bearer_token_is_unauthorized(hub: ServedHub) -> None:
    async with over_tcp(hub) as client:
        token = await hub.token()
        nothing = ("", "Bearer", "Basic aHViOmh1Yg==", "hub_op_x", "Bearer a\tb")
        for shown, status in (
            *(((one,), 401) for one in (*nothing, f"Basic {token}", f"Token {token}")),
            *(((one,), 200) for one in (f"Bearer {token}", f"bearer {token}")),
            ((f"Bearer {token}",) * 2, 401),
        ):
            headers = [("authorization", one) for one in shown]
            assert (await client.get("/v1/status", headers=headers)).status_code == status, shown


async def test_requests_beyond_the_rights_of_a_token_are_audited_once_a_minute(
    hub: ServedHub, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        over_tcp(hub, await hub.token(Role.VIEWER)) as viewer,
        over_tcp(hub, await hub.token(Role.OPERATOR)) as operator,
    ):
        claims = {"x-role": "admin", "x-scopes": "run", "x-user": "owner", "remote-user": "root"}
        for asked in ({}, {"role": "admin", "scope": "run"}, {}):
            assert (await viewer.request(*POST_A_RUN, headers=claims, params=asked)).status_code == 403
        assert (await operator.post("/v1/operator-tokens", json={})).status_code == 403
        hub.clock.advance(60.0)
        assert (await viewer.request(*POST_A_RUN)).status_code == 403
        tokens = await hub.store.read(OPERATOR_TOKENS.page)
        entries = await hub.store.read(audit.list_entries, event="auth.refused", limit=9, oldest_first=True)
    ids = {Role(row.role): f"token:{row.id}" for row in tokens}
    told = [(entry.actor, json.loads(entry.detail)) for entry in entries]
    assert [(actor, detail["count"]) for actor, detail in told] == [
        (ids[Role.VIEWER], 1),
        (ids[Role.OPERATOR], 1),
        (ids[Role.VIEWER], 3),
    ]
    assert told[0][1]["reason"] == "forbidden" and "'run'" in told[0][1]["why"]
    assert [record.getMessage() for record in caplog.records].count("operator.refused") == 3


async def test_a_token_in_the_address_is_refused_in_every_spelling(tmp_path: Path) -> None:
    spelled = ("q=%68ub_op_x", "q=hub%5Fop%5Fx", "%74oken=x", "access%5Ftoken=", "hub_op_x", "Token=x")
    async with serving(tmp_path) as hub:
        for query in (*spelled, "a=1&q=xhub%5finv_x"):
            # no client tidies the query
            async with await anyio.connect_unix(str(hub.listening.unix)) as stream:
                await stream.send(f"GET /v1/status?{query} HTTP/1.1\r\nhost: hub\r\n\r\n".encode())
                answer = await stream.receive()
            assert answer.startswith(b"HTTP/1.1 400 ") and b'"token_in_url"' in answer, query
            assert b"hub_" not in answer


FOREIGN: Final[list[tuple[dict[str, str], str | None]]] = [
    ({"host": "evil.example:8771"}, "wrong_host"),
    ({"host": "localhost.evil.example"}, "wrong_host"),
    ({"host": ""}, "wrong_host"),
    ({"origin": "http://evil.example"}, "foreign_origin"),
    ({"origin": "null"}, "foreign_origin"),
    ({"origin": "http://127.0.0.1:9"}, "foreign_origin"),
    ({"x-forwarded-for": "10.0.0.1"}, "untrusted_proxy"),
    ({"forwarded": "for=10.0.0.1"}, "untrusted_proxy"),
    ({"host": "127.0.0.1:1"}, None),  # a proxy's port; an address cannot be rebound
    ({"host": "localhost:1"}, None),
    ({"host": "hub.example"}, None),
    ({"host": "hub.example", "origin": "https://hub.example"}, None),
]


async def test_requests_with_a_rebound_host_foreign_page_or_false_proxy_are_refused(tmp_path: Path) -> None:
    async with (
        serving(tmp_path, hosts=Hosts(["hub.example"])) as hub,
        over_tcp(hub, await hub.token()) as client,
    ):
        for headers, code in FOREIGN:
            answer = await client.get("/v1/status", headers=headers)
            public = await client.get("/healthz", headers=headers)
            if code is None:
                assert (answer.status_code, public.status_code) == (200, 200), headers
            else:
                assert answer.json()["code"] == public.json()["code"] == code, headers


async def test_browser_request_is_refused_unless_the_fetch_site_is_same_origin(hub: ServedHub) -> None:
    async with over_tcp(hub, await hub.token()) as client:
        for site, status in (("cross-site", 403), ("same-site", 403), ("same-origin", 202)):
            answer = await client.request(*POST_A_RUN, headers={"sec-fetch-site": site})
            assert answer.status_code == status


async def test_rate_limit_uses_the_client_address_reported_by_a_trusted_proxy(tmp_path: Path) -> None:
    async with (
        serving(tmp_path, proxies=TrustedProxies(["127.0.0.1"])) as hub,
        over_tcp(hub, "hub_op_wrong") as client,
    ):
        for _ in range(11):
            far = await client.get("/v1/status", headers={"x-forwarded-for": "203.0.113.9"})
        near = await client.get(
            "/v1/status", headers={"x-forwarded-for": "203.0.113.8", "authorization": "Bearer hub_op_other"}
        )
    assert (far.status_code, near.status_code) == (429, 401)


MALFORMED: Final[list[tuple[dict[str, Any], int, str]]] = [
    ({"content": b"{}", "headers": {"content-type": "text/plain"}}, 415, "bad_content_type"),
    ({"content": b"{}"}, 415, "bad_content_type"),
    ({"data": {"reason": "x"}}, 415, "bad_content_type"),
    ({"files": {"reason": b"x"}}, 415, "bad_content_type"),
    ({"content": b"{", "headers": {"content-type": "application/json"}}, 422, "bad_params"),
    ({"json": ["no", "object"]}, 422, "bad_params"),
    ({"json": {"unknown": 1}}, 422, "bad_params"),
    ({"json": {"unknown": [[]] * 10_000}}, 413, "too_large"),
    ({"json": {str(number): 1 for number in range(MAX_VALUES + 1)}}, 413, "too_large"),
    (
        {"content": b"[1e308" + b",1e308" * 2_000, "headers": {"content-type": "application/json"}},
        413,
        "too_large",
    ),
    ({"json": {}, "headers": {"x-long": "x" * 17_000}}, 431, "too_large"),
    ({"content": too_long(), "headers": {"content-type": "application/json"}}, 413, "too_large"),
    ({"params": {"user": "a\0b"}}, 422, "bad_params"),
]


async def test_a_malformed_request_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    async with serving(tmp_path) as hub, over_unix(hub) as client:
        await hub.run("r-1")
        for options, status, code in MALFORMED:
            answer = await client.post("/v1/runs/r-1/cancel", **options)
            assert (answer.status_code, answer.json()["code"]) == (status, code), options
        assert (await client.get("/v1/runs/r-1")).json()["state"] == "QUEUED"


async def test_every_refused_request_is_counted_by_error_code(tmp_path: Path) -> None:
    counted: list[str] = []
    async with (
        serving(tmp_path, on_refusal=counted.append) as hub,
        over_tcp(hub, "hub_op_wrong") as client,
    ):
        await client.get("/v1/status")
        await client.get("/v1/status", headers={"host": "evil.example"})
        await client.get("/healthz")
    assert counted == [ErrorCode.AUTH_FAILED, ErrorCode.WRONG_HOST]


@pytest.mark.parametrize(("share", "status"), [(1.01, 200), (7.5, 503)])
async def test_token_overusing_the_event_loop_is_delayed_or_refused(
    tmp_path: Path, share: float, status: int
) -> None:
    loop = LoopMeter(FakeClock().monotonic)
    async with serving(tmp_path, loop=loop) as hub:
        async with over_tcp(hub, await hub.token()) as client:
            assert (await client.get("/v1/status")).status_code == 200
            (actor,) = [cause for cause in loop._spent if cause.startswith("token:")]
            loop.charge(actor, share * SHARE * OVER_S)
            assert (await client.get("/v1/status")).status_code == 200, "nobody else waits"
            loop.lag_s = LATE_S
            answer = await client.get("/v1/status")
        async with over_unix(hub) as client:
            assert (await client.get("/v1/status")).status_code == 200
    assert answer.status_code == status
    if status == 503:
        assert answer.json()["code"] == "overloaded"
        assert re.search(r"\b(7[5-9]|8\d)% of the hub's time", answer.text), "and what its requests took"


async def test_responses_of_v1_have_no_store_and_nosniff(tmp_path: Path) -> None:
    async with serving(tmp_path) as hub, over_tcp(hub, None) as stranger, over_unix(hub) as client:
        answers = [
            await client.get("/v1/status"),
            await client.get("/metrics"),
            await client.get("/v1/agents/nobody"),
            await client.get("/v1/nothing"),
            await client.put("/v1/status"),
            await client.post("/v1/agents", content=b"no JSON", headers={"content-type": "application/json"}),
            await client.post("/v1/agents", content=b"text"),
            await stranger.get("/v1/status"),
            await stranger.get("/v1/status", headers={"host": "elsewhere"}),
            await stranger.get("/healthz"),
        ]
        async with client.stream("GET", "/v1/events") as events:
            answers.append(events)
    for answer in answers:
        assert "no-store" in answer.headers["cache-control"], answer.url
        assert answer.headers["x-content-type-options"] == "nosniff", answer.url
        assert "content-type" in answer.headers
    assert {answer.status_code for answer in answers} >= {200, 401, 404, 405, 422}


SLOW = (
    b"PATCH /v1/devices/desk HTTP/1.1\r\nhost: hub\r\ncontent-type: application/json\r\n"
    b'if-match: *\r\ncontent-length: 16\r\n\r\n{"name":'
)


async def test_slow_request_body_does_not_delay_a_change_of_another_client(tmp_path: Path) -> None:
    async with (
        serving(tmp_path) as hub,
        over_unix(hub) as client,
        await anyio.connect_unix(str(hub.listening.unix)) as slow,
    ):
        await slow.send(SLOW)
        await client.get("/v1/status")  # by now the slow one is being listened to
        with anyio.fail_after(3):
            changed = await client.patch("/v1/devices/desk", json={"name": "lab"}, headers={"if-match": "*"})
        await slow.send(b' "wall"}')
        late = await slow.receive()
    assert changed.status_code == 200
    assert late.startswith(b"HTTP/1.1 404 ")  # it was renamed meanwhile


async def test_client_disconnecting_in_the_middle_of_a_body_changes_nothing(tmp_path: Path) -> None:
    async with serving(tmp_path) as hub, over_unix(hub) as client:
        await hub.run("r-1")
        async with await anyio.connect_unix(str(hub.listening.unix)) as gone:
            head = b"POST /v1/runs/r-1/cancel HTTP/1.1\r\nhost: hub\r\ncontent-type: application/json\r\n"
            await gone.send(head + b"content-length: 3\r\n\r\n{}")
        assert (await client.get("/v1/runs/r-1")).json()["state"] == "QUEUED"


class Slow:
    """An application whose first change takes until it is let go."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.may_go_on = anyio.Event()
        self._access = Access(self._change, hosts=Hosts(), body_bytes=10)

    async def ask(self, method: str, path: str) -> None:
        """Ask it, as the hub's own user does, without a tag."""

        async def receive() -> Message:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Message) -> None:
            return

        said = {"type": "http", "method": method, "path": path, "query_string": b"", "headers": []}
        await self._access(said | {"client": None, "state": {PEER_UID: os.getuid()}}, receive, send)

    async def _change(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.begun.append(scope["path"])
        if len(self.begun) == 1:
            await self.may_go_on.wait()


@each(
    ("method", "path", "waits"),
    [
        ("PATCH", "/v1/devices/0197", True),  # of the same thing, perhaps, by another name
        ("POST", "/v1/devices/desk/revoke", True),
        ("GET", "/v1/devices/desk", False),
        ("PATCH", "/v1/config", False),
        ("POST", "/v1/agents/notes/pause", False),
        ("POST", "/v1/invitations", False),
    ],
)
async def test_change_request_waits_only_for_another_change_of_the_same_kind(
    method: str, path: str, waits: bool
) -> None:
    slow = Slow()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(slow.ask, "PATCH", "/v1/devices/desk")
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(slow.ask, method, path)
        await anyio.wait_all_tasks_blocked()
        meanwhile = slow.begun[1:]
        slow.may_go_on.set()
    assert (meanwhile, slow.begun) == ([] if waits else [path], ["/v1/devices/desk", path])


async def test_slow_device_estimate_does_not_delay_an_edit_of_the_agent() -> None:
    slow = Slow()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(slow.ask, "POST", "/v1/agents/notes/estimate")
        await anyio.wait_all_tasks_blocked()
        await slow.ask("PATCH", "/v1/agents/notes")
        assert slow.begun[1:] == ["/v1/agents/notes"]
        slow.may_go_on.set()


@each(
    ("method", "path", "waits"),
    [
        ("PATCH", "/v1/boards/lawn", True),
        ("POST", "/v1/boards/roses/agents", True),
        ("POST", "/v1/connectors/mail/test", False),
        ("POST", "/v1/boards/roses/agents/notes/nudge", False),
        ("POST", "/v1/boards/roses/lead/message", False),
        ("POST", "/v1/boards/roses/lead/ensure", False),
        ("POST", "/v1/boards/roses/ask-user", False),
        ("PUT", "/v1/boards/roses/agents/notes/soul", False),
        ("POST", "/v1/boards/roses/memory", False),
    ],
)
async def test_request_waiting_for_an_agent_neither_delays_changes_nor_is_delayed(
    method: str, path: str, waits: bool
) -> None:
    for first, then in (
        (("PATCH", "/v1/boards/roses"), (method, path)),
        ((method, path), ("PATCH", "/v1/boards/lawn")),
    ):
        slow = Slow()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(slow.ask, *first)
            await anyio.wait_all_tasks_blocked()
            tasks.start_soon(slow.ask, *then)
            await anyio.wait_all_tasks_blocked()
            meanwhile = slow.begun[1:]
            slow.may_go_on.set()
        assert meanwhile == ([] if waits else [then[1]])

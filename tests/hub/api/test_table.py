"""The table of what may be asked is what is served, and every role is held to it (SEC-6)."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import httpx2
from msgspec import json
from starlette.responses import Response
from starlette.types import Receive, Send
from starlette.types import Scope as Request

from hub.api.application import ANSWERED
from hub.api.http.access import Access, BearerTokens
from hub.api.resources.system import routes_view
from hub.base.roles import (
    AGENT,
    DEVICE_REQUESTS,
    HUB_WIDE,
    HUB_WIDE_ROUTES,
    PUBLIC,
    ROLE_SCOPES,
    ROUTES,
    Need,
    Role,
    RouteKey,
    Scope,
    rows_of,
)
from hub.links.failed_attempts import FailedAttempts
from hub.links.hosts import Hosts
from protocol.coordination import Method
from tests.support.families import each
from tests.support.hub import ServedHub, over_tcp, over_unix, serving, too_long
from tests.support.identity import IdentityBench, open_identity

# What each role may, written down a second time: a row that changes here was meant to.
MAY = {
    Role.VIEWER: {"read", "rows", "files"},
    Role.OPERATOR: {"read", "rows", "files", "run", "review", "answer", "devices"},
    Role.ADMIN: {
        "read",
        "rows",
        "files",
        "run",
        "review",
        "answer",
        "devices",
        "settings",
        "audit",
        "tokens",
        "system",
    },
}
NAMED = {"rows", "files", "review", "answer"}  # a token has these only if they are named for it


def _asked() -> Iterator[tuple[RouteKey, str, Need]]:
    """Every row, with an address that falls under it."""
    for asked, need in ROUTES.items():
        yield asked, asked.path.replace("{", "").replace("}", ""), need


def test_route_table_equals_the_served_routes() -> None:
    assert set(ANSWERED) == set(ROUTES)


def test_every_route_row_is_found_by_path() -> None:
    for asked, path, _ in _asked():
        assert rows_of(path)[asked.method] == asked
        assert not rows_of(path + "/")
        assert "TRACE" not in rows_of(path)


@each("last", ["runs", "pause", "validate", "status"])
def test_agent_named_like_a_path_part_is_routed_correctly(last: str) -> None:
    method = "GET" if last == "status" else "POST"
    assert rows_of(f"/v1/agents/as/{last}")[method].path == f"/v1/agents/{{name}}/{last}"
    assert rows_of("/v1/agents/as/orchestrator")["POST"].path == "/v1/agents/as/{vocabulary}"


METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "QUERY")


async def test_method_without_a_route_is_refused_with_the_methods_of_its_path(
    hub: ServedHub,
) -> None:
    wrong = list[tuple[str, str, int, str | None]]()
    taken: dict[str, set[str]] = {}
    for asked in ROUTES:
        taken.setdefault(asked.path, set()).update(
            ("GET", "HEAD") if asked.method == "GET" else [asked.method]
        )
    async with over_unix(hub) as client:
        for path, methods in taken.items():
            for method in METHODS:
                if method in methods:
                    continue
                # A body of no route: too long, and of another type.
                content = b"x" * 2_000_000 if method == "PUT" else too_long()
                sent = {"content": content, "headers": {"content-type": "text/plain"}}
                body: dict[str, Any] = {} if method in ("HEAD", "OPTIONS") else sent
                answer = await client.request(method, path.replace("{", "").replace("}", ""), **body)
                allowed = answer.headers.get("allow")
                if (answer.status_code, {*(allowed or "").split(", ")}) != (405, methods):
                    wrong.append((method, path, answer.status_code, allowed))
    assert wrong == []


async def test_head_is_answered_as_get_and_has_no_end_to_wait_for(hub: ServedHub) -> None:
    async with over_unix(hub) as client:
        for asked, path, need in _asked():
            if asked.method == "GET" and need is not AGENT:
                answer = await client.head(path, timeout=10)
                assert (answer.status_code in (200, 404, 422), answer.content) == (True, b""), (path, answer)


def test_each_role_has_the_documented_scopes() -> None:
    assert {role: {str(scope) for scope in scopes} for role, scopes in ROLE_SCOPES.items()} == MAY


def test_routes_acting_for_the_owner_need_an_explicitly_named_scope() -> None:
    found = {asked.path for asked, need in ROUTES.items() if need in NAMED}
    questions = {f"/v1/questions/{{question_id}}/{verb}" for verb in ("answer", "withdraw")}
    decided = {"/v1/items/verdicts", "/v1/items/{item_id}/choices", "/v1/items/proposals/declined"}
    calls = "/v1/devices/{device_id}/calls"
    reading = {calls, f"{calls}/list-files", f"{calls}/read-file"}
    assert found == {*decided, *questions, *reading, "/v1/devices/{device_id}/places"}


def test_only_health_and_assistant_authorization_routes_are_public() -> None:
    public = {asked.path for asked, need in ROUTES.items() if need is PUBLIC}
    authorization = {"/token", "/revoke", "/.well-known/oauth-authorization-server"}
    assert public == {"/healthz", "/readyz", *authorization, "/.well-known/oauth-protected-resource/mcp"}


def test_writing_routes_with_the_read_scope_are_the_listed_ones() -> None:
    found = {asked for asked, need in ROUTES.items() if need is Scope.READ and asked.method != "GET"}
    sessions = {RouteKey("POST", "/v1/sessions"), RouteKey("DELETE", "/v1/sessions/current")}
    proposals = (
        RouteKey("POST", "/v1/items/proposals"),
        RouteKey("DELETE", "/v1/items/proposals/{proposal_id}"),
    )
    assistants = (
        RouteKey("POST", "/mcp"),
        RouteKey("DELETE", "/mcp"),
    )  # their tools need the scopes of their routes
    allowed = RouteKey("POST", "/v1/authorizations")  # by the session of a browser, within its rights
    assert found == {*sessions, *proposals, *assistants, allowed}


async def _answer(access: Access, asked: RouteKey, path: str, token: str | None) -> int:
    sent: list[int] = []

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: object) -> None:
        assert isinstance(message, dict)
        if message["type"] == "http.response.start":
            sent.append(message["status"])

    headers = [(b"host", b"127.0.0.1")]
    if token is not None:
        headers.append((b"authorization", f"Bearer {token}".encode()))
    about = {"type": "http", "method": asked.method, "path": path, "query_string": b"", "headers": headers}
    await access(about | {"client": ("127.0.0.1", 1), "state": {}}, receive, send)
    return sent[0]


async def _lets_in(scope: Request, receive: Receive, send: Send) -> None:
    await Response(status_code=204)(scope, receive, send)


def _door(bench: IdentityBench) -> Access:
    bearer = BearerTokens(
        bench.store, clock=bench.clock, attempts=FailedAttempts(bench.store, bench.clock, kind="operator")
    )
    return Access(_lets_in, hosts=Hosts(), body_bytes=10, bearer=bearer)


@each("role", [*Role, None])
async def test_each_role_is_admitted_exactly_at_the_routes_of_the_table(role: Role | None) -> None:
    async with open_identity() as bench:
        token = None if role is None else await bench.token(role)
        door = _door(bench)
        for asked, path, need in _asked():
            allowed = need is PUBLIC or (role is not None and need in ROLE_SCOPES[role] and need not in NAMED)
            refused = 401 if role is None else 403
            assert await _answer(door, asked, path, token) == (204 if allowed else refused), asked


@each("scope", list(Scope))
async def test_token_with_a_single_scope_is_admitted_only_at_routes_of_the_scope(scope: Scope) -> None:
    async with open_identity() as bench:
        token = await bench.token(Role.ADMIN, [scope])
        door = _door(bench)
        one_of_each = {need: (asked, path) for asked, path, need in _asked()}
        for need, (asked, path) in one_of_each.items():
            allowed = need is PUBLIC or need is scope
            assert await _answer(door, asked, path, token) == (204 if allowed else 403), asked


async def test_admin_token_of_a_user_is_refused_at_hub_wide_routes() -> None:
    async with open_identity() as bench:
        token = await bench.token(Role.ADMIN, user_id=bench.owner_id)
        for asked, path, need in _asked():
            is_whole = need in HUB_WIDE or asked in HUB_WIDE_ROUTES
            allowed = need is PUBLIC or not (need is AGENT or need in NAMED or is_whole)
            assert await _answer(_door(bench), asked, path, token) == (204 if allowed else 403), asked


async def test_agent_token_is_admitted_only_at_agent_routes() -> None:
    async with open_identity() as bench:
        token = await bench.agent_token(await bench.agent())
        for asked, path, need in _asked():
            allowed = need is PUBLIC or need is AGENT
            assert await _answer(_door(bench), asked, path, token) == (204 if allowed else 403), asked


def test_agent_routes_are_exactly_the_routes_below_v1_agent() -> None:
    for asked, _, need in _asked():
        assert (need is AGENT) == (asked.path == "/v1/agent" or asked.path.startswith("/v1/agent/")), asked


async def test_unnormalized_spelling_of_a_path_is_answered_404(tmp_path: Path) -> None:
    async with serving(tmp_path) as hub:
        for path in ("/V1/status", "/v1//status", "/v1/status/", "/v1/agents/../status", "/v1/status%2F"):
            # no client tidies the path
            async with await anyio.connect_unix(str(hub.listening.unix)) as stream:
                await stream.send(f"GET {path} HTTP/1.1\r\nhost: hub\r\nconnection: close\r\n\r\n".encode())
                assert (await stream.receive()).startswith(b"HTTP/1.1 404 "), path


async def test_me_route_reports_role_scopes_and_user_of_the_caller(
    hub: ServedHub, client: httpx2.AsyncClient
) -> None:
    async with over_tcp(hub, await hub.token(Role.VIEWER)) as viewer:
        admin, reader = (await client.get("/v1/me")).json(), (await viewer.get("/v1/me")).json()
        as_owner = (await client.get("/v1/me", params={"user": "owner"})).json()
    assert (admin["role"], {*admin["scopes"]}, admin["user"]) == ("admin", MAY[Role.ADMIN], None)
    assert (reader["role"], reader["scopes"], as_owner["user"]) == ("viewer", ["read"], "owner")


async def test_route_table_is_readable_with_the_read_scope(
    hub: ServedHub, client: httpx2.AsyncClient
) -> None:
    async with over_tcp(hub, await hub.token(Role.VIEWER)) as viewer:
        told = (await viewer.get("/v1/routes")).json()
        assert told == (await client.get("/v1/routes")).json() == json.decode(json.encode(routes_view()))
    by_path = {(route["method"], route["path"]): route for route in told["routes"]}
    assert by_path["POST", "/v1/agents/{name}/runs"]["roles"] == ["operator", "admin"]
    assert by_path["GET", "/healthz"]["scope"] == "public"


def test_routes_response_includes_the_device_requests() -> None:
    assert set(DEVICE_REQUESTS) <= {str(method) for method in Method}
    assert {request.method for request in routes_view().device_requests} == set(DEVICE_REQUESTS)

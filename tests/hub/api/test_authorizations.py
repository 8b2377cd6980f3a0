"""Assistants that persons allow at the dashboard (OAuth 2.1): the flow, its refusals, and its bounds."""

import base64
import hashlib
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import anyio
import httpx2
import pytest
from anyio.streams.tls import TLSListener
from mcp import Client
from mcp.client.auth import AuthorizationCodeResult, OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import OAuthClientInformationFull, OAuthClientMetadata, OAuthToken
from pydantic import AnyUrl

from hub.api.device import requests_of
from hub.api.http.authorization import DOCUMENT_BYTES, DOCUMENTS, Authorization
from hub.api.resource import ALL
from hub.api.resources.assistants import CODE_S, AuthorizationsResource, _called
from hub.api.resources.devices import DevicesResource
from hub.api.resources.tokens import DAY_S, IdentityLimits, OperatorTokensResource
from hub.base.outbound.client import OutboundClient
from hub.base.outbound.rules import OutboundRules
from hub.base.roles import Role, Scope
from hub.base.web.pages import HEADERS
from hub.health.access_checks import check_tokens
from hub.links.hosts import Hosts, TrustedProxies
from protocol.coordination import Method
from storage import audit
from storage.devices.keys import FRESH_MS
from tests.hub.api.test_assistants import TOOLS, names, opened, told
from tests.support.certificates import write_certificate
from tests.support.families import each
from tests.support.hub import TEXT, ServedHub, answer, nodes_of, over_tcp, serving
from tests.support.postgres import Postgres

REDIRECT = "http://127.0.0.1:1234/callback"
SITE = "https://site.example/back"
CLIENTS = f"""\
assistants = true
assistant_clients = ["editor http://127.0.0.1/callback", "site {SITE}"]
"""
SETTINGS = TEXT.replace(
    'operator = { address = "127.0.0.1:0" }\n', f'[listen.operator]\naddress = "127.0.0.1:0"\n{CLIENTS}'
)
HERE = {"x-hub-request": "1"}
VERIFIER = "v" * 43
ADDRESS = "/v1/authorizations"


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[ServedHub]:
    """A hub that serves assistants, and knows two of their clients."""
    async with serving(tmp_path, SETTINGS, assistants=True, body_bytes=100_000) as served:
        yield served


@asynccontextmanager
async def signed_in(
    hub: ServedHub, role: Role = Role.ADMIN, secret: str = "", **rights: Any
) -> AsyncIterator[httpx2.AsyncClient]:
    """Open the browser of a person who is signed in with a token, or with the secret of a link."""
    async with over_tcp(hub) as browser:
        bearer = {"authorization": f"Bearer {secret or await hub.token(role, **rights)}"}
        opened = await browser.post("/v1/sessions", headers=bearer)
        assert opened.status_code == 201, opened.text
        browser.headers["cookie"] = opened.headers["set-cookie"].partition(";")[0]
        browser.headers |= HERE
        yield browser


def query(hub: ServedHub, **other: str | None) -> str:
    """Return the query of a request for authorization, as a client opens it."""
    challenge = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).decode().rstrip("=")
    given = {
        "client_id": "editor",
        "redirect_uri": REDIRECT,
        "response_type": "code",
        "code_challenge": challenge,
        "code_challenge_method": "S256",
        "state": "of the client",
        "scope": "read run",
        "resource": f"http://{hub.listening.tcp}/mcp",
    }
    return urlencode({name: value for name, value in (given | other).items() if value is not None})


async def code_of(browser: httpx2.AsyncClient, asked: str, **allowed: Any) -> str:
    """Let a person allow a request. Return the code that the client gets."""
    body = {"query": asked, "scopes": ["read", "run"], **allowed}
    made = await browser.post(ADDRESS, json=body)
    assert made.status_code == 201, made.text
    assert made.headers["cache-control"] == "no-store"
    given = parse_qs(urlsplit(made.json()["location"]).query)
    assert given["state"] == ["of the client"]
    return str(given["code"][0])


async def posted(hub: ServedHub, path: str = "/token", **form: str) -> httpx2.Response:
    async with over_tcp(hub) as client:
        return await client.post(path, data={"client_id": "editor", **form})


async def exchanged(hub: ServedHub, code: str, **other: str) -> httpx2.Response:
    form = {"code": code, "code_verifier": VERIFIER, "redirect_uri": REDIRECT}
    return await posted(hub, grant_type="authorization_code", **form | other)


async def renewed(hub: ServedHub, secret: str, **other: str) -> httpx2.Response:
    return await posted(hub, grant_type="refresh_token", refresh_token=secret, **other)


async def allowed(hub: ServedHub, **allowed: Any) -> dict[str, Any]:
    """Return the response with the first token of an assistant."""
    async with signed_in(hub) as browser:
        made = await exchanged(hub, await code_of(browser, query(hub), **allowed))
    assert made.status_code == 200, made.text
    return dict(made.json())


async def status(hub: ServedHub, token: str, path: str = "/mcp") -> int:
    """Return the status of a call with a token: of a message, or of a request to another path."""
    async with over_tcp(hub, token) as client:
        asked = opened(client) if path == "/mcp" else client.get(path)
        code: int = (await asked).status_code
    return code


class Storage:
    """Storage of a client, in memory."""

    def __init__(self, client_id: str) -> None:
        self.tokens: OAuthToken | None = None
        self.info: OAuthClientInformationFull | None = OAuthClientInformationFull(
            client_id=client_id, redirect_uris=[AnyUrl(REDIRECT)], token_endpoint_auth_method="none"
        )

    async def get_tokens(self) -> OAuthToken | None:
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self.tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self.info

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self.info = client_info


class Person:
    """A person whose browser a client opens; allows what is asked for, or less."""

    def __init__(self, browser: httpx2.AsyncClient, **less: Any) -> None:
        self.browser, self.less = browser, less
        self.asked: list[dict[str, Any]] = []
        self.location = ""

    async def opens(self, address: str) -> None:
        page = await self.browser.get(address, headers={"accept": "text/html"})
        assert page.status_code == 200 and page.text.startswith("<!doctype html>")
        asked = urlsplit(address).query
        shown = await self.browser.get(ADDRESS, params={"query": asked})
        assert shown.status_code == 200, shown.text
        self.asked.append(shown.json())
        body = {"query": asked, "scopes": shown.json()["scopes"], **self.less}
        self.location = (await self.browser.post(ADDRESS, json=body)).json()["location"]

    async def returns(self) -> AuthorizationCodeResult:
        given = parse_qs(urlsplit(self.location).query)
        return AuthorizationCodeResult(code=given["code"][0], state=given["state"][0], iss=given["iss"][0])


def official(hub: ServedHub, person: Person, storage: Storage, **options: Any) -> OAuthClientProvider:
    metadata = OAuthClientMetadata(redirect_uris=[AnyUrl(REDIRECT)])
    url = f"http://{hub.listening.tcp}/mcp"
    return OAuthClientProvider(url, metadata, storage, person.opens, person.returns, **options)


@asynccontextmanager
async def assistant(auth: OAuthClientProvider) -> AsyncIterator[Client]:
    async with httpx2.AsyncClient(auth=auth, timeout=30) as http:
        transport = streamable_http_client(auth.context.server_url, http_client=http)
        async with Client(transport, mode="2026-07-28") as client:
            yield client


async def test_official_mcp_client_is_authorized_gains_scopes_and_renews_tokens(hub: ServedHub) -> None:
    storage = Storage("editor")
    async with signed_in(hub, scopes=[Scope.READ, Scope.RUN, Scope.REVIEW]) as browser:
        person = Person(browser)
        auth = official(hub, person, storage)
        async with assistant(auth) as client:
            assert await names(client) == {*TOOLS[Scope.READ]}
            (first,) = person.asked
            assert (first["name"], first["place"]) == ("editor", "127.0.0.1")
            assert (first["scopes"], first["offered"]) == (["read"], ["read", "review", "run"])
            assert storage.tokens is not None and storage.tokens.scope == "read"
            paused = await client.call_tool("agents_pause", {"name": "notes"})  # the person is asked again
            assert not paused.is_error, told(paused)
            assert [one["scopes"] for one in person.asked] == [["read"], ["read", "run"]]
        before = storage.tokens.access_token
        hub.clock.advance(FRESH_MS / 1_000 + 1)
        assert await status(hub, before) == 401
        auth.context.token_expiry_time = 1.0  # by the clock of the client
        async with assistant(auth) as client:
            assert await names(client) == {*TOOLS[Scope.READ], *TOOLS[Scope.RUN]}
        assert len(person.asked) == 2, "a refresh token asks no person"
        assert await status(hub, before) == 401
        listed = [one.name for one in await hub.resource(OperatorTokensResource).all(ALL)]
        assert listed.count("editor") == 2


async def test_authorization_with_reduced_scopes_limits_and_days_issues_a_reduced_token(
    hub: ServedHub,
) -> None:
    storage = Storage("editor")
    async with signed_in(hub) as browser:
        less = {"scopes": ["read"], "limits": {"devices": ["desk"], "tables": ["tasks"]}, "days": 2}
        async with assistant(official(hub, Person(browser, **less), storage)) as client:
            assert "items_newest" in await names(client)
            assert (await client.call_tool("runs_newest", {})).is_error
    row = (await hub.resource(OperatorTokensResource).all(ALL))[-1]
    assert (row.name, row.role, row.scopes) == ("editor", Role.VIEWER, (Scope.READ,))
    assert row.limits is not None and (row.limits.devices, row.limits.tables) == (("desk",), ("tasks",))
    assert (row.expires_at - hub.clock.now()).total_seconds() == 2 * DAY_S
    assert row.created_by.startswith("session:")
    entries = await hub.store.read(audit.list_entries, event="operator_token.created")
    assert entries[0].subject == row.id and entries[0].actor == row.created_by


async def test_unauthorized_mcp_request_is_answered_with_the_authorization_server(hub: ServedHub) -> None:
    origin = f"http://{hub.listening.tcp}"
    async with over_tcp(hub) as client:
        refused = await client.post("/mcp", json={})
        where = f"{origin}/.well-known/oauth-protected-resource/mcp"
        assert refused.headers["www-authenticate"] == f'Bearer scope="read", resource_metadata="{where}"'
        assert (await client.get("/v1/me")).headers["www-authenticate"] == "Bearer"
        resource = (await client.get(where)).json()
        assert (resource["resource"], resource["authorization_servers"]) == (f"{origin}/mcp", [origin])
        server = (await client.get("/.well-known/oauth-authorization-server")).json()
        assert (server["issuer"], server["code_challenge_methods_supported"]) == (origin, ["S256"])


async def test_authorization_addresses_behind_a_proxy_use_the_public_host(tmp_path: Path) -> None:
    proxies: dict[str, Any] = {"proxies": TrustedProxies(["127.0.0.1"]), "hosts": Hosts(["hub.example"])}
    forwarded = {"host": "hub.example", "x-forwarded-proto": "https", "x-forwarded-for": "192.0.2.7"}
    async with serving(tmp_path, SETTINGS, assistants=True, **proxies) as hub, over_tcp(hub) as client:
        refused = await client.post("/mcp", json={}, headers=forwarded)
        assert "https://hub.example/.well-known/" in refused.headers["www-authenticate"]
        server = await client.get("/.well-known/oauth-authorization-server", headers=forwarded)
        assert server.json()["token_endpoint"] == "https://hub.example/token"
        other = await client.get("/.well-known/oauth-authorization-server", headers={"host": "evil.example"})
        assert other.status_code == 421


INVALID = [
    ({"redirect_uri": "https://evil.example/callback"}, "none of the client's addresses"),
    ({"redirect_uri": "http://127.0.0.1:1/other"}, "none of the client's addresses"),
    ({"redirect_uri": "http://evil@127.0.0.1/callback#x"}, "none of the client's addresses"),
    ({"redirect_uri": "http://evil.example:80@127.0.0.1:1234/callback"}, "none of the client's addresses"),
    ({"client_id": "site", "redirect_uri": "https://site.example:8443/back"}, "none of the client's"),
    ({"redirect_uri": None}, "none of the client's addresses"),
    ({"client_id": "unknown"}, "'unknown' is no client of this hub"),
    ({"client_id": "https://[::1"}, "is no client of this hub"),
    ({"client_id": "https://localhost/client.json"}, "is no client of this hub"),
    ({"client_id": "https://a:b@site.example/client.json"}, "is no client of this hub"),
    ({"client_id": "https://site.example"}, "is no client of this hub"),
    ({"code_challenge_method": "plain"}, "code_challenge_method"),
    ({"code_challenge": None}, "code_challenge"),
    ({"code_challenge": VERIFIER[:9]}, "expected that of S256"),
    ({"response_type": "token"}, "response_type"),
    ({"resource": "https://other.example/mcp"}, "it is for https://other.example/mcp"),
]


async def test_authorization_state_of_a_client_is_limited_in_length(hub: ServedHub) -> None:
    async with signed_in(hub) as browser:
        shown = await browser.get(ADDRESS, params={"query": query(hub, state="s" * 3_000)})
        refused = await browser.get(ADDRESS, params={"query": query(hub, state="s" * 4_000)})
    assert shown.status_code == 200 and "s" * 3_000 in shown.json()["denied"]
    assert (refused.status_code, refused.json()["code"]) == (422, "bad_params")


@each(("wrong", "about"), INVALID)
async def test_invalid_authorization_request_is_refused_without_a_redirect(
    hub: ServedHub, wrong: dict[str, str | None], about: str
) -> None:
    async with signed_in(hub) as browser:
        asked = query(hub, **wrong)
        shown = await browser.get(ADDRESS, params={"query": asked})
        made = await browser.post(ADDRESS, json={"query": asked, "scopes": ["read"]})
    for refused in (shown, made):
        assert (refused.status_code, refused.json()["code"]) == (422, "bad_params"), refused.text
        assert about in refused.json()["detail"]
        assert "location" not in refused.headers


async def test_authorization_requires_a_session_and_the_page_of_the_hub(hub: ServedHub) -> None:
    body = {"query": query(hub), "scopes": ["read"]}
    async with over_tcp(hub) as stranger, over_tcp(hub, await hub.token(Role.ADMIN)) as program:
        assert (await stranger.post(ADDRESS, json=body)).status_code == 401
        refused = await program.post(ADDRESS, json=body)
        assert refused.status_code == 403 and "no session" in refused.json()["detail"]
        assert (await program.get(ADDRESS, params={"query": body["query"]})).status_code == 403
        page = await stranger.get(f"/authorize?{body['query']}", headers={"accept": "text/html"})
        assert page.headers["x-frame-options"] == "DENY"
        assert (
            "frame-ancestors 'none'"
            in page.headers["content-security-policy"]
            == HEADERS["content-security-policy"]
        )
    async with signed_in(hub) as browser:
        for foreign in ({"origin": "https://evil.example"}, {"sec-fetch-site": "cross-site"}):
            assert (await browser.post(ADDRESS, json=body, headers=foreign)).status_code == 403
        del browser.headers["x-hub-request"]
        assert (await browser.post(ADDRESS, json=body)).status_code == 403
    assert len(await hub.resource(OperatorTokensResource).all(ALL)) == 2, "those of the test alone"


async def test_person_cannot_authorize_scopes_beyond_the_own_rights(hub: ServedHub) -> None:
    async with signed_in(hub, Role.VIEWER) as browser:
        for scopes, about in ((["run"], "run"), (["tokens"], "tokens"), (["rows"], "rows")):
            refused = await browser.post(ADDRESS, json={"query": query(hub), "scopes": scopes})
            assert refused.status_code == 403 and about in refused.json()["detail"]


async def test_second_use_of_an_authorization_code_revokes_the_token(hub: ServedHub) -> None:
    async with signed_in(hub) as browser:
        code = await code_of(browser, query(hub))
    first = await exchanged(hub, code)
    assert await status(hub, first.json()["access_token"]) == 200
    again = await exchanged(hub, code)
    assert (again.status_code, again.json()["error"]) == (400, "invalid_grant")
    assert await status(hub, first.json()["access_token"]) == 401
    assert (await renewed(hub, first.json()["refresh_token"])).json()["error"] == "invalid_grant"


async def test_concurrent_uses_of_an_authorization_code_issue_at_most_a_single_token(hub: ServedHub) -> None:
    async with signed_in(hub) as browser:
        code = await code_of(browser, query(hub))
    answers: list[int] = []

    async def use() -> None:
        answers.append((await exchanged(hub, code)).status_code)

    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(use)
    assert sorted(answers)[:1] + sorted(answers)[1:] in ([200, *[400] * 4], [400] * 5)


WRONG = [
    ({"code_verifier": "w" * 43}, "invalid_grant"),
    ({"redirect_uri": "http://127.0.0.1:9/callback"}, "invalid_request"),
    ({"client_id": "site"}, "invalid_grant"),
    ({"resource": "https://other.example/mcp"}, "invalid_target"),
    ({"code": "hub_ref_unknown.x"}, "invalid_grant"),
    ({"code": "x" * 20_000}, "invalid_request"),
    ({"grant_type": "password"}, "invalid_request"),
]


@each(("wrong", "error"), WRONG)
async def test_authorization_code_is_refused_for_another_client_or_verifier(
    hub: ServedHub, wrong: dict[str, str], error: str
) -> None:
    async with signed_in(hub) as browser:
        code = await code_of(browser, query(hub))
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "code_verifier": VERIFIER,
        "redirect_uri": REDIRECT,
    }
    refused = await posted(hub, **form | wrong)
    assert (refused.status_code, refused.json()["error"]) == (400, error), refused.text
    assert (await renewed(hub, code)).json()["error"] == "invalid_grant", "a code renews nothing"
    assert (await exchanged(hub, code)).status_code == 200


async def test_authorization_code_expires_after_a_minute_and_leaves_no_token(hub: ServedHub) -> None:
    async with signed_in(hub) as browser:
        code = await code_of(browser, query(hub))
        hub.clock.advance(CODE_S + 1)
        assert (await exchanged(hub, code)).json()["error"] == "invalid_grant"
        await code_of(browser, query(hub))
    assert [one.name for one in await hub.resource(OperatorTokensResource).all(ALL)].count("editor") == 1


async def test_reuse_of_a_refresh_token_revokes_the_whole_token_family(hub: ServedHub) -> None:
    first = await allowed(hub)
    second = (await renewed(hub, first["refresh_token"])).json()
    assert await status(hub, first["access_token"]) == 401, "it was replaced"
    third = (await renewed(hub, second["refresh_token"])).json()
    assert await status(hub, third["access_token"]) == 200
    assert (await renewed(hub, first["refresh_token"])).json()["error"] == "invalid_grant"
    assert await status(hub, third["access_token"]) == 401
    assert (await renewed(hub, third["refresh_token"])).json()["error"] == "invalid_grant"
    events = await hub.store.read(audit.list_entries, event="operator_token.revoked")
    assert [one.actor for one in events] == ["hub"]


async def test_authorization_grant_ends_after_the_given_days_despite_renewals(hub: ServedHub) -> None:
    made = await allowed(hub, days=1)
    found = [one.explanation for one in await check_tokens(hub.store, hub.clock.now())]
    assert not [one for one in found if "editor" in one], "nothing is to be done about its end"
    hub.clock.advance(DAY_S - 60)
    made = (await renewed(hub, made["refresh_token"])).json()
    assert await status(hub, made["access_token"]) == 200
    hub.clock.advance(61)
    assert await status(hub, made["access_token"]) == 401
    assert (await renewed(hub, made["refresh_token"])).json()["error"] == "invalid_grant"


@each("shown", ["access_token", "refresh_token"])
async def test_client_revokes_access_and_refresh_token_with_either_of_both(
    hub: ServedHub, shown: str
) -> None:
    made = await allowed(hub)
    other = await posted(hub, "/revoke", token=made[shown], client_id="site")
    assert other.status_code == 200
    assert await status(hub, made["access_token"]) == 200, "another client revokes nothing"
    assert (await posted(hub, "/revoke", token=made[shown])).status_code == 200
    assert await status(hub, made["access_token"]) == 401
    assert (await renewed(hub, made["refresh_token"])).json()["error"] == "invalid_grant"


async def test_authorization_grant_ends_when_the_token_of_client_or_person_is_revoked(hub: ServedHub) -> None:
    resource = hub.resource(OperatorTokensResource)
    for name in ("editor", "an operator"):
        made = await allowed(hub)
        row = next(
            one for one in reversed(await resource.all(ALL)) if one.name != "editor" or name == "editor"
        )
        await resource.revoke(row.id, "operator:0")
        assert (await renewed(hub, made["refresh_token"])).json()["error"] == "invalid_grant"


async def test_the_owner_of_a_device_allows_an_assistant_until_the_device_is_revoked(hub: ServedHub) -> None:
    desk = await hub.device("annas", user_id=await hub.user("anna"))
    requests = requests_of(hub.resources, hub.store)
    made: Any = await requests[Method.SESSIONS_LINK].answer(await hub.connect(desk), {})
    async with signed_in(hub, secret=made["path"].partition("#")[2]) as browser:
        first = (await exchanged(hub, await code_of(browser, query(hub)))).json()
    row = (await hub.resource(OperatorTokensResource).all(ALL))[-1]
    assert (row.user, row.role) == ("anna", Role.OPERATOR)
    second = (await renewed(hub, first["refresh_token"])).json()
    await hub.resource(DevicesResource).revoke(desk.id, "operator:0")
    assert (await renewed(hub, second["refresh_token"])).json()["error"] == "invalid_grant"


async def test_token_of_an_assistant_is_accepted_only_at_the_mcp_route(hub: ServedHub) -> None:
    made = await allowed(hub)
    assert await status(hub, made["access_token"]) == 200
    assert await status(hub, made["access_token"], "/v1/me") == 401
    async with over_tcp(hub, made["access_token"]) as client:
        assert (await client.post("/v1/sessions")).status_code == 401
    assert await status(hub, made["refresh_token"]) == 401


async def test_authorization_grants_count_toward_the_limit_of_tokens(hub: ServedHub) -> None:
    hub.resource(OperatorTokensResource).limits = IdentityLimits(operator_tokens=3)
    async with signed_in(hub) as browser:
        for _ in range(2):
            await code_of(browser, query(hub))
        body = {"query": query(hub), "scopes": ["read"]}
        assert (await browser.post(ADDRESS, json=body)).json()["code"] == "limit_reached"
        hub.clock.advance(CODE_S + 1)
        await code_of(browser, query(hub))


@each("path", ["/token", "/revoke"])
async def test_a_form_with_too_many_fields_is_an_invalid_request(hub: ServedHub, path: str) -> None:
    async with over_tcp(hub) as stranger:
        form = {"content-type": "application/x-www-form-urlencoded"}
        refused = await stranger.post(path, content="a=1&" * 2_000, headers=form)
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_request")
    assert "1000" in refused.json()["error_description"]


async def test_form_bodies_are_accepted_only_by_the_token_routes(hub: ServedHub) -> None:
    async with over_tcp(hub, await hub.token(Role.ADMIN)) as client:
        assert (await client.post("/v1/operator-tokens", data={"name": "x"})).status_code == 415
        assert (await client.post("/token", json={})).status_code == 415
        refused = await client.post("/token", data={"grant_type": "authorization_code"})
        assert (refused.status_code, refused.json()["error"]) == (401, "invalid_client")


async def test_a_hub_without_assistants_authorizes_none(tmp_path: Path) -> None:
    async with serving(tmp_path) as hub, over_tcp(hub) as client:
        for path in ("oauth-authorization-server", "oauth-protected-resource/mcp"):
            assert (await client.get(f"/.well-known/{path}")).status_code == 404
        assert (await client.post("/token", data={"client_id": "editor"})).status_code == 404
        assert (await client.post("/mcp", json={})).headers["www-authenticate"] == "Bearer"


DOCUMENT = "https://clients.test/client.json"
DOCUMENTED = {"client_id": DOCUMENT, "client_name": "Scribe", "redirect_uris": [REDIRECT]}


class Site:
    """The site ``clients.test`` with the documents of clients, at an address of this machine."""

    def __init__(self, folder: Path) -> None:
        self.files = write_certificate(folder, "clients.test")
        self.answer = (200, json.dumps(DOCUMENTED).encode(), b"")
        self.asked, self.id = 0, DOCUMENT

    def is_found(self, hub: ServedHub, *listed: str) -> None:
        """Let the hub find the site, at an address that its rules allow if the name is *listed*."""

        async def resolve(host: str, port: int) -> list[str]:
            return ["127.0.0.1"]

        http = partial(
            OutboundClient,
            OutboundRules.parse(listed),
            resolve=resolve,
            max_answer_bytes=DOCUMENT_BYTES,
            tls=ssl.create_default_context(cafile=str(self.files.certificate)),
        )
        own = hub.context
        server = Authorization(own.store, own.clock, own.chance, http, ())
        hub.resource(AuthorizationsResource)._server = lambda: server

    async def answers(self, stream: anyio.abc.ByteStream) -> None:
        async with stream:
            await stream.receive()
            self.asked += 1
            status, body, head = self.answer
            body = body.replace(DOCUMENT.encode(), self.id.encode())
            await stream.send(
                b"HTTP/1.1 %d X\r\nconnection: close\r\ncontent-length: %d\r\n%b\r\n"
                % (status, len(body), head)
            )
            await stream.send(body)


@asynccontextmanager
async def site(hub: ServedHub, folder: Path) -> AsyncIterator[Site]:
    found = Site(folder)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*found.files)
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(anyio.abc.SocketAttribute.local_port)
    found.id = DOCUMENT.replace(".test/", f".test:{port}/")
    found.is_found(hub, "clients.test")
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(TLSListener(listener, context, standard_compatible=False).serve, found.answers)
        yield found
        tasks.cancel_scope.cancel()


async def test_oauth_client_is_identified_by_the_metadata_document(hub: ServedHub, tmp_path: Path) -> None:
    async with site(hub, tmp_path) as clients, signed_in(hub) as browser:
        storage = Storage("none")
        storage.info, person = None, Person(browser)
        async with assistant(official(hub, person, storage, client_metadata_url=clients.id)) as client:
            assert await names(client)
        shown = person.asked[0]
        assert (shown["name"], shown["client"]) == ("Scribe (clients.test)", clients.id)
        assert clients.asked == 1, "it is fetched once, and for a person who is signed in"
        hub.clock.advance(601)
        assert (
            await browser.get(ADDRESS, params={"query": query(hub, client_id=clients.id)})
        ).status_code == 200
        assert clients.asked == 2


async def test_client_with_a_misleading_name_is_shown_with_the_host_and_renamed_by_a_person(
    hub: ServedHub, tmp_path: Path
) -> None:
    async with site(hub, tmp_path) as clients, signed_in(hub) as browser:
        name = "The bank\n\u202e" + "x" * 100
        clients.answer = (200, json.dumps(DOCUMENTED | {"client_name": name}).encode(), b"")
        asked = query(hub, client_id=clients.id)
        shown = (await browser.get(ADDRESS, params={"query": asked})).json()["name"]
        assert shown == "The bank \\u202e" + "x" * 24 + "… (clients.test)"
        await code_of(browser, asked)
        await code_of(browser, asked, name="tidy")
    names = [one.name for one in await hub.resource(OperatorTokensResource).all(ALL)]
    assert {"assistant (clients.test)", "tidy (clients.test)"} <= {*names} and shown not in names


def test_long_host_of_a_client_is_shown_by_the_end() -> None:
    shown = _called("The bank", "https://login.bank.example.of.another.test/client.json")
    assert shown == "The bank (…ple.of.another.test)"


DOCUMENTS_THAT_LIE = [
    (
        (200, json.dumps(DOCUMENTED | {"client_id": "https://bank.example/c"}).encode(), b""),
        "has the client_id",
    ),
    ((302, b"", b"location: https://clients.test/other.json\r\n"), "the status is 302"),
    ((404, json.dumps(DOCUMENTED).encode(), b""), "the status is 404"),
    (
        (200, json.dumps(DOCUMENTED | {"redirect_uris": ["http://evil.example/"]}).encode(), b""),
        "redirect_uris",
    ),
    (
        (200, json.dumps(DOCUMENTED | {"redirect_uris": ["javascript:alert(1)"]}).encode(), b""),
        "redirect_uris",
    ),
    ((200, b"x" * (DOCUMENT_BYTES + 1), b""), "it has more than 16384 bytes"),
    ((200, b"[" * 9_000, b""), "it describes no client: it: Invalid JSON"),
    ((200, b"no document", b""), "it describes no client: it: Invalid JSON"),
    ((200, b'{"client_id": "x", "redirect_uris": 5}', b""), "it describes no client: redirect_uris: Input"),
]


@each(("answer", "about"), DOCUMENTS_THAT_LIE)
async def test_client_document_not_matching_the_client_is_refused(
    hub: ServedHub, tmp_path: Path, answer: tuple[int, bytes, bytes], about: str
) -> None:
    async with site(hub, tmp_path) as clients, signed_in(hub) as browser:
        clients.answer = answer
        refused = await browser.get(ADDRESS, params={"query": query(hub, client_id=clients.id)})
        assert refused.status_code == 422 and about in refused.json()["detail"], refused.text


async def test_unreachable_client_document_is_refused_with_the_reason(hub: ServedHub, tmp_path: Path) -> None:
    async with site(hub, tmp_path), signed_in(hub) as browser:
        asked = query(hub, client_id="https://clients.test:1/client.json")
        refused = await browser.get(ADDRESS, params={"query": asked})
    assert refused.status_code == 422
    assert "client.json: it cannot be read: nothing accepts connections there" in refused.json()["detail"]


async def test_client_document_is_fetched_neither_from_private_addresses_nor_unauthenticated(
    hub: ServedHub, tmp_path: Path
) -> None:
    async with site(hub, tmp_path) as clients, signed_in(hub) as browser:
        clients.is_found(hub)
        asked = {"query": query(hub, client_id=clients.id)}
        refused = await browser.get(ADDRESS, params=asked)
        assert (refused.status_code, refused.json()["code"]) == (502, "address_refused"), refused.text
        async with over_tcp(hub) as stranger:
            await stranger.get(f"/authorize?{asked['query']}", headers={"accept": "text/html"})
            assert (await stranger.get(ADDRESS, params=asked)).status_code == 401
        await posted(hub, client_id=clients.id, grant_type="refresh_token", refresh_token="x")
        assert clients.asked == 0


async def test_cached_client_documents_are_limited_in_number(hub: ServedHub, tmp_path: Path) -> None:
    async with site(hub, tmp_path) as clients, signed_in(hub) as browser:
        server = hub.resource(AuthorizationsResource)._server()
        server._documents |= {str(number): (hub.now_ms, None) for number in range(DOCUMENTS)}  # type: ignore[misc]
        await browser.get(ADDRESS, params={"query": query(hub, client_id=clients.id)})
        assert list(server._documents) == [clients.id]


async def test_authorization_of_a_node_is_accepted_by_another_node(
    tmp_path: Path, postgres: Postgres
) -> None:
    with postgres.database() as url:
        async with nodes_of(tmp_path, url, "one", "two", text=SETTINGS) as (one, two):
            for hub in (one, two):
                answer(hub, assistants=True)
            async with signed_in(one) as browser:
                code = await code_of(browser, query(one, resource=None))
            made = (await exchanged(two, code)).json()
            async with over_tcp(one, made["access_token"]) as client:
                refused = (await client.get("/v1/me")).json()
                assert refused["detail"] == "this token of an assistant counts at /mcp alone"
            again = (await renewed(one, made["refresh_token"])).json()
            assert again["scope"] == "read run"
            assert (await renewed(two, made["refresh_token"])).json()["error"] == "invalid_grant"
            assert (await renewed(one, again["refresh_token"])).json()["error"] == "invalid_grant"

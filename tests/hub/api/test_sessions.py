"""Sessions of browsers: how one begins, what its cookie opens, and how it ends."""

from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest

from hub.api import events
from hub.api.device import requests_of
from hub.api.resources.tokens import IdentityLimits, SessionsResource
from hub.base.certificates import Certificates
from hub.base.roles import Role, Scope
from hub.base.toml.limits import Limits
from hub.base.web.cookies import is_encrypted, spelled_cookie
from hub.health.machine_and_load import check_limits
from protocol.coordination import Method
from storage.devices import users
from tests.hub.api.test_certificates import trusting
from tests.support.certificates import write_certificate
from tests.support.clock import START
from tests.support.families import each
from tests.support.hub import ServedHub, nodes_of, over_tcp, over_unix, serving
from tests.support.postgres import Postgres

HERE = {"x-hub-request": "1"}
HOUR_S = 3_600.0


async def _link(hub: ServedHub, **requested: Any) -> str:
    """Return the code of a new link, which the hub's own user made."""
    async with over_unix(hub) as local:
        made = await local.post("/v1/sessions/links", json=requested)
    assert made.status_code == 201, made.text
    assert made.headers["cache-control"] == "no-store"
    page, _, code = made.json()["path"].partition("#")
    assert page == "/login"
    return str(code)


async def _signed_in(browser: httpx2.AsyncClient, secret: str) -> httpx2.Response:
    return await browser.post("/v1/sessions", headers={"authorization": f"Bearer {secret}"})


async def _me(browser: httpx2.AsyncClient) -> int:
    return (await browser.get("/v1/me")).status_code


async def test_sign_in_link_is_valid_once_for_a_single_browser(hub: ServedHub) -> None:
    code = await _link(hub)
    async with over_tcp(hub) as browser, over_tcp(hub) as another:
        opened = await _signed_in(browser, code)
        assert (opened.status_code, opened.json()["role"]) == (201, "admin")
        cookie = opened.headers["set-cookie"]
        assert "HttpOnly; SameSite=Strict" in cookie and "Path=/;" in cookie
        assert "hub_ses_" not in opened.text, "no script can read the secret"
        assert (await browser.get("/v1/me")).json()["actor"] == f"session:{opened.json()['id']}"
        again = await _signed_in(another, code)
        assert (again.status_code, again.json()["code"]) == (401, "auth_failed")
        assert "hub dashboard" in again.json()["hint"]
        assert await _me(another) == 401


async def test_sign_in_link_only_opens_a_session_within_a_minute_or_ten_from_a_terminal(
    hub: ServedHub,
) -> None:
    code = await _link(hub)
    async with over_tcp(hub, code) as client:
        assert await _me(client) == 401
        assert (await client.post("/v1/sessions/links", json={})).status_code == 401
        assert (await client.post("/v1/sessions")).status_code == 201
    late, of_terminal = await _link(hub), [await _link(hub, owner_of="desk") for _ in range(2)]
    hub.clock.advance(61.0)
    async with over_tcp(hub) as browser:
        assert (await _signed_in(browser, late)).status_code == 401
        for seconds, status in ((530.0, 201), (10.0, 401)):
            hub.clock.advance(seconds)
            assert (await _signed_in(browser, of_terminal.pop())).status_code == status


async def test_session_of_an_operator_token_has_rights_and_user_of_the_token(hub: ServedHub) -> None:
    anna = await hub.user("anna")
    token = await hub.token(Role.VIEWER, user_id=anna)
    async with over_tcp(hub) as browser:
        opened = (await _signed_in(browser, token)).json()
        assert (opened["role"], opened["scopes"], opened["user"]) == ("viewer", ["read"], "anna")
        assert (await browser.get("/v1/agents")).json()["agents"] == []
        refused = await browser.post("/v1/agents/notes/runs", headers=HERE, json={})
        assert refused.status_code == 403


async def test_change_with_the_session_cookie_needs_the_header_and_own_origin(hub: ServedHub) -> None:
    code = await _link(hub)
    async with over_tcp(hub) as browser:
        await _signed_in(browser, code)
        run = "/v1/agents/notes/runs"
        bare = await browser.post(run, json={})
        assert (bare.status_code, bare.json()["code"]) == (403, "forbidden")
        assert "X-Hub-Request" in bare.json()["detail"]
        for origin in ({"origin": "http://evil.example"}, {"sec-fetch-site": "cross-site"}):
            assert (await browser.post(run, headers=HERE | origin, json={})).status_code == 403
            assert (await browser.get("/v1/runs", headers=origin)).status_code == 403
        neighbour = {"sec-fetch-site": "same-site"}  # another port of this machine
        assert (await browser.get("/v1/runs", headers=neighbour)).status_code == 403
        own = HERE | {"origin": "http://127.0.0.1", "sec-fetch-site": "same-origin"}
        assert (await browser.post(run, headers=own, json={})).status_code == 202


async def test_session_token_and_link_are_not_interchangeable(hub: ServedHub) -> None:
    async with over_tcp(hub) as browser, over_tcp(hub) as program:
        opened = await _signed_in(browser, await _link(hub))
        secret = opened.headers["set-cookie"].partition("=")[2].partition(";")[0]
        shown = {"authorization": f"Bearer {secret}"}
        assert (await program.get("/v1/me", headers=shown)).status_code == 401
        for other in (await hub.token(), await _link(hub)):
            assert (await program.get("/v1/me", headers={"cookie": f"hub={other}"})).status_code == 401
        assert (await _signed_in(program, await hub.token())).status_code == 201
        renewed = await browser.post("/v1/sessions", headers=HERE)
        assert renewed.status_code == 403, "a session does not prolong itself"


async def test_signing_out_ends_the_session_and_removes_the_cookie(hub: ServedHub) -> None:
    async with over_tcp(hub) as browser, over_unix(hub) as local:
        opened = await _signed_in(browser, await _link(hub))
        cookie = {"cookie": opened.headers["set-cookie"].partition(";")[0]}
        out = await browser.delete("/v1/sessions/current", headers=HERE)
        assert out.json()["revoked_at"] is not None
        assert "Max-Age=0" in out.headers["set-cookie"]
        assert (await browser.get("/v1/me", headers=cookie)).status_code == 401
        assert (await local.delete("/v1/sessions/current")).status_code == 404


async def test_a_session_is_listed_and_revoked_by_an_admin(hub: ServedHub) -> None:
    async with over_tcp(hub) as browser, over_unix(hub) as local:
        id = (await _signed_in(browser, await _link(hub, role="viewer"))).json()["id"]
        (listed,) = (await local.get("/v1/sessions")).json()["sessions"]
        assert (listed["id"], listed["role"]) == (id, "viewer")
        assert (await local.delete(f"/v1/sessions/{id}")).status_code == 200
        assert await _me(browser) == 401
        entries = (await local.get("/v1/audit")).json()["entries"]
        events = [entry["event"] for entry in entries if entry["subject"] == id]
        assert set(events) == {"session.created", "session.opened", "session.revoked"}


async def test_session_ends_when_the_creating_token_is_revoked(hub: ServedHub) -> None:
    token = await hub.token(Role.ADMIN)
    async with over_tcp(hub) as browser, over_tcp(hub, token) as program, over_tcp(hub) as phone:
        await _signed_in(browser, token)
        path = (await program.post("/v1/sessions/links", json={})).json()["path"]
        await _signed_in(phone, path.partition("#")[2])
        assert (await _me(browser), await _me(phone)) == (200, 200)
        (row,) = (await program.get("/v1/operator-tokens")).json()["tokens"]
        await program.delete(f"/v1/operator-tokens/{row['id']}")
        assert (await _me(browser), await _me(phone)) == (401, 401)


async def test_session_by_device_link_is_of_the_owner_until_device_revocation(hub: ServedHub) -> None:
    anna = await hub.user("anna")
    desk = await hub.device("annas", user_id=anna)
    link = await hub.connect(desk)
    answer = await requests_of(hub.resources, hub.store)[Method.SESSIONS_LINK].answer(link, {})
    assert isinstance(answer, dict)
    assert (answer["host"], answer["port"], answer["tls"]) == ("127.0.0.1", 80, False)
    async with over_tcp(hub) as browser:
        opened = await _signed_in(browser, str(answer["path"]).removeprefix("/login#"))
        assert (opened.json()["user"], opened.json()["scopes"]) == (
            "anna",
            ["answer", "read", "review", "run"],
        )
        assert [one["name"] for one in (await browser.get("/v1/devices")).json()["devices"]] == ["annas"]
        assert (await browser.get("/v1/agents")).json()["agents"] == []
        assert (await browser.post("/v1/invitations", json={}, headers=HERE)).status_code == 403
        async with over_unix(hub) as local:
            await local.post(f"/v1/devices/{desk.id}/revoke")
        assert await _me(browser) == 401


async def test_session_for_the_owner_of_a_device_has_all_rights_and_names_missing_grants(
    hub: ServedHub,
) -> None:
    desk = await hub.device("desk")
    link = await hub.connect(desk)
    async with over_tcp(hub) as browser, over_unix(hub) as local:
        opened = await _signed_in(browser, await _link(hub, owner_of="desk"))
        me = (await browser.get("/v1/me")).json()
        assert (me["is_owner"], me["user"], set(me["scopes"])) == (True, None, {*Scope})
        assert [one["command"] for one in me["missing"]] == [
            "hub grants +review.remote=marked,approved",
            "hub grants +rows.read=tasks,notes,timelines,projects,taskComments",
            "hub grants +places",
        ]
        link.owner_grants |= {"review.remote": ["approved", "marked"], "rows.read": ["tasks"], "places": []}
        assert (await browser.get("/v1/me")).json()["missing"] == []
        (listed,) = (await local.get("/v1/sessions")).json()["sessions"]
        assert (listed["id"], listed["name"]) == (opened.json()["id"], "desk")
        await hub.user("anna")
        assert (await browser.get("/v1/me")).json()["user"] == "owner"
        await local.post(f"/v1/devices/{desk.id}/revoke")
        assert await _me(browser) == 401


@pytest.mark.parametrize("case", ["token", "session", "other users", "no device", "revoked"])
async def test_session_for_the_owner_is_only_made_on_the_machine_of_the_only_user(
    hub: ServedHub, case: str
) -> None:
    desk = await hub.device("desk")
    asked = {"owner_of": "laptop" if case == "no device" else "desk"}
    if case == "other users":
        await hub.user("anna")
    async with over_unix(hub) as local, over_tcp(hub, await hub.token(Role.ADMIN)) as program:
        if case == "revoked":
            await local.post(f"/v1/devices/{desk.id}/revoke")
        if case == "session":
            del program.headers["authorization"]
            await _signed_in(program, await _link(hub))
        client = program if case in ("token", "session") else local
        refused = await client.post("/v1/sessions/links", json=asked, headers=HERE)
        assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
        assert "hub open" in refused.json()["hint"]


@each(
    "case",
    [
        (
            "viewer",
            "start runs, decide about suggestions, add agents and devices, add accounts, change settings",
        ),
        ("operator", "decide about suggestions, add accounts, change settings"),
        ("admin", "decide about suggestions"),
    ],
)
async def test_me_names_rights_missing_from_a_role_with_the_command_for_more(
    hub: ServedHub, case: tuple[str, str]
) -> None:
    role, lacking = case
    async with over_tcp(hub, await hub.token(Role(role))) as client:
        me = (await client.get("/v1/me")).json()
    assert (me["is_owner"], me["missing"]) == (False, [{"what": lacking, "command": "hub dashboard"}])


async def test_session_ends_when_idle_and_after_seven_days(hub: ServedHub) -> None:
    async with over_tcp(hub) as idle, over_tcp(hub) as busy:
        await _signed_in(idle, await _link(hub))
        opened = await _signed_in(busy, await _link(hub))
        cookie = {"cookie": opened.headers["set-cookie"].partition(";")[0]}  # as if the jar never forgot it
        for _ in range(15):
            hub.clock.advance(11 * HOUR_S)
            assert (await busy.get("/v1/me", headers=cookie)).status_code == 200
        assert await _me(idle) == 401
        hub.clock.advance(3.1 * HOUR_S)
        assert (await busy.get("/v1/me", headers=cookie)).status_code == 401


async def test_sign_in_link_beyond_the_rights_of_the_creator_is_refused(hub: ServedHub) -> None:
    anna = await hub.user("anna")
    async with over_tcp(hub, await hub.token(Role.OPERATOR)) as operator:
        assert (await operator.post("/v1/sessions/links", json={})).status_code == 403
    async with over_tcp(hub, await hub.token(Role.ADMIN, user_id=anna)) as annas:
        assert (await annas.post("/v1/sessions/links", json={})).json()["user"] == "anna"
        assert (await annas.post("/v1/sessions/links?user=owner", json={})).status_code == 404


async def test_user_with_sessions_can_be_removed(hub: ServedHub) -> None:
    anna = await hub.user("anna")
    async with over_unix(hub) as local, over_tcp(hub) as browser:
        path = (await local.post("/v1/sessions/links?user=anna", json={})).json()["path"]
        await _signed_in(browser, path.partition("#")[2])
        assert (await local.delete("/v1/users/anna")).is_success
        assert await _me(browser) == 401
    assert await hub.store.read(users.find_user_by_name, "anna") is None, anna


def _scope(*headers: tuple[bytes, bytes], scheme: str = "http") -> dict[str, Any]:
    return {"type": "http", "scheme": scheme, "headers": [(b"host", b"hub.example:8771"), *headers]}


def test_session_cookie_over_tls_is_secure_and_host_bound() -> None:
    for scope in (_scope(scheme="https"), _scope((b"x-forwarded-proto", b"https"))):
        assert is_encrypted(scope)
        cookie = spelled_cookie(scope, "hub_ses_x", 60)
        assert cookie.startswith("__Host-hub-8771=hub_ses_x; Path=/; ") and cookie.endswith("; Secure")
    assert "Secure" not in spelled_cookie(_scope(), "hub_ses_x", 60)


async def test_change_stream_of_a_browser_ends_with_the_session(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "RECHECK_S", 0.01)
    async with serving(tmp_path) as hub, over_tcp(hub) as browser:
        opened = await _signed_in(browser, await _link(hub))
        async with browser.stream("GET", "/v1/changes") as stream:
            lines = stream.aiter_lines()
            assert (await anext(lines)).startswith("id: ")
            async with over_unix(hub) as local:
                await local.delete(f"/v1/sessions/{opened.json()['id']}")
            with anyio.fail_after(20):
                assert "changed" not in [line async for line in lines]
        assert await _me(browser) == 401


async def test_change_stream_of_a_sole_owner_ends_with_the_second_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "RECHECK_S", 0.01)
    async with serving(tmp_path) as hub, over_tcp(hub) as browser:
        await hub.device("desk")
        await _signed_in(browser, await _link(hub, owner_of="desk"))
        async with browser.stream("GET", "/v1/changes") as stream:
            lines = stream.aiter_lines()
            assert (await anext(lines)).startswith("id: ")
            await hub.user("anna")
            with anyio.fail_after(20):
                assert "changed" not in [line async for line in lines]
        assert (await browser.get("/v1/me")).json()["user"] == "owner"


async def test_session_revoked_at_a_node_is_refused_at_other_nodes(
    tmp_path: Path, postgres: Postgres
) -> None:
    with postgres.database() as url:
        opening = nodes_of(tmp_path, url, "node-east", "node-west")
        async with opening as (east, west), over_tcp(east) as browser:
            opened = await _signed_in(browser, await _link(east))
            cookie = {"cookie": opened.headers["set-cookie"].partition(";")[0]}
            async with over_tcp(west) as other:
                assert (await other.get("/v1/me", headers=cookie)).status_code == 200
                async with over_unix(west) as local:
                    await local.delete(f"/v1/sessions/{opened.json()['id']}")
                assert (await other.get("/v1/me", headers=cookie)).status_code == 401
            assert await _me(browser) == 401


async def test_session_cookie_without_the_host_prefix_is_refused_over_tls(tmp_path: Path) -> None:
    files = write_certificate(tmp_path)
    async with serving(tmp_path, tls=Certificates(*files).context) as hub:
        base = f"https://localhost:{hub.listening.tcp.port}"
        async with httpx2.AsyncClient(base_url=base, verify=trusting(files), trust_env=False) as browser:
            cookie = (await _signed_in(browser, await _link(hub))).headers["set-cookie"]
            assert cookie.startswith(f"__Host-hub-{hub.listening.tcp.port}=") and "; Path=/;" in cookie
            assert cookie.endswith("; Secure") and "Domain" not in cookie
            assert await _me(browser) == 200
            plain = cookie.partition(";")[0].removeprefix("__Host-")
            browser.cookies.clear()
            assert (await browser.get("/v1/me", headers={"cookie": plain})).status_code == 401


async def test_browser_session_limit_is_named_in_the_refusal_and_counted(hub: ServedHub) -> None:
    hub.resource(SessionsResource).limits = IdentityLimits(browser_sessions=1)
    await _link(hub)
    async with over_unix(hub) as local:
        refused = await local.post("/v1/sessions/links", json={})
    assert (refused.status_code, refused.json()["code"]) == (409, "limit_reached")
    assert "browser_sessions" in refused.json()["detail"]
    (found,) = await check_limits(hub.metrics.reached, Limits)(START)
    assert (found.subject, "hub token ls" in found.fix) == ("browser_sessions", True)

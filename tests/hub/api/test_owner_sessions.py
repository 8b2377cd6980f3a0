"""Session of the owner of a device, made while the hub had a single user, once others are users, too."""

from collections.abc import AsyncIterator
from typing import Any, Final

import httpx2
import pytest
import sqlalchemy as sa

from hub.base.roles import IN_NAME_OF_OWNERS, OF_OWNER, ROUTES, RouteKey, Scope
from protocol.tool_calls import Answer, ToolCall
from storage.schema import devices, items
from tests.hub.api.test_items import keep
from tests.hub.api.test_question_routes import ask, two_boards
from tests.support.hub import ServedHub, over_tcp, over_unix
from tests.support.identity import EndedLink

NAMES: Final = {"device_id": "lab", "item_id": "i-0", "question_id": "QUESTION"}
# Requests in the name of an owner, one for each route; the things are those of another user.
REQUESTS: Final[dict[RouteKey, Any]] = {
    RouteKey("POST", "/v1/devices/{device_id}/calls"): {"table": "tasks"},
    RouteKey("POST", "/v1/devices/{device_id}/calls/list-files"): {},
    RouteKey("POST", "/v1/devices/{device_id}/calls/read-file"): {"path": "notes/a.md"},
    RouteKey("GET", "/v1/devices/{device_id}/places"): None,
    RouteKey("POST", "/v1/devices/{device_id}/places"): {"do": "test", "kind": "markdown", "place": "~/a.md"},
    RouteKey("POST", "/v1/items/proposals/declined"): None,
    RouteKey("POST", "/v1/items/verdicts"): {"verdicts": [{"id": "i-0", "verdict": "approve"}]},
    RouteKey("GET", "/v1/items/{item_id}/choices"): None,
    RouteKey("POST", "/v1/questions/{question_id}/answer"): {"answer": "Red."},
    RouteKey("POST", "/v1/questions/{question_id}/withdraw"): {},
}


def _answered(call: ToolCall) -> Answer:
    return Answer(result={"rows": []})


def _to_others(c: sa.Connection) -> None:
    """Give the device and its items to another user."""
    c.execute(sa.update(devices).where(devices.c.name == "lab").values(user_id="o"))
    c.execute(sa.update(items).values(user_id="o"))


@pytest.fixture
async def browser(hub: ServedHub) -> AsyncIterator[httpx2.AsyncClient]:
    """Browser of the owner of ``desk``, the only user."""
    async with over_unix(hub) as local, over_tcp(hub) as client:
        made = (await local.post("/v1/sessions/links", json={"owner_of": "desk"})).json()
        code = made["path"].partition("#")[2]
        (await client.post("/v1/sessions", headers={"authorization": f"Bearer {code}"})).raise_for_status()
        client.headers["x-hub-request"] = "1"
        yield client


@pytest.fixture
async def lab(hub: ServedHub) -> EndedLink:
    """A connected device of another user, who grants everything."""
    await hub.store.write(keep)
    link = await hub.connect(await hub.device("lab"), answers=_answered)
    await hub.store.write(two_boards)
    await hub.store.write(_to_others)
    grants = {"rows.read": ["tasks"], "files.read": ["notes"], "review.remote": ["marked"], "places": []}
    link.owner_grants |= grants
    return link


def test_each_route_in_the_name_of_owners_has_a_request_here() -> None:
    assert {*REQUESTS} == {asked for asked, need in ROUTES.items() if need in IN_NAME_OF_OWNERS}


@pytest.mark.parametrize("asked", REQUESTS, ids=str)
async def test_session_of_an_owner_reaches_nothing_of_another_user(
    hub: ServedHub, client: httpx2.AsyncClient, browser: httpx2.AsyncClient, lab: EndedLink, asked: RouteKey
) -> None:
    question = (await ask(client))["id"]
    proposed = {"proposals": [{"item": "i-0", "verdict": "approve", "why": "it is right"}]}
    made = (await client.post("/v1/items/proposals", json=proposed)).json()["results"][0]
    path = asked.path.format(**NAMES | {"question_id": question})
    body = {"proposals": [made["id"]]} if asked.path.endswith("/declined") else REQUESTS[asked]
    answer = await browser.request(asked.method, path, json=body)
    codes = [result["error"]["code"] for result in answer.json().get("results", ())]
    codes = codes or [answer.json().get("code")]
    assert set(codes) <= {"forbidden", "unknown_device", "unknown_item", "unknown_question"}, answer.text
    assert lab.calls == []


async def test_session_of_an_owner_among_several_users_has_the_rights_of_a_single_user(
    hub: ServedHub, browser: httpx2.AsyncClient
) -> None:
    assert (await browser.get("/v1/me")).json()["user"] is None
    await hub.user("anna")
    me = (await browser.get("/v1/me")).json()
    assert (me["is_owner"], me["user"], {*me["scopes"]}) == (True, "owner", {*OF_OWNER})
    token = {"name": "x", "role": "admin", "scopes": ["rows"]}
    for path, body in (("/v1/operator-tokens", token), ("/v1/sessions/links", {})):
        assert (await browser.post(path, json=body)).status_code == 403


async def test_secret_made_by_the_session_of_an_owner_is_of_the_owner(
    hub: ServedHub, browser: httpx2.AsyncClient
) -> None:
    token = {"name": "x", "role": "admin", "scopes": ["read", "rows", "review"]}
    made = (await browser.post("/v1/operator-tokens", json=token)).json()
    plain = (await browser.post("/v1/operator-tokens", json={"name": "y", "role": "admin"})).json()
    assert (made["user"], plain["user"]) == ("owner", None)
    code = (await browser.post("/v1/sessions/links", json={})).json()["path"].partition("#")[2]
    async with over_tcp(hub) as phone:
        await phone.post("/v1/sessions", headers={"authorization": f"Bearer {code}"})
        assert Scope.SETTINGS in (await phone.get("/v1/me")).json()["scopes"]
        await hub.user("anna")
        assert {*(await phone.get("/v1/me")).json()["scopes"]} == OF_OWNER


async def test_browser_confirms_a_single_item_in_a_request(
    hub: ServedHub, browser: httpx2.AsyncClient
) -> None:
    verdict = {"id": "i-0", "verdict": "approve", "version": 1, "confirmed": True}
    for count, status in ((1, 200), (2, 422)):
        answer = await browser.post("/v1/items/verdicts", json={"verdicts": [verdict] * count})
        assert answer.status_code == status, answer.text

"""Two users on one running hub: what belongs to one does not exist for the other."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import anyio
import httpx2
import pytest

from hub.ops.roles import HUB_WIDE
from hub.ops.routes import HUB_WIDE_ROUTES, PUBLIC, ROUTES, Asked
from tests.support.processes import HubProcess, closing

SETTINGS = """\
[hub]
name = "test"
[listen.devices]
address = "127.0.0.1:0"
[listen.operator]
address = "127.0.0.1:0"
"""
AGENT = """\
[[agents]]
name = "{name}"
user = "{user}"
device = "desk"
paths = ["notes"]
data_types = ["tasks"]
prompt = "Find what {user} has to do."
schedule = "0 7 * * *"
"""
# Bodies without which a request would be refused before anybody is looked for.
BODIES: dict[tuple[str, str], dict[str, Any]] = {
    ("PATCH", "/v1/devices/{device_id}"): {"name": "mine-now"},
    ("POST", "/v1/agents/{name}/backfill"): {"from": "2026-01-01T00:00:00Z", "to": "2026-01-02T00:00:00Z"},
}
NOBODYS = "019b0000-0000-7000-8000-000000000000"


class Two(NamedTuple):
    """A hub with the users owner and mallory, who have an agent of the same name and one of their own each.

    Attributes:
        theirs: mallory's ids, by the name of the parameter that they are for in each path.
        secrets: words that stand in whatever tells of mallory's things.
    """

    hub: HubProcess
    owner: httpx2.AsyncClient
    mallory: httpx2.AsyncClient
    theirs: dict[str, str]
    secrets: tuple[str, ...]


@asynccontextmanager
async def _client(hub: HubProcess, user: str) -> AsyncIterator[httpx2.AsyncClient]:
    """Somebody who may do everything, and sees this user's things."""
    wanted = {"name": user, "role": "admin"}
    made = await hub.ask("POST", "/v1/operator-tokens", params={"user": user}, json=wanted)
    address = (await hub.get("/v1/status"))["listeners"]["operator"]
    headers = {"authorization": f"Bearer {made.json()['token']}"}
    async with httpx2.AsyncClient(base_url=f"http://{address}", headers=headers, trust_env=False) as client:
        yield client


async def _made(client: httpx2.AsyncClient, path: str, body: dict[str, Any] | None = None) -> str:
    answer = await client.post(path, json=body)
    assert answer.is_success, answer.text
    return str(answer.json()["id"])


@pytest.fixture(scope="module")
async def two(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Two]:
    agents = [("notes", "owner"), ("diary", "owner"), ("notes", "mallory"), ("plans", "mallory")]
    written = SETTINGS + "".join(AGENT.format(name=name, user=user) for name, user in agents)
    hub = HubProcess(tmp_path_factory.mktemp("hub"), settings=written)
    async with closing(hub):
        await hub.start()
        async with _client(hub, "owner") as owner, _client(hub, "mallory") as mallory:
            for client in (owner, mallory):
                token_id = await _made(client, "/v1/tokens", {"device": "desk"})
                invitation_id = await _made(client, "/v1/invitations", {})
                run_id = await _made(client, "/v1/agents/notes/runs")
            (device,) = (await mallory.get("/v1/devices")).json()["devices"]
            (operator_token,) = (await mallory.get("/v1/operator-tokens")).json()["tokens"]
            theirs = {
                "name": "plans",
                "run_id": run_id,
                "device_id": device["id"],
                "invitation_id": invitation_id,
                "token_id": token_id,
                "operator_token_id": operator_token["id"],
                "pairing_id": NOBODYS,  # whoever waits to be let in belongs to nobody yet
            }
            secrets = ("mallory", *(id for id in theirs.values() if id != NOBODYS))
            yield Two(hub, owner, mallory, theirs, secrets)


def _address(asked: Asked, ids: dict[str, str]) -> str:
    if asked.path.startswith("/v1/operator-tokens"):
        ids = ids | {"token_id": ids["operator_token_id"]}
    return asked.path.format(**ids)


def _named() -> list[Asked]:
    """Every route that names one thing, and that somebody who sees one user's things may ask."""
    return [asked for asked, need in ROUTES.items() if "{" in asked.path and need not in HUB_WIDE]


async def _all_of_the_hub(hub: HubProcess) -> dict[str, Any]:
    """Everything that somebody could change, as somebody sees it who sees all users."""
    told = {}
    for noun in ("agents", "devices", "runs", "tokens", "invitations", "operator-tokens"):
        answer = await hub.get(f"/v1/{noun}")
        told[noun] = [
            {name: value for name, value in item.items() if name not in ("last_used_at", "next_fires")}
            for item in answer[noun.replace("operator-", "")]
        ]
    return told


async def test_what_belongs_to_another_is_answered_as_what_does_not_exist(two: Two) -> None:
    before = await _all_of_the_hub(two.hub)
    nothing = dict.fromkeys(two.theirs, NOBODYS)
    for asked in _named():
        body = BODIES.get(asked)
        theirs = await two.owner.request(asked.method, _address(asked, two.theirs), json=body)
        missing = await two.owner.request(asked.method, _address(asked, nothing), json=body)
        assert theirs.status_code == missing.status_code == 404, (asked, theirs.text)
        assert theirs.json()["code"] == missing.json()["code"], asked
        assert "mallory" not in theirs.text
    assert await _all_of_the_hub(two.hub) == before


async def test_what_is_ones_own_is_there(two: Two) -> None:
    for asked in _named():
        if asked.method == "GET" and "events" not in asked.path:
            answer = await two.mallory.get(_address(asked, two.theirs))
            assert answer.status_code == 200, (asked, answer.text)


async def test_no_list_and_no_count_tells_of_another(two: Two) -> None:
    for asked, need in ROUTES.items():
        if asked.method != "GET" or "{" in asked.path or asked.path == "/v1/events" or need is PUBLIC:
            continue
        answer = await two.owner.get(asked.path)
        is_refused = need in HUB_WIDE or asked in HUB_WIDE_ROUTES
        assert answer.status_code == (403 if is_refused else 200), (asked, answer.text)
        for secret in two.secrets:
            assert secret not in answer.text, asked
    mine = (await two.owner.get("/v1/status")).json()
    whole = await two.hub.get("/v1/status")
    assert (mine["agents"], whole["agents"]) == (2, 4)
    assert (mine["devices_known"], whole["devices_known"]) == (1, 2)
    assert (sum(mine["runs"].values()), sum(whole["runs"].values())) == (1, 2)


async def test_a_name_that_two_users_have_is_told_apart_by_its_user(two: Two) -> None:
    doubtful = await two.hub.ask("GET", "/v1/agents/notes")
    assert (doubtful.status_code, doubtful.json()["code"]) == (422, "bad_params")
    assert "say whose: --user NAME" in doubtful.json()["detail"]
    told = await two.hub.ask("GET", "/v1/agents/notes", params={"user": "mallory"})
    assert told.json()["prompt"] == "Find what mallory has to do."
    own = await two.owner.get("/v1/agents/notes", params={"user": "owner"})
    assert own.json()["prompt"] == "Find what owner has to do."
    for user in ("mallory", "nobody"):
        other = await two.owner.get("/v1/agents/notes", params={"user": user})
        assert (other.status_code, other.json()["code"]) == (404, "unknown_user")


async def test_whoever_sees_one_user_hands_out_no_more_than_that(two: Two) -> None:
    made = await two.owner.post("/v1/operator-tokens", json={"name": "mine", "role": "admin"})
    assert made.json()["user"] == "owner"
    for user in ("mallory", "nobody"):
        refused = await two.owner.post(
            "/v1/operator-tokens", params={"user": user}, json={"name": "theirs", "role": "viewer"}
        )
        assert refused.status_code == 404


async def test_what_happens_to_ones_own_is_followed_and_nothing_else(two: Two) -> None:
    told: list[str] = []
    with anyio.fail_after(20):
        async with two.mallory.stream("GET", "/v1/events", timeout=None) as answer:
            async for line in answer.aiter_lines():
                told.append(line)
                if line == "event: open":
                    await _made(two.owner, "/v1/agents/diary/runs")
                    own = await _made(two.mallory, "/v1/agents/plans/runs")
                if line.startswith("data: ") and "run_id" in line:
                    break
    assert "event: run.queued" in told
    assert own in told[-1]

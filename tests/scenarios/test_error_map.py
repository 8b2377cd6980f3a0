"""Every way in which coordination may be refused, produced on a running hub with gateways on loopback.

403 where only a gateway's main agent may ask, or the board is another's; 404 for a board or an agent
that is not there; 422 for nobody to talk to, nothing to say, no gateway; 502 for what a gateway
refuses, in words that help, or answers with nonsense; 409 for a soul that somebody else wrote.
"""

import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import closing as closing_file
from pathlib import Path
from typing import Any, NamedTuple

import anyio
import httpx2
import pytest

from storage.coordination import souls
from tests.support.gateway import DEFAULT_SOUL, FakeGateway, fake_gateway
from tests.support.processes import POLL_S, SETTINGS, HubProcess, closing

WITHIN_S = 30.0
GATEWAY = """
[[gateways]]
name = "{name}"
url = "{url}"
token = {{ file = "{name}.token" }}
"""
HOMELESS = """
[[agents]]
name = "homeless"
device = "attic"
paths = ["notes"]
data_types = ["tasks"]
prompt = "Find tasks."
"""
SCOPE = {"code": "MISSING_SCOPE", "missingScope": "operator.admin", "requiredScopes": ["operator.admin"]}
NO_SCOPE = {"code": "FORBIDDEN", "message": "missing scope: operator.admin", "details": SCOPE}
REFUSED = {"code": "INVALID_REQUEST", "message": "the gateway does not like it"}
SOUL = "/v1/boards/garden/agents/reader/soul"
NUDGE = "/v1/boards/garden/agents/reader/nudge"
KINDLY = {"content": "Be kind."}


class World(NamedTuple):
    """A hub with two gateways, and boards: ``garden`` (of west), ``far`` (of east), ``shed`` and ``empty``
    (of none) and ``ruin``, whose gateway was taken out of hub.toml."""

    hub: HubProcess
    west: FakeGateway
    east: FakeGateway
    address: str
    tokens: dict[str, str]

    async def ask(self, who: str, method: str, path: str, body: Any = None) -> httpx2.Response:
        given = {} if body is None else {"json": body}
        if who == "operator":
            return await self.hub.ask(method, path, **given)
        headers = {"authorization": f"Bearer {self.tokens[who]}"}
        async with httpx2.AsyncClient(base_url=self.address, headers=headers, trust_env=False) as client:
            return await client.request(method, path, timeout=30, **given)


async def ready(hub: HubProcess) -> None:
    with anyio.fail_after(WITHIN_S):
        while any(one["state"] != "ready" for one in (await hub.get("/v1/gateways"))["gateways"]):
            await anyio.sleep(POLL_S)


@pytest.fixture(scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    folder: Path = tmp_path_factory.mktemp("map")
    async with (
        fake_gateway("west", agents=("main", "lead", "reader")) as west,
        fake_gateway("east", agents=("main",)) as east,
    ):
        settings = SETTINGS.format(model="") + HOMELESS
        for name, gateway in (("west", west), ("east", east), ("gone", east)):
            token = folder / f"{name}.token"
            token.write_text(gateway.token)
            token.chmod(0o600)
            settings += GATEWAY.format(name=name, url=gateway.url)
        hub = HubProcess(folder, settings=settings)
        async with closing(hub):
            await hub.start()
            await ready(hub)
            for agent in ("lead", "reader"):
                await hub.post("/v1/gateways/west/agents", {"name": agent, "remote_id": agent})
            await hub.post("/v1/gateways/gone/agents", {"name": "stray", "remote_id": "main"})
            for board, at in {
                "garden": "west",
                "far": "east",
                "ruin": "gone",
                "shed": None,
                "empty": None,
            }.items():
                await hub.post("/v1/boards", {"name": board, "gateway": at})
            for agent in ("lead", "reader", "homeless"):
                await hub.post("/v1/boards/garden/agents", {"agent": agent, "is_lead": agent == "lead"})
            await hub.post("/v1/boards/shed/agents", {"agent": "notes", "is_lead": True})
            await hub.post("/v1/boards/ruin/agents", {"agent": "stray"})
            (folder / "hub.toml").write_text(settings.replace(GATEWAY.format(name="gone", url=east.url), ""))
            # Taken up by itself, once: a second time would give back what is taken away below.
            while len((await hub.get("/v1/gateways"))["gateways"]) == 3:
                await anyio.sleep(POLL_S)
            with closing_file(sqlite3.connect(folder / "hub.db", isolation_level=None)) as db:
                # No request does that.
                db.execute("UPDATE agents SET device_id = NULL WHERE name = 'homeless'")
            tokens = {
                agent: (await hub.post(f"/v1/agents/{agent}/tokens", {}))["token"]
                for agent in ("lead", "reader", "west-main", "east-main", "notes")
            }
            address = f"http://{(await hub.get('/v1/status'))['listeners']['operator']}"
            yield World(hub, west, east, address, tokens)


class Row(NamedTuple):
    """A line of the map: who asks what, what goes wrong, and the answer."""

    case: str
    who: str
    method: str
    path: str
    body: Any
    status: int
    code: str
    words: str
    arrange: Callable[[World], None] = lambda world: None


HANDOFF = {"kind": "handoff", "content": "Water the roses."}
MAP = (
    Row(
        "only-the-main-agent-sends-to-leads",
        "lead",
        "POST",
        "/v1/agent/boards/garden/lead/message",
        HANDOFF,
        403,
        "not_gateway_main",
        "only the main agent",
    ),
    Row(
        "only-the-main-agent-ensures-leads",
        "reader",
        "POST",
        "/v1/agent/boards/garden/lead/ensure",
        {},
        403,
        "not_gateway_main",
        "only the main agent",
    ),
    Row(
        "only-the-main-agent-sends-broadcasts",
        "lead",
        "POST",
        "/v1/agent/broadcasts",
        HANDOFF,
        403,
        "not_gateway_main",
        "only the main agent",
    ),
    Row(
        "an-agent-that-is-no-lead-asks-the-user",
        "reader",
        "POST",
        "/v1/agent/boards/garden/ask-user",
        {"content": "Which colour?"},
        403,
        "forbidden",
        "an agent that is not the lead may not ask the user",
    ),
    Row(
        "a-board-that-is-not-there",
        "operator",
        "POST",
        "/v1/boards/nowhere/agents/reader/nudge",
        KINDLY,
        404,
        "unknown_board",
        "'nowhere'",
    ),
    Row(
        "a-board-of-another-gateway",
        "east-main",
        "POST",
        "/v1/agent/boards/garden/lead/message",
        HANDOFF,
        403,
        "not_your_board",
        "not the board of the agent",
    ),
    Row(
        "what-a-board-of-another-gateway-remembers",
        "east-main",
        "GET",
        "/v1/agent/boards/garden/memory",
        None,
        403,
        "not_your_board",
        "not the board of the agent",
    ),
    Row(
        "an-agent-of-another-board",
        "notes",
        "POST",
        "/v1/agent/boards/garden/agents/lead/nudge",
        KINDLY,
        403,
        "not_your_board",
        "not the board of the agent",
    ),
    Row(
        "an-agent-that-is-not-on-the-board",
        "operator",
        "POST",
        "/v1/boards/garden/agents/notes/nudge",
        KINDLY,
        404,
        "unknown_agent",
        "no agent 'notes' on board 'garden'",
    ),
    Row(
        "a-soul-of-an-agent-that-is-not-on-the-board",
        "operator",
        "GET",
        "/v1/boards/garden/agents/notes/soul",
        None,
        404,
        "unknown_agent",
        "no agent 'notes' on board 'garden'",
    ),
    Row(
        "an-agent-of-the-board-for-what-is-the-leads",
        "reader",
        "PUT",
        "/v1/agent/boards/garden/agents/lead/soul",
        KINDLY,
        403,
        "forbidden",
        "may not write the soul",
    ),
    Row(
        "a-nudge-to-nowhere",
        "operator",
        "POST",
        "/v1/boards/garden/agents/homeless/nudge",
        KINDLY,
        422,
        "no_session",
        "homeless",
    ),
    Row(
        "a-soul-that-is-nowhere",
        "operator",
        "GET",
        "/v1/boards/garden/agents/homeless/soul",
        None,
        422,
        "no_session",
        "agent homeless lives on no gateway and on no device",
    ),
    Row(
        "a-nudge-without-a-word", "operator", "POST", NUDGE, {"content": " \n"}, 422, "bad_params", "content"
    ),
    Row("a-soul-without-a-word", "operator", "PUT", SOUL, {"content": " \n"}, 422, "bad_params", "content"),
    Row(
        "a-handoff-without-a-word",
        "west-main",
        "POST",
        "/v1/agent/boards/garden/lead/message",
        HANDOFF | {"content": " "},
        422,
        "bad_params",
        "content",
    ),
    Row(
        "a-lead-without-a-gateway",
        "operator",
        "POST",
        "/v1/boards/empty/lead/ensure",
        {},
        422,
        "no_lead",
        "no gateway at which one could be made",
    ),
    Row(
        "a-lead-at-a-gateway-that-was-taken-out-of-the-file",
        "operator",
        "POST",
        "/v1/boards/ruin/lead/ensure",
        {},
        422,
        "no_gateway",
        "not in hub.toml",
    ),
    Row(
        "a-soul-at-a-gateway-that-was-taken-out-of-the-file",
        "operator",
        "GET",
        "/v1/boards/ruin/agents/stray/soul",
        None,
        422,
        "no_gateway",
        "the gateway of agent stray is not in hub.toml",
    ),
    Row(
        "a-nudge-that-the-gateway-refuses",
        "operator",
        "POST",
        NUDGE,
        KINDLY,
        502,
        "gateway_refused",
        "the gateway does not like it",
        lambda world: world.west.fault("chat.send", "refused", REFUSED),
    ),
    Row(
        "a-soul-that-the-gateway-refuses-to-tell",
        "operator",
        "GET",
        SOUL,
        None,
        502,
        "gateway_refused",
        "the gateway does not like it",
        lambda world: world.west.fault("agents.files.get", "refused", REFUSED),
    ),
    Row(
        "a-soul-that-the-gateway-refuses-to-take",
        "operator",
        "PUT",
        SOUL,
        KINDLY,
        502,
        "gateway_refused",
        "the gateway does not like it",
        lambda world: world.west.fault("agents.files.set", "refused", REFUSED),
    ),
    Row(
        "a-soul-without-the-scope-for-it",
        "operator",
        "PUT",
        SOUL,
        KINDLY,
        502,
        "gateway_forbidden",
        "the scope operator.admin is missing; approve the scopes that this hub asks for",
        lambda world: world.west.fault("agents.files.set", "refused", NO_SCOPE),
    ),
    Row(
        "a-nudge-without-the-scope-for-it",
        "operator",
        "POST",
        NUDGE,
        KINDLY,
        502,
        "gateway_forbidden",
        "the scope operator.admin is missing",
        lambda world: world.west.fault("chat.send", "refused", NO_SCOPE),
    ),
    Row(
        "a-handoff-that-the-gateway-refuses",
        "west-main",
        "POST",
        "/v1/agent/boards/garden/lead/message",
        HANDOFF,
        502,
        "gateway_refused",
        "the gateway does not like it",
        lambda world: world.west.fault("chat.send", "refused", REFUSED),
    ),
    Row(
        "a-lead-without-the-scope-for-it",
        "east-main",
        "POST",
        "/v1/agent/boards/far/lead/ensure",
        {},
        502,
        "gateway_forbidden",
        "the scope operator.admin is missing",
        lambda world: world.east.fault("agents.create", "refused", NO_SCOPE),
    ),
    Row(
        "an-answer-that-is-none",
        "operator",
        "GET",
        SOUL,
        None,
        502,
        "gateway_invalid",
        "its answer to agents.files.get cannot be read",
        lambda world: world.west.answer_once("agents.files.get", {"content": "just a text"}),
    ),
    Row(
        "a-soul-that-somebody-else-wrote",
        "lead",
        "PUT",
        "/v1/agent/boards/garden/agents/reader/soul",
        KINDLY | {"expected_sha256": souls.digest("what I read")},
        409,
        "soul_conflict",
        "is there",
    ),
)


@pytest.mark.soak
@pytest.mark.parametrize("row", MAP, ids=lambda row: row.case)
async def test_what_cannot_be_done_is_refused_as_the_map_says(world: World, row: Row) -> None:
    row.arrange(world)

    answer = await world.ask(row.who, row.method, row.path, row.body)

    told = answer.json()
    assert (answer.status_code, told.get("code")) == (row.status, row.code), told
    assert row.words in told["detail"], told
    assert told["hint"] and told["status"] == row.status and len(told["detail"]) < 1_000


@pytest.mark.soak
async def test_a_conflict_tells_both_hashes_and_leaves_what_is_there(world: World) -> None:
    read, found = souls.digest("what I read"), souls.digest(world.west.agents["reader"].files["SOUL.md"])
    told = (await world.ask("operator", "PUT", SOUL, KINDLY | {"expected_sha256": read})).json()
    assert (told["expected_sha256"], told["found_sha256"]) == (read, found)
    assert world.west.agents["reader"].files["SOUL.md"] == DEFAULT_SOUL


@pytest.mark.soak
async def test_a_gateway_that_is_away_is_an_error_for_who_reads_and_none_for_who_writes(
    world: World,
) -> None:
    await world.west.stop()
    away = await world.ask("operator", "GET", SOUL)
    nudged = await world.ask("operator", "POST", f"{NUDGE}?wait_s=0", KINDLY)
    written = await world.ask("operator", "PUT", f"{SOUL}?wait_s=0", KINDLY)
    await world.west.start()

    assert (away.status_code, away.json()["code"]) == (503, "gateway_unreachable")
    assert (nudged.status_code, nudged.json()["state"]) == (201, "waiting")
    assert (written.status_code, written.json()["state"]) == (202, "waiting")
    await world.hub.post("/v1/gateways/west/reconnect")
    with anyio.fail_after(WITHIN_S):
        while world.west.agents["reader"].files["SOUL.md"] != "Be kind.":
            await anyio.sleep(POLL_S)
        while not any("Be kind." in text for text in world.west.said("agent:reader:main")):
            await anyio.sleep(POLL_S)

"""Who may do what on a board, asked of a running hub: every verb, by everybody, with status and code.

What each is answered stands in ``tests.hub.coordination.test_board_access``; here it is what a client sees.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import httpx2
import pytest

from protocol.board_permissions import Verb
from protocol.errors import CATALOGUE, ErrorCode
from tests.hub.coordination.garden import CALLERS
from tests.hub.coordination.test_board_access import MAIN_ONLY, MATRIX, OK
from tests.support.gateway import FakeGateway, fake_gateway
from tests.support.processes import HubProcess, closing

SETTINGS = """\
[hub]
name = "test"
[listen.devices]
address = "127.0.0.1:0"
[listen.operator]
address = "127.0.0.1:0"
"""
GATEWAY = """
[[gateways]]
name = "{name}"
url = "{url}"
token = {{ file = "{name}.token" }}
main_agent = "main"
"""
# What they are called: the main agent of west serves roses and weeds, that of east serves lawn.
NAMES: Final = {"main": "west-main", "foreign_main": "east-main"}
WORKERS: Final = ("lead", "worker", "stranger")


class Ask(NamedTuple):
    """What is asked for a verb; *path* goes on after ``/v1`` or, of an agent, ``/v1/agent``."""

    method: str
    path: str
    body: Mapping[str, Any] | None = None
    status: int = 200  # where it is allowed


ASKS: Final[Mapping[Verb, Ask]] = {
    Verb.BOARD_READ: Ask("GET", "/boards/roses"),
    Verb.NUDGE: Ask("POST", "/boards/roses/agents/{target}/nudge?wait_s=0", {"content": "cut them"}, 201),
    Verb.SOUL_READ: Ask("GET", "/boards/roses/agents/{target}/soul"),
    Verb.SOUL_WRITE: Ask("PUT", "/boards/roses/agents/{target}/soul?wait_s=60", {"content": "# Kind\n"}),
    Verb.ASK_USER: Ask("POST", "/boards/roses/ask-user", {"content": "Which colour?"}, 201),
    Verb.LEAD_MESSAGE: Ask("POST", "/boards/roses/lead/message?wait_s=0", {"content": "Is it done?"}, 201),
    Verb.ENSURE_LEAD: Ask("POST", "/boards/roses/lead/ensure"),
    Verb.BROADCAST: Ask("POST", "/broadcasts?wait_s=0", {"content": "Is it done?", "boards": ["roses"]}, 201),
    Verb.MEMORY_READ: Ask("GET", "/boards/roses/memory"),
    Verb.MEMORY_WRITE: Ask("POST", "/boards/roses/memory", {"content": "they are cut"}, 201),
    Verb.QUESTION_READ: Ask("GET", "/questions/{question}"),
    Verb.QUESTION_ANSWER: Ask("POST", "/questions/{question}/answer", {"answer": "Red."}),
}


# A broadcast is to many boards: who may send none is refused, and one board that is not the
# caller's is told among the results, as any other that it could not come to.
ADDRESSED_TO_MANY: Final = {(Verb.BROADCAST, ""): (OK, MAIN_ONLY, MAIN_ONLY, OK, MAIN_ONLY, OK)}


class World:
    """A hub with two gateways, and everybody who may ask something of the board ``roses``."""

    def __init__(self, hub: HubProcess, west: FakeGateway, clients: dict[str, httpx2.AsyncClient]) -> None:
        self.hub = hub
        self.west = west
        self.clients = clients

    async def remember(self, who: str, **about: Any) -> Any:
        """What an agent is answered that writes into the board's memory."""
        body = {"content": "The red ones.", **about}
        answer = await self.clients[who].post("/v1/agent/boards/roses/memory", json=body)
        assert answer.status_code == 201, answer.text
        return answer.json()

    async def answer(self, who: str, verb: Verb, target: str = "") -> str:
        """The status and the code of what *who* is answered; of what is done, ``ok``."""
        ask = ASKS[verb]
        ids = {
            "target": NAMES.get(target, target),
            "question": await self._question() if "question" in verb else "",
        }
        base = "/v1" if who in ("user", "eve") else "/v1/agent"
        answer = await self.clients[who].request(ask.method, base + ask.path.format(**ids), json=ask.body)
        told = answer.json()
        return f"{answer.status_code} {told['code'] if answer.is_error else OK}"

    async def _question(self) -> str:
        """A question of the board that nobody has answered."""
        return str((await self.hub.post("/v1/boards/roses/ask-user", {"content": "Which colour?"}))["id"])


@asynccontextmanager
async def open_world(folder: Path) -> AsyncIterator[World]:
    async with AsyncExitStack() as opened:
        written, gateways = SETTINGS, {}
        for name in ("west", "east"):
            gateway = await opened.enter_async_context(fake_gateway(name, agents=("main", *WORKERS)))
            gateways[name] = gateway
            gateway.answer_with(lambda session, message: "I will see.")  # nobody answers for the person
            token = folder / f"{name}.token"
            token.write_text(gateway.token)
            token.chmod(0o600)
            written += GATEWAY.format(name=name, url=gateway.url)
        hub = HubProcess(folder, settings=written)
        await opened.enter_async_context(closing(hub))
        await hub.start()
        for board, gateway_name in (("roses", "west"), ("weeds", "west"), ("lawn", "east")):
            await hub.post("/v1/boards", {"name": board, "gateway": gateway_name})
        for name in WORKERS:
            await hub.post("/v1/gateways/west/agents", {"name": name, "remote_id": name})
            board = "weeds" if name == "stranger" else "roses"
            await hub.post(f"/v1/boards/{board}/agents", {"agent": name, "is_lead": name != "worker"})
        await hub.post("/v1/users", {"name": "eve"})
        address = (await hub.get("/v1/status"))["listeners"]["operator"]
        clients = {}
        for who in (*CALLERS, "eve"):
            headers = {"authorization": f"Bearer {await _token(hub, who)}"}
            client = httpx2.AsyncClient(
                base_url=f"http://{address}", headers=headers, trust_env=False, timeout=90
            )
            clients[who] = await opened.enter_async_context(client)
        yield World(hub, gateways["west"], clients)


async def _token(hub: HubProcess, who: str) -> str:
    if who in ("user", "eve"):
        wanted = {"name": who, "role": "operator", "scopes": ["read", "run", "answer", "devices"]}
        user = {"user": "owner" if who == "user" else "eve"}
        return str((await hub.ask("POST", "/v1/operator-tokens", params=user, json=wanted)).json()["token"])
    return str((await hub.post(f"/v1/agents/{NAMES.get(who, who)}/tokens"))["token"])


@pytest.fixture(scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    async with open_world(tmp_path_factory.mktemp("matrix")) as opened:
        yield opened


def _expected(answer: str, ask: Ask) -> str:
    return f"{ask.status} ok" if answer == OK else f"{CATALOGUE[ErrorCode(answer)].http_status} {answer}"


def test_matrix_has_every_verb_of_coordination() -> None:
    assert ASKS.keys() == set(Verb)


async def test_each_verb_answers_each_role_as_in_the_matrix(world: World) -> None:
    told, expected = {}, {}
    for (verb, target), answers in (MATRIX | ADDRESSED_TO_MANY).items():
        for who, answer in zip(CALLERS, answers, strict=True):
            cell = f"{who}: {verb} {target}"
            told[cell] = await world.answer(who, verb, target)
            expected[cell] = _expected(answer, ASKS[verb])
    assert told == expected


async def test_broadcast_names_each_board_not_owned_by_the_sender(world: World) -> None:
    for who, board, code in (
        ("main", "lawn", "not_your_board"),
        ("foreign_main", "roses", "not_your_board"),
        ("eve", "roses", "unknown_board"),
        ("user", "rozes", "unknown_board"),
    ):
        base = "/v1" if who in ("user", "eve") else "/v1/agent"
        body = {"content": "Is it done?", "boards": [board]}
        sent = (await world.clients[who].post(f"{base}/broadcasts?wait_s=0", json=body)).json()
        assert (sent["ok"], [one["code"] for one in sent["results"]]) == (False, [code]), who


async def test_entry_in_the_memory_of_a_board_answers_a_message(world: World) -> None:
    world.west.hold("agent:worker:main")  # so that it says nothing in its chat
    nudge = {"content": "Which ones are cut?"}
    sent = await world.hub.post("/v1/boards/roses/agents/worker/nudge?wait_s=60", nudge)
    assert (await world.remember("lead", reply_to=sent["id"]))["answered_message"] is None, "not its own"
    written = await world.remember("worker", reply_to=sent["id"])
    assert written["answered_message"] == sent["id"]
    told = await world.hub.get(f"/v1/messages/{sent['id']}")
    assert (told["state"], told["answer"], told["memory_id"]) == ("answered", "The red ones.", written["id"])
    world.west.release("agent:worker:main")


async def test_main_agent_of_a_gateway_returns_the_answer_of_a_person_by_the_correlation_id(
    world: World,
) -> None:
    ask = {"content": "Which ones?", "correlation_id": "roses-1"}
    asked = await world.hub.post("/v1/boards/roses/ask-user", ask)
    about = {"correlation_id": "roses-1", "tags": ["gateway_main", "user_reply"]}
    assert (await world.remember("worker", **about))["answered_question"] is None, "it is no main agent"
    assert (await world.remember("main", **about))["answered_question"] == asked["id"]
    told = await world.hub.get(f"/v1/questions/{asked['id']}")
    assert (told["state"], told["answer"]) == ("answered", "The red ones.")

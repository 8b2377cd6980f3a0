"""Agents and their person, with real processes: settings, wakes, questions, reviews, and a hub that moves."""

import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from os import kill
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from websockets.asyncio.client import ClientConnection, connect

from hub.base.clock import SystemClock
from hub.device.items import read_items
from hub.device.owner import approve, reject
from protocol.ids import RunId, trace_id_of
from tests.scenarios.scene import Point, Scene, check_boxes, rows, scene, write
from tests.support.processes import POLL_S, SETTINGS, DeviceProcess, HubProcess, closing

TEMPLATE = {
    "type": "RESEARCHER",
    "configuration_schema": {
        "type": "object",
        "properties": {"topic": {"type": "string"}, "depth": {"type": "integer", "maximum": 9}},
        "required": ["topic"],
    },
    "default_configuration": {"depth": 2},
    "prompt": "Find what is said about {{ topic }}, {{ depth }} levels deep.",
}
HELLO = {
    "type": "device_hello",
    "capabilities": [
        {"name": "agent.config", "version": "1.0.0"},
        {"name": "file.read", "version": "1.2.0"},
    ],
}


class Desk:
    """A device that says each frame itself, and keeps what it is told."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._told: list[dict[str, Any]] = []
        self._asked = 0

    async def says(self, **frame: Any) -> None:
        await self._socket.send(json.dumps(frame))

    async def asks(self, method: str, **params: Any) -> dict[str, Any]:
        """The result of a request that must succeed."""
        self._asked += 1
        id = f"q-{self._asked}"
        await self.says(type="request", id=id, method=method, params=params)
        answer = await self.hears("response", id=id)
        assert answer.get("error") is None, answer
        result: dict[str, Any] = answer["result"]
        return result

    async def hears(self, type: str, **fields: Any) -> dict[str, Any]:
        """The next frame of that type with these fields; what comes before it is kept."""
        for frame in self._told:
            if frame["type"] == type and fields.items() <= frame.items():
                self._told.remove(frame)
                return frame
        with anyio.fail_after(20):
            while True:
                frame = json.loads(await self._socket.recv())
                if frame["type"] == type and fields.items() <= frame.items():
                    return dict(frame)
                self._told.append(frame)


@asynccontextmanager
async def working(folder: Path) -> AsyncIterator[tuple[HubProcess, Desk]]:
    """A hub, and the device ``desk`` connected to it."""
    hub = HubProcess(folder, settings=SETTINGS.format(model="[limits]\nconnected_s = 0.0"))
    try:
        await hub.start()
        async with connect(f"{await hub.device_url()}/v1/device") as socket:
            desk = Desk(socket)
            await desk.says(**HELLO, token=await hub.token())
            await desk.hears("welcome")
            yield hub, desk
    finally:
        await hub.close()


@asynccontextmanager
async def following(folder: Path, **asked: str) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
    """The hub's events, as an operator follows them."""
    transport = httpx2.AsyncHTTPTransport(uds=str(folder / "hub.sock"))
    async with (
        httpx2.AsyncClient(transport=transport, base_url="http://hub", timeout=30) as client,
        client.stream("GET", "/v1/events", params=asked) as answer,
    ):
        lines = answer.aiter_lines()

        async def events() -> AsyncIterator[dict[str, Any]]:
            async for line in lines:
                if line.startswith("data: "):
                    yield json.loads(line.removeprefix("data: "))

        told = events()
        assert (await anext(told))["event"] == "open"
        yield told


async def make_scholar(hub: HubProcess, **about: Any) -> None:
    """An agent of a template."""
    answer = await hub.ask("PUT", "/v1/templates/scholar", json=TEMPLATE)
    assert answer.status_code == 201, answer.text
    agent = {"name": "reader", "device": "desk", "template": "scholar", "paths": ["notes"]}
    given = {"data_types": ["notes"], "config": {"topic": "tides"}} | about
    answer = await hub.ask("POST", "/v1/agents", json=agent | given)
    assert answer.status_code == 201, answer.text


@pytest.mark.soak
async def test_agent_of_a_template_keeps_config_status_and_checkpoints(tmp_path: Path) -> None:
    async with working(tmp_path) as (hub, desk):
        await make_scholar(hub, needs=["file.read >= 1.1"], external_id="crm-7")
        agent = await hub.get("/v1/agents/reader")
        assert (await hub.get("/v1/agents/external:crm-7"), agent["prompt"]) == (agent, TEMPLATE["prompt"])
        first = (await desk.hears("event", event="agent.config"))["data"]
        while first["agent_id"] != agent["id"]:
            first = (await desk.hears("event", event="agent.config"))["data"]
        assert first["configuration"] == {"topic": "tides", "depth": 2}

        async with following(tmp_path, agent="reader", events="agent") as events:
            await desk.says(type="heartbeat", agents=[{"agent_id": agent["id"], "status": "on_call"}])
            moved = await anext(events)
            assert (
                moved["event"],
                moved["fields"]["axis"],
                moved["fields"]["before"],
                moved["fields"]["after"],
            ) == ("agent.moved", "availability", "available", "on_call")

        refused = await hub.ask("PUT", "/v1/agents/reader/config/depth", json={"value": 12})
        assert (refused.status_code, refused.json()["code"]) == (422, "bad_config")
        assert "depth" in refused.json()["detail"] and "scholar" in refused.json()["detail"]
        changed = await hub.ask("PUT", "/v1/agents/reader/config/depth", json={"value": 5})
        assert changed.status_code == 200, changed.text
        second = (await desk.hears("event", event="agent.config"))["data"]
        assert second["configuration"] == {"topic": "tides", "depth": 5} and second["rev"] > first["rev"]

        granted = await desk.asks("locks.acquire", agent_id="reader", resources=["scanner"])
        await desk.asks("checkpoints.put", agent_id="reader", sequence=7, state={"page": 3})
        at_ms = int(SystemClock().now().timestamp() * 1000)
        sample = {"agent_id": "reader", "name": "pages", "type": "counter", "value": 3, "at_ms": at_ms}
        await desk.asks("metrics.report", samples=[sample])

        seen = await hub.get("/v1/agents/reader/overview")
        assert seen["status"]["availability"] == "on_call"
        assert seen["status"]["axes"]["availability"]["actor"].startswith("device:")
        assert seen["status"]["last_heartbeat_at"] is not None
        assert [lock["resource"] for lock in seen["locks"]] == ["scanner"]
        assert seen["locks"][0]["fence"] == granted["fences"]["scanner"]
        assert [(one["scope"], one["sequence"]) for one in seen["checkpoints"]] == [("agent", 7)]
        assert (seen["config"], seen["series"]) == (["depth", "topic"], 1)
        document = await hub.get("/v1/agents/reader/as/orchestrator")
        assert (document["status"], document["type"]) == ("ACTIVE", "RESEARCHER"), sorted(document)


SLOT = '[[agents.slots]]\nlabel = "standup"\nevery_s = 5.0\nduration_s = 60.0\n'
ANSWERED = Point("the hub is about to get the answer", "to_hub", "tool_result")


def wakes(play: Scene) -> list[tuple[str, str, int]]:
    """Id, state and sends of the first wake; and what its fire says."""
    query = """SELECT wakes.id, wakes.state || ' ' || decision, sends FROM wakes
        JOIN schedule_fires USING (schedule_id, fire_at) ORDER BY fire_at LIMIT 1"""
    return rows(play.folder / "hub.db", query)


@pytest.mark.soak
async def test_wake_is_acted_on_once_when_the_hub_is_killed_before_the_answer(
    tmp_path: Path,
) -> None:
    files, _ = check_boxes(1)
    async with scene(tmp_path, files, settings=SLOT) as play:
        await play.device.start()
        await play.has_connected()
        play.at(ANSWERED, play.kill_hub)
        await play.happened()
        ((wake_id, state, sends),) = wakes(play)
        assert (state, sends) == ("sent deferred", 1)
        await play.start_hub()
        told: list[dict[str, Any]] = []
        while not (told and told[0]["state"] == "acknowledged"):
            await anyio.sleep(POLL_S)
            listed = (await play.hub.get("/v1/agents/notes/slots"))["wakes"]
            told = [wake for wake in listed if wake["id"] == wake_id]
        shown = await anyio.run_process(
            [sys.executable, "-m", "hub", "--state", str(play.folder), "agents", "slots", "notes"],
            env=os.environ | {"TZ": "UTC"},
        )
    assert [line.split()[0] for line in shown.stdout.decode().splitlines() if line][:2] == ["slot", "standup"]
    assert "the agent was woken" in shown.stdout.decode()
    assert (told[0]["slot"], told[0]["said"], told[0]["sends"]) == ("standup", "the agent was woken", 2)
    assert wakes(play)[0][1] == "acknowledged woken"
    calls = [frame["id"] for _, frame in play.seen if frame["type"] == "tool_call"]
    assert calls.count(wake_id) == 2, "told again by the same id"
    await play.device.says("wake ")


@asynccontextmanager
async def a_board(folder: Path) -> AsyncIterator[Scene]:
    """A hub with the board ``roadmap``, whose lead is the agent ``notes``, and a device of its person."""
    async with scene(folder, {"a.md": "nothing to do\n"}) as play:
        await play.hub.post("/v1/boards", {"name": "roadmap"})
        await play.hub.post("/v1/boards/roadmap/agents", {"agent": "notes", "is_lead": True})
        await play.device.start()
        await play.has_connected()
        yield play


async def as_lead(play: Scene, method: str, path: str, body: Any = None) -> httpx2.Response:
    """What the lead asks with a token of its own."""
    made = await play.hub.post("/v1/agents/notes/tokens")
    address = (await play.hub.get("/v1/status"))["listeners"]["operator"]
    headers = {"authorization": f"Bearer {made['token']}"}
    async with httpx2.AsyncClient(base_url=f"http://{address}", headers=headers, trust_env=False) as client:
        return await client.request(method, path, json=body)


async def asked_by_lead(play: Scene, content: str = "Which colour is the door to be?") -> str:
    """The id of the question."""
    about = {"content": content, "correlation_id": "door-7", "reply_tags": ["colour", "user_reply"]}
    asked = await as_lead(play, "POST", "/v1/agent/boards/roadmap/ask-user", about)
    assert asked.status_code == 201, asked.text
    return str(asked.json()["id"])


async def hub(*words: str) -> tuple[int, str]:
    """A command of a person: its exit code, and what it said."""
    done = await anyio.run_process(
        [sys.executable, "-m", "hub", *words], check=False, env=os.environ | {"TZ": "UTC"}
    )
    return done.returncode, (done.stdout + done.stderr).decode()


async def at_hub(play: Scene, *words: str) -> tuple[int, str]:
    return await hub("--state", str(play.folder), "ask", *words)


async def at_device(play: Scene, *words: str) -> tuple[int, str]:
    return await hub("answer", "--db", str(play.device.database), *words)


def on_device(play: Scene) -> list[tuple[str, str | None, int, str | None]]:
    """Each question in the device's file: its state, answer, whether the hub knows, who answered."""
    query = "SELECT state, answer, reported, settled_by FROM questions ORDER BY number"
    return rows(play.device.database, query)


async def device_has(play: Scene, *wanted: tuple[str, str | None, int, str | None]) -> None:
    with anyio.move_on_after(20):
        while on_device(play) != list(wanted):
            await anyio.sleep(POLL_S)
    assert on_device(play) == list(wanted), play.device.log()[-2000:] + play.hub.log()[-4000:]


async def question(play: Scene, id: str) -> dict[str, Any]:
    told: dict[str, Any] = await play.hub.get(f"/v1/questions/{id}")
    return told


async def comes_to(play: Scene, id: str, state: str) -> dict[str, Any]:
    with anyio.fail_after(20):
        while (told := await question(play, id))["state"] != state:
            await anyio.sleep(POLL_S)
    return told


async def memory(play: Scene) -> list[tuple[str, list[str], str, str]]:
    told = (await play.hub.get("/v1/boards/roadmap/memory"))["memory"]
    return [(item["content"], item["tags"], item["correlation_id"], item["reply_to"]) for item in told]


OPEN = ("open", None, 0, None)


async def test_question_of_a_lead_is_answered_by_the_user_on_the_device(tmp_path: Path) -> None:
    async with a_board(tmp_path) as play:
        id = await asked_by_lead(play)
        await device_has(play, OPEN)
        await play.device.says("Which colour is the door to be?")
        with anyio.fail_after(20):
            while (await question(play, id))["devices"] != ["desk"]:
                await anyio.sleep(POLL_S)

        code, said = await at_device(play)
        assert (code, "1  notes (roadmap)" in said) == (0, True), said
        assert (await at_device(play, "1", "Red,", "please."))[0] == 0
        told = await comes_to(play, id, "answered")
        assert (told["answer"], told["answered_by"]) == ("Red, please.", "device desk")
        assert await memory(play) == [("Red, please.", ["colour", "user_reply"], "door-7", id)]
        await device_has(play, ("answered", "Red, please.", 1, "device desk"))

        code, said = await at_hub(play, "answer", id, "Blue.")
        assert code != 0
        assert f"question {id} was answered by device desk at" in said
        code, said = await at_device(play, "1", "Green.")
        assert (code, "question 1 was answered by device desk: Red, please." in said) == (1, True), said
        assert (await as_lead(play, "GET", f"/v1/agent/questions/{id}")).json()["answer"] == "Red, please."
        assert len(await memory(play)) == 1


FIRST = "- [ ] call Anna on Friday\n- [ ] pay the rent\n- [ ] mend the roof\n"
SECOND = "- [ ] call Anna on Monday\n- [ ] pay the rent\n- [ ] mend the roof\n- [ ] feed the cat\n"


async def a_run(play: Scene) -> dict[str, Any]:
    return await play.hub.ended(await play.hub.start_run())


async def has_heard(play: Scene, verdict: str, titles: list[str]) -> None:
    """Until the hub knows these items under this verdict."""
    with anyio.fail_after(30):
        while True:
            told = await play.hub.get(f"/v1/items?verdict={verdict}")
            if sorted(item["title"] for item in told["items"]) == titles:
                return
            await anyio.sleep(POLL_S)


async def test_verdicts_survive_a_new_version_of_the_document(tmp_path: Path) -> None:
    async with scene(tmp_path, {"a.md": FIRST}) as play:
        await play.device.start()
        await play.has_connected()
        assert (await a_run(play))["items_created"] == 3

        db = play.device.database
        numbers = {item.title: item.number for item in read_items(db)}
        approve(db, [numbers["call Anna on Friday"]], at_ms=1)
        reject(db, [numbers["mend the roof"]])
        await has_heard(play, "rejected", ["mend the roof"])
        await has_heard(play, "approved", ["call Anna on Friday"])

        write(tmp_path, {"a.md": SECOND})
        run = await a_run(play)
        assert (run["items_created"], run["items_updated"], run["items_known"]) == (1, 1, 2)
        assert play.items() == ["call Anna on Friday", "feed the cat", "pay the rent"]
        (hers,) = [item for item in read_items(db) if item.title == "call Anna on Friday"]
        assert (hers.number, hers.verdict) == (numbers["call Anna on Friday"], "approved")
        assert hers.proposal is not None and hers.proposal.data is not None
        assert hers.proposal.data["title"] == "call Anna on Monday"
        await has_heard(play, "approved", [])

        await play.restart_device()
        await play.has_connected()
        approve(db, [hers.number], at_ms=2)
        assert play.items() == ["call Anna on Monday", "feed the cat", "pay the rent"]
        await has_heard(play, "approved", ["call Anna on Monday"])
        reject(db, [hers.number], deletes=True)
        await has_heard(play, "rejected", ["call Anna on Monday", "mend the roof"])


TWO_NOTES = "- [ ] call Ann by 2026-03-01\n- [ ] water the plants\n"


def written(hub: HubProcess) -> list[dict[str, Any]]:
    """What the hub wrote, without what it said to a person."""
    return [json.loads(line) for line in hub.log().splitlines() if line.startswith("{")]


async def logged(hub: HubProcess, event: str) -> list[dict[str, Any]]:
    """Wait until an event of that name is written; all of them."""
    with anyio.fail_after(60):
        while not (found := [entry for entry in written(hub) if entry["event"] == event]):
            await anyio.sleep(POLL_S)
        return found


async def test_working_hub_shows_stacks_metrics_and_log(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "list.md").write_text(TWO_NOTES)
    hub = HubProcess(tmp_path)
    async with closing(hub):
        await hub.start()
        token = await hub.token()
        device = DeviceProcess(tmp_path, await hub.device_url(), token)
        async with closing(device):
            await device.start()
            await logged(hub, "device.connected")
            run = await hub.ended(await hub.start_run())
            assert run["state"] == "COMPLETED"

            assert run["trace_id"] == trace_id_of(RunId(run["id"]))
            of_run = [entry for entry in written(hub) if entry.get("run_id") == run["id"]]
            assert {entry["event"] for entry in of_run} >= {"run.queued", "run.moved"}
            assert {entry["trace_id"] for entry in of_run} == {run["trace_id"]}
            told = await hub.get(f"/v1/logs?run={run['id'][-8:]}")
            assert {entry["event"] for entry in told["entries"]} >= {"run.queued", "run.moved"}

            for path in ("/healthz", "/readyz"):
                assert (await hub.ask("GET", path)).status_code == 200

            metrics = (await hub.ask("GET", "/metrics")).text
            assert 'hub_runs_total{outcome="success"} 1.0' in metrics
            assert 'hub_connections{role="device",state="ready"} 1.0' in metrics
            (commits,) = re.findall(r"^hub_db_commit_duration_seconds_count (\S+)$", metrics, re.MULTILINE)
            assert float(commits) > 5
            assert re.search(r"^hub_event_loop_lag_seconds_count [1-9]", metrics, re.MULTILINE)
            assert re.search(r"^hub_db_size_bytes [1-9]", metrics, re.MULTILINE)

            assert hub.process is not None
            kill(hub.process.pid, signal.SIGUSR1)
            assert [dumped["connected"] for dumped in await logged(hub, "debug.dumped")] == [1]
            await logged(hub, "debug.thread")  # its lines come after those of all tasks
            tasks = await logged(hub, "debug.task")
            assert any("hub/runs/dispatcher.py" in place for task in tasks for place in task["stack"])
        assert token not in hub.log()
        assert await hub.stop() == 0
    assert written(hub)[-1]["event"] == "hub.stopped"

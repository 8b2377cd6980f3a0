"""The fake gateway sends what a real one was seen to send, and nothing else."""

import json
from pathlib import Path
from typing import Any

import anyio
from websockets.asyncio.client import ClientConnection, connect

from tests.support.gateway import Fails, FakeGateway, fake_gateway
from tests.support.gateway.seen import unseen

MAIN = "agent:main:main"
SOUL = {"agentId": "main", "name": "SOUL.md"}


class Witness:
    """A client that looks at every key of every frame."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._numbered = 0
        self.unseen: set[str] = set()
        self.kinds: set[str] = set()

    async def ask(self, method: str, **params: Any) -> Any:
        self._numbered += 1
        frame = {"type": "req", "id": str(self._numbered), "method": method, "params": params}
        await self._socket.send(json.dumps(frame))
        with anyio.fail_after(5):
            while (got := await self._hear(method))["type"] != "res":
                pass
        return got.get("payload") if got["ok"] else got["error"]

    async def say(self, text: str, key: str, **more: Any) -> Any:
        return await self.ask("chat.send", sessionKey=MAIN, message=text, idempotencyKey=key, **more)

    async def _hear(self, method: str) -> dict[str, Any]:
        frame: dict[str, Any] = json.loads(await self._socket.recv())
        self.unseen |= set(unseen(frame, method))
        self.kinds.add(frame["event"] if frame["type"] == "event" else method)
        return frame


async def greeted(gateway: FakeGateway, socket: ClientConnection, **params: Any) -> Witness:
    witness = Witness(socket)
    client = {"id": "gateway-client", "version": "0.1.0", "platform": "linux", "mode": "backend"}
    scopes = ["operator.read", "operator.write", "operator.admin"]
    asked = {"minProtocol": 4, "maxProtocol": 4, "client": client, "role": "operator", "caps": []}
    await witness.ask("connect", **(asked | {"scopes": scopes, "auth": {"token": gateway.token}} | params))
    return witness


async def test_every_key_of_every_frame_was_seen_on_a_real_gateway(tmp_path: Path) -> None:
    answers: dict[str, Any] = {"money": Fails("no", reason="billing"), "early": Fails("no", was_asked=False)}
    async with (
        fake_gateway(answer=lambda _, text: answers.get(text, f"ok: {text}")) as gateway,
        connect(gateway.url, compression=None) as socket,
    ):
        witness = await greeted(gateway, socket)
        await witness.ask("agents.list")
        await witness.ask("agents.create", name="lead-1")
        await witness.ask("agents.create", name="lead-1")
        await witness.ask("agents.delete", agentId="lead-1")
        soul = (await witness.ask("agents.files.get", **SOUL))["file"]
        await witness.ask("agents.files.set", **SOUL, content="x", expectedHash=soul["hash"])
        await witness.ask("agents.files.set", **SOUL, content="y", expectedHash=soul["hash"])
        await witness.ask("agents.files.list", agentId="main")
        await witness.ask("agents.files.get", agentId="main", name="MEMORY.md")
        await witness.ask("nonsense", x=1)
        await witness.ask("agents.list", nope=1)

        await witness.say("hello", "k1")
        await witness.ask("agent.wait", runId="k1", timeoutMs=1000)
        await witness.say("another text", "k1")
        for text in answers:
            await witness.say(text, text)
            await witness.ask("agent.wait", runId=text, timeoutMs=1000)
        gateway.hold(MAIN)
        await witness.say("busy", "k2")
        await witness.ask("agent.wait", runId="k2", timeoutMs=1)
        await witness.say("behind", "k3", queueMode="followup")
        await witness.say("into", "k4")
        await witness.ask("agent.wait", runId="k3", timeoutMs=1)
        await witness.ask("chat.history", sessionKey=MAIN, limit=4, inputRunIds=["k3"])
        await witness.say("now", "k5", queueMode="interrupt")
        await witness.ask("agent.wait", runId="k2", timeoutMs=1000)
        gateway.release(MAIN)
        await witness.ask("agent.wait", runId="k5", timeoutMs=1000)
        await witness.ask("chat.history", sessionKey=MAIN)
        gateway.tick()
        gateway.drain()
        await witness.say("late", "k6")
    assert witness.unseen == set()
    assert witness.kinds >= {"chat", "agent", "tick", "chat.history", "connect"}


async def test_fake_gateway_connect_refusals_match_a_real_gateway(tmp_path: Path) -> None:
    async with fake_gateway() as gateway:
        found: set[str] = set()
        tries: list[dict[str, Any]] = [
            {"auth": {"token": "wrong"}},
            {"auth": {}},
            {"minProtocol": 3, "maxProtocol": 3},
        ]
        for params in tries:
            async with connect(gateway.url, compression=None) as socket:
                found |= (await greeted(gateway, socket, **params)).unseen
        gateway.is_starting = True
        async with connect(gateway.url, compression=None) as socket:
            found |= (await greeted(gateway, socket)).unseen
        assert found == set()
